"""The LIS3DH on I2C: acceleration out of its FIFO, or in high resolution."""

import dataclasses
from collections.abc import Mapping

from drivers import Block, DriverError, Hallmark, Identity, _bus, check, option
from drivers._lis3dh import FASTEST_12_BIT_HZ, G_PER_LSB, IDENTITY, RATES_HZ, WHO_AM_I, Accelerometer
from drivers.ports.i2c import I2cDevice, open_i2c
from drivers.ports.virtual import Virtual

HALLMARKS = (Hallmark((0x18, 0x19), WHO_AM_I, {bytes([IDENTITY]): "LIS3DH"}),)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one LIS3DH on I2C."""

    bus: int | str = option('number of the I2C bus, its path such as "/dev/i2c-1", or "virtual"', 1, at_least=0)
    address: int = option("I2C address: 0x18, or 0x19 with SDO high", 0x18, choices=(0x18, 0x19))
    rate_hz: float = option("samples a second; 1344 wants a bus at 400 kHz", 100.0, choices=tuple(RATES_HZ))
    accel_range_g: int = option("accelerations from minus to plus this many g", 4, choices=tuple(G_PER_LSB))
    resolution_bits: int = option(
        "10: out of the FIFO, which keeps no more; 12: one by one, at most 100 Hz, a late read loses samples",
        10,
        choices=(10, 12),
    )
    virtual: Virtual = option("options of the virtual chip", factory=Virtual)

    def __post_init__(self) -> None:
        mistakes = _bus.name_mistakes(self.bus)
        if self.resolution_bits == 12 and self.rate_hz > FASTEST_12_BIT_HZ:
            mistakes.append(("rate_hz", self.rate_hz, "at most 100 with resolution_bits = 12"))
        check(self, *mistakes)

    def expects(self) -> tuple[float, int]:
        """Samples a second, and bytes of each, for estimates."""
        return self.rate_hz, 6

    def open(self) -> "Lis3dh":
        virtual = self.virtual.document()
        return Lis3dh(self, open_i2c(self.bus, self.address, chip="lis3dh", virtual=virtual, load=self.expects()))


class Lis3dh:
    def __init__(self, settings: Settings, device: I2cDevice) -> None:
        self._settings = settings
        self._device = device
        self._accelerometer = Accelerometer(
            "lis3dh",
            device,
            rate_hz=settings.rate_hz,
            range_g=settings.accel_range_g,
            bits=settings.resolution_bits,
        )

    @property
    def counters(self) -> Mapping[str, int]:
        return self._accelerometer.counters

    def start(self) -> Identity:
        (answer,) = self._device.read(WHO_AM_I, 1)
        if answer != IDENTITY:
            raise DriverError(
                f"lis3dh: WHO_AM_I at 0x{self._settings.address:02x} says 0x{answer:02x} and not 0x{IDENTITY:02x};"
                " another chip has this address, or the wiring is bad (CS must be high for I2C)"
            )
        self._accelerometer.start()
        return Identity("LIS3DH", self._settings.rate_hz, self._accelerometer.channels, self._accelerometer.setup)

    def read(self, timeout: float) -> Block | None:
        return self._accelerometer.read(timeout)

    def close(self) -> None:
        self._device.close()
