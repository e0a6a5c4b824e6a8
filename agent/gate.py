"""The gate: whether a recording is on now by its schedule, on a wall clock that may be unset, set back or slewed."""

from typing import Any

from agent.clock import Clock, iso
from agent.schedule import Schedule

_STEP_NS = 500_000_000
"""A wall clock that moves this far against boot time between two looks was set, and not slewed."""
_LOOK_NS = 1_000_000_000
"""How often a clock that is not set yet is looked at."""
_DAY_NS = 86_400_000_000_000


class Gate:
    """Asked every round by the thread of one recording, which sees it open and close.

    A window ends at the latest when it would have ended had nobody set the clock back meanwhile; what the clock says
    then is a window of its own. So nothing is recorded for longer than the schedule has it.
    """

    def __init__(self, schedule: Schedule | None, clock: Clock) -> None:
        """Without a schedule it is always open."""
        self.on = schedule is None
        self.until_ns: int | None = None
        """CLOCK_BOOTTIME at which this window ends; None while it is closed, and where no end is in sight."""
        self.waits_for = ""
        """What keeps it closed whatever the schedule says."""
        self._schedule = schedule
        self._clock = clock
        self._dated = schedule is None or not schedule.needs_date
        self._look_ns = 0
        self._ahead_ns = 0
        self._change_ns: int | None = None
        self._ask_ns = 0
        """Wall time at which the schedule is asked again: at the next change, or in a day."""

    def step(self, now_ns: int) -> bool:
        """Whether it is open at this moment (CLOCK_BOOTTIME)."""
        if self._schedule is None:
            return True
        if not self._dated and now_ns >= self._look_ns:
            self._look_ns = now_ns + _LOOK_NS
            self._dated = self._clock.dated()
            self.waits_for = "" if self._dated else "a clock that has been set"
        if not self._dated:
            return False
        wall_ns = self._clock.wall_ns(now_ns)
        stepped = abs(wall_ns - now_ns - self._ahead_ns) > _STEP_NS
        self._ahead_ns = wall_ns - now_ns
        if self.on and self.until_ns is not None and now_ns >= self.until_ns and not stepped:
            self._close()  # for this round at least
        elif stepped or wall_ns >= self._ask_ns:
            self._ask(self._schedule, now_ns, wall_ns)
        if self.on and self._change_ns is not None:
            self.until_ns = now_ns + self._change_ns - wall_ns
        return self.on

    def _close(self) -> None:
        self.on, self.until_ns, self._ask_ns = False, None, 0

    def _ask(self, schedule: Schedule, now_ns: int, wall_ns: int) -> None:
        state = schedule.state(wall_ns)
        latest_ns = None if self.until_ns is None else wall_ns + self.until_ns - now_ns
        self._change_ns = state.next_change_ns
        if self.on and state.on and latest_ns is not None:
            self._change_ns = latest_ns if self._change_ns is None else min(latest_ns, self._change_ns)
        self._ask_ns = wall_ns + _DAY_NS if self._change_ns is None else self._change_ns
        if not state.on:
            self.until_ns = None
        self.on = state.on

    def health(self) -> dict[str, Any] | None:
        """What it is and when that changes; None without a schedule."""
        if self._schedule is None:
            return None
        change_ns = None if self.waits_for else self._change_ns
        return {
            "on": self.on,
            "next_change": None if change_ns is None else iso(change_ns),
            "waits_for": self.waits_for,
        }
