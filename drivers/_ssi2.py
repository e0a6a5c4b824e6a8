"""Turns the frames of SensiML Simple Streaming version 2 into rows, and says exactly what is missing.

A frame's sequence number counts on by one; what it jumps over is lost. The XOR that guards the number is weak, so a
jump is believed only where the bytes between the frames say the same, or the next frame does. A number that goes back
means that the device has started anew.
"""

from typing import NamedTuple

import numpy as np

from drivers import Block
from drivers._ssi2_frames import FEW, SOON, WRAP, Framer, Run


class _Frames(NamedTuple):
    """A good frame, or several with consecutive numbers."""

    sequence: int
    payload: bytes
    observed_ns: int
    strays: int


class Decoder:
    """Turns bytes, however they are cut, into blocks. Bounded memory: about one frame is kept from call to call."""

    def __init__(self, dtype: np.dtype[np.void], rows: int, rate_hz: float, channel: int = 0) -> None:
        """For frames of `rows` rows of `dtype` on `channel`; frames of other channels are counted and skipped.

        `rate_hz` is only for the estimate of what is lost when a device starts anew and counts from one again.
        """
        self._payload_bytes = dtype.itemsize * rows
        self._framer = Framer(self._payload_bytes)
        self.counters = self._framer.counters | {
            "packets": 0,
            "lost_packets": 0,
            "resyncs": 0,
            "device_restarts": 0,
            "other_channel_packets": 0,
        }
        self._framer.counters = self.counters
        self._dtype, self._rows, self._rate_hz, self._channel = dtype, rows, rate_hz, channel
        self._expected: int | None = None
        self._held: _Frames | None = None
        """One whose number nothing speaks for yet."""
        self._strays = 0
        self._index = 0
        self._segment = 0
        self._observed_ns = 0
        self._payloads: list[bytes] = []
        self._lost, self._exact = 0, True
        self._blocks: list[Block] = []

    @property
    def pending(self) -> bool:
        """Whether a whole frame waits for what follows it; `settle`, after some silence, lets it go."""
        return self._framer.pending

    def feed(self, data: bytes, observed_ns: int) -> list[Block]:
        """The blocks that these bytes complete. Each is without a gap: a new one begins where something is lost."""
        return self._rows_of(self._framer.feed(data, observed_ns))

    def settle(self) -> list[Block]:
        """The blocks of what has come so far, for when nothing follows for a while."""
        return self._rows_of(self._framer.settle())

    def _rows_of(self, runs: list[Run]) -> list[Block]:
        for run in runs:
            self._strays += run.strays
            if run.frames <= FEW:
                for channel, sequence, payload in self._framer.one_by_one(run.data, run.at, run.frames):
                    if channel == self._channel:
                        self._consecutive(sequence, payload, run.observed_ns)
                    else:
                        self.counters["other_channel_packets"] += 1
            else:
                self._many(run)
        self._emit()
        blocks, self._blocks = self._blocks, []
        return blocks

    def _many(self, run: Run) -> None:
        frames = self._framer.array(run)
        ours = frames["channel"] == self._channel
        if not ours.all():
            self.counters["other_channel_packets"] += len(frames) - int(ours.sum())
            frames = frames[ours]
        sequence, payload = frames["sequence"], frames["payload"]
        breaks = (sequence[1:] != sequence[:-1] + np.uint32(1)).nonzero()[0] + 1
        begin = 0
        for end in (*breaks.tolist(), len(frames)):
            while begin < end:
                first = int(sequence[begin])
                taken = end if self._held is None and self._expected == first else begin + 1
                self._consecutive(first, payload[begin:taken].tobytes(), run.observed_ns)
                begin = taken

    def _consecutive(self, sequence: int, payload: bytes, observed_ns: int) -> None:
        """Takes one frame, or several whose numbers follow and of which the first is the expected one."""
        strays, self._strays = self._strays, 0
        frame = _Frames(sequence, payload, observed_ns, strays)
        if self._held is None and self._expected == sequence:
            self._take(frame)
        else:
            self._judge(frame)

    def _judge(self, frame: _Frames) -> None:
        """Takes a frame if its number is believed, holds it otherwise; believes or refuses one that was held."""
        held, self._held = self._held, None
        # how far it is ahead of what would follow without loss
        ahead = None if self._expected is None else (frame.sequence - self._expected) % WRAP
        if held is None:
            if ahead is not None and ahead in (0, self._frames_in(frame.strays)):
                self._take(frame)
            else:
                self._held = frame
            return
        gap = (frame.sequence - held.sequence) % WRAP
        between = held.strays + self._framer.size + frame.strays
        if ahead == 0:
            self._refuse()
            self._take(frame._replace(strays=between))
        elif gap == 1 + self._frames_in(frame.strays):
            self._take(held)
            self._take(frame)
        elif ahead == self._frames_in(between):
            self._refuse()
            self._take(frame._replace(strays=between))
        elif 0 < gap < SOON and (self._expected is None or (held.sequence - self._expected) % WRAP < SOON):
            self._take(held)
            self._held = frame
        else:
            self._refuse()
            self._held = frame._replace(strays=between)

    def _refuse(self) -> None:
        self.counters["refused_packets"] += 1

    def _take(self, frame: _Frames) -> None:
        """Adds a frame, or several with consecutive numbers; what they jump over is lost."""
        first, payload, observed_ns, strays = frame
        count = len(payload) // self._payload_bytes
        jump = 0 if self._expected is None else (first - self._expected) % WRAP
        if jump >= WRAP // 2:
            self._restarted(observed_ns)
        elif jump:
            self._emit()
            self.counters["lost_packets"] += jump
            self._lost, self._exact = jump * self._rows, True
            self._index += self._lost
        if strays and self._expected is not None:
            self.counters["resyncs"] += 1
        self.counters["packets"] += count
        self._payloads.append(payload)
        self._index += count * self._rows
        self._expected = (first + count) % WRAP
        self._observed_ns = observed_ns

    def _restarted(self, observed_ns: int) -> None:
        """Begins a segment: only time tells what is lost before it."""
        self._emit()
        self.counters["device_restarts"] += 1
        self._segment += 1
        passed = round((observed_ns - self._observed_ns) * 1e-9 * self._rate_hz)
        self._lost, self._exact = max(0, passed - self._rows), False
        self._index += self._lost

    def _emit(self) -> None:
        """Makes a block of the rows collected since the last gap."""
        if not self._payloads:
            return
        samples = np.frombuffer(b"".join(self._payloads), self._dtype)
        self._blocks.append(
            Block(
                first=self._index - len(samples),
                samples=samples,
                observed_ns=self._observed_ns,
                newest=self._index - 1,
                lost=self._lost,
                exact=self._exact,
                segment=self._segment,
            )
        )
        self._payloads = []
        self._lost, self._exact = 0, True

    def _frames_in(self, count: int) -> int:
        """How many damaged frames that many bytes were, more or less a few bytes."""
        return (count + self._framer.size // 2) // self._framer.size
