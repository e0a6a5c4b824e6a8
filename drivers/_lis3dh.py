"""The accelerometer that the LIS3DH and the LSM303DLHC have in common.

Registers from the LIS3DH data sheet (DocID17530 rev. 2, sections 7 and 8) and the LSM303DLHC's (DocID018771 rev. 2,
section 7); second sources: ST's lis3dh_reg.c, RIOT's drivers/lis3dh and drivers/lsm303dlhc.

Its FIFO keeps 10 of the 12 bits (ST's support, community.st.com "LIS3DHTR data length"; others measured the same), so
one can have 10 bits out of the FIFO, with nothing lost, or 12 bits sample by sample in high-resolution mode.
"""

from collections.abc import Mapping

import numpy as np

from drivers import Block, Channel, DriverError, Samples
from drivers._fifo import Fifo, Level
from drivers._ready import Ready
from drivers.ports.i2c import I2cDevice

# fmt: off
WHO_AM_I  = 0x0F  # of the LIS3DH; the LSM303DLHC's data sheet has none
CTRL_REG1 = 0x20  # bits 7-4: rate code, 3: low power, 2-0: axes on; CTRL_REG2 ... 6 follow
CTRL_REG4 = 0x23  # bit 7: block data update, 5-4: range, 3: high resolution
CTRL_REG5 = 0x24  # bit 6: FIFO on
STATUS    = 0x27  # bit 7: a sample was overwritten, 3: a new one is there
OUT_X_L   = 0x28  # three little-endian int16, left-justified; in a burst 0x28 follows 0x2D (AN3308, "FIFO")
FIFO_CTRL = 0x2E  # bits 7-6: 0 bypass, 2 stream
FIFO_SRC  = 0x2F  # bit 6: full, 4-0: samples in it
BURST     = 0x80  # sub-address bit: go on to the next register
# fmt: on

IDENTITY = 0x33
FIFO_SAMPLES = 32
G_PER_LSB = {2: 0.001, 4: 0.002, 8: 0.004, 16: 0.012}
"""Of 12 bits, by range, in the order of their codes: table "Mechanical characteristics"; lis3dh_reg.c agrees."""
RATES_HZ = {1.0: 1, 10.0: 2, 25.0: 3, 50.0: 4, 100.0: 5, 200.0: 6, 400.0: 7, 1344.0: 9}
"""Rate codes without low power: table "Data rate configuration"."""
FASTEST_12_BIT_HZ = 100.0
"""Without a FIFO a reader must come once in each period; Linux does that to within a few milliseconds."""

_SAMPLE = 6  # bytes


class Accelerometer:
    """Set up by `start`, then read like a driver."""

    def __init__(
        self, chip: str, device: I2cDevice, *, rate_hz: float, range_g: int, bits: int = 10, longest_s: float = 0.05
    ) -> None:
        """`longest_s` is how long samples may wait in the FIFO, where it is not half full earlier."""
        self._chip = chip
        self._device = device
        self._rate_hz, self._range_g, self._bits = rate_hz, range_g, bits
        self._reader = Fifo(chip, rate_hz, longest_s=longest_s) if bits == 10 else Ready(chip, rate_hz)
        self.channels = tuple(
            Channel(
                f"Accelerometer{axis}",
                "g",
                scale=G_PER_LSB[range_g] * 2 ** (12 - bits),
                limits=(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1),
            )
            for axis in "XYZ"
        )
        self.setup = {"accel_range_g": range_g, "accel_bits": bits}
        self._dtype = np.dtype([(channel.name, channel.dtype) for channel in self.channels])

    @property
    def counters(self) -> Mapping[str, int]:
        return self._reader.counters

    def start(self) -> None:
        """Sets it up, whatever it was before: it has no reset. Raises DriverError."""
        wanted = {
            CTRL_REG1: 0x00,  # powered down, until all else is set
            CTRL_REG1 + 1: 0x00,  # no high-pass filter
            CTRL_REG1 + 2: 0x00,  # no interrupts
            CTRL_REG4: 0x80 | list(G_PER_LSB).index(self._range_g) << 4 | (0x08 if self._bits == 12 else 0),
            CTRL_REG5: 0x40 if self._bits == 10 else 0x00,
            FIFO_CTRL: 0x00,
        }
        for register, value in wanted.items():
            self._set(register, value)
        if isinstance(self._reader, Fifo):
            self._reader.begin(self, FIFO_SAMPLES)
        else:
            self._reader.begin(self)
        self._set(CTRL_REG1, RATES_HZ[self._rate_hz] << 4 | 0x07)

    def _set(self, register: int, value: int) -> None:
        self._write(register, value)
        if self._device.read(register, 1)[0] != value:
            raise DriverError(
                f"{self._chip}: register 0x{register:02x} does not keep 0x{value:02x};"
                " another chip has this address, or the wiring is bad"
            )

    def read(self, timeout: float) -> Block | None:
        return self._reader.read(timeout)

    def level(self) -> Level:
        (source,) = self._device.read(FIFO_SRC, 1)
        full = bool(source & 0x40)  # and full stays full until it is read
        return Level(FIFO_SAMPLES if full else source & 0x1F, full)

    def overflowed(self) -> bool:
        return True  # reading it makes room, and nothing tells any more

    def take(self, count: int) -> Samples:
        return self._samples(self._device.read_fifo(OUT_X_L | BURST, _SAMPLE * count, unit=_SAMPLE))

    def restart(self) -> None:
        self._write(FIFO_CTRL, 0x00)
        self._write(FIFO_CTRL, 0x80)

    def look(self) -> tuple[Samples | None, bool | None]:
        # asked apart: a burst that came just before a sample would take that sample and say that there is none
        if not self._device.read(STATUS, 1)[0] & 0x08:
            return None, False
        data = self._device.read(STATUS | BURST, 7)
        return self._samples(data[1:]), bool(data[0] & 0x80)

    def _samples(self, data: bytes) -> Samples:
        values = (np.frombuffer(data, "<i2") >> (16 - self._bits)).astype("<i2")
        samples: Samples = values.view(self._dtype)
        samples.flags.writeable = False
        return samples

    def _write(self, register: int, value: int) -> None:
        self._device.write(register, bytes([value]))
