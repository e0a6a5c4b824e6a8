"""A FIFO of a few dozen whole samples, read before it is half full: indexes, overflow and segments."""

import time
from typing import NamedTuple, Protocol

from drivers import Block, DriverError, Samples, boottime_ns

SIZE = 32
"""Samples that the FIFO of an ADXL345, LIS3DH or LSM303DLHC holds; at this level it loses them, or is about to."""

_FILL = 0.45
"""How full it may get between two reads."""
_LONGEST_S = 0.05
"""How long the samples of a slow stream may wait."""
_FASTEST = 1.15
"""How much faster than nominal the chip's own clock can be at most."""


class Source(Protocol):
    """What differs from chip to chip. Every method raises DriverError."""

    def level(self) -> int:
        """Samples in the FIFO now."""

    def take(self, count: int) -> Samples:
        """The oldest `count` samples, in as few transfers as the chip allows."""

    def restart(self) -> None:
        """Empties the FIFO, which then begins with the next sample that the chip takes."""


class Sight(NamedTuple):
    """A look at the FIFO: between these two times `newest` was the newest sample."""

    newest: int
    before_ns: int
    after_ns: int


class Fifo:
    """Turns the looks at a FIFO into blocks.

    A full FIFO stays full until it is read, so its level alone tells of an overflow; how much was lost is not told. It
    is then emptied, the next index estimated from the time, and a new segment begins.
    """

    def __init__(self, chip: str, source: Source, rate_hz: float, *, at_most_s: float = _LONGEST_S) -> None:
        self.counters = {"overflows": 0}
        self._chip = chip
        self._source = source
        self._period_ns = 1e9 / rate_hz
        self._interval_ns = int(min(at_most_s * 1e9, _LONGEST_S * 1e9, _FILL * SIZE * self._period_ns))
        self._next = 0  # index of the oldest sample in the FIFO
        self._end = 0  # index after the last sample that was handed out
        self._segment = 0
        self._begun = self._seen = Sight(-1, 0, 0)  # the first and the last one of this segment

    def begin(self) -> None:
        """Sample 0 is the next that the chip takes."""
        before_ns = boottime_ns()
        self._source.restart()
        self._begun = self._seen = Sight(-1, before_ns, boottime_ns())

    def read(self, timeout: float) -> Block | None:
        """As `Driver.read`."""
        wait_ns = self._seen.after_ns + self._interval_ns - boottime_ns()
        if wait_ns > 0:
            time.sleep(min(timeout, wait_ns / 1e9))
            if wait_ns > timeout * 1e9:
                return None
        before_ns = boottime_ns()
        level = self._source.level()
        after_ns = boottime_ns()
        newest = self._next + level - 1
        if level < SIZE:
            self._check_plausible(newest, after_ns)
            samples = self._source.take(level) if level else None
            # where it may have filled up while it was read, nobody knows which samples these are
            level += int(1 + _FASTEST * (boottime_ns() - before_ns) / self._period_ns) if level else 0
        if level >= SIZE:
            self._recover()
            return None
        self._seen = Sight(newest, before_ns, after_ns)
        if samples is None:
            return None
        block = Block(
            first=self._next,
            samples=samples,
            observed_ns=after_ns,
            newest=newest,
            lost=self._next - self._end,
            exact=self._next == self._end,
            segment=self._segment,
        )
        self._next = self._end = block.end
        return block

    def _check_plausible(self, newest: int, now_ns: int) -> None:
        """A noisy line must not invent samples."""
        possible = self._seen.newest + _FASTEST * (now_ns - self._seen.before_ns) / self._period_ns + 2
        if newest > possible:
            raise DriverError(
                f"{self._chip}: the FIFO claims more samples than there can be; noise on the bus:"
                " check pull-up resistors, shorten the cable, try a slower bus"
            )

    def _recover(self) -> None:
        """Empties the FIFO after an overflow and estimates the index of the next sample."""
        self.counters["overflows"] += 1
        seen, watched_ns = self._seen, self._seen.after_ns - self._begun.after_ns
        period_ns = self._period_ns
        if watched_ns > 1e9 and seen.newest > self._begun.newest:  # then the chip's own period is known better
            period_ns = watched_ns / (seen.newest - self._begun.newest)
        before_ns = boottime_ns()
        self._source.restart()
        after_ns = boottime_ns()
        self._next = max(self._next + 1, seen.newest + 1 + round((after_ns - seen.after_ns) / period_ns))
        self._segment += 1
        self._begun = self._seen = Sight(self._next - 1, before_ns, after_ns)
