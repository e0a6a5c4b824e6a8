"""Finds a user's own frames in any bytes, however damaged and however cut: behind sync bytes, or between COBS zeros."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from drivers._checksums import Bytes
from drivers._struct_layout import Layout

LONGEST_COBS = 253
"""The most bytes of a frame that COBS always makes one byte longer, whatever is in it."""
_SURE_BITS, _LIKELY_BITS = 32, 16
_SPAN = 64
"""Frames searched in one go: after damage the next good one is near."""
_FIRST_SPAN, _WIDEST_SPAN = 256, 4096
"""Frames checked in one go: fewer after damage, more after each success."""


class Found(NamedTuple):
    """Good frames in the order they came."""

    raw: Bytes
    """Shape (frames, size)."""
    strays: npt.NDArray[np.int64]
    """Unexplained bytes directly before each."""


class SyncFramer:
    """Frames that begin with sync bytes.

    A frame is believed at once where sync bytes, fixed values and checksum are enough evidence, otherwise once two or
    three have come back to back. Without a checksum each also waits for the sync bytes of the next one.
    """

    def __init__(self, layout: Layout) -> None:
        self.counters = {"garbage_bytes": 0, "bad_checksums": 0, "resyncs": 0}
        self.stride = layout.size
        """Bytes from one frame to the next."""
        self._layout = layout
        bits = layout.evidence_bits
        self._lock = 1 if bits >= _SURE_BITS else 2 if bits >= _LIKELY_BITS else 3
        self._after = 0 if layout.checksum_bits else len(layout.sync)
        self._rest = b""
        self._locked = False
        self._span = _FIRST_SPAN
        self._strays = 0

    def feed(self, data: bytes) -> Found:
        """The frames that these bytes complete."""
        data = self._rest + data
        at, size = 0, self._layout.size
        pieces, strays = [], []
        while True:
            if not self._locked:
                if len(data) - at < self._lock * size + self._after:
                    break
                at, self._locked = self._hunt(data, at)
                continue
            count = min((len(data) - at - self._after) // size, self._span)
            if count <= 0:
                break
            raw = np.frombuffer(data, np.uint8, count * size, at).reshape(count, size)
            headed = self._headed(raw)
            good = headed & self._layout.valid(raw)
            if self._after:
                good[:-1] &= headed[1:]
                good[-1] &= data.startswith(self._layout.sync, at + count * size)
            taken = count if good.all() else int(good.argmin())
            if taken:
                pieces.append(raw[:taken])
                strays.append(np.zeros(taken, np.int64))
                strays[-1][0], self._strays = self._strays, 0
                at += taken * size
            self._span = _FIRST_SPAN if taken < count else min(4 * self._span, _WIDEST_SPAN)
            if taken < count:
                self.counters["bad_checksums"] += bool(headed[taken])
                self.counters["resyncs"] += 1
                self._locked = False
                at = self._stray(at, at + 1)
        self._rest = data[at:]
        if not pieces:
            return Found(np.empty((0, size), np.uint8), np.empty(0, np.int64))
        return Found(np.concatenate(pieces), np.concatenate(strays))

    def _headed(self, raw: Bytes) -> npt.NDArray[np.bool_]:
        sync = np.frombuffer(self._layout.sync, np.uint8)
        same: npt.NDArray[np.bool_] = (raw[:, : len(sync)] == sync).all(axis=1)
        return same

    def _hunt(self, data: bytes, at: int) -> tuple[int, bool]:
        """Where frames begin, or False and how far there are none. `data` has room for those that lock."""
        size, sync = self._layout.size, self._layout.sync
        raw = np.frombuffer(data, np.uint8, min(len(data) - at, _SPAN * size + self._after), at)
        places = len(raw) - self._lock * size - self._after + 1
        headed = np.ones(len(raw) - len(sync) + 1, np.bool_)
        for n, byte in enumerate(sync):
            headed &= raw[n : n + len(headed)] == byte
        found = headed[:places].nonzero()[0]
        for n in range(1, self._lock + bool(self._after)):
            found = found[headed[found + n * size]]
        windows = np.lib.stride_tricks.sliding_window_view(raw, size)
        for n in range(self._lock):
            found = found[self._layout.valid(windows[found + n * size])]
        if len(found):
            return self._stray(at, at + int(found[0])), True
        return self._stray(at, at + places), False

    def _stray(self, at: int, to: int) -> int:
        self._strays += to - at
        self.counters["garbage_bytes"] += to - at
        return to


class CobsFramer:
    """Frames in Consistent Overhead Byte Stuffing, each ended by a zero (Cheshire and Baker, 1999).

    The first byte of a frame, and then each that stands where a zero was, says how far it is to the next of these.
    """

    def __init__(self, layout: Layout) -> None:
        self.counters = {"garbage_bytes": 0, "bad_checksums": 0, "resyncs": 0}
        self.stride = layout.size + 2
        self._layout = layout
        self._rest = b""
        self._cut = True
        """Whether what is being received has no beginning."""
        self._strays = 0

    def feed(self, data: bytes) -> Found:
        """The frames that these bytes complete."""
        if self._cut:
            _, zero, data = data.partition(b"\0")
            self._cut = not zero
        data = self._rest + data
        raw, size = np.frombuffer(data, np.uint8), self._layout.size
        zeros = (raw == 0).nonzero()[0]
        begins = np.concatenate([[0], zeros[:-1] + 1])[: len(zeros)]
        lengths = zeros - begins
        right = lengths == size + 1
        windows = np.lib.stride_tricks.sliding_window_view(raw, size + 1) if right.any() else raw.reshape(-1, 1)[:0]
        frames, whole = unstuffed(windows[begins[right]], size)
        good = whole & self._layout.valid(frames)
        self.counters["bad_checksums"] += len(good) - int(good.sum())
        taken = right.copy()
        taken[right] = good
        damage = np.where(taken | (lengths == 0), 0, lengths + 1)
        total = np.concatenate([[self._strays], damage]).cumsum()
        self.counters["garbage_bytes"] += int(damage.sum())
        self.counters["resyncs"] += int((damage > 0).sum())
        before = total[:-1][taken]
        strays = np.diff(before, prepend=0)
        self._strays = int(total[-1] - (before[-1] if len(before) else 0))
        self._rest = data[int(zeros[-1]) + 1 if len(zeros) else 0 :]
        if (excess := len(self._rest) - size - 2) > 0:
            self._rest = self._rest[excess:]  # still too long to be a frame
            self._strays += excess
            self.counters["garbage_bytes"] += excess
        return Found(frames[good], strays.astype(np.int64))


def unstuffed(stuffed: Bytes, size: int) -> tuple[Bytes, npt.NDArray[np.bool_]]:
    """Frames of `size` bytes out of lines of `size` + 1 bytes of COBS, and which of them hold together."""
    made = np.empty((len(stuffed), size), np.uint8)
    if not len(stuffed):
        return made, np.empty(0, np.bool_)
    columns = np.ascontiguousarray(stuffed.T)
    mark = columns[0].astype(np.int64)  # where the next zero was
    for at in range(1, size + 1):
        here = mark == at
        made[:, at - 1] = np.where(here, 0, columns[at])
        mark += here * columns[at].astype(np.int64)
    return made, mark == size + 1
