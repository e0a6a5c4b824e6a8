"""An MCAP file written many equally long messages at a time: compressed chunks, indexes, summary.

The mcap library takes a message at a time, at several microseconds each; its records are used for all else. Layouts:
https://mcap.dev/spec.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import zstandard
from mcap import records
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode

MAGIC = b"\x89MCAP0\r\n"
FRAME = struct.Struct("<BQ")
"""What stands before each record: opcode, length."""
PREFIX: list[tuple[str, str]] = [
    ("opcode", "u1"),
    ("length", "<u8"),
    ("channel", "<u2"),
    ("sequence", "<u4"),
    ("log_time", "<u8"),
    ("publish_time", "<u8"),
]
"""A message record before its data, as numpy fields."""
_INDEX_HEADER = struct.Struct("<BQHI")
_INDEX_ENTRY = np.dtype([("log_time", "<u8"), ("offset", "<u8")])
_CHUNK_BYTES = 768 * 1024


class _Open:
    """The chunk being filled."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.first_ns: int | None = None
        self.last_ns = 0
        self.indexes: dict[int, list[bytes]] = {}


class McapFile:
    """Writes to `file`, from its first byte to its last."""

    def __init__(self, file: IO[bytes], library: str) -> None:
        self._file = file
        self._position = 0
        self._chunk = _Open()
        self._zstd = zstandard.ZstdCompressor(level=3)
        self._schemas: list[records.Schema] = []
        self._channels: list[records.Channel] = []
        self._chunks: list[records.ChunkIndex] = []
        self._notes: list[records.MetadataIndex] = []
        self._messages: dict[int, int] = {}
        self._times: tuple[int, int] | None = None
        self._write(MAGIC)
        self._put(records.Header(profile="", library=library))

    def channel(self, topic: str, schema: tuple[str, bytes], metadata: Mapping[str, str]) -> int:
        """A new topic of protobuf messages of `schema` (name, FileDescriptorSet); its number."""
        number = len(self._channels) + 1
        self._schemas.append(records.Schema(id=number, name=schema[0], encoding="protobuf", data=schema[1]))
        self._channels.append(
            records.Channel(
                id=number, topic=topic, message_encoding="protobuf", schema_id=number, metadata=dict(metadata)
            )
        )
        self._put(self._schemas[-1])
        self._put(self._channels[-1])
        return number

    def metadata(self, name: str, entries: Mapping[str, str]) -> None:
        start = self._position
        self._put(records.Metadata(name=name, metadata=dict(entries)))
        self._notes.append(records.MetadataIndex(offset=start, length=self._position - start, name=name))

    def add(self, channel: int, messages: npt.NDArray[np.void]) -> None:
        """Appends messages of one channel, whole records: PREFIX and data, rising in time."""
        chunk, log_times = self._chunk, messages["log_time"]
        index = np.empty(len(messages), _INDEX_ENTRY)
        index["log_time"] = log_times
        index["offset"] = np.arange(len(messages), dtype=np.uint64) * messages.itemsize + chunk.size
        chunk.indexes.setdefault(channel, []).append(index.tobytes())
        chunk.parts.append(messages.tobytes())
        chunk.size += messages.nbytes
        first_ns, last_ns = int(log_times[0]), int(log_times[-1])
        chunk.first_ns = first_ns if chunk.first_ns is None else min(chunk.first_ns, first_ns)
        chunk.last_ns = max(chunk.last_ns, last_ns)
        self._messages[channel] = self._messages.get(channel, 0) + len(messages)
        if chunk.size >= _CHUNK_BYTES:
            self._end_chunk()

    def finish(self) -> None:
        """Writes what is open, and the summary."""
        self._end_chunk()
        self._put(records.DataEnd(data_section_crc=0))
        start = self._position
        first_ns, last_ns = self._times or (0, 0)
        statistics = records.Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=self._messages,
            chunk_count=len(self._chunks),
            message_count=sum(self._messages.values()),
            message_end_time=last_ns,
            message_start_time=first_ns,
            metadata_count=len(self._notes),
            schema_count=len(self._schemas),
        )
        groups: list[tuple[int, Sequence[records.McapRecord]]] = [
            (Opcode.SCHEMA, self._schemas),
            (Opcode.CHANNEL, self._channels),
            (Opcode.STATISTICS, [statistics]),
            (Opcode.CHUNK_INDEX, self._chunks),
            (Opcode.METADATA_INDEX, self._notes),
        ]
        content, offsets = b"", b""
        for opcode, group in groups:
            part = b"".join(map(_bytes, group))
            place = start + len(content)
            content += part
            if part:
                offsets += _bytes(records.SummaryOffset(group_opcode=opcode, group_start=place, group_length=len(part)))
        offsets_start = start + len(content)
        content += offsets
        # the checksum goes on over the footer's own beginning
        footer = FRAME.pack(Opcode.FOOTER, 20) + struct.pack("<QQ", start, offsets_start)
        self._write(content)
        self._put(
            records.Footer(
                summary_start=start,
                summary_offset_start=offsets_start,
                summary_crc=zlib.crc32(footer, zlib.crc32(content)),
            )
        )
        self._write(MAGIC)

    def _end_chunk(self) -> None:
        chunk, self._chunk = self._chunk, _Open()
        if chunk.first_ns is None:
            return
        content = b"".join(chunk.parts)
        compressed = self._zstd.compress(content)
        start = self._position
        self._put(
            records.Chunk(
                compression="zstd",
                data=compressed,
                message_end_time=chunk.last_ns,
                message_start_time=chunk.first_ns,
                uncompressed_crc=zlib.crc32(content),
                uncompressed_size=len(content),
            )
        )
        length, offsets = self._position - start, {}
        for channel, parts in chunk.indexes.items():
            offsets[channel] = self._position
            entries = b"".join(parts)
            self._write(_INDEX_HEADER.pack(Opcode.MESSAGE_INDEX, len(entries) + 6, channel, len(entries)))
            self._write(entries)
        self._chunks.append(
            records.ChunkIndex(
                chunk_length=length,
                chunk_start_offset=start,
                compression="zstd",
                compressed_size=len(compressed),
                message_end_time=chunk.last_ns,
                message_index_length=self._position - start - length,
                message_index_offsets=offsets,
                message_start_time=chunk.first_ns,
                uncompressed_size=len(content),
            )
        )
        first_ns, last_ns = self._times or (chunk.first_ns, chunk.last_ns)
        self._times = min(first_ns, chunk.first_ns), max(last_ns, chunk.last_ns)

    def _put(self, record: records.McapRecord) -> None:
        self._write(_bytes(record))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._position += len(data)


def _bytes(record: records.McapRecord) -> bytes:
    builder: Any = RecordBuilder()  # partly untyped
    record.write(builder)
    return bytes(builder.end())
