"""The LSM303DLHC on I2C: acceleration out of its FIFO and the magnetic field, which are two chips in one case.

Both in one stream are columns at the accelerometer's rate and by its clock: each read of the FIFO fetches the newest
magnetic field too, which stands beside all samples of that read. So it is at most one reading interval (50 ms, or a
period of the magnetometer where that is shorter) and one period of the magnetometer away from its row. Where that is
too coarse, or the magnetometer's own clock matters, two streams on the same bus do it, one with
`sensors = "accelerometer"` and one with `sensors = "magnetometer"`; a recording of both lines them up.
"""

import contextlib
import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from drivers import Block, Hallmark, Identity, Samples, _bus, check, option, samples_dtype
from drivers._lis3dh import G_PER_LSB, RATES_HZ, Accelerometer
from drivers._lsm303_magnetometer import ADDRESS as MAGNETOMETER
from drivers._lsm303_magnetometer import IDENTITY as MAGNETOMETER_IDENTITY
from drivers._lsm303_magnetometer import IRA, LSB_PER_GAUSS, Magnetometer
from drivers._lsm303_magnetometer import RATES_HZ as MAGNETOMETER_RATES_HZ
from drivers._ready import Ready
from drivers.ports.i2c import I2cDevice, open_i2c
from drivers.ports.virtual import Virtual

ACCELEROMETER = 0x19
_SHORTEST_S, _LONGEST_S = 0.01, 0.05
_FIELD_BYTES = 9
"""Of one transfer of the field: address, register, address again, three words."""
HALLMARKS = (Hallmark((MAGNETOMETER,), IRA, {MAGNETOMETER_IDENTITY: "LSM303DLHC"}),)  # the other half has none


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one LSM303DLHC (accelerometer at 0x19, magnetometer at 0x1E)."""

    bus: int | str = option('number of the I2C bus, its path such as "/dev/i2c-1", or "virtual"', 1, at_least=0)
    sensors: str = option(
        "which of the two; of both, the field stands beside each acceleration as it was at that read of the FIFO",
        "both",
        choices=("both", "accelerometer", "magnetometer"),
    )
    rate_hz: float = option("accelerations a second; 1344 wants a bus at 400 kHz", 100.0, choices=tuple(RATES_HZ))
    accel_range_g: int = option("accelerations from minus to plus this many g", 4, choices=tuple(G_PER_LSB))
    mag_rate_hz: float = option("magnetic fields a second", 30.0, choices=MAGNETOMETER_RATES_HZ)
    mag_range_gauss: float = option(
        "magnetic fields from minus to plus this many gauss (100 uT; the Earth's is 0.25 to 0.65)",
        1.3,
        choices=tuple(LSB_PER_GAUSS),
    )
    virtual: Virtual = option("options of the virtual chips", factory=Virtual)

    def __post_init__(self) -> None:
        check(self, *_bus.name_mistakes(self.bus))

    def expects(self) -> tuple[float, int]:
        """Samples a second, and bytes of each, for estimates."""
        if self.sensors == "magnetometer":
            return self.mag_rate_hz, 6
        return self.rate_hz, 12 if self.sensors == "both" else 6

    def interval_s(self) -> float:
        """How long accelerations may wait in the FIFO, and so how old the field beside them may be."""
        return min(_LONGEST_S, max(_SHORTEST_S, 1 / self.mag_rate_hz)) if self.sensors == "both" else _LONGEST_S

    def load(self) -> tuple[float, int]:
        """Samples a second, and bytes on the bus of each, with its share of the field's; nothing of a field alone,
        whose 220 a second any bus carries but one at 10 kHz."""
        if self.sensors == "magnetometer":
            return 0.0, 0
        share = min(1.0, 1 / self.interval_s() / self.rate_hz) if self.sensors == "both" else 0.0
        return self.rate_hz, 6 + math.ceil(share * _FIELD_BYTES)

    def open(self) -> "Lsm303":
        with contextlib.ExitStack() as opened:
            devices = []
            for address in (ACCELEROMETER, MAGNETOMETER):
                document = {**self.virtual.document(), "address": address}
                devices.append(open_i2c(self.bus, address, chip="lsm303", virtual=document, load=self.load()))
                opened.callback(devices[-1].close)
            opened.pop_all()
        return Lsm303(self, *devices)


class Lsm303:
    def __init__(self, settings: Settings, accelerometer: I2cDevice, magnetometer: I2cDevice) -> None:
        self._settings = settings
        self._devices = accelerometer, magnetometer
        self._accelerometer = Accelerometer(
            "lsm303",
            accelerometer,
            rate_hz=settings.rate_hz,
            range_g=settings.accel_range_g,
            longest_s=settings.interval_s(),
        )
        self._magnetometer = Magnetometer(
            magnetometer, rate_hz=settings.mag_rate_hz, range_gauss=settings.mag_range_gauss
        )
        self._fields = Ready("lsm303", settings.mag_rate_hz)
        self._dtype = samples_dtype((*self._accelerometer.channels, *self._magnetometer.channels))

    @property
    def counters(self) -> Mapping[str, int]:
        return self._fields.counters if self._settings.sensors == "magnetometer" else self._accelerometer.counters

    def start(self) -> Identity:
        sensors = self._settings.sensors
        if sensors != "accelerometer":
            self._magnetometer.recognise()
            self._magnetometer.prepare()
            if sensors == "magnetometer":
                self._fields.begin(self._magnetometer)
            self._magnetometer.wake()
        if sensors == "magnetometer":
            field = self._magnetometer
            return Identity("LSM303DLHC", self._settings.mag_rate_hz, field.channels, field.setup)
        self._accelerometer.start()
        channels, setup = self._accelerometer.channels, dict[str, float](self._accelerometer.setup)
        if sensors == "both":
            channels += self._magnetometer.channels
            setup |= self._magnetometer.setup
        return Identity("LSM303DLHC", self._settings.rate_hz, channels, setup)

    def read(self, timeout: float) -> Block | None:
        if self._settings.sensors == "magnetometer":
            return self._fields.read(timeout)
        block = self._accelerometer.read(timeout)
        if block is None or self._settings.sensors == "accelerometer":
            return block
        return dataclasses.replace(block, samples=self._beside(block.samples, self._magnetometer.newest()))

    def _beside(self, accelerations: Samples, field: Samples) -> Samples:
        """One structured array: the field, shape (1,), beside each of the accelerations."""
        words = np.empty((len(accelerations), 6), "<i2")
        words[:, :3] = accelerations.view("<i2").reshape(-1, 3)
        words[:, 3:] = field.view("<i2")
        samples: Samples = words.view(self._dtype)[:, 0]
        samples.flags.writeable = False
        return samples

    def close(self) -> None:
        for device in self._devices:
            device.close()
