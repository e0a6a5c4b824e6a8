"""What stands where in a user's own frame, and whether a frame is one.

    sync bytes | variables, packed, those that are recorded perhaps several times over | checksum

(With COBS there are no sync bytes, and a zero ends the frame.)
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from drivers import Samples
from drivers._checksums import Bytes, checksum_of, checksums, width_of
from drivers._fields import np_order, wire_type

Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Variable:
    """One variable on the wire."""

    name: str
    type: str
    use: str
    """record, sequence or skip."""
    equals: int | None


class Layout:
    """The frames of one device."""

    def __init__(
        self,
        variables: Sequence[Variable],
        *,
        rows: int = 1,
        byte_order: str = "little",
        sync: bytes = b"",
        checksum: str = "none",
        checksum_order: str = "little",
        covers_sync: bool = False,
    ) -> None:
        """`rows`: how often the recorded variables, which then stand side by side, are repeated."""
        self.sync, self.rows = sync, rows
        self.checksum_bits = width_of(checksum)
        self._checksum, self._covers_sync = checksum, covers_sync
        self._checksum_order: Literal["little", "big"] = "big" if checksum_order == "big" else "little"
        wire = [(variable.name, wire_type(variable.type, byte_order)) for variable in variables]
        recorded = [variable.use == "record" for variable in variables]
        first, last = recorded.index(True), len(recorded) - recorded[::-1].index(True)
        inner = np.dtype(wire[first:last])
        self._inner = "(recorded)"
        # no channel can have a name with parentheses
        parts: list[tuple[str, object, tuple[int, ...]]] = [("(sync)", f"V{len(sync)}", ())] if sync else []
        parts += [(name, kind, ()) for name, kind in wire[:first]]
        parts += [(self._inner, inner, (rows,))]
        parts += [(name, kind, ()) for name, kind in wire[last:]]
        if self.checksum_bits:
            parts += [("(checksum)", np_order(f"u{self.checksum_bits // 8}", checksum_order), ())]
        self.frame = np.dtype(parts)
        self.size = self.frame.itemsize
        self.recorded = np.dtype(
            [(v.name, wire_type(v.type, "little")) for v, ours in zip(variables, recorded, strict=True) if ours]
        )
        self._alike = inner == self.recorded
        self._fixed = [(v.name, v.equals) for v in variables if v.equals is not None]
        self._sequence = next((v.name for v in variables if v.use == "sequence"), "")
        self._inside = {name for name, _ in wire[first:last]}
        self.wrap = 1 << 8 * self._of(np.zeros(1, self.frame), self._sequence).itemsize if self._sequence else 0
        """Sequence numbers count modulo this; 0 where there are none."""
        fixed_bits = 8 * sum(self._of(np.zeros(1, self.frame), name).itemsize for name, _ in self._fixed)
        self._bytes = [self._place(name, value) for name, value in self._fixed]
        """Where which bytes stand in each good frame."""
        self.evidence_bits = 8 * len(sync) + self.checksum_bits + fixed_bits
        """How much of a frame chance would have to guess."""

    def valid(self, raw: Bytes) -> Bools:
        """Which of the lines of `raw`, shape (frames, size), are good frames; the sync bytes are not looked at."""
        frames = self.view(raw)
        good = np.ones(len(raw), np.bool_)
        for name, value in self._fixed:
            same = self._of(frames, name) == value
            good &= same if same.ndim == 1 else same.all(axis=1)
        if self.checksum_bits:
            begin = 0 if self._covers_sync else len(self.sync)
            made = checksums(self._checksum, raw[:, begin : self.size - self.checksum_bits // 8])
            good &= frames["(checksum)"] == made
        return good

    def valid_one(self, data: bytes, at: int) -> bool:
        """Whether a good frame, sync bytes and all, begins there; `data` has room for it."""
        if not data.startswith(self.sync, at) or any(not data.startswith(b, at + offset) for offset, b in self._bytes):
            return False
        if not self.checksum_bits:
            return True
        begin, end = at + (0 if self._covers_sync else len(self.sync)), at + self.size - self.checksum_bits // 8
        said = int.from_bytes(data[end : at + self.size], self._checksum_order)
        return said == checksum_of(self._checksum, data[begin:end])

    def view(self, raw: Bytes) -> npt.NDArray[np.void]:
        """Lines of bytes as frames."""
        return np.ascontiguousarray(raw).view(self.frame).reshape(-1)

    def samples(self, frames: npt.NDArray[np.void]) -> Samples:
        """The recorded variables of the frames, little endian."""
        inner: Samples = frames[self._inner].reshape(-1)
        if self._alike:
            return inner.copy()
        rows = np.empty(len(inner), self.recorded)
        for name in self.recorded.names or ():
            rows[name] = inner[name]
        return rows

    def sequence(self, frames: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
        """The frames' sequence numbers, from 0 to `wrap` - 1."""
        numbers = self._of(frames, self._sequence).reshape(-1)
        return (numbers.astype(np.int64)) % self.wrap

    def _place(self, name: str, value: int) -> tuple[int, bytes]:
        """Where the bytes of a variable with this value stand in a frame. (With several rows it is outside them.)"""
        outer: Mapping[str, Any] = self.frame.fields or {}
        if name not in self._inside:
            kind, begin = outer[name][:2]
        else:
            inner, begin = outer[self._inner][:2]
            kind, offset = inner.base.fields[name][:2]
            begin += offset
        return begin, np.array(value, kind).tobytes()

    def _of(self, frames: npt.NDArray[np.void], name: str) -> npt.NDArray[np.generic]:
        found: npt.NDArray[np.generic] = frames[self._inner][name] if name in self._inside else frames[name]
        return found
