"""The negative: the append-only file of a recording in progress, an unchunked MCAP with one message per block.

A kill loses what was not yet handed to the kernel, a power cut what was not yet synced; whatever else happens to the
file, every whole block in it is found again. Each message carries its own header, so that a block proves itself:

    offset  0     4        6       8         12     20      28    36           44     48     52
            magic stream   flags   segment   first  newest  lost  observed_ns  count  crc32  samples ...
            4s    u16      u16     u32       u64    u64     u64   u64          u32    u32    (little endian)

flags bit 0: `lost` is exact. crc32 is zlib's, of the whole message with the crc field itself left out.
"""

import json
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
from mcap.opcode import Opcode
from mcap.writer import CompressionType, IndexType, Writer

from drivers import Block, Channel, Identity

MAGIC = b"\x89MCAP0\r\n"
BLOCK_MAGIC = b"\xffBLK"
ENCODING = "capture-agent-block"
_HEADER = struct.Struct("<4sHHIQQQQII")
_UNTIL_CRC = _HEADER.size - 4
_RECORD = struct.Struct("<BQ")
_MESSAGE_PREFIX = 22
"""Bytes of an MCAP message record before its data: channel u16, sequence u32, log time u64, publish time u64."""
_LARGEST_RECORD = 1 << 28


class NegativeError(ValueError):
    """A file that is no negative, or whose head is lost; the message names the file and the reason."""


def identity_as_json(identity: Identity) -> dict[str, Any]:
    return {
        "model": identity.model,
        "rate_hz": identity.rate_hz,
        "serial": identity.serial,
        "setup": dict(identity.setup),
        "channels": [
            {
                "name": c.name,
                "unit": c.unit,
                "dtype": c.dtype,
                "scale": c.scale,
                "offset": c.offset,
                "limits": c.limits,
            }
            for c in identity.channels
        ],
    }


def identity_from_json(document: Mapping[str, Any]) -> Identity:
    channels = tuple(
        Channel(**{**channel, "limits": None if channel["limits"] is None else tuple(channel["limits"])})
        for channel in document["channels"]
    )
    return Identity(document["model"], document["rate_hz"], channels, document["setup"], document["serial"])


class _Tail:
    """What has been written but not yet handed to the kernel; the MCAP writer's output stream."""

    def __init__(self) -> None:
        self.pending = bytearray()
        self.position = 0

    def write(self, data: bytes) -> int:
        self.pending += data
        self.position += len(data)
        return len(data)

    def tell(self) -> int:
        return self.position

    def flush(self) -> None:
        """Nothing to do: `NegativeWriter.flush` is the one that hands over."""


class NegativeWriter:
    """Appends blocks. `write` only remembers, `flush` hands to the kernel, `sync` (any thread) to the disk.

    `head` is JSON-able and says all that developing needs: the capture's uuid, the recording, the streams in order
    with their identities. It is written twice, so that one damaged sector does not take the file with it.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.path = path
        self.head = head
        self.synced_bytes = 0
        self._descriptor_lock = threading.Lock()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._tail = _Tail()
        self._mcap = Writer(
            cast(IO[bytes], self._tail),  # it needs write and tell alone
            compression=CompressionType.NONE,
            index_types=IndexType.METADATA,
            use_chunking=False,
        )
        self._mcap.start(profile="", library="capture-agent")
        self._channels = [
            self._mcap.register_channel(stream["name"], ENCODING, schema_id=0) for stream in head["streams"]
        ]
        self._blocks = 0
        self._head_text = json.dumps(head, allow_nan=False)
        self._mcap.add_metadata("recording", {"json": self._head_text})

    @property
    def nbytes(self) -> int:
        """Size of the file, with what is not yet handed over."""
        return self._tail.position

    def write(self, stream: int, block: Block) -> None:
        """Appends one block of the stream with that place in the head."""
        header = _HEADER.pack(
            BLOCK_MAGIC,
            stream,
            int(block.exact),
            block.segment,
            block.first,
            block.newest,
            block.lost,
            block.observed_ns,
            len(block.samples),
            0,
        )
        raw = block.samples.tobytes()
        crc = zlib.crc32(raw, zlib.crc32(header[:_UNTIL_CRC]))
        data = b"".join((header[:_UNTIL_CRC], crc.to_bytes(4, "little"), raw))
        self._blocks += 1
        self._mcap.add_message(
            self._channels[stream], block.observed_ns, data, block.observed_ns, self._blocks & 0xFFFFFFFF
        )
        if self._blocks == 1:
            self._mcap.add_metadata("recording", {"json": self._head_text})

    def note(self, name: str, document: Mapping[str, Any]) -> None:
        """Appends a metadata record, such as labels that came while recording."""
        self._mcap.add_metadata(name, {"json": json.dumps(document, allow_nan=False)})

    def flush(self) -> None:
        """Hands everything to the kernel: a kill can no longer lose it. OSError (disk full) keeps it for a next try."""
        pending = self._tail.pending
        while pending:
            written = os.write(self._fd, pending)
            del pending[:written]

    def sync(self) -> bool:
        """Puts on the disk what was flushed: a power cut can no longer lose it; whether there was any.

        For the disk-sync thread, which may find the file closed meanwhile: then developing it has synced it, or will.
        """
        with self._descriptor_lock:
            if self._fd < 0:
                return False
            fd = os.dup(self._fd)
        try:
            size = os.fstat(fd).st_size
            if size == self.synced_bytes:
                return False
            os.fdatasync(fd)
            self.synced_bytes = size
        finally:
            os.close(fd)
        return True

    def finish(self, end: Mapping[str, Any]) -> None:
        """Writes the end record and the MCAP summary, flushes and closes."""
        self.note("end", end)
        self._mcap.finish()  # type: ignore[no-untyped-call]
        self.flush()
        self.close()

    def close(self) -> None:
        """Closes as it is: what was flushed stays readable. May be called twice."""
        with self._descriptor_lock:
            if self._fd >= 0:
                fd, self._fd = self._fd, -1
                os.close(fd)


class NegativeReader:
    """Reads a negative, finished or cut off or damaged; flat memory.

    `blocks()` may be called several times; each pass counts `damaged` anew: places where something had to be skipped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0
        self.notes: list[tuple[str, dict[str, Any]]] = []
        self.end: dict[str, Any] | None = None
        head = next((self._metadata(data) for op, data in self._records() if op == Opcode.METADATA), None)
        if head is None or head[0] != "recording":
            raise NegativeError(f"{path}: no recording head found; not a negative, or its beginning is lost")
        self.head: dict[str, Any] = head[1]
        self.identities = tuple(identity_from_json(stream["identity"]) for stream in self.head["streams"])
        self._dtypes = [identity.dtype for identity in self.identities]

    def blocks(self) -> Iterator[tuple[int, Block]]:
        """Every whole block in file order, as (place of its stream, block)."""
        self.damaged = 0
        self.notes = []
        self.end = None
        for opcode, data in self._records():
            if opcode == Opcode.MESSAGE:
                yield self._block(data)
            elif opcode == Opcode.METADATA:
                note = self._metadata(data)
                if note is None:
                    self.damaged += 1
                elif note[0] == "end":
                    self.end = note[1]
                elif note[0] != "recording":
                    self.notes.append(note)

    def _block(self, data: bytes) -> tuple[int, Block]:
        _, stream, flags, segment, first, newest, lost, observed_ns, count, _ = _HEADER.unpack_from(data)
        samples = np.frombuffer(data, self._dtypes[stream], count, _HEADER.size)
        return stream, Block(first, samples, observed_ns, newest, lost, bool(flags & 1), segment)

    def _records(self) -> Iterator[tuple[int, bytes]]:
        """(opcode, data) of metadata records and of proven messages (there without MCAP's own prefix)."""
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                self.damaged += 1
            position = len(MAGIC)
            while position < size:
                file.seek(position)
                found = self._record(file, size - position)
                if found is None:
                    self.damaged += 1
                    position = self._next_message(file, position + 1)
                    continue
                opcode, data, length = found
                position += length
                if opcode in (Opcode.MESSAGE, Opcode.METADATA):
                    yield opcode, data
                elif opcode == Opcode.DATA_END:
                    return

    def _record(self, file: BinaryIO, remaining: int) -> tuple[int, bytes, int] | None:
        """The record at the file's position and its length with its frame; None where there is no whole one."""
        frame = file.read(_RECORD.size)
        if len(frame) < _RECORD.size:
            return None
        opcode, length = _RECORD.unpack(frame)
        if not 0 < opcode <= Opcode.DATA_END or length > min(_LARGEST_RECORD, remaining - _RECORD.size):
            return None
        data = file.read(length)
        if opcode == Opcode.MESSAGE:
            data = data[_MESSAGE_PREFIX:]
            if not self._proven(data):
                return None
        return opcode, data, _RECORD.size + length

    def _proven(self, data: bytes) -> bool:
        if len(data) < _HEADER.size or data[:4] != BLOCK_MAGIC:
            return False
        crc = int.from_bytes(data[_UNTIL_CRC : _HEADER.size], "little")
        return zlib.crc32(memoryview(data)[_HEADER.size :], zlib.crc32(data[:_UNTIL_CRC])) == crc

    @staticmethod
    def _next_message(file: BinaryIO, position: int) -> int:
        """Where the next record that may be a message starts, at or after `position`; the file's end if nowhere."""
        lead = _RECORD.size + _MESSAGE_PREFIX
        base, window = position, b""
        file.seek(position)
        while chunk := file.read(1 << 16):
            window += chunk
            at = window.find(BLOCK_MAGIC)
            while at >= 0:
                start = at - lead
                if start >= 0 and window[start] == Opcode.MESSAGE:
                    return base + start
                at = window.find(BLOCK_MAGIC, at + 1)
            keep = lead + len(BLOCK_MAGIC)
            base += max(0, len(window) - keep)
            window = window[-keep:]
        return file.tell()

    @staticmethod
    def _metadata(data: bytes) -> tuple[str, dict[str, Any]] | None:
        """(name, document) of a metadata record of ours; None where it is damaged."""
        try:
            (length,) = struct.unpack_from("<I", data)
            name = data[4 : 4 + length].decode()
            at = 4 + length + 4
            (key_length,) = struct.unpack_from("<I", data, at)
            at += 4 + key_length
            (text_length,) = struct.unpack_from("<I", data, at)
            document = json.loads(data[at + 4 : at + 4 + text_length])
        except (struct.error, ValueError):
            return None
        return (name, document) if isinstance(document, dict) else None
