"""The clocks: boot time dates everything, the wall clock is a label whose trustworthiness is recorded."""

import ctypes
import datetime
import time
from pathlib import Path

from drivers.ports import boottime_ns

_TIME_ERROR = 5
"""What adjtimex(2) returns while the kernel's clock is not synchronised."""

_PLAUSIBLE_S = 1_700_000_000
"""November 2023: no clock that runs shows an earlier time."""


class Clock:
    """Boot time, wall time and whether the wall clock has been set by somebody who knows."""

    def __init__(self, rtc: Path = Path("/sys/class/rtc/rtc0")) -> None:
        """`rtc` is where the kernel shows the clock with a battery, where there is one."""
        self._rtc = rtc
        self.boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._libc = ctypes.CDLL(None)

    def boottime_ns(self) -> int:
        """CLOCK_BOOTTIME: never steps, counts suspend."""
        return boottime_ns()

    def wall_ns(self, boot_ns: int | None = None) -> int:
        """Unix time in nanoseconds of a moment of this boot, as the wall clock stands now."""
        before = boottime_ns()
        wall = time.time_ns()
        after = boottime_ns()
        return wall if boot_ns is None else wall + boot_ns - (before + after) // 2

    def synchronised(self) -> bool:
        """Whether the kernel says that a time service (NTP, PTP, GPS) keeps the clock; not where it may not be asked.
        adjtimex(2), mode 0."""
        return int(self._libc.adjtimex(ctypes.create_string_buffer(512))) not in (_TIME_ERROR, -1)

    def dated(self) -> bool:
        """Whether the wall clock means a date: a time service keeps it, or the kernel took it from a running RTC."""
        return self.synchronised() or self._from_rtc()

    def _from_rtc(self) -> bool:
        """Whether this boot's time came from an RTC, and one whose battery was not empty (it would begin in 1970)."""
        try:
            taken, seconds = ((self._rtc / name).read_text().strip() for name in ("hctosys", "since_epoch"))
        except OSError:
            return False
        return taken == "1" and int(seconds) > _PLAUSIBLE_S

    def state(self) -> str:
        """`synchronised` or `unsynchronised`, as the sidecar says it."""
        return "synchronised" if self.synchronised() else "unsynchronised"


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
