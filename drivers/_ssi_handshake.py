"""The handshake of SensiML Simple Streaming: a device announces itself in JSON lines until it hears `connect`.

device  ...e":8,"column_location":{"AccelerometerX":0,...}}\\n      the first line is usually cut
device  {"version":2,"sample_rate":100,"samples_per_packet":8,"column_location":{"AccelerometerX":0,...}}\\n
host    connect                                                    alone, without a line end
device  data ...                                                   until it hears disconnect
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from drivers import DriverError
from drivers._ssi2_frames import LARGEST_PAYLOAD, header

CONNECT, DISCONNECT = b"connect", b"disconnect"
_REPEAT_S = 1.0
_LISTEN_S = 1.5
"""Devices announce themselves every 0.5 or 1 s."""
_QUIET_S = 1.3
_LONGEST_LINE = 4096
_PREFIX = 12
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\xfe\xff]")
_DTYPES = {"int16": "<i2", "float": "<f4"}


class Announcement(NamedTuple):
    """What the JSON line says."""

    version: int
    rate_hz: float
    rows: int
    """Samples per packet."""
    columns: tuple[str, ...]
    """In the order in which they are sent."""
    data_type: str
    model: str

    @property
    def dtype(self) -> str:
        return _DTYPES[self.data_type]

    @property
    def payload_bytes(self) -> int:
        return self.rows * len(self.columns) * (2 if self.data_type == "int16" else 4)


def parsed(line: bytes) -> Announcement | None:
    """What a line announces, perhaps after other bytes; None where it is no whole announcement (boot text, a cut line).

    DriverError, which says what is wrong, for an announcement that cannot be followed.
    """
    for begin in re.finditer(rb'\{\s*"', line):
        try:
            document = json.loads(line[begin.start() :])
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict) and "column_location" in document:
            return _checked(document)
    return None


def _checked(document: Mapping[str, Any]) -> Announcement:
    mistakes: list[str] = []

    def take(key: str, default: Any, good: Any, allowed: str) -> Any:
        value = document.get(key, default)
        if not good(value):
            mistakes.append(f"{key} is {value!r}, not {allowed}")
        return value

    def whole(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    version = take("version", 1, lambda v: whole(v) and v in (1, 2), "1 or 2")
    rate = take(
        "sample_rate", None, lambda v: (whole(v) or isinstance(v, float)) and 0 < v < 1e9, "a positive number of Hz"
    )
    rows = take("samples_per_packet", None, lambda v: whole(v) and v >= 1, "1 or more")
    kind = take("data_type", "int16", lambda v: isinstance(v, str) and v in _DTYPES, " or ".join(_DTYPES))
    places = take(
        "column_location",
        None,
        lambda v: isinstance(v, dict) and v and all(map(whole, v.values())) and len(set(v.values())) == len(v),
        "columns with a place of its own for each",
    )
    if not mistakes:
        columns = tuple(_plain(name) for name in sorted(places, key=places.__getitem__))
        if len(set(columns)) < len(columns):
            mistakes.append("column_location has two columns of one name")
        announced = Announcement(
            version, float(rate), rows, columns, kind, str(document.get("model") or f"SSI v{version} device")
        )
        if announced.payload_bytes > LARGEST_PAYLOAD:
            mistakes.append(f"a packet has {announced.payload_bytes} bytes; {LARGEST_PAYLOAD} is the most")
    if mistakes:
        raise DriverError(f"the device announces what cannot be: {'; '.join(mistakes)}; correct its firmware")
    return announced


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_ -]", "_", name).strip() or "Column"


class Handshake:
    """One handshake: is told what comes and what time it is, says what to send; it reads, waits and sends nothing."""

    def __init__(self, now_s: float, *, streaming: bool = False) -> None:
        """`streaming`: the device is known to stream, and has to be disconnected first."""
        self.announced: Announcement | None = None
        self.done = False
        self.data = b""
        """What came after `connect`: the beginning of the data, in version 1 from its very first byte."""
        self._pending = b""
        self._line = b""
        self._announcing = False
        self._disconnected = False
        self._streaming = streaming
        self._sent_s = self._heard_s = now_s
        self._seen = b""

    def step(self, data: bytes, now_s: float) -> bytes:
        """Takes what has come, or nothing; returns the command that is to be sent now, mostly none."""
        if data:
            self._heard_s = now_s
            self._seen = (self._seen + data)[-80:]
            self._pending += data
        command = self._listen(now_s) if self.announced is None else self._connect(now_s)
        if command:
            self._sent_s = now_s
        return command

    def _listen(self, now_s: float) -> bytes:
        """Waits for an announcement; gets a device that streams already (its host was killed) to make one."""
        *lines, rest = self._pending.split(b"\n")
        for line in lines:
            if announced := parsed(line):
                self.announced = announced
                self._line = line[line.rfind(b"{", 0, line.index(b"column_location")) :]
        self._pending = rest[-_LONGEST_LINE:]
        if self.announced:
            return CONNECT
        streaming = self._streaming or any(map(_BINARY.search, (*lines, rest))) or len(rest) > _LONGEST_LINE
        if now_s - self._sent_s >= _LISTEN_S or (streaming and not self._disconnected):
            self._disconnected = True
            return DISCONNECT
        return b""

    def _connect(self, now_s: float) -> bytes:
        """Waits until data comes instead of announcements."""
        assert self.announced is not None
        if self.announced.version == 2:
            self._seek_frame(self.announced)
        elif not self._seek_first_byte():
            return self._start_over()
        # a slow device sends nothing for a while; one that announces itself does not
        quiet = now_s - max(self._sent_s, self._heard_s) >= _QUIET_S
        if self.done or quiet:
            self.done, self.data = True, self._pending
        elif self._announcing and now_s - self._sent_s >= _REPEAT_S:
            self._announcing = False
            return CONNECT
        return b""

    def _seek_frame(self, announced: Announcement) -> None:
        """Version 2: drops all before what looks like a frame."""
        at = self._pending.find(header(announced.payload_bytes, 0, 0)[:4])
        if at >= 0:
            self.done, self._pending = True, self._pending[at:]
            return
        self._announcing |= b"column_location" in self._pending and b"\n" in self._pending
        self._pending = self._pending[self._pending.rfind(b"\n") + 1 :][-_LONGEST_LINE:]

    def _seek_first_byte(self) -> bool:
        """Version 1: drops whole announcements and not one byte more; False where data has run into one."""
        prefix = self._line[:_PREFIX]
        while self._pending.startswith(prefix):
            line, end, rest = self._pending.partition(b"\n")
            if not end:
                return len(line) <= 2 * len(self._line)
            if parsed(line) is None:
                return False
            self._announcing, self._pending = True, rest
        self.done = not prefix.startswith(self._pending[:_PREFIX])
        return True

    def _start_over(self) -> bytes:
        self.announced, self._pending, self._disconnected = None, b"", True
        return DISCONNECT

    def failure(self) -> str:
        """Why it has not come to data yet, and what to try."""
        if self.announced and _BINARY.search(self._seen):
            return f"its packets are not those it announces ({self.announced}); correct its firmware"
        if self.announced:
            return "it goes on announcing itself and does not hear `connect`; check the line from our TX to its RX"
        if not self._seen:
            return "it is silent; check power, wiring (its TX to our RX) and that its firmware streams SensiML SSI"
        return f"it announces nothing; it sends {self._seen!r}; check `baud` and that its firmware streams SensiML SSI"
