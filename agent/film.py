"""The film: the developed view of one negative, all streams dated and lined up on the clock of the fastest."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from agent.negative import NegativeReader
from agent.survey import Survey
from agent.timing import Int64s
from agent.track import ROWS, Track
from drivers import Channel, Identity, Samples

_UNSAFE = re.compile(r"[^A-Za-z0-9_ -]")
_RESERVED = ("sequence", "timestamp")
_LONGEST_GAP = 2.0
"""Periods of a slow stream between two of its samples that may still be filled."""
_TOLERANCE = 0.05
_MARGIN_NS = 2_000_000
"""Captures in a row are dated each by itself: near their edges a slow sample is rather in both than lost."""


def column_names(streams: Sequence[tuple[str, Identity]]) -> list[tuple[str, ...]]:
    """What the channels of streams recorded together are called in files, for each (stream's name, identity).

    Characters [A-Za-z0-9_ -] only, no two alike: where they are, the stream's name stands in front of both.
    """
    plain = [[_UNSAFE.sub("_", channel.name) or "channel" for channel in identity.channels] for _, identity in streams]
    flat = [*_RESERVED, *(name for names in plain for name in names)]
    taken = set(_RESERVED)
    result = []
    for (stream, _), names in zip(streams, plain, strict=True):
        columns = []
        for name in names:
            column = name if flat.count(name) == 1 else _UNSAFE.sub("_", f"{stream}_{name}")
            number = 2
            while column in taken:
                column = f"{column.removesuffix(f'_{number - 1}')}_{number}"
                number += 1
            taken.add(column)
            columns.append(column)
        result.append(tuple(columns))
    return result


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One column of a film's rows."""

    name: str
    channel: Channel
    track: Track
    dtype: str
    """Of the values in rows: the channel's, or <f8 where they are interpolated."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """Up to 4096 rows on the lead's clock; all arrays have one length."""

    sequence: Int64s
    """The lead's index: jumps where samples were lost."""
    time_ns: Int64s
    """CLOCK_BOOTTIME."""
    columns: tuple[npt.NDArray[Any], ...]
    """In the film's order; raw values."""
    present: tuple[npt.NDArray[np.bool_] | None, ...]
    """Where a column has values; None: everywhere."""
    lead: Samples
    """The lead's own samples, packed."""


class Film:
    """One negative, developed: made by `Film.scan`; flat memory however long it is."""

    def __init__(self, reader: NegativeReader, tracks: tuple[Track, ...], lead: Track) -> None:
        self.path = reader.path
        self.head: dict[str, Any] = reader.head
        self.end = reader.end
        """What was said when it ended; None where it was cut off."""
        self.trigger: dict[str, Any] | None = (self.end or {}).get("trigger") or self.head.get("trigger")
        """What began it, where it began by itself."""
        self.notes = reader.notes
        """What was noted meanwhile, as (name, document)."""
        self.damaged = reader.damaged
        """Places in the file where something had to be skipped."""
        self.uuid = str(self.head.get("uuid", ""))
        self.fill = str(self.head.get("settings", {}).get("fill", "hold"))
        self.tracks = tracks
        self.lead = lead
        """The fastest stream, on whose clock the rows are."""
        self.start_ns = self.end_ns = int(self.head.get("started", {}).get("boot_time_ns", 0))
        """CLOCK_BOOTTIME of the lead's first and last sample."""
        self.columns: tuple[Column, ...] = ()

    @classmethod
    def scan(cls, path: Path, breathe: Callable[[], None] = lambda: None) -> Self:
        """Looks through a negative. NegativeError where it is none; OSError."""
        reader = NegativeReader(path)
        pairs = [
            (str(stream["name"]), identity)
            for stream, identity in zip(reader.head["streams"], reader.identities, strict=True)
        ]
        names = column_names(pairs)
        surveys = [
            Survey(Track(place, name, str(reader.head["streams"][place]["driver"]), identity, names[place], reader))
            for place, (name, identity) in enumerate(pairs)
        ]
        for number, (place, block) in enumerate(reader.blocks()):
            surveys[place].add(block)
            if number % 64 == 0:
                breathe()
        for survey in surveys:
            survey.date()
        tracks = tuple(survey.track for survey in surveys)
        lead = max(tracks, key=lambda track: (track.end > track.first, track.identity.rate_hz, -track.place))
        film = cls(reader, tracks, lead)
        film._measure(surveys, breathe)
        film.columns = tuple(
            Column(name, channel, track, channel.dtype if track is lead or film.fill != "linear" else "<f8")
            for track in tracks
            for name, channel in zip(track.columns, track.identity.channels, strict=True)
        )
        return film

    def _measure(self, surveys: Sequence[Survey], breathe: Callable[[], None]) -> None:
        """Cuts each track to the capture's period, which is the lead's, and counts what is in it."""
        ranges = (self.end or {}).get("ranges") or [None] * len(surveys)
        lead = surveys[self.lead.place]
        given = ranges[self.lead.place]
        lead.count(None if given is None else (int(given[0]), int(given[1])), breathe)
        if self.lead.samples:
            self.start_ns, self.end_ns = self.lead.edges()
        for survey in surveys:
            if survey is not lead:
                given = ranges[survey.track.place]
                limits = self._within(survey.track, breathe) if given is None else (int(given[0]), int(given[1]))
                survey.count(limits, breathe)

    def _within(self, track: Track, breathe: Callable[[], None]) -> tuple[int, int] | None:
        """The indexes of a slower track that were taken within the capture's period."""
        margin_ns = min(_MARGIN_NS, round(track.period_ns / 2))
        start_ns, stop_ns = self.start_ns - margin_ns, self.end_ns + round(self.lead.period_ns) + margin_ns
        first, end = None, track.first
        for chunk in track.chunks():
            breathe()
            low, high = np.searchsorted(chunk.time_ns, (start_ns, stop_ns))
            if high > low:
                first = int(chunk.indexes[low]) if first is None else first
                end = int(chunk.indexes[high - 1]) + 1
        return (track.first, track.first) if first is None else (first, end)

    @property
    def duration_s(self) -> float:
        """From the lead's first sample to its last."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def samples(self) -> int:
        """Rows there are."""
        return self.lead.samples

    def describe(self) -> list[dict[str, Any]]:
        """The sidecar's `streams`, as `agent/capture.schema.json` says."""
        known = [stream.get("calibration") for stream in self.head["streams"]]
        return [{**track.describe(), **_calibration(track, known[track.place])} for track in self.tracks]

    def rows(self) -> Iterator[Rows]:
        """All streams on the lead's clock, in chunks of at most 4096 rows."""
        followers = [None if track is self.lead else _Follower(track, self) for track in self.tracks]
        for indexes, time_ns, samples in self.lead.chunks():
            columns: list[npt.NDArray[Any]] = []
            present: list[npt.NDArray[np.bool_] | None] = []
            for follower in followers:
                if follower is None:
                    columns += [samples[name] for name in samples.dtype.names or ()]
                    present += [None] * (len(columns) - len(present))
                else:
                    values, there = follower.at(time_ns)
                    columns += values
                    present += [there] * len(values)
            yield Rows(indexes, time_ns, tuple(columns), tuple(present), samples)


def _calibration(track: Track, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was known of its sensors when the capture began, its channels called as the payload does."""
    if not known:
        return {}
    columns = dict(zip((channel.name for channel in track.identity.channels), track.columns, strict=True))
    sensors = {
        name: {**sensor, "channels": [columns[channel] for channel in sensor["channels"]]}
        for name, sensor in known["sensors"].items()
    }
    return {"calibration": {**known, "sensors": sensors}}


class _Follower:
    """A slower stream's values at the lead's times; holds the samples around them and no more.

    Between two samples that are more than two periods apart nothing is filled: there each sample counts for its own
    period alone (hold: the one after it; nearest: half of it to either side; linear: only for its very moment).
    """

    def __init__(self, track: Track, film: Film) -> None:
        self._fill = film.fill
        self._period_ns = track.period_ns
        rows = int(ROWS * film.lead.period_ns / track.period_ns) + 1
        self._chunks = track.chunks(max(16, min(ROWS, rows)), beyond=True)
        self._samples = np.empty(0, track.identity.dtype)
        self._times = np.empty(0, np.int64)

    def at(self, times: Int64s) -> tuple[list[npt.NDArray[Any]], npt.NDArray[np.bool_] | None]:
        """The values of each channel at rising times, and where there are any (None: everywhere)."""
        self._reach(times)
        count = len(self._times)
        names = self._samples.dtype.names or ()
        if not count:
            return [np.zeros(len(times), self._type(name)) for name in names], np.zeros(len(times), np.bool_)
        following = np.searchsorted(self._times, times, side="right")
        left, right = np.maximum(following - 1, 0), np.minimum(following, count - 1)
        since, until = times - self._times[left], self._times[right] - times
        between = (following > 0) & (following < count)
        between &= since + until <= self._period_ns * (_LONGEST_GAP + _TOLERANCE)
        if self._fill == "linear":
            there = between | ((since == 0) & (following > 0))
            part = np.where(between, since / np.maximum(since + until, 1), 0.0)
            low = [self._samples[name][left].astype(np.float64) for name in names]
            values = [a + (self._samples[name][right] - a) * part for name, a in zip(names, low, strict=True)]
        elif self._fill == "nearest":
            nearer = np.where((following == 0) | ((following < count) & (until < since)), right, left)
            there = between | (np.abs(times - self._times[nearer]) <= self._period_ns / 2)
            values = [self._samples[name][nearer] for name in names]
        else:
            there = between | ((following > 0) & (since < self._period_ns))
            values = [self._samples[name][left] for name in names]
        return values, None if there.all() else there

    def _type(self, name: str) -> np.dtype[Any]:
        return np.dtype(np.float64) if self._fill == "linear" else self._samples.dtype[name]

    def _reach(self, times: Int64s) -> None:
        """Holds the samples from the last one before these times to the first one after them."""
        keep = max(0, int(np.searchsorted(self._times, times[0], side="right")) - 1)
        parts_times, parts_samples = [self._times[keep:]], [self._samples[keep:]]
        while not len(parts_times[-1]) or parts_times[-1][-1] <= times[-1]:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            parts_times.append(chunk.time_ns)
            parts_samples.append(chunk.samples)
        if len(parts_times) > 1:
            self._times = np.concatenate(parts_times)
            self._samples = np.concatenate(parts_samples)
        else:
            self._times, self._samples = parts_times[0], parts_samples[0]
