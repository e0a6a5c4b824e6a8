"""Turns MPLAB Data Visualizer's data stream into rows: a frame is a row between a start byte and its inverse.

    offset  0      1                            1+n
            start  variables, without padding   ~start

(MCC data_streamer.c v1.1.0; Microchip's ML data loggers.) Without length, checksum or number, and with both bytes in
the data too, a frame is believed once three have come back to back, and then as long as they go on doing so. Of what
was lost between them only the bytes tell, and time.
"""

import numpy as np
import numpy.typing as npt

from drivers import Block
from drivers._unnumbered import Numbering, damaged_rows

AUTO_START, AUTO_END, AUTO_SIZE = 0x5F, 0xA0, 19
"""A packet that says which configuration belongs to the stream; no frame starts like it."""
_AUTO_HEAD = b"\x5f\xb4\x00\x86\x4a"
_LOCK = 3
_SURE = 5
_LONGEST = 258
_SPAN = 64
"""Frames searched in one go: after damage the next good one is near."""


def is_auto_configuration(packet: bytes) -> bool:
    """Whether these 19 bytes are an auto-configuration packet: head, 12-byte id, XOR of these 16 bytes, end.

    (DS40001903: the XOR runs over what stands between the first byte and itself.)
    """
    if len(packet) != AUTO_SIZE or not packet.startswith(_AUTO_HEAD) or packet[-1] != AUTO_END:
        return False
    return int(np.bitwise_xor.reduce(np.frombuffer(packet, np.uint8, AUTO_SIZE - 3, 1))) == packet[-2]


def frame_bytes(data: bytes, start: int) -> int:
    """Bytes of variables in the frames that begin with `start`, where five stand back to back; 0 where none do."""
    raw = np.frombuffer(data, np.uint8)
    begins, ends = raw == start, raw == start ^ 0xFF
    for size in range(3, min(len(raw) // _SURE, _LONGEST) + 1):
        places = len(raw) - _SURE * size + 1
        found = np.ones(places, bool)
        for n in range(_SURE):
            found &= begins[n * size : n * size + places] & ends[(n + 1) * size - 1 : (n + 1) * size - 1 + places]
        if found.any():
            return size - 2
    return 0


class Decoder:
    """Turns bytes, however they are cut, into blocks. Holds on to little more than three frames."""

    def __init__(self, wire: np.dtype[np.void], start: int, rate_hz: float) -> None:
        """For frames of `wire` variables that begin with the byte `start`."""
        self.counters = {"frames": 0, "garbage_bytes": 0, "resyncs": 0, "auto_configuration_packets": 0}
        self.fatal = ""
        self._wire, self._size = wire, wire.itemsize + 2
        self._start, self._end = start, start ^ 0xFF
        self._layout = np.dtype([("start", "u1"), ("row", wire), ("end", "u1")])
        self._numbering = Numbering(rate_hz)
        self._rest = b""
        self._locked = False
        self._strays = 0

    def advice(self) -> str:
        """What to look at where nothing is good."""
        return (
            f"no three frames of {self._size} bytes between 0x{self._start:02X} and 0x{self._end:02X}; "
            "check `baud`, `start_byte`, and number and types of `fields`"
        )

    def feed(self, data: bytes, observed_ns: int) -> list[Block]:
        """The rows of the frames that these bytes complete and confirm."""
        data = self._rest + data
        at, runs = 0, list[tuple[npt.NDArray[np.void], int]]()
        while True:
            if not self._locked:
                if len(data) - at < _LOCK * self._size:
                    break
                at, self._locked = self._hunt(data, at)
                continue
            if taken := self._back_to_back(data, at):
                runs.append((np.frombuffer(data, self._layout, taken, at)["row"], self._strays))
                at, self._strays = at + taken * self._size, 0
            auto = data[at : at + AUTO_SIZE]
            if is_auto_configuration(auto):
                self.counters["auto_configuration_packets"] += 1
                at += AUTO_SIZE
            elif len(data) - at < self._size or (len(auto) < AUTO_SIZE and _AUTO_HEAD.startswith(auto[:5])):
                break
            else:
                self._locked = False
                self.counters["resyncs"] += 1
                at = self._stray(data, at, at + 1)
        self._rest = data[at:]
        return self._blocks(runs, observed_ns)

    def _back_to_back(self, data: bytes, at: int) -> int:
        """How many good frames stand at `at`."""
        count = (len(data) - at) // self._size
        if not count:
            return 0
        frames = np.frombuffer(data, self._layout, count, at)
        good = (frames["start"] == self._start) & (frames["end"] == self._end)
        return count if good.all() else int(good.argmin())

    def _hunt(self, data: bytes, at: int) -> tuple[int, bool]:
        """Where three frames stand back to back, or False and how far there are none. `data` has room for them."""
        size = self._size
        raw = np.frombuffer(data, np.uint8, min(len(data) - at, _SPAN * size), at)
        candidates = (raw[: 1 - size] == self._start) & (raw[size - 1 :] == self._end)
        places = len(candidates) - (_LOCK - 1) * size
        locks = candidates[:places].copy()
        for n in range(1, _LOCK):
            locks &= candidates[n * size : n * size + places]
        if locks.any():
            return self._stray(data, at, at + int(locks.argmax())), True
        return self._stray(data, at, at + places), False

    def _stray(self, data: bytes, at: int, to: int) -> int:
        """Gives up the bytes from `at` to `to`, which it returns; auto-configuration among them is no loss."""
        found = data.find(_AUTO_HEAD, at, to + 4)
        lost = to - at
        while found >= 0:
            if is_auto_configuration(data[found : found + AUTO_SIZE]):
                self.counters["auto_configuration_packets"] += 1
                lost -= AUTO_SIZE
            found = data.find(_AUTO_HEAD, found + 1, to + 4)
        self._strays += lost
        self.counters["garbage_bytes"] += max(lost, 0)
        return to

    def _blocks(self, runs: list[tuple[npt.NDArray[np.void], int]], observed_ns: int) -> list[Block]:
        coming, blocks = sum(len(rows) for rows, _ in runs), []
        for rows, strays in runs:
            missed = self._numbering.missed(observed_ns, coming)
            lost = max(missed, damaged_rows(strays, self._size))
            self.counters["frames"] += len(rows)
            blocks.append(self._numbering.block(rows.copy(), observed_ns, lost=lost, torn=missed > 0))
        return blocks
