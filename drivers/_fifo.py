"""The FIFO of a chip, read before it is half full, sooner in trouble: indexes, overflow, recovery and segments."""

import time
from typing import NamedTuple, Protocol

from drivers import Block, DriverError, Samples, boottime_ns

_LONGEST_S = 0.028
"""How long samples may wait in the FIFO, where a driver says nothing else."""
_FILL = 0.45
"""How full it may get between two reads."""
_LATE = 0.65
"""A read that finds it fuller than this came late: the machine has trouble, and what came once comes again."""
_HURRIED, _CALM_NS = 3, 60_000_000_000
"""So many times as often it is read after that, and for how long: a FIFO that is emptier when the machine halts bears
a longer halt."""
_FASTEST = 1.15
"""How much faster than nominal the chip's own clock can be at most."""
_STALE = 0.002
"""By how much of its age a look tells the time of its newest sample less sharply."""
_SILENT_S, _SILENT_PERIODS = 1.0, 10
"""How long it may stay empty, whichever is longer: a chip that has lost its set-up answers, and measures nothing."""
_EARLY_NS = 250_000_000
"""How long after a restart a sharper look may stand for it, where the chip's own period is measured."""
_KNOWN = 0.01
"""How well that period has to be known to be better than the nominal one."""
_LOOKS = 4
"""So often bytes may be beyond the whole samples, one look after another: the chip may be writing one, for 0.3 ms."""
_RESTARTS = 4
_SHARP_NS = 3_000_000
"""A restart within this tells its time well; otherwise it is done again, so often at most."""


class Level(NamedTuple):
    """What the chip says of its FIFO."""

    samples: int
    """Whole ones."""
    overflowed: bool
    rest: int = 0
    """Bytes beyond them, where the chip counts bytes."""


class Source(Protocol):
    """What differs from chip to chip. Every method raises DriverError."""

    def level(self) -> Level:
        """How full it is, and whether the chip says that samples are lost."""

    def overflowed(self) -> bool:
        """Whether samples were lost while it was read; asked only where it may have filled up meanwhile. A chip that
        forgets this once it has been read answers True: nobody knows then which samples these are."""

    def take(self, count: int) -> Samples | None:
        """The oldest `count` samples in one transfer; None where what came are not `count` consecutive samples."""

    def restart(self) -> None:
        """Empties the FIFO, which then begins with the next sample that the chip takes."""


class Sight(NamedTuple):
    """A look at the FIFO: between these two times `newest` was the newest sample."""

    newest: int
    before_ns: int
    after_ns: int

    @property
    def width_ns(self) -> int:
        return self.after_ns - self.before_ns

    @property
    def middle_ns(self) -> int:
        return (self.before_ns + self.after_ns) // 2


class _Gap(NamedTuple):
    """What was lost in an overflow, as long as that is only estimated from the time."""

    sharp: Sight
    period_ns: float
    least: int

    def next_at(self, now_ns: int) -> int:
        """Index of the sample that comes next at that time."""
        return max(self.least, self.sharp.newest + 1 + round((now_ns - self.sharp.middle_ns) / self.period_ns))


class Fifo:
    """Turns the looks at a FIFO into blocks.

    After an overflow, or where the bytes are out of step, it is emptied, the index of the next sample estimated from
    the time, and a new segment begins.
    """

    def __init__(self, chip: str, rate_hz: float, *, longest_s: float = _LONGEST_S) -> None:
        """`longest_s` is how long samples may wait, where the FIFO is not half full earlier."""
        self.counters = {"overflows": 0, "resyncs": 0}
        self._chip = chip
        self._period_ns = 1e9 / rate_hz
        self._longest_s = longest_s
        self._source: Source
        self._capacity = self._most = 0
        self._interval_ns = 0
        self._hurried_ns = 0  # until when it is read more often
        self._next = 0  # index of the oldest sample in the FIFO
        self._end = 0  # index after the last sample that was handed out
        self._segment = 0
        self._begun = self._seen = Sight(-1, 0, 0)  # the first and the last one of this segment
        self._restarted_ns = self._filled_ns = 0  # when it was emptied, when it last held samples
        self._sharp = Sight(-1, 0, 0)  # the one that tells best when its newest sample was taken
        self._gap: _Gap | None = None

    def begin(self, source: Source, capacity: int, *, most: int = 0) -> None:
        """Sample 0 is the next that the chip takes; the FIFO holds `capacity` samples, in some parts up to `most`: how
        often it is read goes by the first, what is plausible by the second."""
        self._source = source
        self._capacity, self._most = capacity, max(capacity, most)
        self._interval_ns = int(min(self._longest_s * 1e9, _FILL * capacity * self._period_ns))
        self._restart(0)

    def read(self, timeout: float) -> Block | None:
        """As `Driver.read`."""
        interval_ns = self._interval_ns
        if self._seen.after_ns < self._hurried_ns:
            interval_ns //= _HURRIED
        wait_ns = self._seen.after_ns + interval_ns - boottime_ns()
        if wait_ns > 0:
            time.sleep(min(timeout, wait_ns / 1e9))
            if wait_ns > timeout * 1e9:
                return None
        for _ in range(_LOOKS):
            level, before_ns, after_ns = self._look()
            if level.overflowed:
                return self._recover("overflows")
            if not level.rest:
                break
        else:
            return self._recover("resyncs")
        newest = self._next + level.samples - 1
        if self._gap is not None and level.samples:
            self._estimate_again(level.samples, before_ns, after_ns)
            newest = self._next + level.samples - 1
        if not level.samples:
            self._check_filling(before_ns)
            self._see(Sight(newest, before_ns, after_ns))
            return None
        self._filled_ns = after_ns
        samples = self._source.take(level.samples)
        if self._overflowed(level.samples, boottime_ns() - before_ns):
            return self._recover("overflows")
        if samples is None:
            return self._recover("resyncs")
        self._see(Sight(newest, before_ns, after_ns))
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

    def _overflowed(self, samples: int, reading_ns: int) -> bool:
        """Whether it did while it was read. Asking may take a transfer, spent only where it may have filled up."""
        filled = samples + 1 + _FASTEST * reading_ns / self._period_ns
        return filled > self._capacity and self._source.overflowed()

    def _look(self) -> tuple[Level, int, int]:
        """How full it is, and between which times."""
        before_ns = boottime_ns()
        level = self._source.level()
        after_ns = boottime_ns()
        if level.overflowed or level.samples > _LATE * self._capacity:
            self._hurried_ns = after_ns + _CALM_NS
        if not level.overflowed:
            self._check_plausible(level.samples, after_ns)
        return level, before_ns, after_ns

    def _check_plausible(self, samples: int, now_ns: int) -> None:
        """A noisy line must not invent samples."""
        newest = self._next + samples - 1
        possible = self._seen.newest + _FASTEST * (now_ns - self._seen.before_ns) / self._period_ns + 2
        if samples > self._most or newest > possible:
            raise DriverError(
                f"{self._chip}: the FIFO claims {samples} samples, more than there can be; noise on the bus:"
                " check pull-up resistors, shorten the cable, try a slower bus"
            )

    def _check_filling(self, now_ns: int) -> None:
        """A chip that forgets how it was set up must not pass for a quiet one."""
        silent_ns = now_ns - self._filled_ns
        if silent_ns > max(_SILENT_S * 1e9, _SILENT_PERIODS * self._period_ns):
            raise DriverError(
                f"{self._chip}: it answers, but took no sample for {silent_ns / 1e9:.1f} s: it has forgotten its"
                " set-up, as after a dip of its supply; check supply and wiring"
            )

    def _see(self, sight: Sight) -> None:
        """A machine that halts while it looks makes that look a bad measure of time, and an earlier one the better."""
        self._seen = sight
        if sight.width_ns <= self._sharp.width_ns + _STALE * (sight.before_ns - self._sharp.before_ns):
            self._sharp = sight
        if sight.width_ns < self._begun.width_ns and sight.before_ns < self._restarted_ns + _EARLY_NS:
            self._begun = sight

    def _recover(self, counter: str) -> Block | None:
        """Empties the FIFO and estimates the index of the next sample. No block comes of it."""
        self.counters[counter] += 1
        sharp, watched_ns = self._sharp, self._sharp.middle_ns - self._begun.middle_ns
        period_ns = self._period_ns
        watched = sharp.newest - self._begun.newest
        if watched > 0 and watched_ns * _KNOWN > sharp.width_ns + self._begun.width_ns:
            period_ns = watched_ns / watched  # the chip's own, which is known better by now than the nominal one
        self._segment += 1
        least = self._next + 1
        for _ in range(_RESTARTS):
            self._restart(least)
            if self._begun.width_ns <= _SHARP_NS:
                break
        self._gap = _Gap(sharp, period_ns, least)
        self._next = self._gap.next_at(self._begun.middle_ns)
        self._begun = self._seen = self._sharp = self._begun._replace(newest=self._next - 1)
        return None

    def _estimate_again(self, samples: int, before_ns: int, after_ns: int) -> None:
        """The first look after an overflow may tell the time better than the restart did; nothing is handed out yet."""
        gap, self._gap = self._gap, None
        if gap is None or after_ns - before_ns >= self._begun.width_ns:
            return
        self._next = max(gap.least, gap.next_at((before_ns + after_ns) // 2) - samples)
        self._begun = self._seen = self._sharp = Sight(self._next + samples - 1, before_ns, after_ns)

    def _restart(self, first: int) -> None:
        before_ns = boottime_ns()
        self._source.restart()
        self._next = first
        self._begun = self._seen = self._sharp = Sight(first - 1, before_ns, boottime_ns())
        self._restarted_ns = self._filled_ns = self._begun.after_ns
