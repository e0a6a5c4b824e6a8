"""The samples of a capture as series in physical units over time, for pictures."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.capture import Capture, Payload
from agent.config.modules import FORMATS, configured_module, gives_pictures
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
        module, _ = configured_module(FORMATS, payload.format, "")
        if module is not None and not gives_pictures(module):
            return payload
    kinds = ", ".join(payload.format for payload in capture.payloads)
    raise LookupError(f"capture {capture.name} has no samples that can be read: its payloads are {kinds}")


def blocks(capture: Capture) -> Iterator[Block]:
    """Its samples, read back from a payload as raw values. ValueError where that is damaged, OSError if it is gone."""
    payload = sample_payload(capture)
    reader = FORMATS.find(payload.format).Settings().open()
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
