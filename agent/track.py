"""A track: what one stream left in a negative, in order, without doubles, dated."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from agent.negative import NegativeReader
from agent.timing import Fit, Int64s
from drivers import Block, Identity, Samples

ROWS = 4096
"""The most samples in one chunk: what is handled at a time."""


class Chunk(NamedTuple):
    """Up to ROWS samples of one track, within one segment: indexes, CLOCK_BOOTTIME in ns, raw values."""

    indexes: Int64s
    time_ns: Int64s
    samples: Samples


class Gap(NamedTuple):
    """Samples `first` ... `first + samples - 1` are missing; counted (`exact`) or estimated."""

    first: int
    samples: int
    exact: bool


class Batch:
    """Gathers the small blocks of one segment."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._parts: list[tuple[int, Samples]] = []
        self._count = 0
        self._segment = 0

    def add(self, block: Block) -> Iterable[tuple[int, Int64s, Samples]]:
        """Takes a block; what has become full, or complete, as (segment, indexes, samples)."""
        count = len(block.samples)
        if block.segment == self._segment and self._count + count < self._rows:
            self._parts.append((block.first, block.samples))
            self._count += count
            return ()
        return self._fill(block)

    def _fill(self, block: Block) -> Iterator[tuple[int, Int64s, Samples]]:
        if block.segment != self._segment:
            yield from self.rest()
            self._segment = block.segment
        at = 0
        while at < block.count:
            part = block.samples[at : at + self._rows - self._count]
            self._parts.append((block.first + at, part))
            self._count += len(part)
            at += len(part)
            if self._count == self._rows:
                yield from self.rest()

    def rest(self) -> Iterator[tuple[int, Int64s, Samples]]:
        """Yields what is left."""
        if not self._parts:
            return
        parts, count = self._parts, self._count
        self._parts, self._count = [], 0
        first, samples = parts[0]
        last, end = parts[-1]
        if len(parts) > 1:
            samples = np.frombuffer(b"".join(part.data for _, part in parts), samples.dtype)
        if last + len(end) - first == count:
            index = np.arange(first, first + count)
        else:
            index = np.concatenate([np.arange(start, start + len(part)) for start, part in parts])
        yield self._segment, index, samples


@dataclasses.dataclass
class Track:
    """One stream of a film. `first` ... `end` - 1 are the indexes of its samples in the capture."""

    place: int
    """In the recording's order."""
    name: str
    driver: str
    identity: Identity
    columns: tuple[str, ...]
    """What its channels are called in files."""
    reader: NegativeReader
    first: int = 0
    end: int = 0
    samples: int = 0
    gaps: tuple[Gap, ...] = ()
    lost: int = 0
    exact: bool = True
    clipped: tuple[int, ...] = ()
    segments: tuple[int, int] = (0, 0)
    """Those of its first and its last sample."""
    fits: dict[int, Fit] = dataclasses.field(default_factory=dict)
    """By segment."""

    @property
    def fit(self) -> Fit | None:
        """The fit that tells most of the rate: the one with the longest span."""
        return max(self.fits.values(), key=lambda fit: (fit.measured, fit.span_ns), default=None)

    @property
    def period_ns(self) -> float:
        """From one sample to the next, as measured, else nominal."""
        return self.fit.period_ns if self.fit is not None else 1e9 / (self.identity.rate_hz or 1.0)

    def edges(self) -> tuple[int, int]:
        """CLOCK_BOOTTIME in ns of its first and last sample; it has some."""
        first, last = (
            int(self.fits[segment].times(np.array([index]))[0])
            for segment, index in zip(self.segments, (self.first, self.end - 1), strict=True)
        )
        return first, max(first, last)

    def chunks(self, rows: int = ROWS, *, beyond: bool = False) -> Iterator[Chunk]:
        """Its samples in order, at most `rows` at a time; `beyond`: also those around the capture that are there."""
        batch = Batch(rows)
        last_ns: int | None = None
        for block in self.blocks(beyond=beyond):
            for full in batch.add(block):
                yield (chunk := self._dated(full, last_ns))
                last_ns = int(chunk.time_ns[-1])
        for full in batch.rest():
            yield self._dated(full, last_ns)

    def blocks(self, *, beyond: bool = False) -> Iterator[Block]:
        """The same as blocks, as they were recorded."""
        ordered = Ordered() if beyond else Ordered(self.first, self.end)
        for _, block in self.reader.blocks(only=self.place):
            if (cut := ordered.cut(block)) is not None:
                yield cut

    def _dated(self, batch: tuple[int, Int64s, Samples], last_ns: int | None) -> Chunk:
        segment, index, samples = batch
        times = self.fits[segment].times(index)
        if last_ns is not None and times[0] <= last_ns:
            # the estimates of two segments overlap: time still rises
            times = np.maximum(times, last_ns + 1 + np.arange(len(times)))
        return Chunk(index, times, samples)

    def describe(self) -> dict[str, Any]:
        """Its part of the sidecar, as `agent/capture.schema.json` says."""
        identity, fit = self.identity, self.fit
        rate: dict[str, float | None] = {"nominal": identity.rate_hz, "measured": None, "ppm": None, "residual_s": None}
        if fit is not None and fit.measured:
            measured = 1e9 / fit.period_ns
            rate["measured"] = round(measured, 6)
            rate["ppm"] = round((measured / identity.rate_hz - 1) * 1e6, 1) if identity.rate_hz else None
            rate["residual_s"] = round(fit.residual_s, 9)
        return {
            "name": self.name,
            "driver": self.driver,
            "model": identity.model,
            "serial": identity.serial,
            "first": self.first,
            "samples": self.samples,
            "rate_hz": rate,
            "lost": {"samples": self.lost, "exact": self.exact},
            "gaps": [gap._asdict() for gap in self.gaps],
            "channels": [
                {
                    "name": column,
                    "unit": channel.unit,
                    "dtype": channel.dtype,
                    "scale": channel.scale,
                    "offset": channel.offset,
                    "clipped": clipped,
                }
                for column, channel, clipped in zip(self.columns, identity.channels, self.clipped, strict=True)
            ],
        }


class Ordered:
    """Keeps a stream's blocks rising: cuts off what came before (copies at a capture's start) or lies outside."""

    def __init__(self, first: int = 0, end: int | None = None) -> None:
        self._next = first
        self._end = end

    def cut(self, block: Block) -> Block | None:
        """The part of a block that is new and belongs here."""
        end = block.first + len(block.samples)
        stop = end if self._end is None else min(end, self._end)
        if block.first >= self._next and stop == end:
            self._next = end
            return block
        start = max(block.first, self._next)
        if start >= stop:
            return None
        self._next = stop
        samples = block.samples[start - block.first : stop - block.first]
        return dataclasses.replace(block, first=start, samples=samples, lost=block.lost if start == block.first else 0)
