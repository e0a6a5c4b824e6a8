"""Finds the frames of SensiML Simple Streaming version 2 in any bytes, however damaged and however cut.

    offset  0     1       3     4        5         9            9+n
            sync  length  zero  channel  sequence  payload ...  XOR of bytes 3 ... 8+n
            0xFF  u16     0x00  u8       u32       n bytes      u8          length = n + 6, little endian

(SensiML "Simple Streaming Specification"; firmware ssi_comms.c.) Nothing is escaped and the XOR is weak: it passes one
damaged frame in 256, and any frame that has lost a 0xFF, for then the next frame's sync stands where the XOR was. So a
frame also has to be followed by a header; where it is not, the next header tells, itself perhaps damaged, whether it
begins where it should or inside this frame.
"""

import struct
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

OVERHEAD = 10
"""Bytes of a frame beside its payload."""
LARGEST_PAYLOAD = 0xFFFF - 6
WRAP = 1 << 32
"""Sequence numbers count modulo this."""
SOON = 1 << 16
"""A number ahead by fewer frames than this is plausible."""
_HEADER = 9
_NUMBER = struct.Struct("<BI")
"""Channel and sequence, from the fourth byte of a frame on."""
FEW = 4
"""So many frames are sooner looked at one by one than by numpy, which is slow to come into its stride after a rest."""
_FIRST_SPAN, _WIDEST_SPAN = 8, 4096
"""Frames looked at in one go: few after damage, four times as many after each success."""

Frames = npt.NDArray[np.void]
"""Fields head, channel, sequence, payload (bytes), xor."""


class Run(NamedTuple):
    """Good frames that came back to back."""

    data: bytes
    at: int
    """Where in `data` the first begins."""
    frames: int
    observed_ns: int
    """When the last byte of the last one came."""
    strays: int
    """Unexplained bytes before the first."""


def header(payload_bytes: int, channel: int, sequence: int) -> bytes:
    """The first nine bytes of a frame."""
    length = payload_bytes + 6
    return b"\xff" + length.to_bytes(2, "little") + bytes((0, channel)) + (sequence % WRAP).to_bytes(4, "little")


def streams(data: bytes) -> bool:
    """Whether two frames of one size and channel stand back to back in it, with numbers that follow."""
    at = data.find(b"\xff")
    while 0 <= at <= len(data) - _HEADER:
        size = int.from_bytes(data[at + 1 : at + 3], "little")
        after = data[at + size + 4 : at + size + 4 + _HEADER]
        number = int.from_bytes(data[at + 5 : at + _HEADER], "little")
        if size > 6 and data[at + 3] == 0 and after == header(size - 6, data[at + 4], number + 1):
            return True
        at = data.find(b"\xff", at + 1)
    return False


class Framer:
    """Cuts a stream of bytes into frames of one size. Holds on to little more than one frame of bytes."""

    def __init__(self, payload_bytes: int) -> None:
        self.counters = {"garbage_bytes": 0, "bad_checksums": 0, "refused_packets": 0}
        self.size = payload_bytes + OVERHEAD
        self._payload_bytes = payload_bytes
        self._head = header(payload_bytes, 0, 0)[:4]
        self._head_value = np.uint32(int.from_bytes(self._head, "little"))
        self._layout = np.dtype(
            [
                ("head", "<u4"),
                ("channel", "u1"),
                ("sequence", "<u4"),
                ("payload", "u1", (payload_bytes,)),
                ("xor", "u1"),
            ]
        )
        self._span = _FIRST_SPAN
        self._rest = b""
        """Not decided yet; it begins `_offset` bytes into the stream."""
        self._offset = 0
        self._arrivals: deque[tuple[int, int]] = deque()
        """How far the stream had got when."""
        self._strays = 0
        self._newest: dict[int, int] = {}
        """Sequence number of the newest frame, by channel."""

    @property
    def pending(self) -> bool:
        """Whether a whole frame waits for what follows it; `settle`, after some silence, lets it go."""
        return len(self._rest) >= self.size

    def feed(self, data: bytes, observed_ns: int) -> list[Run]:
        """The frames that these bytes complete and confirm. They look into `data`: copy what is to stay."""
        self._rest = self._rest + data if self._rest else data
        self._arrivals.append((self._offset + len(self._rest), observed_ns))
        return self._find(settled=False)

    def array(self, run: Run) -> Frames:
        """All of a run at once."""
        return np.frombuffer(run.data, self._layout, run.frames, run.at)

    def one_by_one(self, data: bytes, at: int, count: int) -> Iterator[tuple[int, int, bytes]]:
        """(channel, sequence, payload) of each of so many frames."""
        for begin in range(at, at + count * self.size, self.size):
            channel, sequence = _NUMBER.unpack_from(data, begin + 4)
            yield channel, sequence, data[begin + _HEADER : begin + self.size - 1]

    def settle(self) -> list[Run]:
        """The frames in what has come so far, for when nothing follows for a while."""
        return self._find(settled=True) if self.pending else []

    def _find(self, settled: bool) -> list[Run]:
        data, at, runs = self._rest, 0, list[Run]()
        while True:
            at = self._back_to_back(data, at, runs)
            at, found = self._hunt(data, at, settled)
            if not found:
                break
            at = self._found(runs, data, at, 1)
        self._rest = data[at:]
        self._offset += at
        while self._arrivals and self._arrivals[0][0] <= self._offset:
            self._arrivals.popleft()
        return runs

    def _back_to_back(self, data: bytes, at: int, runs: list[Run]) -> int:
        """Takes frames from `at` on for as long as nothing is in doubt; returns where that ends.

        Whole arrays at a time where there are many: this is where nearly all frames go.
        """
        size = self.size
        while count := min(max(0, len(data) - at - len(self._head)) // size, self._span):
            good = self._good_of_few(data, at, count) if count <= FEW else self._good_of_many(data, at, count)
            taken = good
            if taken and not data.startswith(self._head, at + taken * size):
                taken -= 1  # no header follows it: _hunt looks closer
            if taken:
                at = self._found(runs, data, at, taken)
            self._span = _FIRST_SPAN if good < count else min(4 * self._span, _WIDEST_SPAN)
            if taken < count:
                break
        return at

    def _good_of_few(self, data: bytes, at: int, count: int) -> int:
        """How many frames have their header and checksum before the first that has not."""
        for n in range(count):
            if not data.startswith(self._head, at) or _xor(data[at + 3 : at + self.size]):
                return n
            at += self.size
        return count

    def _good_of_many(self, data: bytes, at: int, count: int) -> int:
        headed = np.frombuffer(data, self._layout, count, at)["head"] == self._head_value
        if not headed[0]:
            return 0
        raw = np.frombuffer(data, np.uint8, count * self.size, at).reshape(count, self.size)
        good = headed & (np.bitwise_xor.reduce(raw[:, 3:], axis=1) == 0)
        return count if good.all() else int(good.argmin())

    def _hunt(self, data: bytes, at: int, settled: bool) -> tuple[int, bool]:
        """Where the next good frame begins, and True; where the undecided bytes do, and False: there is none yet."""
        while (start := data.find(self._head, at)) >= 0:
            self._stray(start - at)
            at, end = start, start + self.size
            if end > len(data) - (0 if settled else _HEADER + 2) and not data.startswith(self._head, end):
                return at, False
            if _xor(data[at + 3 : end]):
                self.counters["bad_checksums"] += 1
            else:
                followed = self._followed(data, at, settled)
                if followed is None:
                    return at, False
                if followed:
                    return at, True
                self.counters["refused_packets"] += 1
            self._stray(1)
            at += 1
        keep = max(at, len(data) - len(self._head) + 1)
        self._stray(keep - at)
        return keep, False

    def _followed(self, data: bytes, at: int, settled: bool) -> bool | None:
        """Whether what comes after a frame speaks for it; None where more bytes are needed to tell.

        (A frame that ends in 0xFF, before one without its sync, cannot be told from one that has lost a 0xFF: refused.)
        """
        end = at + self.size
        if data.startswith(self._head, end):
            return True
        after = data[end : end + _HEADER + 2]
        if len(after) < _HEADER + 2:
            return (settled and self._head.startswith(after)) or None
        channel, sequence = data[at + 4], int.from_bytes(data[at + 5 : at + _HEADER], "little")
        inside = data.find(self._head, at + 1, end + 3)
        while inside >= 0:
            if self._plausible(data[inside + 4 : inside + _HEADER], channel, sequence):
                return False
            inside = data.find(self._head, inside + 1, end + 3)
        following = header(self._payload_bytes, channel, sequence + 1)
        edits = _edits(after, following)
        if _edits(data[end - 1 : end + _HEADER + 1], following) < edits:
            return False  # it has lost a byte
        gained = _edits(data[end + 1 : end + _HEADER + 3], following) < edits
        return not gained or data[end] in (self._head[0], data[end - 1])

    def _plausible(self, number: bytes, channel: int, sequence: int) -> bool:
        """Whether channel and sequence of a header are those of a frame soon after the given one, or the newest."""
        before = [sequence] if number[0] == channel else []
        before += [self._newest[number[0]]] if number[0] in self._newest else []
        after = int.from_bytes(number[1:], "little")
        return any(0 < (after - known) % WRAP < SOON for known in before)

    def _found(self, runs: list[Run], data: bytes, at: int, count: int) -> int:
        """Adds good frames; returns where they end."""
        end = at + count * self.size
        while self._arrivals[0][0] < self._offset + end:
            self._arrivals.popleft()
        run = Run(data, at, count, self._arrivals[0][1], self._strays)
        runs.append(run)
        self._strays = 0
        if count > FEW:
            frames = self.array(run)
            channels = frames["channel"]
            for channel in np.unique(channels) if (channels != data[end - self.size + 4]).any() else ():
                self._newest[int(channel)] = int(frames["sequence"][channels == channel][-1])
        last = min(count, FEW)
        for channel, sequence, _ in self.one_by_one(data, end - last * self.size, last):
            self._newest[channel] = sequence
        return end

    def _stray(self, count: int) -> None:
        self._strays += count
        self.counters["garbage_bytes"] += count


def _xor(data: bytes) -> int:
    """The XOR of all bytes, by folding them in half."""
    value, size = int.from_bytes(data, "little"), len(data)
    while size > 1:
        size = (size + 1) // 2
        value = (value >> 8 * size) ^ (value & ((1 << 8 * size) - 1))
    return value


def _edits(data: bytes, expected: bytes) -> int:
    """0 where `data` begins with `expected`, 1 with one byte of it changed, lost or too many, else 2."""
    size = len(expected)
    at = next((n for n, (one, other) in enumerate(zip(data, expected, strict=False)) if one != other), size)
    if at == size:
        return 0
    changed = data[at + 1 : size] == expected[at + 1 :]
    lost = data[at : size - 1] == expected[at + 1 :]
    gained = data[at + 1 : size + 1] == expected[at:]
    return 1 if changed or lost or gained else 2
