"""A virtual ADXL345, modelled register by register: its FIFO of whole samples fills with time and overflows.

From the ADXL345 data sheet rev. E ("FIFO", "Register Definitions"):

- After power-up it is in standby and samples nothing; it has no reset. Sample n since it first measured is row n of
  the motion, at the resolution and range that were set then; the count goes on while the FIFO is emptied.
- It samples at 3200 Hz / 2^(15 - rate code), on its own clock. Full resolution has 256 LSB/g; else each range has 10
  bits. Both clip at the range.
- In stream mode the FIFO holds 32 samples, and the output registers one more. Full, it loses its oldest sample and
  sets OVERRUN until data are read. Bypass empties it.
- A transfer that touches the data registers takes one sample out; all its bytes are of that sample. With an empty
  FIFO, and in bypass, it sees the newest one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from drivers.ports import boottime_ns
from drivers.ports.virtual import Wire
from drivers.ports.virtual.i2c import serve_chip
from drivers.ports.virtual.motion import Motion

DEVID, BW_RATE, POWER_CTL, INT_SOURCE, DATA_FORMAT, DATAX0, FIFO_CTL, FIFO_STATUS = (
    0x00, 0x2C, 0x2D, 0x30, 0x31, 0x32, 0x38, 0x39,
)  # fmt: skip
_DATA = range(DATAX0, DATAX0 + 6)
_READ_ONLY = {DEVID, 0x2B, INT_SOURCE, *_DATA, FIFO_STATUS}
_HELD = 33


class Adxl345:
    """The chip; `document` is a `Virtual`'s. Time passes when it is written or read."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._clock = 1.0 + document["clock_ppm"] * 1e-6
        self._motion = Motion(
            document["seed"], 100.0, replay=document["replay"], replay_accel_scale=document["replay_accel_scale"]
        )
        self.power_on()

    def power_on(self) -> None:
        self._registers = bytearray(0x40)
        self._registers[DEVID] = 0xE5
        self._registers[BW_RATE] = 0x0A
        self._registers[INT_SOURCE] = 0x02
        self._fifo: list[bytes] = []
        self._newest = bytes(6)
        self._begun_ns = 0
        self._taken = 0

    def write(self, register: int, data: bytes) -> None:
        self._pass_time()
        for address, value in enumerate(data, register):
            if address in _READ_ONLY or not 0x1D <= address < len(self._registers):
                continue
            self._registers[address] = value
            if address == FIFO_CTL and not value & 0xC0:
                self._fifo.clear()
            if not self._begun_ns and self._measures:
                self._begun_ns = boottime_ns()
                self._motion = self._motion.at(self._rate_hz, (self._lsb_per_g, 1.0))

    def read(self, register: int, count: int) -> bytes:
        self._pass_time()
        answer = bytearray()
        touched = False
        for address in range(register, register + count):
            if address in _DATA:
                touched = True
                answer.append((self._fifo[0] if self._fifo else self._newest)[address - DATAX0])
            elif address == FIFO_STATUS:
                answer.append(len(self._fifo))
            else:
                answer.append(self._registers[address % len(self._registers)])
        if touched:
            del self._fifo[:1]
            self._registers[INT_SOURCE] &= 0x7E
        return bytes(answer)

    @property
    def _measures(self) -> bool:
        return bool(self._registers[POWER_CTL] & 0x08)

    @property
    def _rate_hz(self) -> float:
        return 3200.0 / 2.0 ** (15 - (self._registers[BW_RATE] & 0x0F))

    @property
    def _lsb_per_g(self) -> float:
        full_resolution = self._registers[DATA_FORMAT] & 0x08
        return 256.0 if full_resolution else 256.0 / (1 << (self._registers[DATA_FORMAT] & 0x03))

    def _pass_time(self) -> None:
        """Takes the samples that are due by now."""
        if not self._begun_ns:
            return
        taken = int((boottime_ns() - self._begun_ns) * 1e-9 * self._rate_hz * self._clock)
        new, self._taken = taken - self._taken, taken
        if new <= 0 or not self._measures:
            return
        kept = min(new, _HELD + 1)  # what would fall out of the FIFO again is not computed
        limit = int(self._lsb_per_g * (2 << (self._registers[DATA_FORMAT] & 0x03)))
        rows = np.clip(self._motion.rows(taken - kept, kept)[:, :3], -limit, limit - 1).astype("<i2")
        samples = [row.tobytes() for row in rows]
        self._newest = samples[-1]
        self._registers[INT_SOURCE] |= 0x80
        if self._registers[FIFO_CTL] & 0xC0 == 0x80:
            self._fifo += samples
        if len(self._fifo) > _HELD:
            del self._fifo[: len(self._fifo) - _HELD]
            self._registers[INT_SOURCE] |= 0x01


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The child process."""
    serve_chip(wire, Adxl345(document), document)
