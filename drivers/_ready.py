"""Samples of a chip without a FIFO: each is fetched when the chip says that it is ready."""

import time
from typing import Protocol

from drivers import Block, DriverError, Samples, boottime_ns

_EARLY = 0.9
"""When to look for the next sample first, in periods after the last: a chip's clock may be fast by that much."""
_STEP = 0.04
"""How often to look again, in periods."""
_SLACK = 0.05
_SILENT_S, _SILENT_PERIODS = 1.0, 10
"""How long nothing may come, whichever is longer: a chip that has lost its set-up answers, and measures nothing."""


class Source(Protocol):
    """What differs from chip to chip. Every method raises DriverError."""

    def look(self) -> tuple[Samples | None, bool | None]:
        """(The new sample, where there is one; whether the chip says that it lost others, None where it never says)."""


class Ready:
    """Turns single samples into blocks; what a late read lost is estimated from the time."""

    def __init__(self, chip: str, rate_hz: float) -> None:
        self.counters = {"overruns": 0}
        self._chip = chip
        self._source: Source
        self._period_ns = 1e9 / rate_hz
        self._look_ns = 0
        self._last_ns = 0
        self._came_ns = 0  # the same, or when it began
        self._next = 0
        self._segment = 0

    def begin(self, source: Source) -> None:
        """Sample 0 is the next that the chip takes; what lies ready is thrown away."""
        self._source = source
        self._came_ns = boottime_ns()
        source.look()

    def read(self, timeout: float) -> Block | None:
        """As `Driver.read`."""
        deadline_ns = boottime_ns() + int(timeout * 1e9)
        while True:
            wait_ns = min(self._look_ns, deadline_ns) - boottime_ns()
            if wait_ns > 0:
                time.sleep(wait_ns / 1e9)
            if self._look_ns > deadline_ns:
                return None
            before_ns = boottime_ns()
            samples, overrun = self._source.look()
            now_ns = boottime_ns()
            if samples is not None:
                break
            silent_ns = now_ns - self._came_ns
            if silent_ns > max(_SILENT_S * 1e9, _SILENT_PERIODS * self._period_ns):
                raise DriverError(
                    f"{self._chip}: it answers, but took no sample for {silent_ns / 1e9:.1f} s: it has forgotten its"
                    " set-up, as after a dip of its supply; check supply and wiring"
                )
            self._look_ns = now_ns + int(_STEP * self._period_ns)
        lost = 0
        if self._last_ns and overrun is not False:
            lost = max(int(overrun is True), int((now_ns - self._last_ns) / self._period_ns + _SLACK) - 1)
        if lost:
            self.counters["overruns"] += 1
            self._segment += 1
        self._last_ns = self._came_ns = now_ns
        self._look_ns = before_ns + int(_EARLY * self._period_ns)
        first = self._next + lost
        self._next = first + 1
        return Block(first, samples, now_ns, newest=first, lost=lost, exact=not lost, segment=self._segment)
