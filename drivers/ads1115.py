"""The ADS1115 on I2C: voltages at up to four inputs or between them, converted one after the other in each slot.

Registers: SBAS444 rev. D, 9.6; second source: Linux, drivers/iio/adc/ti-ads1015.c.
"""

import dataclasses
import functools
import time
from collections.abc import Generator

from drivers import Channel, DriverError, Hallmark, Identity, _bus, check, option
from drivers._polled import Mistakes, Polled, Row, rate_mistakes, until
from drivers.ports.i2c import I2cDevice, open_i2c
from drivers.ports.virtual import Virtual

CONVERSION, CONFIG = 0x00, 0x01  # 9.6.2, 9.6.3; both of 16 bits, big-endian

# fmt: off
#                            bit of CONFIG, table 8
_OS              = 1 << 15   # written: begin one conversion; read: none is going on
_MUX, _PGA       = 12, 9
_SINGLE_SHOT     = 1 << 8
_DATA_RATE       = 5
_NO_COMPARATOR   = 0b11
# fmt: on
_MUXES = ("AIN0-AIN1", "AIN0-AIN3", "AIN1-AIN3", "AIN2-AIN3", "AIN0", "AIN1", "AIN2", "AIN3")
_RANGES_V = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256)
_DATA_RATES = (8, 16, 32, 64, 128, 250, 475, 860)
_SLOWEST = 1.1  # its oscillator may be off by a tenth (7.5)
_WAKE_S = 0.00003
HALLMARKS = (Hallmark((0x48, 0x49, 0x4A, 0x4B), CONFIG, {b"\x85\x83": "ADS1115"}, sure=False),)  # table 8: reset


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one ADS1115 on I2C."""

    bus: int | str = option('number of the I2C bus, its path such as "/dev/i2c-1", or "virtual"', 1, at_least=0)
    address: int = option(
        "I2C address: 0x48, 0x49, 0x4a or 0x4b with ADDR at GND, VDD, SDA or SCL",
        0x48,
        choices=(0x48, 0x49, 0x4A, 0x4B),
    )
    rate_hz: float = option("samples of all inputs a second", 10.0)
    inputs: tuple[str, ...] = option(
        "what to measure, each a channel: AIN0 ... AIN3 against ground, AIN0-AIN1, AIN0-AIN3, AIN1-AIN3 or AIN2-AIN3",
        ("AIN0", "AIN1", "AIN2", "AIN3"),
    )
    range_v: float = option("from minus to plus this many volts, never beyond the supply", 4.096, choices=_RANGES_V)
    data_rate: int = option("conversions a second; slower ones are quieter", 128, choices=_DATA_RATES)
    mode: str = option(
        "single: converts when a sample is due; continuous: all the time, for one input",
        "single",
        choices=("single", "continuous"),
    )
    virtual: Virtual = option("options of the virtual chip", factory=Virtual)

    def __post_init__(self) -> None:
        mistakes: Mistakes = _bus.name_mistakes(self.bus)
        if not self.inputs or len({*self.inputs} & {*_MUXES}) < len(self.inputs):
            mistakes.append(("inputs", self.inputs, "one or more, each once, of " + ", ".join(_MUXES)))
        elif self.mode == "continuous" and len(self.inputs) > 1:
            mistakes.append(("inputs", self.inputs, 'one, where mode is "continuous"'))
        elif self.data_rate in _DATA_RATES:
            count = len(self.inputs)
            what = f"{count} conversion{'s' if count > 1 else ''} at {self.data_rate} a second (+ 10 %) take"
            mistakes += rate_mistakes(self.rate_hz, count * self.conversion_s, 3 * count, what)
        check(self, *mistakes)

    def expects(self) -> tuple[float, int]:
        """Samples a second, and bytes of each, for estimates."""
        return self.rate_hz, 2 * len(self.inputs)

    @property
    def conversion_s(self) -> float:
        """The longest that one conversion takes."""
        return _WAKE_S + _SLOWEST / self.data_rate

    def open(self) -> Polled:
        device = open_i2c(self.bus, self.address, chip="ads1115", virtual=self.virtual.document())
        return Polled(Ads1115(self, device), self.rate_hz)


class Ads1115:
    """The chip; its configuration is read back with each conversion, since it cannot be recognised in another way."""

    def __init__(self, settings: Settings, device: I2cDevice) -> None:
        self._settings = settings
        self._device = device
        self._single = settings.mode == "single"
        shared = (
            _RANGES_V.index(settings.range_v) << _PGA
            | (_SINGLE_SHOT if self._single else 0)
            | _DATA_RATES.index(settings.data_rate) << _DATA_RATE
            | _NO_COMPARATOR
        )
        self._configs = [shared | _MUXES.index(name) << _MUX for name in settings.inputs]

    def start(self) -> Identity:
        settings = self._settings
        self._write(self._configs[0])
        self._converted(self._configs[0])
        if not self._single:
            time.sleep(settings.conversion_s)
        volts = settings.range_v / 32768
        channels = tuple(Channel(name, "V", scale=volts) for name in settings.inputs)
        setup: dict[str, str | float] = {
            "range_v": settings.range_v,
            "data_rate": settings.data_rate,
            "mode": settings.mode,
        }
        return Identity("ADS1115", settings.rate_hz, channels, setup)

    def measure(self) -> Generator[float, None, Row]:
        row = []
        for config in self._configs:
            if self._single:
                self._write(config | _OS)
                yield from until(functools.partial(self._converted, config), self._settings.conversion_s, "ads1115")
            else:
                self._converted(config)
            row.append(int.from_bytes(self._device.read(CONVERSION, 2), "big", signed=True))
        return tuple(row)

    def close(self) -> None:
        self._device.close()

    def _write(self, config: int) -> None:
        self._device.write(CONFIG, config.to_bytes(2, "big"))

    def _converted(self, config: int) -> bool:
        """Whether no conversion is going on; DriverError where the chip is not set to this one."""
        found = int.from_bytes(self._device.read(CONFIG, 2), "big")
        if (found ^ config) & ~_OS:
            raise DriverError(
                f"ads1115: its configuration is 0x{found:04x} and not 0x{config:04x}, to which it was set: it has been"
                " without power, there is noise on the bus, or another chip has this address; check supply and wiring"
            )
        return bool(found & _OS)
