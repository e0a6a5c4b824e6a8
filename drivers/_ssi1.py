"""Turns SensiML Simple Streaming version 1 into rows: nothing but int16 after int16, aligned by its first byte alone.

Rows are taken a packet (what the firmware writes in one go) at a time, so that a line that has lost a byte is found out
at its next pause, by the packet that then stays incomplete, and not recorded. Where packets follow one another without
a pause, version 1 has no means to notice.
"""

import numpy as np

from drivers import Block

TEXTS = (b"Overrun!", b'"column_location"')
"""What firmware prints into the stream, and what it announces when it streams no longer: both end the alignment."""


class Decoder:
    """Turns bytes, however they are cut, into blocks, until `misaligned` says why that has ended."""

    def __init__(self, dtype: np.dtype[np.void], rows: int, rate_hz: float) -> None:
        """For packets of `rows` rows of `dtype`; `rate_hz` is for the estimate of what a realignment lost."""
        self.counters = {"packets": 0, "garbage_bytes": 0, "realignments": 0}
        self.misaligned = ""
        self._dtype, self._rows, self._rate_hz = dtype, rows, rate_hz
        self._size = dtype.itemsize * rows
        self._rest = b""
        self._tail = b""
        """The last bytes that were made rows: a text may have begun there."""
        self._index = 0
        self._segment = 0
        self._observed_ns = 0
        self._realigned = False

    @property
    def pending(self) -> bool:
        """Whether a packet has begun; `settle`, after some silence, takes that for damage."""
        return bool(self._rest)

    def feed(self, data: bytes, observed_ns: int) -> list[Block]:
        """The rows of the packets that these bytes complete."""
        if self.misaligned:
            self.counters["garbage_bytes"] += len(data)
            return []
        data = self._rest + data
        passed, seen = len(self._tail), self._tail + data
        text = next((text for text in TEXTS if text in seen), b"")
        usable = len(data)
        if text:
            at = seen.index(text)
            # the lines begin with an empty line, and with a brace
            begin = seen.rfind(b"{", 0, at) if text == TEXTS[1] else len(seen[:at].rstrip(b"\r\n"))
            usable = max(begin - passed, 0)
        count = usable // self._size
        whole, self._rest = data[: count * self._size], data[count * self._size :]
        self._tail = (self._tail + whole)[-max(map(len, TEXTS)) :]
        if text:
            self._end(f"{text.decode()} stands in the stream")
        return [self._block(whole, count, observed_ns)] if count else []

    def settle(self) -> list[Block]:
        """Says that the line has paused: a packet that has only begun has lost bytes."""
        if self._rest:
            self._end(f"{len(self._rest)} bytes of a packet of {self._size} came before a pause")
        return []

    def realign(self) -> None:
        """Begins anew with the next byte: the device has been connected again."""
        self.counters["realignments"] += 1
        self.misaligned, self._tail = "", b""
        if self._index:
            self._segment += 1
            self._realigned = True

    def _end(self, reason: str) -> None:
        self.misaligned = reason
        self.counters["garbage_bytes"] += len(self._rest)
        self._rest = b""

    def _block(self, data: bytes, count: int, observed_ns: int) -> Block:
        samples = np.frombuffer(data, self._dtype)
        lost = 0
        if self._realigned:
            passed = round((observed_ns - self._observed_ns) * 1e-9 * self._rate_hz)
            lost = max(0, passed - len(samples))
        first = self._index + lost
        self._index = first + len(samples)
        self._observed_ns = observed_ns
        exact, self._realigned = not self._realigned, False
        self.counters["packets"] += count
        return Block(first, samples, observed_ns, self._index - 1, lost, exact, self._segment)
