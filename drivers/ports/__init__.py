"""Ports: the lowest things that can be faked, each with a real and a virtual backend."""

import time


class DriverError(Exception):
    """The hardware did not do what it should; the message says what to try. The stream reopens the driver."""


def boottime_ns() -> int:
    """CLOCK_BOOTTIME in nanoseconds: the one clock by which everything is dated (it counts suspend, never steps)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
