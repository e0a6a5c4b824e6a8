"""The clocks: boot time dates everything, the wall clock is a label whose trustworthiness is recorded."""

import ctypes
import datetime
import time
from pathlib import Path

from drivers.ports import boottime_ns

_TIME_ERROR = 5
"""What adjtimex(2) returns while the kernel's clock is not synchronised."""


class Clock:
    """Boot time, wall time and whether the wall clock has been set by somebody who knows."""

    def __init__(self) -> None:
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
        """Whether the kernel says that a time service (NTP, PTP, GPS) keeps the clock. adjtimex(2), mode 0."""
        return int(self._libc.adjtimex(ctypes.create_string_buffer(512))) != _TIME_ERROR

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
