"""Turns a user's own frames into rows: exactly counted where they carry sequence numbers, estimated where not.

A number that jumps is believed where a checksum of 16 bits or more guards it, where the next frame goes on from it, or
where the bytes between the frames say the same. A number that goes back means that the device has started anew.
"""

import numpy as np
import numpy.typing as npt

from drivers import Block
from drivers._struct_framing import CobsFramer, Found, SyncFramer
from drivers._struct_layout import Layout
from drivers._unnumbered import Numbering, damaged_rows

_STRONG_BITS = 16


class Decoder:
    """Turns bytes, however they are cut, into blocks. Holds on to a few frames at most."""

    def __init__(self, layout: Layout, *, cobs: bool, rate_hz: float) -> None:
        self._framer: SyncFramer | CobsFramer = CobsFramer(layout) if cobs else SyncFramer(layout)
        self.counters = self._framer.counters | {"frames": 0}
        if layout.wrap:
            self.counters |= {"lost_frames": 0, "refused_frames": 0, "repeated_frames": 0, "device_restarts": 0}
        self._framer.counters = self.counters
        self.fatal = ""
        self._layout = layout
        self._strong = layout.checksum_bits >= _STRONG_BITS
        self._numbering = Numbering(rate_hz, layout.rows)
        self._expected: int | None = None
        self._held: Found | None = None
        """A frame that nothing speaks for yet."""
        self._strays = 0

    def advice(self) -> str:
        """What to look at where nothing is good."""
        what = f"sync {self._layout.sync.hex(' ')}" if self._layout.sync else "zeros"
        return (
            f"no good frames of {self._framer.stride} bytes with {what}; check `baud`, number, types and order of "
            "`fields`, values that are given as `equals`, `checksum` and what it covers"
        )

    def feed(self, data: bytes, observed_ns: int) -> list[Block]:
        """The rows of the frames that these bytes complete and confirm."""
        found = self._framer.feed(data)
        if self._held is not None and len(found.raw):
            held, self._held = self._held, None
            found = Found(np.concatenate([held.raw, found.raw]), np.concatenate([held.strays, found.strays]))
        if not len(found.raw):
            return []
        frames = self._layout.view(found.raw)
        return self._numbered(frames, found, observed_ns) if self._layout.wrap else self._estimated(found, observed_ns)

    def _estimated(self, found: Found, observed_ns: int) -> list[Block]:
        """Blocks of frames without numbers: a new one after damage."""
        frames, blocks, coming = self._layout.view(found.raw), [], len(found.raw) * self._layout.rows
        for begin, end in _pieces(found.strays[1:] > 0):
            missed = self._numbering.missed(observed_ns, coming)
            lost = max(missed, damaged_rows(int(found.strays[begin]), self._framer.stride) * self._layout.rows)
            blocks.append(self._block(frames[begin:end], observed_ns, lost=lost, torn=missed > 0))
        return blocks

    def _numbered(self, frames: npt.NDArray[np.void], found: Found, observed_ns: int) -> list[Block]:
        """Blocks of frames with numbers: a new one where they jump."""
        wrap, blocks = self._layout.wrap, list[Block]()
        numbers = self._layout.sequence(frames)
        pieces = _pieces((numbers[1:] - numbers[:-1]) % wrap != 1) if len(numbers) > 1 else [(0, 1)]
        for begin, end in pieces:
            first = int(numbers[begin])
            self._strays += int(found.strays[begin])
            following = int(numbers[end]) if end < len(numbers) else None
            if self._expected is not None and (self._expected - first) % wrap == 1:
                self.counters["repeated_frames"] += 1
                begin += 1
                if begin == end:
                    continue
                first = (first + 1) % wrap
            believed = self._believed(first, end - begin, following)
            if believed is None:
                self._held = Found(found.raw[begin:end].copy(), np.array([self._strays], np.int64))
            elif believed:
                blocks.append(self._take(frames[begin:end], first, observed_ns))
            else:
                self.counters["refused_frames"] += 1
                self._strays += self._framer.stride
                continue
            self._strays = 0
        return blocks

    def _believed(self, first: int, count: int, following: int | None) -> bool | None:
        """Whether frames that begin with this number are what they say; None where only the next frame can tell."""
        wrap = self._layout.wrap
        ahead = 0 if self._expected is None else (first - self._expected) % wrap
        if self._strong or count > 1:
            return True
        if self._expected is not None and ahead in (0, damaged_rows(self._strays, self._framer.stride)):
            return True
        if following is None:
            return None
        return 0 < (following - first) % wrap < wrap // 2 and ahead < wrap // 2

    def _take(self, frames: npt.NDArray[np.void], first: int, observed_ns: int) -> Block:
        """A block of frames with consecutive numbers."""
        wrap, rows = self._layout.wrap, self._layout.rows
        coming = len(frames) * rows
        jump = 0 if self._expected is None else (first - self._expected) % wrap
        missed = self._numbering.missed(observed_ns, coming)
        exact, torn = True, False
        round_again = jump + wrap * max(0, round((missed / rows - jump) / wrap))
        if missed > wrap // 2 * rows and _agree(round_again * rows, missed, rows):
            exact, torn, jump = False, True, round_again  # the numbers have gone round meanwhile
        elif jump >= wrap // 2 or missed > wrap // 2 * rows:
            self.counters["device_restarts"] += 1
            exact, torn = False, True
            jump = self._numbering.passed(observed_ns, coming) // rows
        else:
            torn = missed > 0 and not _agree(jump * rows, missed, rows)  # the device has paused
        self.counters["lost_frames"] += jump
        self._expected = (first + len(frames)) % wrap
        return self._block(frames, observed_ns, lost=jump * rows, torn=torn, exact=exact)

    def _block(
        self, frames: npt.NDArray[np.void], observed_ns: int, *, lost: int, torn: bool, exact: bool = False
    ) -> Block:
        self.counters["frames"] += len(frames)
        samples = self._layout.samples(frames)
        return self._numbering.block(samples, observed_ns, lost=lost, torn=torn, exact=exact)


def _agree(counted: int, estimated: int, rows: int) -> bool:
    """Whether numbers and time say about the same."""
    return abs(counted - estimated) <= 0.1 * estimated + rows


def _pieces(breaks: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(begin, end) of what hangs together, where `breaks` says after which places it does not."""
    ends = [*(breaks.nonzero()[0] + 1).tolist(), len(breaks) + 1]
    return list(zip([0, *ends[:-1]], ends, strict=True))
