"""MCAP for viewers: a topic per stream, a message per sample in physical units, protobuf with its schema, indexed.

Each sample is there as it was taken, on its own stream's clock. A message's `sequence` is the sample's index (its lower
32 bits), its times are Unix time in nanoseconds (boot time where no wall clock was known).
"""

import dataclasses
import heapq
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard
from mcap import records
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.reader import make_reader

from agent.capture import Capture, safe_name
from agent.film import Film
from agent.formats import _protobuf as protobuf
from agent.formats._mcap_file import FRAME, PREFIX, McapFile
from agent.formats._payload import Cutter, channels_of, description, written
from agent.track import ROWS, Chunk
from drivers import Block, Channel, check, samples_dtype

_PACKAGE = "capture_agent"
_MESSAGE_HEADER = 22
"""Bytes of a message record that count to its length but are not its data."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """MCAP has no options."""

    def __post_init__(self) -> None:
        check(self)

    def open(self) -> "Mcap":
        """The format."""
        return Mcap()


class Mcap:
    """Renders a film as an MCAP file that viewers plot without knowing us."""

    suffix = ".mcap"
    media_type = "application/octet-stream"

    def develop(self, film: Film, path: Path, breathe: Callable[[], None]) -> dict[str, Any]:
        """Writes the file, a chunk of samples at a time."""
        started = film.head.get("started", {})
        shift_ns = int(started["wall_ns"]) - int(started["boot_time_ns"]) if started.get("wall_ns") else 0
        with written(path) as file:
            mcap = McapFile(file, "capture-agent")
            topics = []
            names = protobuf.identifiers([safe_name(track.name) for track in film.tracks])
            for name, track in zip(names, film.tracks, strict=True):
                channels = [
                    dataclasses.replace(channel, name=column)
                    for channel, column in zip(track.identity.channels, track.columns, strict=True)
                ]
                fields = _fields(channels)
                schema = (f"{_PACKAGE}.{name}", protobuf.schema(_PACKAGE, name, fields))
                units = {f"unit.{f.name}": c.unit for f, c in zip(fields, channels, strict=True)}
                about = {"model": track.identity.model, "serial": track.identity.serial, **units}
                topics.append(_Topic(mcap.channel(track.name, schema, about), channels, shift_ns))
            mcap.metadata("capture", description(film))
            for place, chunk in _interleaved(film):
                mcap.add(topics[place].number, topics[place].messages(chunk))
                breathe()
            mcap.finish()
        return {}

    def read(self, path: Path, capture: Capture) -> Iterator[Block]:
        """Samples of all streams as blocks; a block's channels tell whose they are. Raw values."""
        streams = {stream["name"]: stream for stream in capture.document["streams"]}
        with path.open("rb") as file:
            summary = make_reader(file).get_summary()
            if summary is None:
                raise ValueError(f"{path}: no summary; not a whole MCAP file")
            topics = {
                number: (_Topic(number, channels_of(streams[channel.topic]), 0), streams[channel.topic])
                for number, channel in summary.channels.items()
            }
            cutters = {number: Cutter(stream, capture) for number, (_, stream) in topics.items()}
            for index in summary.chunk_indexes:
                file.seek(index.chunk_start_offset + FRAME.size)
                stored = io.BytesIO(file.read(index.chunk_length - FRAME.size))
                chunk = records.Chunk.read(ReadDataStream(stored))
                content = zstandard.decompress(chunk.data, max_output_size=chunk.uncompressed_size)
                if zlib.crc32(content) != chunk.uncompressed_crc:
                    raise ValueError(f"{path}: damaged at byte {index.chunk_start_offset}")
                for number, messages in _messages(content, {n: topic.dtype for n, (topic, _) in topics.items()}):
                    topic, stream = topics[number]
                    indexes = stream["first"] + (messages["sequence"] - np.uint32(stream["first"] & 0xFFFFFFFF)).astype(
                        np.int64
                    )
                    yield from cutters[number].cut(indexes, topic.samples(messages))


class _Topic:
    """One stream's messages as a numpy structure."""

    def __init__(self, number: int, channels: Sequence[Channel], shift_ns: int) -> None:
        self.number = number
        self._channels = tuple(channels)
        self._shift_ns = shift_ns
        fields = _fields(channels)
        self.dtype = np.dtype([*PREFIX, *protobuf.layout(fields)])
        empty = np.zeros(1, self.dtype)
        empty["opcode"] = Opcode.MESSAGE
        empty["length"] = self.dtype.itemsize - FRAME.size
        empty["channel"] = number
        data = protobuf.template(fields)
        self._template = empty.tobytes()[: -len(data) or None] + data

    def messages(self, chunk: Chunk) -> npt.NDArray[np.void]:
        """A record for each sample."""
        messages = np.frombuffer(bytearray(self._template * len(chunk.indexes)), self.dtype)
        messages["sequence"] = chunk.indexes & 0xFFFFFFFF
        messages["log_time"] = messages["publish_time"] = chunk.time_ns + self._shift_ns
        names = chunk.samples.dtype.names or ()
        for number, (name, channel) in enumerate(zip(names, self._channels, strict=True), 1):
            messages[f"value{number}"] = chunk.samples[name] * np.float64(channel.scale) + channel.offset
        return messages

    def samples(self, messages: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """The raw samples of messages."""
        samples = np.empty(len(messages), samples_dtype(self._channels))
        for number, channel in enumerate(self._channels, 1):
            values = messages[f"value{number}"]
            if (channel.scale, channel.offset) != (1, 0):
                values = (values.astype(np.float64) - channel.offset) / channel.scale
            samples[channel.name] = np.rint(values) if np.dtype(channel.dtype).kind in "iu" else values
        return samples


def _fields(channels: Sequence[Channel]) -> list[protobuf.Field]:
    """float where it tells all raw values apart, else double."""
    names = protobuf.identifiers([channel.name for channel in channels])
    exact = [np.dtype(c.dtype).itemsize <= 2 or (c.dtype == "<f4" and (c.scale, c.offset) == (1, 0)) for c in channels]
    return [protobuf.Field(name, not single) for name, single in zip(names, exact, strict=True)]


def _interleaved(film: Film) -> Iterator[tuple[int, Chunk]]:
    """The chunks of all streams that have channels, in order of time; each spans about as long as one of the lead."""

    def chunks(place: int) -> Iterator[tuple[int, int, Chunk]]:
        track = film.tracks[place]
        rows = int(ROWS * film.lead.period_ns / track.period_ns) + 1
        for chunk in track.chunks(max(1, min(ROWS, rows))):
            yield int(chunk.time_ns[0]), place, chunk

    for _, place, chunk in heapq.merge(*map(chunks, range(len(film.tracks))), key=lambda item: item[:2]):
        yield place, chunk


def _messages(content: bytes, dtypes: dict[int, np.dtype[np.void]]) -> Iterator[tuple[int, npt.NDArray[np.void]]]:
    """The runs of messages of one channel in a chunk, as (channel, messages)."""
    at = 0
    while at < len(content):
        number = int.from_bytes(content[at + FRAME.size : at + FRAME.size + 2], "little")
        dtype = dtypes[number]
        rest = np.frombuffer(content, dtype, (len(content) - at) // dtype.itemsize, at)
        length = dtype.itemsize - FRAME.size
        other = (rest["channel"] != number) | (rest["opcode"] != Opcode.MESSAGE) | (rest["length"] != length)
        count = int(other.argmax()) if other.any() else len(rest)
        if not count:
            raise ValueError("a chunk holds messages that are not ours")
        yield number, rest[:count]
        at += count * dtype.itemsize
