"""The clocks: boot time dates everything, the wall clock is a label whose trustworthiness is recorded."""

import ctypes
import datetime
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from drivers.ports import boottime_ns

_TIME_ERROR = 5
"""What adjtimex(2) returns while the kernel's clock is not synchronised."""

_PLAUSIBLE_S = 1_700_000_000
"""November 2023: no clock that runs shows an earlier time."""

_TOLD_PPM = 100
"""What is told comes late: the promptest counts, until the board's clock may have drifted this far."""

_ONE_TIME_NS = 2_000_000_000
"""Times that are told and differ by more are two times, of which the later one counts."""

_TOO_LATE_NS, _IN_A_ROW = 700_000_000, 30
"""What is later than the promptest by this, so often in a row, is not late: the promptest was early. A receiver that
began cold is, by whole seconds and for up to 12.5 minutes, until it has heard of the latest leap seconds."""


class _Reference(NamedTuple):
    """What somebody who knows the time said of this boot."""

    source: str
    offset_ns: int
    """Unix time less CLOCK_BOOTTIME ..."""
    boot_ns: int
    """... as it was then."""


def kernel_keeps() -> bool:
    """Whether the kernel says that a time service keeps its clock; not where it may not be asked. adjtimex(2), mode 0.

    systemd-timesyncd, ntpd and ptp4l all say so there, and chrony where it has `rtcsync`.
    """
    return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))) not in (_TIME_ERROR, -1)


class Clock:
    """Boot time, wall time and whether the wall clock has been set by somebody who knows. For any thread.

    The kernel takes itself for unsynchronised once no time server was heard for hours, and when a person sets the
    clock. What was known before is no worse for that: the wall time then goes on from it.
    """

    def __init__(
        self,
        rtc: Path = Path("/sys/class/rtc/rtc0"),
        timesyncd: Path = Path("/run/systemd/timesync/synchronized"),
        *,
        wall: Callable[[], int] = time.time_ns,
        kept: Callable[[], bool] = kernel_keeps,
    ) -> None:
        """`rtc` is where the kernel shows the clock with a battery, where there is one; `timesyncd` the file that
        systemd-timesyncd touches whenever it has set the clock; `wall` the system's wall clock, and `kept` whether a
        time service keeps it now."""
        self._rtc = rtc
        self._timesyncd = timesyncd
        self._wall = wall
        self._kept = kept
        self.boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._reference: _Reference | None = None
        self._late: tuple[int, ...] = ()
        """Offsets that were told last, as far as all of them were too late."""

    def boottime_ns(self) -> int:
        """CLOCK_BOOTTIME: never steps, counts suspend."""
        return boottime_ns()

    def wall_ns(self, boot_ns: int | None = None) -> int:
        """Unix time in nanoseconds of a moment of this boot (None: now), as far as is known now."""
        reference = self._known()
        offset_ns = self._offset_ns() if reference is None else reference.offset_ns
        return offset_ns + (self.boottime_ns() if boot_ns is None else boot_ns)

    def synchronised(self) -> bool:
        """Whether in this boot a time service (NTP, PTP, GPS) has set the clock, or `learn` was told the time."""
        return self._known() is not None

    def dated(self) -> bool:
        """Whether the wall time means a date: as above, or the kernel took it from a running RTC."""
        return self.synchronised() or self._from_rtc()

    def dated_by(self) -> str:
        """`service`, `gps` or `rtc`; empty where the wall time means nothing."""
        reference = self._known()
        return reference.source if reference is not None else "rtc" if self._from_rtc() else ""

    def trust(self) -> dict[str, str]:
        """What a sidecar's `start` says of its wall time: `clock` and, where there is a date, `dated_by`."""
        source = self.dated_by()
        if not source:
            return {"clock": "unsynchronised"}
        return {"clock": "rtc" if source == "rtc" else "synchronised", "dated_by": source}

    def learn(self, boot_ns: int, wall_ns: int) -> None:
        """A GPS receiver says that it was `wall_ns` at `boot_ns`, or a little before. A time service knows better."""
        known, offset_ns = self._known(), wall_ns - boot_ns
        if wall_ns < _PLAUSIBLE_S * 1_000_000_000 or (known is not None and known.source == "service"):
            return
        late: tuple[int, ...] = ()
        if known is not None and abs(offset_ns - known.offset_ns) < _ONE_TIME_NS:
            promptest_ns = known.offset_ns - (boot_ns - known.boot_ns) * _TOLD_PPM // 1_000_000
            late = (*self._late[1 - _IN_A_ROW :], offset_ns) if offset_ns < promptest_ns - _TOO_LATE_NS else ()
            offset_ns = max(offset_ns, promptest_ns) if len(late) < _IN_A_ROW else max(late)
        self._late = late
        self._reference = _Reference("gps", offset_ns, boot_ns)

    def _known(self) -> _Reference | None:
        """What is known by now, from who knows best."""
        known = self._reference
        if self._kept() or (known is None and self._timesyncd.exists()):
            known = self._reference = _Reference("service", self._offset_ns(), self.boottime_ns())
        return known

    def _offset_ns(self) -> int:
        """The system's wall clock less CLOCK_BOOTTIME, now."""
        before = self.boottime_ns()
        wall = self._wall()
        return wall - (before + self.boottime_ns()) // 2

    def _from_rtc(self) -> bool:
        """Whether this boot's time came from an RTC, and one whose battery was not empty (it would begin in 1970)."""
        try:
            taken, seconds = ((self._rtc / name).read_text().strip() for name in ("hctosys", "since_epoch"))
        except OSError:
            return False
        return taken == "1" and int(seconds) > _PLAUSIBLE_S


def utc(wall_ns: int) -> datetime.datetime:
    """Unix nanoseconds as an aware UTC datetime (to the microsecond, rounded down)."""
    seconds, nanoseconds = divmod(wall_ns, 1_000_000_000)
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).replace(microsecond=nanoseconds // 1000)


def iso(wall_ns: int) -> str:
    """ISO 8601 in UTC with microseconds and Z: 2026-11-21T10:15:00.123456Z."""
    return utc(wall_ns).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def stamp(wall_ns: int) -> str:
    """As it stands in file names: 20261121T101500.123Z."""
    moment = utc(wall_ns)
    return moment.strftime("%Y%m%dT%H%M%S.") + f"{moment.microsecond // 1000:03d}Z"


def redated(start: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """The `start` of a sidecar with the wall time that a clock which is synchronised gives its boot time now."""
    wall_time = iso(clock.wall_ns(start["boot_time_ns"]))
    return {**start, "wall_time": wall_time, "clock": "redated", "dated_by": clock.dated_by()}
