"""Finds a user's own frames in any bytes, however damaged and however cut: behind sync bytes, or between COBS zeros."""

from bisect import bisect_left
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from drivers._checksums import Bytes
from drivers._struct_layout import Layout

LONGEST_COBS = 253
"""The most bytes of a frame that COBS always makes one byte longer, whatever is in it."""
_SURE_BITS, _LIKELY_BITS = 32, 16
_FEW = 4
"""So many frames are sooner looked at one by one than by numpy, which is slow to come into its stride after a rest."""
_AT_ONCE = 1 << 20
"""Bytes of frames looked at in one go."""


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
        self._strays = 0

    def feed(self, data: bytes) -> Found:
        """The frames that these bytes complete."""
        data = self._rest + data
        if self._locked and not self._strays and (found := self._few(data)) is not None:
            return found
        at, size, room = 0, self._layout.size, len(data) - self._after
        following = self._good(data)
        sure = [place for place, frames in following.items() if frames >= self._lock]
        pieces, strays, frames = [], list[tuple[int, int]](), 0
        while True:
            if not self._locked:
                begin = bisect_left(sure, at)
                if begin == len(sure):
                    at = self._stray(at, max(at, room - self._lock * size + 1))
                    break
                at, self._locked = self._stray(at, sure[begin]), True
            if count := following.get(at, 0):
                pieces.append(np.frombuffer(data, np.uint8, count * size, at).reshape(count, size))
                strays.append((frames, self._strays))
                self._strays = 0
                frames += count
                at += count * size
            if at + size > room:
                break
            self.counters["bad_checksums"] += data.startswith(self._layout.sync, at)
            self.counters["resyncs"] += 1
            self._locked = False
            at = self._stray(at, at + 1)
        self._rest = data[at:]
        if not pieces:
            return Found(np.empty((0, size), np.uint8), np.empty(0, np.int64))
        before = np.zeros(frames, np.int64)
        before[[first for first, _ in strays]] = [count for _, count in strays]
        return Found(np.concatenate(pieces), before)

    def _few(self, data: bytes) -> Found | None:
        """The same where no more than a few frames came, and nothing else; None where a closer look is needed."""
        size = self._layout.size
        count = max(0, len(data) - self._after) // size
        if count > _FEW or not all(self._layout.valid_one(data, n * size) for n in range(count)):
            return None
        if self._after and not all(data.startswith(self._layout.sync, (n + 1) * size) for n in range(count)):
            return None
        self._rest = data[count * size :]
        return Found(np.frombuffer(data, np.uint8, count * size).reshape(count, size), np.zeros(count, np.int64))

    def _good(self, data: bytes) -> dict[int, int]:
        """The places where good frames begin, in order, and how many follow one another from there on.

        Within what follows only where frames seem to lie across others.
        """
        sync, size = self._layout.sync, self._layout.size
        raw = np.frombuffer(data, np.uint8)
        places = len(raw) - size - self._after + 1
        if places <= 0:
            return {}
        headed = np.ones(len(raw) - len(sync) + 1, np.bool_)
        for n, byte in enumerate(sync):
            headed &= raw[n : n + len(headed)] == byte
        found = headed[:places].nonzero()[0]
        if self._after:
            found = found[headed[found + size]]
        windows = _windows(data, size)
        step = max(1, _AT_ONCE // size)
        parts = [found[begin : begin + step] for begin in range(0, len(found), step)]
        good = np.concatenate([part[self._layout.valid(windows[part])] for part in parts] or [found])
        steps = good[1:] - good[:-1]
        if (steps < size).any():
            return _crossing(good, size)
        heads = [0, *((steps != size).nonzero()[0] + 1).tolist(), len(good)] if len(good) else [0]
        return {int(good[head]): following - head for head, following in pairwise(heads)}

    def _stray(self, at: int, to: int) -> int:
        self._strays += to - at
        self.counters["garbage_bytes"] += to - at
        return to


def _crossing(good: npt.NDArray[np.intp], size: int) -> dict[int, int]:
    """The same of each place, where frames lie across others: a run of them is in step with itself alone."""
    in_step = good[np.lexsort((good, good % size))]
    last = np.append(np.diff(in_step) != size, True).nonzero()[0]
    ends = in_step[last[np.searchsorted(last, np.arange(len(in_step)))]]
    order = in_step.argsort()
    return _counted(in_step[order], ((ends - in_step) // size + 1)[order])


def _counted(places: npt.NDArray[np.intp], frames: npt.NDArray[np.intp]) -> dict[int, int]:
    return dict(zip(places.tolist(), frames.tolist(), strict=True))


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
        size = self._layout.size
        zeros = (np.frombuffer(data, np.uint8) == 0).nonzero()[0]
        begins = np.zeros_like(zeros)
        begins[1:] = zeros[:-1] + 1
        lengths = zeros - begins
        right = lengths == size + 1
        frames, whole = unstuffed(_windows(data, size + 1)[begins[right]], size)
        good = whole & self._layout.valid(frames)
        if len(frames) < len(zeros) or not good.all():
            frames, strays = frames[good], self._damaged(lengths, right, good)
        else:
            strays = np.zeros(len(frames), np.int64)
            if len(frames):
                strays[0], self._strays = self._strays, 0
        self._rest = data[int(zeros[-1]) + 1 if len(zeros) else 0 :]
        if (excess := len(self._rest) - size - 2) > 0:
            self._rest = self._rest[excess:]  # still too long to be a frame
            self._strays += excess
            self.counters["garbage_bytes"] += excess
        return Found(frames, strays)

    def _damaged(
        self, lengths: npt.NDArray[np.intp], right: npt.NDArray[np.bool_], good: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Counts what is no good frame; the bytes of it before each one that is."""
        self.counters["bad_checksums"] += len(good) - int(good.sum())
        taken = right.copy()
        taken[right] = good
        damage = np.where(taken | (lengths == 0), 0, lengths + 1)
        total = np.concatenate([[self._strays], damage]).cumsum()
        self.counters["garbage_bytes"] += int(damage.sum())
        self.counters["resyncs"] += int((damage > 0).sum())
        before = total[:-1][taken]
        self._strays = int(total[-1] - (before[-1] if len(before) else 0))
        return np.diff(before, prepend=0).astype(np.int64)


def unstuffed(stuffed: Bytes, size: int) -> tuple[Bytes, npt.NDArray[np.bool_]]:
    """Frames of `size` bytes out of lines of `size` + 1 bytes of COBS, and which of them hold together."""
    # behind each line its end and what is beyond, from where no step leads on
    lines = np.zeros((len(stuffed), size + 3), np.uint8)
    lines[:, : size + 1] = stuffed
    steps, made = lines.reshape(-1), lines.copy()
    zeros = made.reshape(-1)
    begins = np.arange(0, len(steps), size + 3)
    ends, beyond = begins + size + 1, begins + size + 2
    mark = begins  # where the next zero was
    while (mark < ends).any():
        mark = np.minimum(mark + steps[mark], beyond)
        zeros[mark] = 0
    return np.ascontiguousarray(made[:, 1 : size + 1]), mark == ends


def _windows(data: bytes, size: int) -> Bytes:
    """The `size` bytes from each place on, shape (places, size); nothing is copied."""
    return np.ndarray((max(0, len(data) - size + 1), size), np.uint8, data, strides=(1, 1))
