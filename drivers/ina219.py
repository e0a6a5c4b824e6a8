"""The INA219 on I2C: voltage, current and power of a supply or battery, measured once a slot (triggered mode).

Registers: SBOS448 rev. G, 8.6; second source: Linux, drivers/hwmon/ina2xx.c.
The current is the voltage across the shunt, as it stands in its register, by the resistance; the power is the product.
The chip's own current and power registers need a calibration that a moment without power loses in silence.
"""

import dataclasses
import math
from collections.abc import Generator

from drivers import Channel, DriverError, Hallmark, Identity, _bus, check, option
from drivers._polled import Polled, Row, rate_mistakes, until
from drivers.ports.i2c import I2cDevice, open_i2c
from drivers.ports.virtual import Virtual

CONFIG, SHUNT_VOLTAGE, BUS_VOLTAGE = 0x00, 0x01, 0x02  # 8.6.2, 8.6.3.1, 8.6.3.2; of 16 bits, big-endian

# fmt: off
#                            bit of CONFIG, 8.6.2.1
_RESET           = 1 << 15
_BUS_32_V        = 1 << 13
_GAIN            = 11
_BUS_ADC         = 7
_SHUNT_ADC       = 3
_TRIGGERED       = 0b011     # shunt, then bus
# fmt: on
_AFTER_RESET = 0x399F
_READY = 0b10  # CNVR, of BUS_VOLTAGE
_SHUNT_LSB_V, _BUS_LSB_V = 10e-6, 4e-3
_SHUNT_RANGES_MV = (40, 80, 160, 320)
_AVERAGES = (1, 2, 4, 8, 16, 32, 64, 128)
_CONVERSION_S = 586e-6  # at most, of 12 bits; 7.5
HALLMARKS = (Hallmark(tuple(range(0x40, 0x50)), CONFIG, {_AFTER_RESET.to_bytes(2, "big"): "INA219"}, sure=False),)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one INA219 on I2C."""

    bus: int | str = option('number of the I2C bus, its path such as "/dev/i2c-1", or "virtual"', 1, at_least=0)
    address: int = option("I2C address, 0x40 to 0x4f by its pins A0 and A1", 0x40, at_least=0x40, at_most=0x4F)
    rate_hz: float = option("samples a second", 10.0)
    shunt_ohm: float = option("resistance of the shunt, ohm; on most boards 0.1", 0.1, at_least=1e-5, at_most=100)
    shunt_range_mv: int = option(
        "voltages across the shunt from minus to plus this many mV: 320 at 0.1 ohm are 3.2 A",
        320,
        choices=_SHUNT_RANGES_MV,
    )
    bus_range_v: int = option("voltages up to this; the chip bears 26 V", 32, choices=(16, 32))
    averages: int = option("conversions that make one sample; more of them are quieter", 1, choices=_AVERAGES)
    virtual: Virtual = option("options of the virtual chip", factory=Virtual)

    def __post_init__(self) -> None:
        what = f"2 x {self.averages} conversions take up to"
        check(self, *_bus.name_mistakes(self.bus), *rate_mistakes(self.rate_hz, self.conversion_s, 3, what))

    def expects(self) -> tuple[float, int]:
        """Samples a second, and bytes of each, for estimates."""
        return self.rate_hz, 8

    @property
    def conversion_s(self) -> float:
        """The longest that both conversions take."""
        return 2 * self.averages * _CONVERSION_S

    def open(self) -> Polled:
        device = open_i2c(self.bus, self.address, chip="ina219", virtual=self.virtual.document())
        return Polled(Ina219(self, device), self.rate_hz)


class Ina219:
    """The chip; each measurement sets it anew, so it has nothing to forget."""

    def __init__(self, settings: Settings, device: I2cDevice) -> None:
        self._settings = settings
        self._device = device
        adc = 0b1000 + int(math.log2(settings.averages))
        self._config = (
            (_BUS_32_V if settings.bus_range_v == 32 else 0)
            | _SHUNT_RANGES_MV.index(settings.shunt_range_mv) << _GAIN
            | adc << _BUS_ADC
            | adc << _SHUNT_ADC
            | _TRIGGERED
        )
        self._bus = 0

    def start(self) -> Identity:
        settings = self._settings
        self._write(_RESET)
        found = self._read(CONFIG)
        if found != _AFTER_RESET:
            raise DriverError(
                f"ina219: after a reset its configuration at 0x{settings.address:02x} is 0x{found:04x} and not 0x399f;"
                " another chip has this address (0x4127 is an INA226), or the wiring is bad"
            )
        amperes = _SHUNT_LSB_V / settings.shunt_ohm
        most = settings.shunt_range_mv * 100
        channels = (
            Channel("Voltage", "V", "<u2", scale=_BUS_LSB_V, limits=(-1, settings.bus_range_v * 250)),
            Channel("Current", "A", "<i2", scale=amperes, limits=(-most, most)),
            Channel("Power", "W", "<f4"),
        )
        setup = {
            "shunt_ohm": settings.shunt_ohm,
            "shunt_range_mv": settings.shunt_range_mv,
            "bus_range_v": settings.bus_range_v,
            "averages": settings.averages,
        }
        return Identity("INA219", settings.rate_hz, channels, setup)

    def measure(self) -> Generator[float, None, Row]:
        self._write(self._config)  # which begins the conversions
        yield from until(self._converted, self._settings.conversion_s, "ina219")
        bus = self._bus >> 3  # below: CNVR, OVF and a bit of no meaning
        shunt = self._read(SHUNT_VOLTAGE)
        shunt -= (shunt & 0x8000) << 1
        return bus, shunt, bus * _BUS_LSB_V * shunt * _SHUNT_LSB_V / self._settings.shunt_ohm

    def close(self) -> None:
        self._device.close()

    def _converted(self) -> bool:
        self._bus = self._read(BUS_VOLTAGE)
        return bool(self._bus & _READY)

    def _read(self, register: int) -> int:
        return int.from_bytes(self._device.read(register, 2), "big")

    def _write(self, config: int) -> None:
        self._device.write(CONFIG, config.to_bytes(2, "big"))
