"""A survey: the first look at one stream of a negative, which dates it and counts what is there, missing, clipped."""

from collections.abc import Callable

import numpy as np

from agent.timing import Arrivals
from agent.track import ROWS, Batch, Gap, Ordered, Track
from drivers import Block, Channel, Samples

_LISTED_GAPS = 10_000
"""Gaps that a sidecar lists; the sum goes on over all of them."""


class Survey:
    """Sees every block of one stream once, then completes its track."""

    def __init__(self, track: Track) -> None:
        self.track = track
        self._tally = _Tally(track.identity.channels, None)
        self._arrivals: dict[int, Arrivals] = {}
        self._ordered = Ordered()

    def add(self, block: Block) -> None:
        """Takes the stream's next block in file order."""
        if block.segment not in self._arrivals:
            self._arrivals[block.segment] = Arrivals(self.track.identity.rate_hz or 1.0)
        self._arrivals[block.segment].add(block.newest, block.observed_ns)
        if (cut := self._ordered.cut(block)) is not None:
            self._tally.add(cut)

    def date(self) -> None:
        """Gives the track its fits, and all samples there are."""
        track = self.track
        track.fits = {segment: arrivals.fit() for segment, arrivals in self._arrivals.items()}
        if track.fit is not None and track.fit.measured:
            # what a long segment tells of the rate is better than nominal for the short ones
            period_ns = track.fit.period_ns
            track.fits = {segment: arrivals.fit(period_ns) for segment, arrivals in self._arrivals.items()}
        track.first, track.end = self._tally.first or 0, self._tally.end

    def count(self, limits: tuple[int, int] | None, breathe: Callable[[], None]) -> None:
        """Counts samples and gaps: of all, or (a second pass, where that is not all) of the indexes within `limits`."""
        track, tally = self.track, self._tally
        if limits is not None and limits != (track.first, track.end):
            track.first, track.end = limits
            tally = _Tally(track.identity.channels, track.first)
            for block in track.blocks():
                tally.add(block)
                breathe()
            missing = track.end - max(tally.end, track.first)
            if missing > 0:
                tally.miss(Gap(track.end - missing, missing, True))
        track.samples, track.gaps, track.lost, track.exact = tally.samples, tuple(tally.gaps), tally.lost, tally.exact
        track.clipped, track.segments = tuple(tally.clipped()), tally.segments
        track.first, track.end = (track.first, track.first) if tally.first is None else (tally.first, tally.end)


class _Tally:
    """Counts what is there, what is missing and what is clipped."""

    def __init__(self, channels: tuple[Channel, ...], expected: int | None) -> None:
        """`expected` is the index that should come first; None: the first that comes, and what was lost before it."""
        self.samples = 0
        self.first: int | None = None
        self.end = 0
        self.gaps: list[Gap] = []
        self.lost = 0
        self.exact = True
        self._expected = expected
        self.first_segment = 0
        self._segment: int | None = None
        self._batch = Batch(ROWS)
        self._ends = [_ends(channel) for channel in channels]
        self._clipped = [0] * len(channels)

    def add(self, block: Block) -> None:
        if block.first != self._expected or self.first is None:
            self._begin(block)
        self.end = self._expected = block.first + len(block.samples)
        self._segment = block.segment
        self.samples += len(block.samples)
        for _, _, samples in self._batch.add(block):
            self._clip(samples)

    def _begin(self, block: Block) -> None:
        """The first block, or the first one after a gap."""
        expected = block.first if self._expected is None else self._expected
        if self.first is None:
            expected = min(expected, block.first - block.lost)
            self.first, self.first_segment = block.first, block.segment
        missing = block.first - expected
        if missing > 0:
            # more is missing than was lost before this block: counted by index, unless an estimate may be among it;
            # before the first block that is so in each segment but a stream's very first
            known = block.lost == missing or block.segment == (self._segment or 0)
            self.miss(Gap(expected, missing, block.exact and known))

    @property
    def segments(self) -> tuple[int, int]:
        """Those of the first and the last sample."""
        return self.first_segment, self._segment or 0

    def miss(self, gap: Gap) -> None:
        self.lost += gap.samples
        self.exact = self.exact and gap.exact
        if len(self.gaps) < _LISTED_GAPS:
            self.gaps.append(gap)

    def clipped(self) -> list[int]:
        """Samples at or beyond the limits, for each channel."""
        for _, _, samples in self._batch.rest():
            self._clip(samples)
        return self._clipped

    def _clip(self, samples: Samples) -> None:
        for place, (name, ends) in enumerate(zip(samples.dtype.names or (), self._ends, strict=True)):
            if ends is not None:
                values = samples[name]
                # most chunks clip nowhere: the two reductions are cheaper than counting
                if np.fmin.reduce(values) <= ends[0] or np.fmax.reduce(values) >= ends[1]:
                    self._clipped[place] += int(np.count_nonzero((values <= ends[0]) | (values >= ends[1])))


def _ends(channel: Channel) -> tuple[float, float] | None:
    kind = np.dtype(channel.dtype)
    if channel.limits is not None or kind.kind not in "iu":
        return channel.limits
    limits = np.iinfo(kind)
    return int(limits.min), int(limits.max)
