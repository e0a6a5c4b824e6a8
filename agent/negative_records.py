"""The records of a negative: their layout, and how whole ones are found again amid damage.

Blocks are MCAP messages that carry a header of their own, so that each proves itself whatever stands around it:

    offset  0     4        6       8         12     20      28    36           44     48     52
            magic stream   flags   segment   first  newest  lost  observed_ns  count  crc32  samples ...
            4s    u16      u16     u32       u64    u64     u64   u64          u32    u32    (little endian)

flags bit 0: `lost` is exact. crc32 is zlib's, of the whole message with the crc field itself left out. Notes are MCAP
metadata records with two entries: a JSON text, and the CRC32 of their name and that text.
"""

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from mcap.opcode import Opcode

from drivers import Block

MAGIC = b"\x89MCAP0\r\n"
BLOCK_MAGIC = b"\xffBLK"
HEADER = struct.Struct("<4sHHIQQQQII")
LARGEST = 1 << 24
"""No block or note has as many bytes; a length beyond it is damage, and nothing is read for it."""
_UNTIL_CRC = HEADER.size - 4
_FRAME = struct.Struct("<BQ")
_MESSAGE_PREFIX = 22
"""Bytes of an MCAP message record before its data: channel u16, sequence u32, log time u64, publish time u64."""
_LANDMARK = re.compile(rb"\xffBLK|\x0c[^\0]..\0{5}.\0{3}[a-z]", re.DOTALL)
"""What a block or a note (opcode, length, length of its name) begins with."""
_OVERLAP = 32

Record = tuple[int, bytes | memoryview]
"""MESSAGE: a proven block with its header; METADATA: a proven note, both without what MCAP puts before them."""


def pack_block(stream: int, block: Block) -> bytes:
    """A block as one message's data. ValueError where it has more than 16 MB."""
    if block.nbytes > LARGEST - 1024:
        raise ValueError(f"a block of {block.nbytes} bytes is too large to be recorded; its driver should cut it")
    lead = HEADER.pack(
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
    )[:_UNTIL_CRC]
    raw = block.samples.tobytes()
    return b"".join((lead, zlib.crc32(raw, zlib.crc32(lead)).to_bytes(4, "little"), raw))


def unpack_block(data: bytes | memoryview, dtypes: Sequence[np.dtype[np.void]]) -> tuple[int, Block]:
    """(place of its stream, block) of a proven one."""
    _, stream, flags, segment, first, newest, lost, observed_ns, count, _ = HEADER.unpack_from(data)
    samples = np.frombuffer(data, dtypes[stream], count, HEADER.size)
    return stream, Block(first, samples, observed_ns, newest, lost, bool(flags & 1), segment)


def pack_note(name: str, document: Mapping[str, Any]) -> dict[str, str]:
    """The entries of a note; `name` is in lower-case letters."""
    text = json.dumps(document, allow_nan=False)
    return {"json": text, "crc32": _note_crc(name, text)}


def unpack_note(data: bytes | memoryview) -> tuple[str, dict[str, Any]] | None:
    """(name, document) of a note; None where it is damaged."""
    texts, at = [], 0
    try:
        for _ in range(5):  # its name, then (behind the length of the map) two pairs of key and value
            (length,) = struct.unpack_from("<I", data, at)
            texts.append(str(data[at + 4 : at + 4 + length], "utf-8"))
            at += 4 + length + (4 if at == 0 else 0)
        name, entries = texts[0], dict(zip(texts[1::2], texts[2::2], strict=True))
        if entries["crc32"] != _note_crc(name, entries["json"]):
            return None
        document = json.loads(entries["json"])
    except (struct.error, ValueError, KeyError):
        return None
    return (name, document) if isinstance(document, dict) else None


def _note_crc(name: str, text: str) -> str:
    return f"{zlib.crc32(f'{name}={text}'.encode()):08x}"


class Records:
    """One pass over the records of a negative; flat memory. `damaged` counts the places that had to be skipped."""

    def __init__(self, path: Path, dtypes: Sequence[np.dtype[np.void]]) -> None:
        """`dtypes` of the streams by place; empty where only notes are looked for."""
        self.damaged = 0
        self._path = path
        self._dtypes = dtypes

    def __iter__(self) -> Iterator[Record]:
        with self._path.open("rb", buffering=1 << 17) as file:
            if file.read(len(MAGIC)) != MAGIC:
                self.damaged += 1
            begun = False
            while True:
                position = file.tell()
                record = self._record(file, begun)
                if record is None:
                    file.seek(position)
                    if not file.read(1):
                        return
                    self.damaged += 1
                    record = self._search(file, position + 1)
                    if record is None:
                        return
                if record[0] == Opcode.DATA_END:
                    return
                if record[0] in (Opcode.MESSAGE, Opcode.METADATA):
                    begun = True
                    yield record

    @staticmethod
    def _record(file: BinaryIO, begun: bool) -> Record | None:
        """The record at the file's position; None where there is no whole one.

        Headers and channels stand before all else: found later (`begun`) they are blocks with a damaged opcode.
        """
        frame = file.read(_FRAME.size)
        if len(frame) < _FRAME.size:
            return None
        opcode, length = _FRAME.unpack(frame)
        if length > LARGEST:
            return None
        if opcode == Opcode.MESSAGE:
            data = memoryview(file.read(length))[_MESSAGE_PREFIX:]
            return (opcode, data) if _proven(data) else None
        if opcode == Opcode.METADATA:
            note = file.read(length)
            return (opcode, note) if unpack_note(note) is not None else None
        if (opcode == Opcode.DATA_END and length == 4) or (opcode in (Opcode.HEADER, Opcode.CHANNEL) and not begun):
            return opcode, file.read(length)
        return None

    def _search(self, file: BinaryIO, position: int) -> Record | None:
        """The next whole block or note at or after `position`, whatever stands around it; the file is left behind it.

        None where nothing more is whole.
        """
        while True:
            file.seek(position)
            window = file.read(1 << 16)
            for match in _LANDMARK.finditer(window):
                file.seek(position + match.start())
                record = self._block_alone(file) if match[0] == BLOCK_MAGIC else self._record(file, True)
                if record is not None and record[0] != Opcode.DATA_END:
                    return record
            if len(window) <= _OVERLAP:
                return None
            position += len(window) - _OVERLAP

    def _block_alone(self, file: BinaryIO) -> Record | None:
        """The block at the file's position, where the frame before it is damaged."""
        header = file.read(HEADER.size)
        if len(header) < HEADER.size:
            return None
        stream, count = HEADER.unpack(header)[1], HEADER.unpack(header)[8]
        if stream >= len(self._dtypes) or count * self._dtypes[stream].itemsize > LARGEST:
            return None
        data = header + file.read(count * self._dtypes[stream].itemsize)
        return (Opcode.MESSAGE, data) if _proven(data) else None


def _proven(data: bytes | memoryview) -> bool:
    if len(data) < HEADER.size or data[:4] != BLOCK_MAGIC:
        return False
    view = memoryview(data)
    crc = int.from_bytes(view[_UNTIL_CRC : HEADER.size], "little")
    return zlib.crc32(view[HEADER.size :], zlib.crc32(view[:_UNTIL_CRC])) == crc
