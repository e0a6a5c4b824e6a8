"""A virtual LSM303DLHC: an accelerometer like the LIS3DH's at 0x19, and a magnetometer at 0x1E.

The magnetometer, from the data sheet (DocID018771 rev. 2, section 7.2):

- After power-up it sleeps. Woken, sample n is the field by the formula below, at the rate and gain that were set then.
- DRDY is set by a new sample and cleared once the last of the six output registers was read; between the first and the
  last of them LOCK is set and no new sample comes in.
- A burst goes from 0x08 on to 0x03, and from 0x0C to 0x00. Beyond the range an axis says -4096.

The field, as if the case were turned once in ten seconds, t = n / rate_hz, with noise of 0.3 LSB:

    x = 20 uT cos(2 pi t / 10 s)     y = 20 uT sin(2 pi t / 10 s)     z = -44 uT
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random import default_rng

from drivers.ports import boottime_ns
from drivers.ports.virtual import Wire
from drivers.ports.virtual.i2c import serve_chip
from drivers.ports.virtual.lis3dh import Lis3dh

CRA, CRB, MR, OUT_X, OUT_Y_L, SR, IRA, IRC = 0x00, 0x01, 0x02, 0x03, 0x08, 0x09, 0x0A, 0x0C
_RATES_HZ = (0.75, 1.5, 3.0, 7.5, 15.0, 30.0, 75.0, 220.0)
_LSB_PER_GAUSS = (
    (1100, 980), (1100, 980), (855, 760), (670, 600), (450, 400), (400, 355), (330, 295), (230, 205),
)  # fmt: skip


def field(index: int, rate_hz: float, gain: int, seed: int) -> npt.NDArray[np.int16]:
    """Sample `index` at a range code: x, y and z, as the registers have them."""
    xy, z = _LSB_PER_GAUSS[gain]
    turned = 2 * np.pi * index / rate_hz / 10
    micro_tesla = np.array([20 * np.cos(turned), 20 * np.sin(turned), -44.0])
    values = np.rint(micro_tesla / 100 * (xy, xy, z) + 0.3 * default_rng((seed, index)).standard_normal(3))
    whole: npt.NDArray[np.int16] = np.where(abs(values) > 2047, -4096, values).astype(np.int16)
    return whole


class Magnetometer:
    """The chip; `document` is a `Virtual`'s. Time passes when it is written or read."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._clock = 1.0 + document["clock_ppm"] * 1e-6
        self._seed = int(document["seed"])
        self.power_on()

    def power_on(self) -> None:
        self._registers = bytearray(0x40)
        self._registers[CRA], self._registers[CRB], self._registers[MR] = 0x10, 0x20, 0x03
        self._registers[IRA : IRC + 1] = b"H43"
        self._begun_ns = 0
        self._taken = 0

    def write(self, register: int, data: bytes) -> None:
        self._pass_time()
        if register in (CRA, CRB, MR):
            self._registers[register] = data[0]
        if not self._begun_ns and self._registers[MR] & 0x03 == 0:
            self._begun_ns = boottime_ns()

    def read(self, register: int, count: int) -> bytes:
        self._pass_time()
        answer = bytearray()
        while len(answer) < count:
            answer.append(self._registers[register])
            if register == OUT_Y_L:
                self._registers[SR] &= ~0x03
            elif OUT_X <= register < OUT_Y_L:
                self._registers[SR] |= 0x02
            register = {OUT_Y_L: OUT_X, IRC: CRA}.get(register, (register + 1) % len(self._registers))
        return bytes(answer)

    @property
    def _rate_hz(self) -> float:
        return _RATES_HZ[(self._registers[CRA] >> 2) & 0x07]

    def _pass_time(self) -> None:
        """Takes the sample that is due by now."""
        if not self._begun_ns or self._registers[SR] & 0x02:
            return
        taken = int((boottime_ns() - self._begun_ns) * 1e-9 * self._rate_hz * self._clock)
        if taken > self._taken and self._registers[MR] & 0x03 == 0:
            x, y, z = field(taken - 1, self._rate_hz, self._registers[CRB] >> 5, self._seed)
            self._registers[OUT_X : OUT_Y_L + 1] = np.array([x, z, y], ">i2").tobytes()
            self._registers[SR] |= 0x01
        self._taken = taken


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The child process of one of the two."""
    serve_chip(wire, Magnetometer(document) if document["address"] == 0x1E else Lis3dh(document), document)
