"""A virtual microcontroller that streams six int16 as SensiML Simple Streaming, version 1 or 2, as the firmware does.

- After power-up it prints a line of text and announces itself in JSON every 0.5 s; of its first line only the end is
  heard, as by a host that opens the port in the middle of it.
- Idle it hears `connect`, streaming `disconnect`: it waits for that many bytes, compares the first of them and throws
  all of them away (firmware main.c).
- Row n since power-up is row n of the motion, packet n // samples_per_packet; its sequence number is one more and is
  not reset by `disconnect`.
- A packet that finds no room, because the host does not read, is dropped, and its number with it. With `flat_out` it
  waits for room instead, and sends as fast as the host reads.
"""

import json
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.ports.virtual import Wire
from drivers.ports.virtual.motion import Motion
from drivers.ports.virtual.uart import serve_line

COLUMNS = ("AccelerometerX", "AccelerometerY", "AccelerometerZ", "GyroscopeX", "GyroscopeY", "GyroscopeZ")
_ANNOUNCE_NS = 500_000_000
_BOOT_NS = 50_000_000
_FIRST_NS = 100_000_000
"""From the end of a line, heard first, to the first whole one."""
_FLAT_OUT_PACKETS = 64
_NEVER = 1 << 62
_MOST_PACKETS = 256
"""Of one turn, when it has slept too long."""


def announcement(version: int, rate_hz: float, rows: int) -> bytes:
    """The JSON line, as Microchip's firmware prints it."""
    document = {
        "version": version,
        "sample_rate": int(rate_hz) if rate_hz == int(rate_hz) else rate_hz,
        "samples_per_packet": rows,
        "column_location": {name: place for place, name in enumerate(COLUMNS)},
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def frames(rows: npt.NDArray[np.int16], rows_per_packet: int, sequence: int, channel: int = 0) -> npt.NDArray[np.uint8]:
    """Version 2 frames of `rows`, shape (n, columns), numbered from `sequence`: an array with a frame in each line."""
    payload = rows.astype("<i2").reshape(len(rows) // rows_per_packet, -1).view(np.uint8)
    count, size = payload.shape
    made = np.zeros((count, size + 10), np.uint8)
    made[:, 0] = 0xFF
    made[:, 1:3] = np.array([size + 6], "<u2").view(np.uint8)
    made[:, 4] = channel
    numbers = (np.arange(sequence, sequence + count) % (1 << 32)).astype("<u4")
    made[:, 5:9] = numbers.view(np.uint8).reshape(count, 4)
    made[:, 9:-1] = payload
    made[:, -1] = np.bitwise_xor.reduce(made[:, 3:-1], axis=1)
    return made


class Ssi:
    """The microcontroller; `document` is that of `drivers.ssi.VirtualSsi`."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._rate_hz = document["rate_hz"]
        self._rows = document["samples_per_packet"]
        self._version = document["version"]
        self._flat_out = document["flat_out"]
        self._end = document["packets"] or _NEVER
        self._delay_ns = document["delay_s"] * 1e9
        self._period_ns: float = self._rows / (self._rate_hz * (1 + document["clock_ppm"] * 1e-6)) * 1e9
        self._chance = random.Random(document["seed"])  # noqa: S311  to be repeatable
        self._motion = Motion(
            document["seed"],
            self._rate_hz,
            replay=document["replay"],
            replay_accel_scale=document["replay_accel_scale"],
        )
        self._connected = False
        self._heard = b""
        self._done = 0
        self._due_ns = 0
        self._begun: tuple[int, int] = (0, 0)
        self._texts: list[bytes] = []

    def power_on(self, now_ns: int) -> None:
        self._connected, self._heard, self._done = False, b"", 0
        line = announcement(self._version, self._rate_hz, self._rows)
        self._texts = [line[len(line) // 2 :], b"sensor sample rate set at %gHz\n" % self._rate_hz]
        self._due_ns = now_ns + _BOOT_NS

    def hear(self, data: bytes, now_ns: int) -> None:
        self._heard += data
        command = b"disconnect" if self._connected else b"connect"
        if len(self._heard) < len(command):
            return
        if self._heard.startswith(command):
            self._connected = not self._connected
            if self._connected:
                self._begun = (self._done, now_ns)
                self._due_ns = int(self._ready_ns() + self._chance.uniform(0, self._delay_ns))
            else:
                self._due_ns = now_ns + _FIRST_NS
        self._heard = b""

    def due_ns(self) -> int | None:
        if self._connected and self._done >= self._end:
            return _NEVER
        return None if self._connected and self._flat_out else self._due_ns

    def pieces(self, now_ns: int) -> list[bytes]:
        if self._connected and self._done >= self._end:
            return []
        if self._connected and self._flat_out:
            first, self._done = self._done, min(self._done + _FLAT_OUT_PACKETS, self._end)
            return [self._encoded(first, self._done - first)]
        if now_ns < self._due_ns:
            return []
        if not self._connected:
            self._due_ns = now_ns + (_FIRST_NS if self._texts else _ANNOUNCE_NS)
            text = b"".join(self._texts) or announcement(self._version, self._rate_hz, self._rows)
            self._texts = []
            return [text]
        first = self._done
        last = min(first + _MOST_PACKETS, self._end)
        self._done += 1
        while self._ready_ns() <= now_ns and self._done < last:
            self._done += 1  # whatever held the line up, it then hands over all that waits
        self._due_ns = int(self._ready_ns() + self._chance.uniform(0, self._delay_ns))
        whole = self._encoded(first, self._done - first)
        size = len(whole) // (self._done - first)
        return [whole[at : at + size] for at in range(0, len(whole), size)]

    def _ready_ns(self) -> float:
        """When the last row of the next packet is taken."""
        first, begun_ns = self._begun
        return begun_ns + (self._done - first + 1) * self._period_ns

    def _encoded(self, first: int, count: int) -> bytes:
        """Packets `first` ... as they stand on the line."""
        rows = self._motion.rows(first * self._rows, count * self._rows).astype("<i2")
        return rows.tobytes() if self._version == 1 else frames(rows, self._rows, first + 1).tobytes()


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    serve_line(wire, document, "usb-Virtual_SSI-if00", Ssi(document))
