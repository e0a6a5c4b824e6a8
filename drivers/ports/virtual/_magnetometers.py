"""Virtual AK09916 and AK8963, the magnetometers in IMUs, behind the IMU's auxiliary I2C master.

From the data sheets (AK09916: MS1547; AK8963: MS1356). After power-up and a soft reset they are powered down; in a
continuous mode sample n is the field by the formula below, in the chip's own axes. What is read stays the same from a
first data register until ST2 has been read; a reading over the end of the registers yields zeros.

Cut off in the midst of a transfer, they hang, and acknowledge nothing until the IMU's master is reset.

The field, as if the case were turned once in ten seconds, t = n / rate_hz, in LSB of 0.15 uT before an AK8963's
sensitivity:  x = 140 cos(2 pi t / 10) + n % 3,  y = 140 sin(2 pi t / 10),  z = 290
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

ADDRESS = 0x0C
SENSITIVITY = (176, 182, 170)
"""ASAX, ASAY, ASAZ of the virtual AK8963."""


class Part(NamedTuple):
    """Where its registers are."""

    identity: bytes
    data: int
    last: int
    """ST2."""
    mode: int
    reset: int
    fuses: int
    """Of the sensitivity, readable in mode 15; 0 where there are none."""


AK09916 = Part(b"\x48\x09", 0x11, 0x18, 0x31, 0x32, 0)
AK8963 = Part(b"\x48\x9a", 0x03, 0x09, 0x0A, 0x0B, 0x10)
_RATES_HZ = {2: 10.0, 4: 20.0, 6: 50.0, 8: 100.0}
_RATES_8963_HZ = {2: 8.0, 6: 100.0}


def field(index: int, rate_hz: float) -> npt.NDArray[np.int16]:
    """Sample `index`: x, y and z."""
    turned = 2 * np.pi * index / rate_hz / 10
    values = [140 * np.cos(turned) + index % 3, 140 * np.sin(turned), 290]
    whole: npt.NDArray[np.int16] = np.rint(values).astype(np.int16)
    return whole


class Magnetometer:
    """The chip; who reads and writes it says what time it is (CLOCK_BOOTTIME, ns)."""

    def __init__(self, part: Part, clock: float) -> None:
        self._part = part
        self._clock = clock
        self.beyond = False
        """Whether the field is beyond the range."""
        self.power_on()

    def power_on(self) -> None:
        self.hangs = False
        """Whether it was left in the midst of a transfer."""
        self._registers = bytearray(0x40)
        self._registers[: len(self._part.identity)] = self._part.identity
        self._begun_ns = 0
        self._kept = False

    def write(self, register: int, value: int, now_ns: int) -> None:
        if register == self._part.reset and value & 0x01:
            self.power_on()
        elif register == self._part.mode:
            self._registers[register] = value
            self._begun_ns = now_ns if self._rate_hz else 0
            if self._part.fuses:
                known = SENSITIVITY if value & 0x0F == 0x0F else (0, 0, 0)
                self._registers[self._part.fuses : self._part.fuses + 3] = bytes(known)

    def read(self, register: int, count: int, now_ns: int) -> bytes:
        data, last = self._part.data, self._part.last
        if self._begun_ns and not self._kept:
            taken = int((now_ns - self._begun_ns) * 1e-9 * self._rate_hz * self._clock)
            if taken > 0:
                self._registers[data : data + 6] = field(taken - 1, self._rate_hz).astype("<i2").tobytes()
                self._registers[last] = self._registers[last] & ~0x08 | self.beyond << 3
        if register < data + 6 and register + count > data:
            self._kept = True
        if register <= last < register + count:
            self._kept = False
        return bytes(self._registers[register : register + count]).ljust(count, b"\0")

    @property
    def _rate_hz(self) -> float:
        mode = self._registers[self._part.mode]
        if self._part.fuses:
            return _RATES_8963_HZ.get(mode & 0x0F, 0.0) if mode & 0x10 else 0.0
        return _RATES_HZ.get(mode, 0.0)


class Master:
    """The IMU's end: slot 4 moves one byte, slot 0 some with each sample. Only the magnetometer is behind it."""

    def __init__(self, magnetometer: Magnetometer | None) -> None:
        self._behind = magnetometer
        self.done = self.refused = False
        self._due: tuple[int, int, int, int] | None = None

    def single(self, address: int, register: int, out: int, due_ns: int) -> None:
        """A byte goes at `due_ns`."""
        self._due = address, register, out, due_ns

    def reset(self) -> None:
        """By its bit in the IMU: a chip that hangs lets go."""
        self._due = None
        if self._behind is not None:
            self._behind.hangs = False

    def cut_off(self, slot: bytes) -> None:
        """The IMU is reset, in the midst of what slot 0 (as in `sample`) reads, where it is on."""
        if self._behind is not None and slot[2] & 0x80:
            self._behind.hangs = True

    def pass_time(self, now_ns: int) -> int | None:
        """The byte that was read, where one was due to be read by now."""
        if self._due is None or now_ns < self._due[3]:
            return None
        (address, register, out, due_ns), self._due = self._due, None
        self.done = True
        self.refused = self._behind is None or self._behind.hangs or address & 0x7F != ADDRESS
        if self.refused or self._behind is None:
            return None
        if address & 0x80:
            return self._behind.read(register, 1, due_ns)[0]
        self._behind.write(register, out, due_ns)
        return None

    def sample(self, slot: bytes, now_ns: int) -> bytes:
        """What slot 0 (its address, register and control) reads at a moment; empty where it is off."""
        address, register, control = slot
        count = control & 0x0F
        if not control & 0x80:
            return b""
        if self._behind is None or self._behind.hangs or address != ADDRESS | 0x80:
            return bytes(count)
        return self._behind.read(register, count, now_ns)
