"""Which rows lie at which bytes of a negative, read before it is damaged: what the damage may cost and nothing more.

From the description in `agent/negative_records.py`, and not with its code, which is what is on trial.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FRAME = struct.Struct("<BQ")
_METADATA, _MESSAGE = 0x0C, 0x05
_PREFIX = 22
_HEADER = struct.Struct("<4sHHIQQQQII")

Range = tuple[int, int]


class Layout:
    """A negative of one stream, as it is now."""

    def __init__(self, path: Path) -> None:
        """OSError where it is gone; ValueError where there is no head in it."""
        data = path.read_bytes()
        self.stream = ""
        self.begun_ns = 0
        self._blocks: list[tuple[Range, Range]] = []
        self._heads: list[Range] = []
        self._hit: set[int] = set()
        at = 8
        while at + _FRAME.size <= len(data):
            opcode, size = _FRAME.unpack_from(data, at)
            begin, end = at + _FRAME.size, at + _FRAME.size + size
            if end > len(data):
                break
            if opcode == _METADATA and len(self._heads) < 2:
                self._heads.append((at, end))
                value = data.index(b"json", begin, end) + len(b"json")
                (size,) = struct.unpack_from("<I", data, value)
                head = json.loads(data[value + 4 : value + 4 + size])
                self.stream, self.begun_ns = head["recording"], int(head["started"]["boot_time_ns"])
            elif opcode == _MESSAGE:
                header = _HEADER.unpack_from(data, begin + _PREFIX)
                first, lost, count = header[4], header[6], header[8]
                self._blocks.append(((at, end), (first - lost, first + count)))
            at = end

    def hit(self, begin: int, end: int) -> list[Range]:
        """The rows of the blocks that damage from byte `begin` to `end` touches, and what was lost before them; all
        of them where it has touched every copy of the head by now."""
        self._hit |= {place for place, (a, b) in enumerate(self._heads) if a < end and begin < b}
        if len(self._hit) == len(self._heads):
            return [rows for _, rows in self._blocks]
        return [rows for (a, b), rows in self._blocks if a < end and begin < b]


def rows_of(document: Mapping[str, Any]) -> list[Range]:
    """The rows of a capture, with those lost before and among them; none of a picture's."""
    stream = document["streams"][0]
    gaps = stream.get("gaps")
    if gaps is None:
        return []
    inside = sum(gap["samples"] for gap in gaps if gap["first"] >= stream["first"])
    begin = min([stream["first"], *(gap["first"] for gap in gaps)])
    return [(begin, stream["first"] + stream["samples"] + inside)]
