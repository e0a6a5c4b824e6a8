"""A virtual LSM6DS3, LSM6DS3TR-C, LSM6DSO(X), LSM6DSO32 or ISM330DHCX, register by register: its FIFO fills with time.

From the LSM6DSO's data sheet (DS12140; sections in brackets) and the LSM6DSL's (DocID028475, "DSL"), checked against
the readings of Linux (st_lsm6dsx) and others (rvanee/Arduino_LSM6DSOX; Adafruit's driver, in the test):

- After power-up and SW_RESET both sensors are off [9.12, 9.13]; a reset takes RESET_S, and hears nothing.
- A sensor samples at its ODR on the chip's own clock. Sample n since the FIFO was first switched on after a reset is
  row n of the motion, in LSB of the ranges; before that, since a sensor was. The count goes on through
  overflows and bypasses, as the world does. Modelled: both sensors at one rate, and the FIFO too; modes bypass (which
  empties it) and continuous [6.5].
- With tags, a sample is a word of rotation and a word of acceleration, each with a tag that counts time slots [6.5.7].
  Reading 7Eh takes the word out and the burst goes on at 78h. 512 words; DIFF_FIFO counts them. FIFO_OVR_LATCHED
  is kept until it is read.
- Without, it is six words of 16 bits; reading 3Fh takes one out and the burst goes on at 3Eh; FIFO_PATTERN is the place
  of the next in its sample. DIFF_FIFO is 0 while the FIFO is overrun [DSL: 5.5.6].
- Full, it loses its oldest words; empty, it yields zeros.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from drivers.ports import boottime_ns
from drivers.ports.virtual import Wire
from drivers.ports.virtual.i2c import serve_chip
from drivers.ports.virtual.motion import Motion

RESET_S = 0.0001

FIFO_CTRL3_DS3, FIFO_CTRL3, FIFO_CTRL4, WHO_AM_I, CTRL1_XL, CTRL2_G, CTRL3_C = 0x08, 0x09, 0x0A, 0x0F, 0x10, 0x11, 0x12
STATUS_REG, OUTX_L_G, OUTZ_H_G, OUTX_L_A, OUTZ_H_A = 0x1E, 0x22, 0x27, 0x28, 0x2D
FIFO_STATUS1, FIFO_STATUS4, FIFO_DATA_OUT, FIFO_OUT_TAG = 0x3A, 0x3D, 0x3E, 0x78

_READ_ONLY = {WHO_AM_I, *range(STATUS_REG, OUTZ_H_A + 1), *range(FIFO_STATUS1, FIFO_DATA_OUT + 2), *range(0x78, 0x7F)}
_ODR_HZ = (0.0, 12.5, 26.0, 52.0, 104.0, 208.0, 416.0, 833.0, 1660.0, 3330.0, 6660.0)
_ACCEL_LSB = tuple(1000 / mg for mg in (0.061, 0.488, 0.122, 0.244))
_DSO32_ACCEL_LSB = tuple(1000 / mg for mg in (0.122, 0.976, 0.244, 0.488))
_GYRO_LSB = tuple(1000 / mdps for mdps in (8.75, 4.375, 17.5, 4.375, 35.0, 4.375, 70.0, 4.375))  # FS_125 overrules
_BYPASS, _CONTINUOUS = 0, 6
_TAG_BYTES = np.array([[code << 3 | slot << 1 for code in (1, 2)] for slot in range(4)])
_PAIR = np.dtype([("tag", "|u1"), ("xyz", "<i2", 3)])


class Lsm6ds:
    """The chip; `document` is a `Virtual`'s with `who_am_i` and `part`. Time passes when it is written or read."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._who_am_i = int(document["who_am_i"])
        self._accel_lsb = _DSO32_ACCEL_LSB if document["part"] == "LSM6DSO32" else _ACCEL_LSB
        self._tagged = self._who_am_i not in (0x69, 0x6A)
        self._word = 7 if self._tagged else 2
        self._words = 512 if self._tagged else 4096 if self._who_am_i == 0x69 else 2048
        self._clock = 1.0 + document["clock_ppm"] * 1e-6
        self._motion = Motion(
            document["seed"], 1000.0, replay=document["replay"], replay_accel_scale=document["replay_accel_scale"]
        )
        self.power_on()

    def power_on(self) -> None:
        self._reset(awake_ns=0)

    def _reset(self, awake_ns: int) -> None:
        self._registers = bytearray(256)
        self._registers[CTRL3_C] = 0x04
        self._registers[WHO_AM_I] = self._who_am_i
        self._fifo = bytearray()
        self._gone = 0  # words that have left the FIFO
        self._overrun = self._latched = False
        self._awake_ns = awake_ns
        self._begun_ns = 0
        self._taken = 0
        self._motion_rate_hz = 0.0
        self._felt = 0.0, (0.0, 0.0)  # rate and LSB of the motion
        self._fifo_begun = False

    def write(self, register: int, data: bytes) -> None:
        if self._pass_time() < self._awake_ns:
            return
        for address, value in enumerate(data, register):
            if address in _READ_ONLY:
                continue
            if address == CTRL3_C and value & 0x01:
                self._reset(boottime_ns() + int(RESET_S * 1e9))
                return
            self._registers[address & 0xFF] = value
        rate_hz = self._rate_hz
        starts = rate_hz and rate_hz != self._motion_rate_hz
        if starts or (self._batching and not self._fifo_begun):
            self._begun_ns, self._taken, self._motion_rate_hz = boottime_ns(), 0, rate_hz
            self._fifo_begun = self._batching
        ranges = self._accel_lsb[self._registers[CTRL1_XL] >> 2 & 3], _GYRO_LSB[self._registers[CTRL2_G] >> 1 & 7]
        if self._begun_ns and (self._motion_rate_hz, ranges) != self._felt:
            self._felt = self._motion_rate_hz, ranges
            self._motion = self._motion.at(*self._felt)
        if self._mode == _BYPASS:
            self._fifo.clear()
            self._gone, self._overrun = 0, False

    def read(self, register: int, count: int) -> bytes:
        if self._pass_time() < self._awake_ns:
            return bytes([0x05 if register == CTRL3_C else 0]) * count
        answer = bytearray()
        first = FIFO_OUT_TAG if self._tagged else FIFO_DATA_OUT
        while len(answer) < count:
            if register == first:
                answer += self._take((count - len(answer)) // self._word)
            if len(answer) < count:
                answer.append(self._read_one(register))
                register = first if register == first + self._word - 1 else (register + 1) & 0xFF
        return bytes(answer)

    def _take(self, words: int) -> bytes:
        """Whole words out of the FIFO."""
        size = words * self._word
        data = bytes(self._fifo[:size])
        del self._fifo[:size]
        self._gone += len(data) // self._word
        self._overrun = self._overrun and not data
        return data.ljust(size, b"\0")

    def _read_one(self, address: int) -> int:
        first = FIFO_OUT_TAG if self._tagged else FIFO_DATA_OUT
        if first <= address < first + self._word:
            at = address - first
            value = self._fifo[at] if at < len(self._fifo) else 0
            if at == self._word - 1:
                self._take(1)
            return value
        if FIFO_STATUS1 <= address <= FIFO_STATUS4:
            status = self._tagged_status() if self._tagged else self._pattern_status()
            if address == FIFO_STATUS1 + 1:
                self._latched = False
            return status >> 8 * (address - FIFO_STATUS1) & 0xFF
        value = self._registers[address]
        if address in (OUTZ_H_G, OUTZ_H_A):
            self._registers[STATUS_REG] &= ~(0x02 if address == OUTZ_H_G else 0x01)
        return value

    def _tagged_status(self) -> int:
        held = len(self._fifo) // self._word
        return held | self._latched << 11 | (held == self._words) << 13 | self._overrun << 14

    def _pattern_status(self) -> int:
        held = len(self._fifo) // self._word
        pattern = self._gone % 6 << 16
        if self._overrun:
            return pattern | 0x6000
        return held & 0xFFF | (not held) << 12 | (held > self._words - 6) << 13 | pattern

    @property
    def _mode(self) -> int:
        return self._registers[FIFO_CTRL4] & 7

    @property
    def _rate_hz(self) -> float:
        accel, gyro = self._registers[CTRL1_XL] >> 4, self._registers[CTRL2_G] >> 4
        code = max(accel, gyro)
        return _ODR_HZ[code] if code < len(_ODR_HZ) else 0.0

    @property
    def _batching(self) -> bool:
        """Whether both sensors and the FIFO run, at one rate."""
        code = self._registers[CTRL1_XL] >> 4
        if self._mode != _CONTINUOUS or not code or code != self._registers[CTRL2_G] >> 4:
            return False
        if self._tagged:
            return self._registers[FIFO_CTRL3] == code << 4 | code
        return self._registers[FIFO_CTRL3_DS3] == 0x09 and self._registers[FIFO_CTRL4] >> 3 & 15 == code

    def _pass_time(self) -> int:
        """Takes the samples that are due by now, which it returns."""
        now_ns = boottime_ns()
        if not self._begun_ns or not self._rate_hz:
            return now_ns
        taken = int((now_ns - self._begun_ns) * 1e-9 * self._rate_hz * self._clock)
        new, self._taken = taken - self._taken, taken
        if new <= 0:
            return now_ns
        # what would fall out of the FIFO again is not computed
        kept = min(new, self._words // (2 if self._tagged else 6) + 1) if self._batching else 1
        rows = self._motion.rows(taken - kept, kept).astype("<i2")
        self._registers[OUTX_L_A : OUTZ_H_A + 1] = rows[-1, :3].tobytes()
        self._registers[OUTX_L_G : OUTZ_H_G + 1] = rows[-1, 3:].tobytes()
        self._registers[STATUS_REG] |= 0x03
        if self._batching:
            self._gone += (new - kept) * (2 if self._tagged else 6)
            if self._tagged:
                pairs = np.empty((kept, 2), _PAIR)
                pairs["tag"] = _TAG_BYTES[np.arange(taken - kept, taken) % 4]
                pairs["xyz"][:, 0], pairs["xyz"][:, 1] = rows[:, 3:], rows[:, :3]
                self._fifo += pairs.tobytes()
            else:
                self._fifo += np.roll(rows, 3, axis=1).tobytes()
            self._shorten()
        return now_ns

    def _shorten(self) -> None:
        """Loses the oldest words where there are too many."""
        excess = len(self._fifo) // self._word - self._words
        if excess > 0:
            del self._fifo[: excess * self._word]
            self._gone += excess
            self._overrun = self._latched = True


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The child process."""
    serve_chip(wire, Lsm6ds(document), document)
