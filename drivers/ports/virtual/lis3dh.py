"""A virtual LIS3DH, modelled register by register: its FIFO of whole samples fills with time and overflows.

From the LIS3DH data sheet (DocID17530 rev. 2) and AN3308:

- After power-up it is powered down and samples nothing. Sample n since its rate was first set is row n of the motion
  at the range that was set then, in 12 bits; the count goes on while the FIFO is emptied.
- Outputs are left-justified: 12 bits in high-resolution mode, 10 in normal mode, and 10 in any mode out of the FIFO,
  the lower bits 0. Rounded down, as bits that are cut off are.
- The FIFO holds 32 samples; in stream mode it then loses its oldest. FIFO_SRC counts to 31, and says OVRN when full.
  Bypass empties it.
- Sub-address bit 7 makes a transfer go on to the next register; with the FIFO on 0x28 follows 0x2D, each time the next
  sample. STATUS says what came since the outputs were last read, and what was overwritten unread.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from drivers.ports import boottime_ns
from drivers.ports.virtual import Wire
from drivers.ports.virtual.i2c import serve_chip
from drivers.ports.virtual.motion import Motion

WHO_AM_I, CTRL_REG1, CTRL_REG4, CTRL_REG5, STATUS, OUT_X_L, FIFO_CTRL, FIFO_SRC = (
    0x0F, 0x20, 0x23, 0x24, 0x27, 0x28, 0x2E, 0x2F,
)  # fmt: skip
_LSB_PER_G = (1000.0, 500.0, 250.0, 1000 / 12)
_RATES_HZ = (0.0, 1.0, 10.0, 25.0, 50.0, 100.0, 200.0, 400.0, 1620.0, 1344.0)
_OUT = range(OUT_X_L, OUT_X_L + 6)
_WRITABLE = {*range(0x1E, 0x27), FIFO_CTRL, *range(0x30, 0x40)}
_HELD = 32


class Lis3dh:
    """The chip; `document` is a `Virtual`'s. Time passes when it is written or read."""

    def __init__(self, document: Mapping[str, Any], *, who_am_i: int = 0x33) -> None:
        self._who_am_i = who_am_i
        self._clock = 1.0 + document["clock_ppm"] * 1e-6
        self._motion = Motion(
            document["seed"], 100.0, replay=document["replay"], replay_accel_scale=document["replay_accel_scale"]
        )
        self.power_on()

    def power_on(self) -> None:
        self._registers = bytearray(0x40)
        self._registers[WHO_AM_I] = self._who_am_i
        self._registers[CTRL_REG1] = 0x07
        self._fifo: list[bytes] = []
        self._newest = bytes(6)
        self._begun_ns = 0
        self._taken = 0

    def write(self, register: int, data: bytes) -> None:
        self._pass_time()
        address = register & 0x7F
        for value in data if register & 0x80 else data[:1]:
            if address in _WRITABLE:
                self._registers[address] = value
            address += 1
        if not self._registers[FIFO_CTRL] & 0xC0:
            self._fifo.clear()
        if not self._begun_ns and self._rate_hz:
            self._begun_ns = boottime_ns()
            lsb = _LSB_PER_G[(self._registers[CTRL_REG4] >> 4) & 0x03]
            self._motion = self._motion.at(self._rate_hz, (lsb, 1.0))

    def read(self, register: int, count: int) -> bytes:
        self._pass_time()
        address, onwards = register & 0x7F, register >= 0x80
        answer = bytearray()
        while len(answer) < count:
            answer.append(self._read_one(address))
            if onwards:
                address = OUT_X_L if address == _OUT[-1] and self._fifo_on else (address + 1) % len(self._registers)
        return bytes(answer)

    def _read_one(self, address: int) -> int:
        if address == FIFO_SRC:
            held = len(self._fifo)
            return (0x40 if held == _HELD else 0) | (0x00 if held else 0x20) | min(held, 31)
        if address not in _OUT:
            return self._registers[address]
        value = (self._fifo[0] if self._fifo else self._newest)[address - OUT_X_L]
        if address == _OUT[-1]:  # a sample is read once its last byte is
            self._registers[STATUS] = 0
            del self._fifo[:1]
        return value

    @property
    def _fifo_on(self) -> bool:
        return bool(self._registers[CTRL_REG5] & 0x40 and self._registers[FIFO_CTRL] & 0xC0)

    @property
    def _rate_hz(self) -> float:
        return _RATES_HZ[self._registers[CTRL_REG1] >> 4]

    def _pass_time(self) -> None:
        """Takes the samples that are due by now."""
        if not self._begun_ns:
            return
        taken = int((boottime_ns() - self._begun_ns) * 1e-9 * self._rate_hz * self._clock)
        new, self._taken = taken - self._taken, taken
        if new <= 0:
            return
        kept = min(new, _HELD + 1)  # what would fall out of the FIFO again is not computed
        rows = np.clip(self._motion.rows(taken - kept, kept)[:, :3], -2048, 2047) << 4
        if self._fifo_on or not self._registers[CTRL_REG4] & 0x08:
            rows &= ~0x3F
        samples = [row.tobytes() for row in rows.astype("<i2")]
        overwritten = new > 1 or self._registers[STATUS] & 0x08
        self._registers[STATUS] |= 0xFF if overwritten else 0x0F
        self._newest = samples[-1]
        if self._fifo_on:
            self._fifo = (self._fifo + samples)[-_HELD:]


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The child process."""
    serve_chip(wire, Lis3dh(document), document)
