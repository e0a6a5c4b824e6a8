"""The VEML7700 on I2C: ambient light in lux, and the wider white channel, which the chip measures all the time.

Registers: Vishay 84286 rev. 1.8, "Command Register Format"; second source: Linux, drivers/iio/light/veml6030.c.
Lux are linear in the raw value as the data sheet has it. Above some 1000 lux the chip reads low; Vishay 84323 gives a
polynomial for that, which is left to who evaluates the data, as every correction is.
"""

import dataclasses
import time
from collections.abc import Generator

from drivers import Channel, DriverError, Hallmark, Identity, _bus, check, option
from drivers._polled import Polled, Row, rate_mistakes
from drivers.ports.i2c import I2cDevice, open_i2c
from drivers.ports.virtual import Virtual

# fmt: off
#                         tables 1 to 8; all of 16 bits, little-endian
CONFIG          = 0x00
POWER_SAVING    = 0x03
LIGHT           = 0x04
WHITE           = 0x05
ID              = 0x07
# fmt: on
_GAIN, _INTEGRATION, _SHUT_DOWN = 11, 6, 0x0001  # of CONFIG, table 1
_ID_CODE = 0x81  # of ID, low byte, table 8; the high byte tells the address

GAINS = {2.0: 0b01, 1.0: 0b00, 0.25: 0b11, 0.125: 0b10}
INTEGRATIONS_MS = {25: 0b1100, 50: 0b1000, 100: 0b0000, 200: 0b0001, 400: 0b0010, 800: 0b0011}
_FINEST_LUX = 0.0042
"""A count at gain 2 and 800 ms; 84286 before rev. 1.7 said 0.0036, which Vishay has called wrong."""
_SLOWEST = 1.1
_START_UP_S = 0.003  # 84323: at least 2.5 ms
HALLMARKS = (Hallmark((0x10,), ID, {bytes([_ID_CODE]): "VEML7700"}),)


@dataclasses.dataclass(frozen=True)
class VirtualVeml(Virtual):
    """Options of the virtual chip, `[stream.NAME.virtual]`, for bus = "virtual"."""

    lux: float = option("light that shines on it, lux", 250.0, at_least=0)
    lux_per_s: float = option("how much brighter that becomes each second, lux", 0.0)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one VEML7700 on I2C."""

    bus: int | str = option('number of the I2C bus, its path such as "/dev/i2c-1", or "virtual"', 1, at_least=0)
    address: int = option("I2C address; the chip has no other", 0x10, choices=(0x10,))
    rate_hz: float = option("samples a second", 1.0)
    gain: float = option(
        "of the sensor; 0.125 and 0.25 are linear, 1 and 2 for less than 100 lux", 0.125, choices=tuple(GAINS)
    )
    integration_ms: int = option(
        "how long light is gathered, ms; 25 at gain 0.125 reach 140000 lux, the sun",
        100,
        choices=tuple(INTEGRATIONS_MS),
    )
    virtual: VirtualVeml = option("options of the virtual chip", factory=VirtualVeml)

    def __post_init__(self) -> None:
        slow = rate_mistakes(self.rate_hz, self.conversion_s, 3, "gathering light takes up to")
        check(self, *_bus.name_mistakes(self.bus), *slow)

    def expects(self) -> tuple[float, int]:
        """Samples a second, and bytes of each, for estimates."""
        return self.rate_hz, 4

    @property
    def conversion_s(self) -> float:
        """The longest from one new value to the next."""
        return _SLOWEST * self.integration_ms / 1e3

    @property
    def lux(self) -> float:
        """Of one count; 84323, "Resolution and maximum detection range"."""
        return _FINEST_LUX * (2 / self.gain) * (800 / self.integration_ms)

    def open(self) -> Polled:
        device = open_i2c(self.bus, self.address, chip="veml7700", virtual=self.virtual.document())
        return Polled(Veml7700(self, device), self.rate_hz)


class Veml7700:
    """The chip; it cannot say when a value is new.

    It is asked less often than it has one, so that only a reading that came late may be followed by the same again.
    """

    def __init__(self, settings: Settings, device: I2cDevice) -> None:
        self._settings = settings
        self._device = device
        self._config = GAINS[settings.gain] << _GAIN | INTEGRATIONS_MS[settings.integration_ms] << _INTEGRATION

    def start(self) -> Identity:
        settings = self._settings
        found = self._read(ID)
        if found & 0xFF != _ID_CODE:
            raise DriverError(
                f"veml7700: its id at 0x{settings.address:02x} is 0x{found:04x} and does not end in 81; another chip"
                " has this address (VEML6040 and VEML6075 have it too), or the wiring is bad"
            )
        self._write(CONFIG, self._config | _SHUT_DOWN)  # gain and time are to be changed while it is off
        self._write(POWER_SAVING, 0)
        self._write(CONFIG, self._config)
        self._check()
        time.sleep(_START_UP_S + settings.conversion_s)
        channels = (
            Channel("Light", "lux", "<u2", scale=settings.lux, limits=(-1, 65535)),
            Channel("White", "", "<u2", limits=(-1, 65535)),
        )
        return Identity(
            "VEML7700", settings.rate_hz, channels, {"gain": settings.gain, "integration_ms": settings.integration_ms}
        )

    def measure(self) -> Generator[float, None, Row]:
        yield 0
        self._check()
        return self._read(LIGHT), self._read(WHITE)

    def close(self) -> None:
        self._device.close()

    def _check(self) -> None:
        found = self._read(CONFIG)
        if found != self._config:
            raise DriverError(
                f"veml7700: its configuration is 0x{found:04x} and not 0x{self._config:04x}, to which it was set: it"
                " has been without power, or there is noise on the bus; check its supply and wiring"
            )

    def _read(self, register: int) -> int:
        return int.from_bytes(self._device.read(register, 2), "little")

    def _write(self, register: int, value: int) -> None:
        self._device.write(register, value.to_bytes(2, "little"))
