"""The ring: a bounded deque of blocks between a sensor and the disk, read by cursors; it counts what it had to drop."""

import math
import threading
import weakref
from collections import deque
from itertools import islice

from drivers import Block


class Ring:
    """Holds the last `seconds` of blocks, at most `max_bytes` of them. One thread appends, each cursor reads.

    The newest block always stays, whatever its size. Of a picture that all readers have, only its times stay: ten
    seconds of pictures can be more memory than all else together.
    """

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._span_ns = int(seconds * 1e9)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._blocks: deque[Block] = deque()
        self._bytes = 0
        self._appended = 0
        """Blocks ever appended: the serial number of the next one."""
        self._evicted_samples = 0
        self._readers = weakref.WeakSet[Cursor]()
        self._keeps_pictures = False
        self._spent = 0
        """Serial number of the first block whose picture is still there."""

    def keep_pictures(self) -> None:
        """From now on they stay as long as all else does: a trigger may want those from before it."""
        self._keeps_pictures = True

    def append(self, block: Block) -> None:
        with self._lock:
            if block.is_picture and not self._keeps_pictures:
                self._spend()
            self._blocks.append(block)
            self._bytes += block.nbytes
            self._appended += 1
            horizon = block.observed_ns - self._span_ns
            while len(self._blocks) > 1 and (self._blocks[0].observed_ns < horizon or self._bytes > self._max_bytes):
                old = self._blocks.popleft()
                self._bytes -= old.nbytes
                self._evicted_samples += old.count

    def cursor(self, past_s: float = 0.0) -> "Cursor":
        """A reader that begins with the blocks of the last `past_s` seconds.

        inf: with all that are there whole; and what comes stays whole until this reader has it.
        """
        with self._lock:
            back = 0
            if past_s == math.inf:
                back = min(len(self._blocks), self._appended - self._spent)
            elif past_s > 0 and self._blocks:
                horizon = self._blocks[-1].observed_ns - past_s * 1e9
                for block in reversed(self._blocks):
                    if block.observed_ns < horizon:
                        break
                    back += 1
            found = Cursor(self, self._appended - back, self._evicted_samples + self._samples(len(self._blocks) - back))
            if past_s == math.inf:
                self._readers.add(found)
            return found

    def held(self) -> tuple[int, int, float]:
        """(blocks, bytes, seconds) in it now."""
        with self._lock:
            span_ns = self._blocks[-1].observed_ns - self._blocks[0].observed_ns if self._blocks else 0
            return len(self._blocks), self._bytes, span_ns / 1e9

    def _spend(self) -> None:
        """Gives up the pictures that every reader has."""
        oldest = self._appended - len(self._blocks)
        had = min((cursor.serial for cursor in self._readers), default=0)
        for serial in range(max(self._spent, oldest), had):
            whole = self._blocks[serial - oldest]
            spent = self._blocks[serial - oldest] = whole.without_picture()
            self._bytes -= whole.nbytes - spent.nbytes
        self._spent = max(self._spent, had)

    def _samples(self, blocks: int) -> int:
        return sum(block.count for block in islice(self._blocks, blocks))

    def _since(self, serial: int, samples: int) -> tuple[list[Block], int, int, int]:
        """(blocks from `serial` on, next serial, samples passed by then, samples dropped before them)."""
        with self._lock:
            new = self._appended - serial
            dropped = 0
            if new > len(self._blocks):
                new = len(self._blocks)
                dropped = self._evicted_samples - samples
            blocks = list(islice(reversed(self._blocks), new))
            blocks.reverse()
            return blocks, self._appended, samples + dropped + sum(block.count for block in blocks), dropped


class Cursor:
    """One reader's place in a ring. Used by one thread."""

    def __init__(self, ring: Ring, serial: int, samples: int) -> None:
        self._ring = ring
        self.serial = serial
        """Of the next block it takes; those before are its own matter."""
        self._samples = samples
        self.dropped = 0
        """Samples that the ring had to drop before this reader came for them."""

    def take(self) -> list[Block]:
        """All blocks since the last take; never waits."""
        blocks, self.serial, self._samples, dropped = self._ring._since(self.serial, self._samples)
        self.dropped += dropped
        return blocks
