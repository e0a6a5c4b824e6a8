"""A virtual MPU-6050 (or 6500, 9250 ...), modelled register by register: its FIFO fills with time and overflows.

From RM-MPU-6000A-00 rev. 4.2 (sections in brackets) and RM-MPU-6500A-00 rev. 2.1:

- After power-up and DEVICE_RESET it sleeps and samples nothing [4.28]; a reset takes RESET_S and hears nothing.
- It samples at 1 kHz (with a digital filter; without one the gyroscope runs at 8 kHz) / (1 + SMPLRT_DIV) [4.2], on its
  own clock. Sample n since the FIFO was first switched on after a reset is row n of the motion, in LSB of the ranges
  that were set then; the count goes on through overflows and FIFO resets, as the world does.
- The FIFO takes what FIFO_EN names in the order of the registers, big-endian [4.6, 4.31]. Full, it loses its oldest
  bytes, so that it no longer begins with a whole sample, and sets FIFO_OFLOW_INT until INT_STATUS is read
  [4.16, 4.31]. FIFO_RESET works while USER_CTRL's FIFO_EN is 0 and clears itself [4.27].
- FIFO_COUNT is latched when its high byte is read [4.30]; reading FIFO_R_W does not move on to the next register, and
  yields the last byte again when the FIFO is empty [4.31].
- An MPU-9250 or 9255 has an AK8963 behind its auxiliary master, which moves a byte of slot 4 a period after it was
  enabled, and those of slot 0 with each sample, into the FIFO too where FIFO_EN says so. DEVICE_RESET cuts off what
  slot 0 reads; I2C_MST_RST clears itself [6500: 4.35].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.ports import boottime_ns
from drivers.ports.virtual import Wire
from drivers.ports.virtual._magnetometers import AK8963, Magnetometer, Master
from drivers.ports.virtual.i2c import serve_chip
from drivers.ports.virtual.motion import Motion

RESET_S = 0.05

SMPLRT_DIV, CONFIG, GYRO_CONFIG, ACCEL_CONFIG, FIFO_EN = 0x19, 0x1A, 0x1B, 0x1C, 0x23
SLV0_ADDR, SLV4_ADDR, SLV4_CTRL, SLV4_DI, I2C_MST_STATUS = 0x25, 0x31, 0x34, 0x35, 0x36
INT_STATUS, ACCEL_XOUT_H, GYRO_ZOUT_L, EXT_SENS, EXT_SENS_LAST = 0x3A, 0x3B, 0x48, 0x49, 0x60
USER_CTRL, PWR_MGMT_1, FIFO_COUNTH, FIFO_COUNTL, FIFO_R_W, WHO_AM_I = 0x6A, 0x6B, 0x72, 0x73, 0x74, 0x75

_READ_ONLY = {I2C_MST_STATUS, INT_STATUS, *range(ACCEL_XOUT_H, EXT_SENS_LAST + 1), FIFO_COUNTH, FIFO_COUNTL, WHO_AM_I}
_MPU6050 = 0x68
_WITH_MAGNETOMETER = (0x71, 0x73)
_ACCEL_LSB = (16384.0, 8192.0, 4096.0, 2048.0)
_GYRO_LSB = (131.0, 65.5, 32.8, 16.4)
# FIFO_EN's bit for each of the seven words of a sample, in register order: acceleration, temperature, rotation
_WORD_BITS = (0x08, 0x08, 0x08, 0x80, 0x40, 0x20, 0x10)


def temperature(who_am_i: int, index: npt.NDArray[np.int64], rate_hz: float) -> npt.NDArray[np.int16]:
    """Raw temperature at each sample: 25 degrees, half a degree up and down in a minute."""
    celsius = 25.0 + 0.5 * np.sin(2 * np.pi * index / (60.0 * rate_hz))
    raw = (celsius - 36.53) * 340.0 if who_am_i == _MPU6050 else (celsius - 21.0) * 333.87
    whole: npt.NDArray[np.int16] = np.rint(raw).astype(np.int16)
    return whole


class Mpu6050:
    """The chip; `document` is a `Virtual`'s with `who_am_i`. Time passes when it is written or read."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._who_am_i = int(document["who_am_i"])
        self._fifo_size = 1024 if self._who_am_i == _MPU6050 else 512
        self._clock = 1.0 + document["clock_ppm"] * 1e-6
        self._motion = Motion(
            document["seed"], 1000.0, replay=document["replay"], replay_accel_scale=document["replay_accel_scale"]
        )
        has_one = self._who_am_i in _WITH_MAGNETOMETER
        self.magnetometer = Magnetometer(AK8963, self._clock) if has_one else None
        self.power_on()

    def power_on(self) -> None:
        if self.magnetometer is not None:
            self.magnetometer.power_on()
        self._reset(awake_ns=0)

    def _reset(self, awake_ns: int) -> None:
        self._registers = bytearray(128)
        self._registers[PWR_MGMT_1] = 0x40
        self._registers[WHO_AM_I] = self._who_am_i
        self._master = Master(self.magnetometer)
        self._fifo = bytearray()
        self._last = 0
        self._awake_ns = awake_ns
        self._begun_ns = 0
        self._taken = 0

    def write(self, register: int, data: bytes) -> None:
        if self._pass_time() < self._awake_ns:
            return
        for address, value in enumerate(data, register):
            if address not in _READ_ONLY and address < len(self._registers):
                self._write_one(address, value)

    def _write_one(self, address: int, value: int) -> None:
        if address == PWR_MGMT_1 and value & 0x80:
            if self._registers[USER_CTRL] & 0x20:
                self._master.cut_off(bytes(self._registers[SLV0_ADDR : SLV0_ADDR + 3]))
            self._reset(boottime_ns() + int(RESET_S * 1e9))
            return
        if address == USER_CTRL:
            if value & 0x04 and not value & 0x40:
                self._fifo.clear()
            if value & 0x02:
                self._master.reset()
            value &= ~0x06
        self._registers[address] = value
        if address == SLV4_CTRL and value & 0x80 and self._registers[USER_CTRL] & 0x20:
            self._registers[SLV4_CTRL] &= 0x7F
            place, slave_register, out = self._registers[SLV4_ADDR:SLV4_CTRL]
            self._master.single(place, slave_register, out, boottime_ns() + int(1e9 / self._rate_hz))
        if not self._begun_ns and self._sampling:
            self._begun_ns = boottime_ns()
            self._feel()

    def read(self, register: int, count: int) -> bytes:
        if self._pass_time() < self._awake_ns:
            return bytes([0x80 if register == PWR_MGMT_1 else 0]) * count
        answer = bytearray()
        while len(answer) < count:
            if register == FIFO_R_W:
                return bytes(answer) + self._from_fifo(count - len(answer))
            answer.append(self._read_one(register))
            register = (register + 1) % len(self._registers)
        return bytes(answer)

    def _read_one(self, address: int) -> int:
        if address == FIFO_COUNTH:
            self._registers[FIFO_COUNTH : FIFO_COUNTL + 1] = len(self._fifo).to_bytes(2, "big")
        elif address == I2C_MST_STATUS:
            status = self._master.done << 6 | self._master.refused << 4
            self._master.done = self._master.refused = False
            return status
        value = self._registers[address]
        if address == INT_STATUS:
            self._registers[INT_STATUS] = 0
        return value

    def _from_fifo(self, count: int) -> bytes:
        data = bytes(self._fifo[:count])
        del self._fifo[:count]
        self._last = data[-1] if data else self._last
        return data + bytes([self._last]) * (count - len(data))

    @property
    def _sampling(self) -> bool:
        r = self._registers
        return bool(r[USER_CTRL] & 0x40 and r[FIFO_EN] & 0xF8) and not r[PWR_MGMT_1] & 0x40

    @property
    def _rate_hz(self) -> float:
        filtered = 1 <= self._registers[CONFIG] & 0x07 <= 6
        return (1000.0 if filtered else 8000.0) / (1 + self._registers[SMPLRT_DIV])

    def _range(self, register: int) -> int:
        return (self._registers[register] >> 3) & 0x03

    def _feel(self) -> None:
        """The motion, from now on at the rate and in the ranges that are set."""
        ranges = _ACCEL_LSB[self._range(ACCEL_CONFIG)], _GYRO_LSB[self._range(GYRO_CONFIG)]
        self._motion = self._motion.at(self._rate_hz, ranges)

    def _pass_time(self) -> int:
        """Takes the samples that are due by now, which it returns."""
        now_ns = boottime_ns()
        if (byte := self._master.pass_time(now_ns)) is not None:
            self._registers[SLV4_DI] = byte
        if not self._begun_ns and not self._registers[PWR_MGMT_1] & 0x40:  # without its FIFO it measures, too
            self._feel()
            newest = int((now_ns - self._awake_ns) * 1e-9 * self._rate_hz * self._clock)
            self._registers[ACCEL_XOUT_H : GYRO_ZOUT_L + 1] = self._words(newest, 1).tobytes()
        if not self._begun_ns:
            return now_ns
        taken = int((now_ns - self._begun_ns) * 1e-9 * self._rate_hz * self._clock)
        new, self._taken = taken - self._taken, taken
        if new <= 0:
            return now_ns
        chosen = [bool(self._registers[FIFO_EN] & bit) for bit in _WORD_BITS]
        # what would fall out of the FIFO again is not computed
        kept = min(new, self._fifo_size // (2 * sum(chosen)) + 1) if self._sampling else 1
        words = self._words(taken - kept, kept)
        self._registers[ACCEL_XOUT_H : GYRO_ZOUT_L + 1] = words[-1].tobytes()
        self._registers[INT_STATUS] |= 0x01
        if self._registers[USER_CTRL] & 0x20:
            for index, row in zip(range(taken - kept, taken), words, strict=True):
                field = self._field(index)
                if self._sampling:
                    self._fifo += row[chosen].tobytes() + (field if self._registers[FIFO_EN] & 0x01 else b"")
        elif self._sampling:
            self._fifo += words[:, chosen].tobytes()
        if len(self._fifo) > self._fifo_size:
            del self._fifo[: len(self._fifo) - self._fifo_size]
            self._registers[INT_STATUS] |= 0x10
        return now_ns

    def _field(self, index: int) -> bytes:
        """What slot 0 reads with a sample."""
        moment_ns = self._begun_ns + int((index + 1) / self._rate_hz / self._clock * 1e9)
        field = self._master.sample(bytes(self._registers[SLV0_ADDR : SLV0_ADDR + 3]), moment_ns)
        self._registers[EXT_SENS : EXT_SENS + len(field)] = field
        return field

    def _words(self, first: int, count: int) -> npt.NDArray[np.int16]:
        """Samples `first` ... as the registers hold them: shape (count, 7), big-endian."""
        rows = self._motion.rows(first, count)
        words = np.empty((count, 7), ">i2")
        words[:, :3], words[:, 4:] = rows[:, :3], rows[:, 3:]
        words[:, 3] = temperature(self._who_am_i, np.arange(first, first + count), self._rate_hz)
        return words


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The child process."""
    serve_chip(wire, Mpu6050(document), document)
