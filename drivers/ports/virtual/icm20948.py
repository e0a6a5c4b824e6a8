"""A virtual ICM-20948, register by register in four banks: its FIFO fills with time and overflows.

From its data sheet (DS-000189 rev. 1.3; sections in brackets):

- After power-up and DEVICE_RESET it sleeps and samples nothing [8.4]; a reset takes RESET_S and hears nothing.
- It samples at 1125 Hz / (1 + divider) [10.1, 10.12], on its own clock; modelled with filters on and equal dividers.
  Sample n since the FIFO first took samples after a reset is row n of the motion, in LSB of the ranges that were set
  then; the count goes on through overflows and FIFO resets, as the world does.
- The FIFO takes what FIFO_EN_1 and FIFO_EN_2 name in the order of the registers [8.56, 8.57]. Full, it loses its
  oldest bytes and sets FIFO_OVERFLOW_INT until INT_STATUS_2 is read [8.14, 8.59]. It is empty while FIFO_RESET is set
  [8.58]; empty, it yields 0xFF.
- The auxiliary master moves a byte of slot 4 a period after it was enabled, and those of slot 0 with each sample
  [11.1 to 11.24]. DEVICE_RESET cuts off what slot 0 reads; I2C_MST_RST clears itself [8.2].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.ports import boottime_ns
from drivers.ports.virtual import Wire
from drivers.ports.virtual._magnetometers import AK09916, Magnetometer, Master
from drivers.ports.virtual.i2c import serve_chip
from drivers.ports.virtual.motion import Motion

RESET_S = 0.01
FIFO_BYTES = 512

WHO_AM_I, USER_CTRL, PWR_MGMT_1, I2C_MST_STATUS, INT_STATUS_1, INT_STATUS_2 = 0x00, 0x03, 0x06, 0x17, 0x1A, 0x1B
ACCEL_XOUT_H, TEMP_OUT_H, EXT_SLV, EXT_SLV_LAST = 0x2D, 0x39, 0x3B, 0x52
FIFO_EN_1, FIFO_EN_2, FIFO_RST, FIFO_COUNTH, FIFO_R_W, REG_BANK_SEL = 0x66, 0x67, 0x68, 0x70, 0x72, 0x7F
GYRO_DIV, GYRO_CONFIG, ACCEL_CONFIG = 0x00, 0x01, 0x14  # bank 2
SLV0_ADDR, SLV4_ADDR, SLV4_CTRL, SLV4_DI = 0x03, 0x13, 0x15, 0x17  # bank 3

_READ_ONLY = {WHO_AM_I, I2C_MST_STATUS, *range(0x19, 0x1D), *range(ACCEL_XOUT_H, EXT_SLV_LAST + 1), 0x70, 0x71}
_ACCEL_LSB = (16384.0, 8192.0, 4096.0, 2048.0)
_GYRO_LSB = (131.0, 65.5, 32.8, 16.4)
# FIFO_EN_2's bit for each of the seven words of a sample, in register order: acceleration, rotation, temperature
_WORD_BITS = (0x10, 0x10, 0x10, 0x02, 0x04, 0x08, 0x01)


def temperature(index: npt.NDArray[np.int64], rate_hz: float) -> npt.NDArray[np.int16]:
    """Raw temperature at each sample: 25 degrees, half a degree up and down in a minute."""
    celsius = 25.0 + 0.5 * np.sin(2 * np.pi * index / (60.0 * rate_hz))
    whole: npt.NDArray[np.int16] = np.rint((celsius - 21.0) * 333.87).astype(np.int16)
    return whole


class Icm20948:
    """The chip; `document` is a `Virtual`'s with `who_am_i`. Time passes when it is written or read."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._who_am_i = int(document["who_am_i"])
        self._clock = 1.0 + document["clock_ppm"] * 1e-6
        self._motion = Motion(
            document["seed"], 1125.0, replay=document["replay"], replay_accel_scale=document["replay_accel_scale"]
        )
        self.magnetometer: Magnetometer | None = Magnetometer(AK09916, self._clock)
        self.power_on()

    def power_on(self) -> None:
        if self.magnetometer is not None:
            self.magnetometer.power_on()
        self._reset(awake_ns=0)

    def _reset(self, awake_ns: int) -> None:
        self._banks = [bytearray(128) for _ in range(4)]
        self._bank = 0
        bank0, _, bank2, _ = self._banks
        bank0[WHO_AM_I], bank0[0x05], bank0[PWR_MGMT_1] = self._who_am_i, 0x40, 0x41
        bank2[GYRO_CONFIG], bank2[ACCEL_CONFIG] = 0x01, 0x01
        self._master = Master(self.magnetometer)
        self._fifo = bytearray()
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
                self._bank = value >> 4 & 3
            elif self._bank == 0 and address == PWR_MGMT_1 and value & 0x80:
                if self._banks[0][USER_CTRL] & 0x20:
                    self._master.cut_off(bytes(self._banks[3][SLV0_ADDR : SLV0_ADDR + 3]))
                self._reset(boottime_ns() + int(RESET_S * 1e9))
                return
            elif self._bank or address not in _READ_ONLY:
                self._banks[self._bank][address & 0x7F] = value
        if self._banks[0][USER_CTRL] & 0x02:
            self._master.reset()
            self._banks[0][USER_CTRL] &= ~0x02
        bank0, _, _, bank3 = self._banks
        if bank0[FIFO_RST] & 0x1F:
            self._fifo.clear()
        if bank3[SLV4_CTRL] & 0x80 and bank0[USER_CTRL] & 0x20:
            bank3[SLV4_CTRL] &= 0x7F
            address, slave_register, _, out = bank3[SLV4_ADDR:SLV4_DI]
            self._master.single(address, slave_register, out, boottime_ns() + int(1e9 / self._rate_hz))
        if not self._awake:
            self._begun_ns = 0
        elif not self._begun_ns or self._rate_hz != self._felt[0] or (self._storing and not self._fifo_begun):
            self._begun_ns, self._taken, self._fifo_begun = boottime_ns(), 0, self._storing
        self._feel()

    def _feel(self) -> None:
        bank2 = self._banks[2]
        lsb = _ACCEL_LSB[bank2[ACCEL_CONFIG] >> 1 & 3], _GYRO_LSB[bank2[GYRO_CONFIG] >> 1 & 3]
        if (self._rate_hz, lsb) != self._felt:
            self._felt = self._rate_hz, lsb
            self._motion = self._motion.at(*self._felt)

    def read(self, register: int, count: int) -> bytes:
        if self._pass_time() < self._awake_ns:
            return bytes([0xC1 if register == PWR_MGMT_1 else 0]) * count
        answer = bytearray()
        while len(answer) < count:
            if register == FIFO_R_W and not self._bank:
                return bytes(answer) + self._from_fifo(count - len(answer))
            answer.append(self._read_one(register))
            register = (register + 1) & 0x7F
        return bytes(answer)

    def _read_one(self, address: int) -> int:
        if address == REG_BANK_SEL:
            return self._bank << 4
        bank0 = self._banks[0]
        if self._bank == 0:
            if address == FIFO_COUNTH:
                bank0[FIFO_COUNTH : FIFO_COUNTH + 2] = len(self._fifo).to_bytes(2, "big")
            elif address == I2C_MST_STATUS:
                status = self._master.done << 6 | self._master.refused << 4
                self._master.done = self._master.refused = False
                return status
        value = self._banks[self._bank][address & 0x7F]
        if self._bank == 0 and address in (INT_STATUS_1, INT_STATUS_2):
            bank0[address] = 0
        return value

    def _from_fifo(self, count: int) -> bytes:
        data = bytes(self._fifo[:count])
        del self._fifo[:count]
        return data.ljust(count, b"\xff")

    @property
    def _awake(self) -> bool:
        return not self._banks[0][PWR_MGMT_1] & 0x40

    @property
    def _rate_hz(self) -> float:
        return 1125.0 / (1 + self._banks[2][GYRO_DIV])

    @property
    def _storing(self) -> bool:
        bank0 = self._banks[0]
        return bool(self._awake and bank0[USER_CTRL] & 0x40 and bank0[FIFO_EN_2] & 0x1F) and not bank0[FIFO_RST] & 0x1F

    def _pass_time(self) -> int:
        """Takes the samples that are due by now, which it returns, and moves the master's byte."""
        now_ns = boottime_ns()
        if self._awake and (byte := self._master.pass_time(now_ns)) is not None:
            self._banks[3][SLV4_DI] = byte
        if not self._begun_ns or not self._awake:
            return now_ns
        rate_hz = self._rate_hz * self._clock
        taken = int((now_ns - self._begun_ns) * 1e-9 * rate_hz)
        new, self._taken = taken - self._taken, taken
        if new <= 0:
            return now_ns
        bank0, _, _, bank3 = self._banks
        chosen = [bool(bank0[FIFO_EN_2] & bit) for bit in _WORD_BITS]
        # what would fall out of the FIFO again is not computed
        kept = min(new, FIFO_BYTES // (2 * max(1, sum(chosen))) + 1) if self._storing else 1
        words = np.empty((kept, 7), ">i2")
        words[:, :6] = self._motion.rows(taken - kept, kept)
        words[:, 6] = temperature(np.arange(taken - kept, taken), self._rate_hz)
        for row, index in zip(words, range(taken - kept, taken), strict=True):
            field = b""
            if bank0[USER_CTRL] & 0x20:
                moment_ns = self._begun_ns + int((index + 1) / rate_hz * 1e9)
                field = self._master.sample(bytes(bank3[SLV0_ADDR : SLV0_ADDR + 3]), moment_ns)
                bank0[EXT_SLV : EXT_SLV + len(field)] = field
            if self._storing:
                self._fifo += row[chosen].tobytes() + (field if bank0[FIFO_EN_1] & 0x01 else b"")
        bank0[ACCEL_XOUT_H:EXT_SLV] = words[-1].tobytes()
        bank0[INT_STATUS_1] = 0x01
        if len(self._fifo) > FIFO_BYTES:
            del self._fifo[: len(self._fifo) - FIFO_BYTES]
            bank0[INT_STATUS_2] = 0x1F
        return now_ns


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The child process."""
    serve_chip(wire, Icm20948(document), document)
