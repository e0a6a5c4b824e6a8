"""Finds the frames of SensiML Simple Streaming version 2 in any bytes, however damaged and however cut.

    offset  0     1       3     4        5         9            9+n
            sync  length  zero  channel  sequence  payload ...  XOR of bytes 3 ... 8+n
            0xFF  u16     0x00  u8       u32       n bytes      u8          length = n + 6, little endian

(SensiML "Simple Streaming Specification"; firmware ssi_comms.c.) Nothing is escaped and the XOR is weak: it passes one
damaged frame in 256, and any frame that has lost a 0xFF, for then the next frame's sync stands where the XOR was. So a
frame also has to be followed by a header; where it is not, the next header tells, itself perhaps damaged, whether it
begins where it should or inside this frame.
"""

from collections import deque
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
_FIRST_SPAN, _WIDEST_SPAN = 8, 4096
"""Frames looked at in one go: few after damage, four times as many after each success."""

Frames = npt.NDArray[np.void]
"""Fields head, channel, sequence, payload (bytes), xor."""


class Run(NamedTuple):
    """Good frames that came back to back."""

    frames: Frames
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
        """The frames that these bytes complete and confirm. The arrays look into `data`: copy what is to stay."""
        self._rest = self._rest + data if self._rest else data
        self._arrivals.append((self._offset + len(self._rest), observed_ns))
        return self._find(settled=False)

    def settle(self) -> list[Run]:
        """The frames in what has come so far, for when nothing follows for a while."""
        return self._find(settled=True) if self.pending else []

    def _find(self, settled: bool) -> list[Run]:
        data, at, runs = self._rest, 0, list[Run]()
        while True:
            at = self._back_to_back(data, at, runs)
            at, frame = self._hunt(data, at, settled)
            if frame is None:
                break
            at = self._found(runs, frame, at)
        self._rest = data[at:]
        self._offset += at
        while self._arrivals and self._arrivals[0][0] <= self._offset:
            self._arrivals.popleft()
        return runs

    def _back_to_back(self, data: bytes, at: int, runs: list[Run]) -> int:
        """Takes frames from `at` on for as long as nothing is in doubt; returns where that ends.

        Whole arrays at a time: this is where nearly all frames go.
        """
        size = self.size
        while count := min((len(data) - at) // size, self._span):
            frames = np.frombuffer(data, self._layout, count, at)
            headed = frames["head"] == self._head_value
            if not headed[0]:
                break
            raw = np.frombuffer(data, np.uint8, count * size, at).reshape(count, size)
            good = headed & (np.bitwise_xor.reduce(raw[:, 3:], axis=1) == 0)
            taken = count if good.all() else int(good.argmin())
            damaged = taken < count
            if taken and not (headed[taken] if damaged else data.startswith(self._head, at + count * size)):
                taken -= 1  # no header follows it: _hunt looks closer
            if taken:
                at = self._found(runs, frames[:taken], at + taken * size)
            self._span = _FIRST_SPAN if damaged else min(4 * self._span, _WIDEST_SPAN)
            if taken < count:
                break
        return at

    def _hunt(self, data: bytes, at: int, settled: bool) -> tuple[int, Frames | None]:
        """The next good frame and its end; None and the beginning of the undecided bytes where there is none yet."""
        while (start := data.find(self._head, at)) >= 0:
            self._stray(start - at)
            at, end = start, start + self.size
            if end > len(data):
                return at, None
            if np.bitwise_xor.reduce(np.frombuffer(data, np.uint8, self.size - 3, at + 3)):
                self.counters["bad_checksums"] += 1
            else:
                followed = self._followed(data, at, settled)
                if followed is None:
                    return at, None
                if followed:
                    return end, np.frombuffer(data, self._layout, 1, at)
                self.counters["refused_packets"] += 1
            self._stray(1)
            at += 1
        keep = max(at, len(data) - len(self._head) + 1)
        self._stray(keep - at)
        return keep, None

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

    def _found(self, runs: list[Run], frames: Frames, end: int) -> int:
        """Adds good frames that end at `end`, which it returns."""
        while self._arrivals[0][0] < self._offset + end:
            self._arrivals.popleft()
        runs.append(Run(frames, self._arrivals[0][1], self._strays))
        self._strays = 0
        channels = frames["channel"]
        last = frames[-1]
        self._newest[int(last["channel"])] = int(last["sequence"])
        if len(frames) > 1 and (channels != channels[0]).any():
            for channel in np.unique(channels):
                self._newest[int(channel)] = int(frames["sequence"][channels == channel][-1])
        return end

    def _stray(self, count: int) -> None:
        self._strays += count
        self.counters["garbage_bytes"] += count


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
