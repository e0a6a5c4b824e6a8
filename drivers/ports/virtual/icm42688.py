"""A virtual ICM-42688-P or ICM-42605, register by register: its FIFO fills with packets and overflows.

From the ICM-42688-P's data sheet (DS-000347; sections in brackets), checked against the readings of Linux
(inv_icm42600), PX4 (icm42688p) and ArduPilot (Invensensev3, for AFSR):

- After power-up and a soft reset both sensors are off [14.36]; a reset takes RESET_S, hears nothing, and sets
  RESET_DONE [14.1, 14.21]. Registers are in banks; only bank 0 does anything here [14.59].
- A sensor samples at its ODR on the chip's own clock. Sample n since the FIFO was first switched on after a reset is
  row n of the motion, in LSB of the ranges; before that, since a sensor was. The count goes on through overflows and
  flushes, as the world does. Modelled: both sensors in low-noise mode at one rate, packets of structure 3 with 16 bits
  in big-endian order, modes bypass (in which nothing is stored) and stream [6].
- The FIFO holds 128 packets. Full, it sets FIFO_FULL until INT_STATUS is read, and loses its oldest packets. The first
  count after a flush is 0. Reading FIFO_DATA does not move on to the next register; empty, it yields 0xFF.
- Unless bits 7-6 of INTF_CONFIG1 are 01 (AFSR off), the rotation stands still for AFSR_S whenever an axis passes
  AFSR_DPS, up or down.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.ports import boottime_ns
from drivers.ports.virtual import Wire
from drivers.ports.virtual.i2c import serve_chip
from drivers.ports.virtual.motion import Motion

RESET_S = 0.001
PACKETS = 128
AFSR_DPS, AFSR_S = 100.0, 0.002

DEVICE_CONFIG, FIFO_CONFIG, TEMP_DATA1, GYRO_DATA_Z0 = 0x11, 0x16, 0x1D, 0x2A
INT_STATUS, FIFO_COUNTH, FIFO_COUNTL, FIFO_DATA, SIGNAL_PATH_RESET = 0x2D, 0x2E, 0x2F, 0x30, 0x4B
PWR_MGMT0, GYRO_CONFIG0, ACCEL_CONFIG0, FIFO_CONFIG1, WHO_AM_I, REG_BANK_SEL = 0x4E, 0x4F, 0x50, 0x5F, 0x75, 0x76
INTF_CONFIG1 = 0x4D

_DEFAULTS = {INT_STATUS: 0x10, 0x4C: 0x30, INTF_CONFIG1: 0x91, GYRO_CONFIG0: 0x06, ACCEL_CONFIG0: 0x06, 0x52: 0x11}
_READ_ONLY = {*range(TEMP_DATA1, FIFO_DATA + 1), WHO_AM_I}
_ODR_HZ = {3: 8000.0, 4: 4000.0, 5: 2000.0, 6: 1000.0, 7: 200.0, 8: 100.0, 9: 50.0, 10: 25.0, 11: 12.5, 15: 500.0}
_ACCEL_LSB = (2048.0, 4096.0, 8192.0, 16384.0, 16384.0, 16384.0, 16384.0, 16384.0)
_GYRO_LSB = (16.4, 32.8, 65.5, 131.0, 262.0, 524.3, 1048.6, 2097.2)
_DATA_RDY, _FIFO_FULL = 0x08, 0x02
_PACKET = np.dtype([("header", "|u1"), ("axes", ">i2", 6), ("celsius", "|i1"), ("time", ">u2")])


def celsius(index: npt.NDArray[np.int64], rate_hz: float) -> npt.NDArray[np.float64]:
    """Temperature at each sample: 25 degrees, three degrees up and down in a minute."""
    degrees: npt.NDArray[np.float64] = 25.0 + 3.0 * np.sin(2 * np.pi * index / (60.0 * rate_hz))
    return degrees


class Icm42688:
    """The chip; `document` is a `Virtual`'s with `who_am_i`. Time passes when it is written or read."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._who_am_i = int(document["who_am_i"])
        self._clock = 1.0 + document["clock_ppm"] * 1e-6
        self._motion = Motion(
            document["seed"], 1000.0, replay=document["replay"], replay_accel_scale=document["replay_accel_scale"]
        )
        self.power_on()

    def power_on(self) -> None:
        self._reset(awake_ns=0)

    def _reset(self, awake_ns: int) -> None:
        self._banks = [bytearray(128) for _ in range(8)]
        self._bank = 0
        self._registers = self._banks[0]
        for address, value in {**_DEFAULTS, WHO_AM_I: self._who_am_i}.items():
            self._registers[address] = value
        self._fifo = bytearray()
        self._flushed = False
        self._awake_ns = awake_ns
        self._begun_ns = 0
        self._taken = 0
        self._felt = 0.0, (0.0, 0.0)  # rate and LSB of the motion
        self._fifo_begun = False

    def write(self, register: int, data: bytes) -> None:
        if self._pass_time() < self._awake_ns:
            return
        for address, value in enumerate(data, register):
            if address == REG_BANK_SEL:
                self._bank = value & 7
            elif self._bank:
                self._banks[self._bank][address & 0x7F] = value
            elif address == DEVICE_CONFIG and value & 0x01:
                self._reset(boottime_ns() + int(RESET_S * 1e9))
                return
            elif address == SIGNAL_PATH_RESET:
                if value & 0x02:
                    self._fifo.clear()
                    self._flushed = True
            elif address not in _READ_ONLY:
                self._registers[address & 0x7F] = value
        rate_hz, storing = self._rate_hz, self._storing
        if rate_hz and (rate_hz != self._felt[0] or (storing and not self._fifo_begun)):
            self._begun_ns, self._taken, self._fifo_begun = boottime_ns(), 0, storing
        lsb = _ACCEL_LSB[self._registers[ACCEL_CONFIG0] >> 5], _GYRO_LSB[self._registers[GYRO_CONFIG0] >> 5]
        if rate_hz and (rate_hz, lsb) != self._felt:
            self._felt = rate_hz, lsb
            self._motion = self._motion.at(rate_hz, lsb)

    def read(self, register: int, count: int) -> bytes:
        if self._pass_time() < self._awake_ns:
            return bytes(count)
        answer = bytearray()
        while len(answer) < count:
            if register == FIFO_DATA and not self._bank:
                return bytes(answer) + self._from_fifo(count - len(answer))
            answer.append(self._read_one(register))
            register = (register + 1) & 0x7F
        return bytes(answer)

    def _read_one(self, address: int) -> int:
        if address == REG_BANK_SEL:
            return self._bank
        if self._bank:
            return self._banks[self._bank][address]
        if address == FIFO_COUNTH:
            count = 0 if self._flushed else len(self._fifo)
            self._registers[FIFO_COUNTH : FIFO_COUNTL + 1] = count.to_bytes(2, "big")
            self._flushed = False
        value = self._registers[address]
        if address == INT_STATUS:
            self._registers[INT_STATUS] = 0
        return value

    def _from_fifo(self, count: int) -> bytes:
        data = bytes(self._fifo[:count])
        del self._fifo[:count]
        return data.ljust(count, b"\xff")

    @property
    def _rate_hz(self) -> float:
        """Of whichever sensor is on; 0 where none is."""
        power = self._registers[PWR_MGMT0]
        odr = self._registers[ACCEL_CONFIG0] if power & 3 == 3 else self._registers[GYRO_CONFIG0]
        return _ODR_HZ.get(odr & 15, 0.0) if power & 3 == 3 or power >> 2 & 3 == 3 else 0.0

    @property
    def _storing(self) -> bool:
        """Whether both sensors and the FIFO run, at one rate."""
        r = self._registers
        same = r[ACCEL_CONFIG0] & 15 == r[GYRO_CONFIG0] & 15
        return r[FIFO_CONFIG] >> 6 == 1 and r[FIFO_CONFIG1] & 0x17 == 0x07 and r[PWR_MGMT0] & 15 == 15 and same

    def _rows(self, first: int, count: int) -> npt.NDArray[np.int16]:
        """Samples `first` ... as the chip gives them: shape (count, 6)."""
        still = int(AFSR_S * self._rate_hz)  # samples
        if self._registers[INTF_CONFIG1] >> 6 == 1 or not still:
            return self._motion.rows(first, count)
        before = min(first, 2 * still)  # that may matter to these
        rows = self._motion.rows(first - before, before + count)
        fast = np.abs(rows[:, 3:]).max(axis=1) > AFSR_DPS * self._felt[1][1]
        for at in np.flatnonzero(np.diff(fast)) + 1:
            rows[at : at + still, 3:] = rows[at - 1, 3:]
        return rows[before:]

    def _pass_time(self) -> int:
        """Takes the samples that are due by now, which it returns."""
        now_ns = boottime_ns()
        if not self._begun_ns or not self._rate_hz:
            return now_ns
        taken = int((now_ns - self._begun_ns) * 1e-9 * self._rate_hz * self._clock)
        new, self._taken = taken - self._taken, taken
        if new <= 0:
            return now_ns
        kept = min(new, PACKETS + 1) if self._storing else 1  # what would fall out of the FIFO again is not computed
        index = np.arange(taken - kept, taken)
        packets = np.empty(kept, _PACKET)
        packets["header"] = 0x68
        packets["axes"] = self._rows(taken - kept, kept)
        degrees = celsius(index, self._rate_hz) - 25.0
        packets["celsius"] = np.rint(degrees * 2.07)
        packets["time"] = (index * 1e6 / self._rate_hz).astype(np.int64) & 0xFFFF
        newest = np.rint(degrees[-1:] * 132.48).astype(">i2").tobytes() + packets["axes"][-1].tobytes()
        self._registers[TEMP_DATA1 : GYRO_DATA_Z0 + 1] = newest
        self._registers[INT_STATUS] |= _DATA_RDY
        if self._storing:
            self._fifo += packets.tobytes()
            if len(self._fifo) >= PACKETS * _PACKET.itemsize:
                del self._fifo[: -PACKETS * _PACKET.itemsize]
                self._registers[INT_STATUS] |= _FIFO_FULL
        return now_ns


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The child process."""
    serve_chip(wire, Icm42688(document), document)
