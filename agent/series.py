"""The samples of captures as series in physical units over time: of one, or of a range of time."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.capture import Capture, Payload
from agent.catalogue import Catalogue
from agent.formats import format_module
from agent.query import Entry, Query
from drivers import Block

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Series:
    """One channel over time."""

    name: str
    unit: str
    times_s: Floats
    """Since the capture's start; rising."""
    values: Floats
    """In `unit`; NaN where samples are missing."""


@dataclasses.dataclass(frozen=True)
class Samples:
    """All channels of a capture."""

    series: tuple[Series, ...]
    gaps_s: tuple[tuple[float, float], ...]
    """From the last sample before to the first after each gap."""
    count: int
    """Samples of the stream that has most."""


def sample_payload(capture: Capture) -> Payload:
    """The first payload that can be read back as samples. LookupError where there is none."""
    for payload in capture.payloads:
        try:
            module = format_module(payload.format)
        except (LookupError, ImportError):
            continue  # of a third party that is no longer installed
        if not getattr(module, "PICTURES", False):
            return payload
    kinds = ", ".join(payload.format for payload in capture.payloads)
    raise LookupError(f"capture {capture.name} has no samples that can be read: its payloads are {kinds}")


def blocks(capture: Capture) -> Iterator[Block]:
    """Its samples, read back from a payload as raw values. ValueError where that is damaged, OSError if it is gone."""
    payload = sample_payload(capture)
    reader = format_module(payload.format).Settings().open()
    found: Iterator[Block] = reader.read(capture.path(payload), capture)
    return found


def samples(capture: Capture) -> Samples:
    """All samples of a capture in physical units, in memory."""
    documents = {channel["name"]: channel for stream in capture.document["streams"] for channel in stream["channels"]}
    start_ns = int(capture.document["start"]["boot_time_ns"])
    tracks: dict[tuple[str, ...], _Track] = {}
    for block in blocks(capture):
        names = block.samples.dtype.names or ()
        if names not in tracks:
            tracks[names] = _Track(names, 1 / _rate_hz(capture, names), start_ns)
        tracks[names].add(block)
    series = [found for track in tracks.values() for found in track.series(documents)]
    order = {name: place for place, name in enumerate(documents)}
    series.sort(key=lambda one: order.get(one.name, len(order)))
    gaps = sorted(gap for track in tracks.values() for gap in track.gaps_s)
    return Samples(tuple(series), tuple(gaps), max((track.count for track in tracks.values()), default=0))


def between(
    catalogue: Catalogue, query: Query, *, channels: Collection[str] = (), every_s: float = 0.0
) -> Iterator[tuple[Entry, tuple[Series, ...]]]:
    """What was measured from `query.since_ns` to before `query.until_ns`, a capture at a time, in the order of start.

    `times_s` is Unix time. `channels`: these alone; empty: all of the query's stream, or of all. `every_s`: means of as
    many seconds, dated at their beginning; 0: every sample. Captures without samples are passed over. ValueError or
    OSError where a payload cannot be read.
    """
    overlapping = dataclasses.replace(query, since_ns=None, lasting_ns=query.since_ns)
    since_s, until_s = (None if ns is None else ns / 1e9 for ns in (query.since_ns, query.until_ns))
    for entry in catalogue.find(overlapping):
        capture = catalogue.load(entry)
        wanted = {
            channel["name"]
            for stream in capture.document["streams"]
            if query.stream in (None, stream["name"])
            for channel in stream["channels"]
            if not channels or channel["name"] in channels
        }
        if not wanted or not any(stream["samples"] for stream in capture.document["streams"]):
            continue
        found = [
            _cut(one, entry.started_ns / 1e9, (since_s, until_s), every_s)
            for one in samples(capture).series
            if one.name in wanted
        ]
        if found:
            yield entry, tuple(one for one in found if len(one.times_s))


def _cut(series: Series, start_s: float, ends_s: tuple[float | None, float | None], every_s: float) -> Series:
    """What lies within the ends, in Unix time, as means where these are asked for."""
    times = series.times_s + start_s
    keep = ~np.isnan(series.values)
    if ends_s[0] is not None:
        keep &= times >= ends_s[0]
    if ends_s[1] is not None:
        keep &= times < ends_s[1]
    times, values = times[keep], series.values[keep]
    if every_s and len(times):
        bins, place, counts = np.unique(np.floor(times / every_s), return_inverse=True, return_counts=True)
        times, values = bins * every_s, np.bincount(place, values) / counts
    return dataclasses.replace(series, times_s=times, values=values)


def _rate_hz(capture: Capture, names: tuple[str, ...]) -> float:
    """Of the fastest stream that has one of these columns."""
    rates = [
        stream["rate_hz"]["measured"] or stream["rate_hz"]["nominal"]
        for stream in capture.document["streams"]
        if any(channel["name"] in names for channel in stream["channels"])
    ]
    return max(rates, default=1.0) or 1.0


class _Track:
    """Blocks that have the same columns."""

    def __init__(self, names: tuple[str, ...], period_s: float, start_ns: int) -> None:
        self.count = 0
        self.gaps_s: list[tuple[float, float]] = []
        self._period_s = period_s
        self._start_ns = start_ns
        self._times: list[Floats] = []
        self._values: dict[str, list[Floats]] = {name: [] for name in names}
        self._end: int | None = None

    def add(self, block: Block) -> None:
        end_s = (block.observed_ns - self._start_ns) / 1e9 + (block.end - 1 - block.newest) * self._period_s
        times: Floats = end_s - np.arange(block.count - 1, -1, -1, dtype=np.float64) * self._period_s
        if self._end is not None and block.first > self._end:
            self.gaps_s.append((float(self._times[-1][-1]), float(times[0])))
            self._times.append(np.array([(self._times[-1][-1] + times[0]) / 2]))
            for pieces in self._values.values():
                pieces.append(np.array([np.nan]))
        self._times.append(times)
        for name, pieces in self._values.items():
            pieces.append(block.samples[name].astype(np.float64))
        self._end = block.end
        self.count += block.count

    def series(self, documents: Mapping[str, Mapping[str, Any]]) -> Iterator[Series]:
        times = np.concatenate(self._times)
        for name, pieces in self._values.items():
            document = documents.get(name, {})
            values = np.concatenate(pieces) * document.get("scale", 1.0) + document.get("offset", 0.0)
            yield Series(name, str(document.get("unit", "")), times, values)
