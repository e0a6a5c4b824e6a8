"""Readings: the samples of a capture, read back from a payload, in physical units, dated, in batches near 64 KB."""

import dataclasses
import datetime
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.capture import Capture, Payload
from agent.formats import Format, format_module
from agent.protobuf import part
from agent.targets import Failed, Refused
from agent.targets import _viam_wire as wire
from drivers import Block, SettingsError

Floats = npt.NDArray[np.float64]

_BATCH_BYTES = 64_000
"""Of readings in one request: what Viam's data team advises."""
_AROUND = 3
"""Bytes before each."""
_ROWS = 1024
"""Samples that are handled at a time."""
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Readings for one request."""

    first: int
    end: int
    """Samples `first` ... `end` - 1 of the payload, counted in the order they are read back, are in it; with a rate
    that was asked for, as far as they were kept."""
    contents: tuple[bytes, ...]
    """SensorData, one a reading."""


def shows(payload: Payload) -> bool:
    """Whether it is a picture or a clip, in which there are no samples."""
    if payload.media_type.startswith(("image/", "video/")):
        return True
    try:
        return bool(getattr(format_module(payload.format), "PICTURES", False))
    except LookupError:
        return False


def readable(capture: Capture, payloads: tuple[Payload, ...]) -> tuple[Payload, Format] | None:
    """The first of the payloads that can be read back as samples, with what reads it."""
    for payload in payloads:
        if shows(payload):
            continue
        try:
            return payload, format_module(payload.format).Settings().open()
        except (LookupError, SettingsError):
            continue  # of a format that is not installed (any more)
    return None


def batches(capture: Capture, source: tuple[Payload, Format], rate_hz: float, start: int = 0) -> Iterator[Batch]:
    """All readings from sample `start` on; of each stream at most `rate_hz` a second, 0: all.

    Refused where the payload cannot be read; Failed where the disk cannot.
    """
    payload, form = source
    first, end, size, contents = start, 0, 0, list[bytes]()
    try:
        for end, content in _readings(capture, form.read(capture.path(payload), capture), rate_hz):
            if end <= start:
                continue
            contents.append(content)
            size += len(content) + _AROUND
            if size >= _BATCH_BYTES:
                yield Batch(first, end, tuple(contents))
                first, size = end, 0
                contents.clear()
    except OSError as error:
        raise Failed(f"{payload.file} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise Refused(f"{payload.file} cannot be read back as samples: {error}") from None
    if contents:
        yield Batch(first, end, tuple(contents))


def wall_ns(capture: Capture) -> int:
    """Unix time of the capture's start."""
    start = datetime.datetime.fromisoformat(capture.document["start"]["wall_time"])
    return (start - _EPOCH) // datetime.timedelta(microseconds=1) * 1000


def _readings(capture: Capture, blocks: Iterator[Block], rate_hz: float) -> Iterator[tuple[int, bytes]]:
    """(number of samples up to here, reading), without samples that were thinned out or have no value at all."""
    shift_ns = wall_ns(capture) - int(capture.document["start"]["boot_time_ns"])
    series: dict[tuple[str, ...], _Series] = {}
    before = 0
    for block in blocks:
        names = block.samples.dtype.names or ()
        if names not in series:
            series[names] = _Series(capture, names, rate_hz)
        mine = series[names]
        for at in range(0, len(block.samples), _ROWS):
            indexes = np.arange(block.first + at, block.first + min(at + _ROWS, len(block.samples)))
            since_ns = np.rint((indexes - block.newest) * mine.period_ns).astype(np.int64)
            times_ns = since_ns + block.observed_ns + shift_ns
            kept = np.flatnonzero(mine.kept(times_ns))
            readings = mine.readings(times_ns[kept], block.samples[at : at + _ROWS][kept])
            for place, reading in zip(kept.tolist(), readings, strict=True):
                if reading:
                    yield before + place + 1, reading
            before += len(indexes)


class _Series:
    """Samples with the same channels."""

    def __init__(self, capture: Capture, names: tuple[str, ...], rate_hz: float) -> None:
        streams = [
            stream
            for stream in capture.document["streams"]
            if any(channel["name"] in names for channel in stream["channels"])
        ]
        # of several in one row, the fastest gave the rows
        rate = max((stream["rate_hz"] for stream in streams), key=lambda rate: float(rate["nominal"]))
        self.period_ns = 1e9 / (rate["measured"] or rate["nominal"] or 1.0)
        channels = {channel["name"]: channel for stream in streams for channel in stream["channels"]}
        self._names = sorted(names)
        self._channels: list[Mapping[str, Any]] = [channels[name] for name in self._names]
        self._rate_hz = rate_hz
        self._slot = -1
        self._layouts: dict[bytes, _Layout] = {}

    def kept(self, times_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which samples are readings: the first in each period of the rate that was asked for."""
        if not self._rate_hz:
            return np.ones(len(times_ns), np.bool_)
        slots = np.floor_divide(times_ns, max(1, round(1e9 / self._rate_hz)))
        kept: npt.NDArray[np.bool_] = np.diff(slots, prepend=self._slot) != 0
        self._slot = int(slots[-1])
        return kept

    def readings(self, times_ns: npt.NDArray[np.int64], samples: npt.NDArray[np.void]) -> Iterator[bytes]:
        """A SensorData for each sample, of the values that are there; empty where there is none."""
        table = np.empty((len(samples), len(self._channels)))
        for place, channel in enumerate(self._channels):
            table[:, place] = samples[channel["name"]] * np.float64(channel["scale"]) + channel["offset"]
        there = np.isfinite(table)
        inexact = self._inexact(samples)
        for row, (time_ns, values) in enumerate(zip(times_ns.tolist(), table.tolist(), strict=True)):
            metadata = wire.sensor_metadata(time_ns, time_ns)
            if row in inexact:
                told = {
                    name: _told(samples[name][row], value)
                    for name, value, present in zip(self._names, values, there[row], strict=True)
                    if present
                }
                yield wire.reading(metadata, wire.structure({"readings": told}))
                continue
            if not there[row].all():
                values = [value for value, present in zip(values, there[row], strict=True) if present]
            yield self._layout(there[row]).reading(metadata, values) if values else b""

    def _inexact(self, samples: npt.NDArray[np.void]) -> set[int]:
        """Rows with integers that a double does not tell from their neighbours."""
        found: set[int] = set()
        for channel in self._channels:
            raw = samples[channel["name"]]
            if raw.dtype.kind in "iu" and raw.dtype.itemsize == 8 and (channel["scale"], channel["offset"]) == (1, 0):
                found |= set(np.flatnonzero((raw > wire.EXACT) | (raw < -wire.EXACT)).tolist())
        return found

    def _layout(self, there: npt.NDArray[np.bool_]) -> "_Layout":
        key = there.tobytes()
        if key not in self._layouts:
            names = [name for name, present in zip(self._names, there, strict=True) if present]
            self._layouts[key] = _Layout(names)
        return self._layouts[key]


class _Layout:
    """A reading of doubles with these names: the bytes between the values are always the same."""

    def __init__(self, names: list[str]) -> None:
        """`names` in order."""
        pieces = [wire.entry(name, wire.value_of(1.0))[:-8] for name in names]
        self._struct = struct.Struct("<" + "".join(f"{len(piece)}sd" for piece in pieces))
        self._fields: list[Any] = [each for piece in pieces for each in (piece, 1.0)]
        self._head = wire.reading(b"", wire.structure({"readings": dict.fromkeys(names, 1.0)}))[2 : -self._struct.size]

    def reading(self, metadata: bytes, values: list[float]) -> bytes:
        """A SensorData, as `wire.reading` makes it."""
        fields = self._fields.copy()
        fields[1::2] = values
        return part(1, metadata) + self._head + self._struct.pack(*fields)


def _told(raw: Any, value: float) -> wire.Value:
    """Digits where a double would lose some."""
    return str(raw) if raw.dtype.kind in "iu" and abs(int(raw)) > wire.EXACT else value
