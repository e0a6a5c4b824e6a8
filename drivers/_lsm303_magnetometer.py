"""The magnetometer of the LSM303DLHC, at an address of its own.

Registers from the data sheet (DocID018771 rev. 2, sections 7.2 and 5.1.2; sensitivity: table 3); second source: QEMU's
hw/sensor/lsm303dlhc_mag.c, which also has the same gains. It has no FIFO.
"""

import numpy as np

from drivers import Channel, DriverError, Samples
from drivers.ports.i2c import I2cDevice

# fmt: off
CRA   = 0x00  # bits 4-2: rate code
CRB   = 0x01  # bits 7-5: range code
MR    = 0x02  # bits 1-0: 0 continuous, 3 asleep
OUT_X = 0x03  # three big-endian int16, in the order x, z, y; after 0x08 a burst goes on at 0x03
SR    = 0x09  # bit 0: a new sample is there
IRA   = 0x0A  # three letters
# fmt: on

ADDRESS = 0x1E
IDENTITY = b"H43"
RATES_HZ = (0.75, 1.5, 3.0, 7.5, 15.0, 30.0, 75.0, 220.0)
"""By rate code."""
LSB_PER_GAUSS = {
    1.3: (1100, 980),
    1.9: (855, 760),
    2.5: (670, 600),
    4.0: (450, 400),
    4.7: (400, 355),
    5.6: (330, 295),
    8.1: (230, 205),
}
"""By range: (x and y, z), in the order of the range codes from 1."""


class Magnetometer:
    """Set up by `start`; then `newest` is the last sample there is, and `look` only one that is new."""

    def __init__(self, device: I2cDevice, *, rate_hz: float, range_gauss: float) -> None:
        self._device = device
        self._rate_hz, self._range_gauss = rate_hz, range_gauss
        xy, z = LSB_PER_GAUSS[range_gauss]
        self.channels = tuple(
            # 1 gauss is 100 uT; beyond its range it says -4096
            Channel(f"Magnetometer{axis}", "uT", scale=100 / lsb, limits=(-2048, 2047))
            for axis, lsb in zip("XYZ", (xy, xy, z), strict=True)
        )
        self.setup = {"mag_range_gauss": range_gauss, "mag_rate_hz": rate_hz}
        self._dtype = np.dtype([(channel.name, channel.dtype) for channel in self.channels])

    def recognise(self) -> None:
        """Raises DriverError where it is another chip, or none."""
        answer = self._device.read(IRA, len(IDENTITY))
        if answer != IDENTITY:
            raise DriverError(
                f"lsm303: the identification registers at 0x{ADDRESS:02x} say {answer.hex(' ')} and not"
                f" {IDENTITY.hex(' ')}; another chip has this address (an LSM303AGR or LSM303D is not an"
                " LSM303DLHC), or the wiring is bad"
            )

    def prepare(self) -> None:
        """Sets it up, asleep."""
        codes = {
            MR: 0x03,
            CRA: RATES_HZ.index(self._rate_hz) << 2,
            CRB: (1 + list(LSB_PER_GAUSS).index(self._range_gauss)) << 5,
        }
        for register, value in codes.items():  # one by one: it takes no bursts
            self._device.write(register, bytes([value]))
            if self._device.read(register, 1)[0] != value:
                raise DriverError(
                    f"lsm303: magnetometer register 0x{register:02x} does not keep 0x{value:02x};"
                    " check the wiring, keep cables short, try a slower bus"
                )

    def wake(self) -> None:
        self._device.write(MR, b"\x00")

    def newest(self) -> Samples:
        """The sample that it took last, again where there is no newer one."""
        words = np.frombuffer(self._device.read(OUT_X, 6), ">i2")[[0, 2, 1]]
        samples: Samples = words.astype("<i2").view(self._dtype)
        samples.flags.writeable = False
        return samples

    def look(self) -> tuple[Samples | None, bool | None]:
        """The new sample, where there is one; it never says whether one was overwritten."""
        ready = self._device.read(SR, 1)[0] & 0x01
        return (self.newest() if ready else None), None

    def close(self) -> None:
        self._device.close()
