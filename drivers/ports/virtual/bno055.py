"""A virtual BNO055: modes, pages, calibration and what it computes from a turn and the synthetic motion.

From BST-BNO055-DS000 rev. 1.4 (sections in brackets):

- It boots for 0.65 s after power-up and after a reset, and then says nothing but 0. It begins in CONFIG mode, where
  alone the set-up can be written [3.3]; modes change in 19 ms to CONFIG and in 7 ms from it (table 3-6).
- In the fusion modes it computes a hundred times a second on its own clock; before the first time all outputs are 0.
  Result n since the mode was entered is `result(n)` below.
- CALIB_STAT rises to 3 in each field while it runs, at once where offsets were written before; what it found can then
  be read, and stays until the power goes [3.11]. Offsets that are written while it runs on the external crystal can be
  read, and have no effect (adafruit/Adafruit_BNO055 #28).

It turns about z once in ten seconds, t = n / 100 Hz:

    quaternion            w = cos(pi t / 10 s)   z = sin(pi t / 10 s)   x = y = 0      2^14 LSB
    linear acceleration   the accelerations of motion.py less 1 g on z; 1000 LSB/g, or 980.665 in m/s^2
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.ports import boottime_ns
from drivers.ports.virtual import Wire
from drivers.ports.virtual.i2c import serve_chip
from drivers.ports.virtual.motion import Motion

BOOT_S = 0.65
RATE_HZ = 100.0
FOUND = bytes.fromhex("f4ff0c00e5ff8a00b7fe1c01ffff0200000003e8024e".ljust(44, "0"))
"""The calibration that it finds."""

PAGE, QUATERNION, TEMPERATURE, CALIB_STAT, UNIT_SEL, OPR_MODE, SYS_TRIGGER, OFFSETS = (
    0x07, 0x20, 0x34, 0x35, 0x3B, 0x3D, 0x3F, 0x55,
)  # fmt: skip
_POWER_ON = {0x00: 0xA0, 0x01: 0xFB, 0x02: 0x32, 0x03: 0x0F, 0x04: 0x11, 0x05: 0x03, 0x36: 0x0F, 0x3B: 0x80, 0x41: 0x24}
_FUSING = range(0x08, 0x0D)
_SETUP = {0x3B, 0x3E, 0x3F, 0x40, 0x41, 0x42, *range(OFFSETS, OFFSETS + 22)}


def result(index: int, motion: Motion, lsb_per_g: float) -> npt.NDArray[np.int16]:
    """Result `index`: w, x, y, z and linear acceleration, as the registers have them."""
    half = np.pi * index / RATE_HZ / 10
    quaternion = np.rint(np.array([np.cos(half), 0, 0, np.sin(half)]) * 2**14)
    acceleration = motion.at(RATE_HZ, (lsb_per_g, 1.0)).rows(index, 1)[0, :3] - np.rint([0, 0, lsb_per_g])
    whole: npt.NDArray[np.int16] = np.concatenate([quaternion, acceleration]).astype(np.int16)
    return whole


class Bno055:
    """The chip, powered up long ago; `document` is a `Virtual`'s. Time passes when it is written or read."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._clock = 1.0 + document["clock_ppm"] * 1e-6
        self._motion = Motion(
            document["seed"], RATE_HZ, replay=document["replay"], replay_accel_scale=document["replay_accel_scale"]
        )
        self._boot(awake_ns=0)

    def power_on(self) -> None:
        self._boot(boottime_ns() + int(BOOT_S * 1e9))

    def _boot(self, awake_ns: int) -> None:
        self._awake_ns = awake_ns
        self._pages = [bytearray(0x80), bytearray(0x80)]
        for register, value in _POWER_ON.items():
            self._pages[0][register] = value
        self._pages[1][0x50:0x60] = range(0x10, 0x20)
        self._mode_ns = 0
        self._wanted = 0
        self._restored = False

    def write(self, register: int, data: bytes) -> None:
        if self._pass_time() < self._awake_ns:
            return
        for address, value in enumerate(data, register):
            self._write_one(address, value)

    def _write_one(self, address: int, value: int) -> None:
        registers = self._pages[0]
        if address == PAGE:
            registers[PAGE] = self._pages[1][PAGE] = value & 0x01
        elif registers[PAGE]:
            if not registers[OPR_MODE] and 0x08 <= address < 0x20:
                self._pages[1][address] = value
        elif address == OPR_MODE:
            self._wanted = value & 0x0F
            changing_s = 0.007 if self._wanted else 0.019
            self._mode_ns = boottime_ns() + int(changing_s * 1e9)
        elif address == SYS_TRIGGER and value & 0x20:
            self._boot(boottime_ns() + int(BOOT_S * 1e9))
        elif address in _SETUP and not registers[OPR_MODE]:
            registers[address] = value
            self._restored |= address >= OFFSETS and not registers[SYS_TRIGGER] & 0x80

    def read(self, register: int, count: int) -> bytes:
        if self._pass_time() < self._awake_ns:
            return bytes(count)
        page = self._pages[self._pages[0][PAGE]]
        return bytes(page[(register + at) % len(page)] for at in range(count))

    def _pass_time(self) -> int:
        """Changes the mode and computes, where that is due by now."""
        now_ns, registers = boottime_ns(), self._pages[0]
        if now_ns < self._mode_ns:
            return now_ns
        if registers[OPR_MODE] != self._wanted:
            registers[OPR_MODE] = self._wanted
            registers[QUATERNION : CALIB_STAT + 1] = bytes(CALIB_STAT + 1 - QUATERNION)
        computed = int((now_ns - self._mode_ns) * 1e-9 * RATE_HZ * self._clock)
        if self._wanted not in _FUSING or not computed:
            return now_ns
        words = result(computed - 1, self._motion, 1000.0 if registers[UNIT_SEL] & 0x01 else 980.665)
        registers[QUATERNION : QUATERNION + 14] = words.astype("<i2").tobytes()
        registers[TEMPERATURE] = 27
        levels = [3] * 3 if self._restored else [min(3, computed // each) for each in (20, 40, 30)]
        gyroscope, accelerometer, magnetometer = levels
        registers[CALIB_STAT] = min(levels) << 6 | gyroscope << 4 | accelerometer << 2 | magnetometer
        if min(levels) == 3 and not self._restored:
            registers[OFFSETS : OFFSETS + 22] = FOUND
            self._restored = True
        return now_ns


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The child process."""
    serve_chip(wire, Bno055(document), document)
