"""The BME280 and BMP280 on I2C: temperature, humidity and air pressure, measured once a slot (forced mode).

Registers: BST-BME280-DS002 5.3 and 5.4, BST-BMP280-DS001 4.2 and 4.3; second source: Linux,
drivers/iio/pressure/bmp280.h.
The trimming constants differ from part to part, so what is recorded is what they make of the raw values.
"""

import dataclasses
import math
import struct
import time
from collections.abc import Generator
from typing import NamedTuple

from drivers import Channel, DriverError, Hallmark, Identity, _bus, check, option
from drivers._polled import Polled, Row, rate_mistakes, until
from drivers.ports.i2c import I2cDevice, open_i2c
from drivers.ports.virtual import Virtual

# fmt: off
#                       address     section of the BME280's data sheet
CALIBRATION_T_P = 0x88  # ... 0x9F  4.2.2, table 16: dig_T1 ... dig_P9
CALIBRATION_H1  = 0xA1  #           4.2.2
CHIP_ID         = 0xD0  #           5.4.1
RESET           = 0xE0  #           5.4.2
CALIBRATION_H   = 0xE1  # ... 0xE7  4.2.2: dig_H2 ... dig_H6
CTRL_HUM        = 0xF2  #           5.4.3
STATUS          = 0xF3  #           5.4.4
CTRL_MEAS       = 0xF4  #           5.4.5
CONFIG          = 0xF5  #           5.4.6
DATA            = 0xF7  # ... 0xFE  5.4.7 to 5.4.9: pressure, temperature, humidity
# fmt: on
_RESET_WORD = 0xB6
_MEASURING, _COPYING = 0x08, 0x01  # bits of STATUS
_FORCED = 0x01  # of CTRL_MEAS
_START_UP_S = 0.003  # table 1 names 2 ms

_HUMID, _DRY = "BME280", "BMP280"
MODELS = {0x60: _HUMID, 0x58: _DRY, 0x57: _DRY, 0x56: _DRY}
"""By CHIP_ID; 0x56 and 0x57 are samples of the BMP280."""
_OVERSAMPLINGS = (1, 2, 4, 8, 16)
_FILTERS = (0, 2, 4, 8, 16)
HALLMARKS = (Hallmark((0x76, 0x77), CHIP_ID, {bytes([answer]): model for answer, model in MODELS.items()}),)


@dataclasses.dataclass(frozen=True)
class VirtualBme(Virtual):
    """Options of the virtual chip, `[stream.NAME.virtual]`, for bus = "virtual"."""

    chip_id: int = option("what its id register says: 96 is a BME280, 88 a BMP280", 0x60, at_most=255)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one BME280 or BMP280 on I2C."""

    bus: int | str = option('number of the I2C bus, its path such as "/dev/i2c-1", or "virtual"', 1, at_least=0)
    address: int = option("I2C address: 0x76, or 0x77 with SDO high", 0x76, choices=(0x76, 0x77))
    rate_hz: float = option("samples a second; below 1 the chip does not warm itself", 1.0)
    oversampling: int = option(
        "measurements of each quantity that make one sample; more of them take longer and are quieter",
        1,
        choices=_OVERSAMPLINGS,
    )
    filter: int = option(
        "coefficient of the chip's low-pass filter for temperature and pressure, in samples; 0: off",
        0,
        choices=_FILTERS,
    )
    virtual: VirtualBme = option("options of the virtual chip", factory=VirtualBme)

    def __post_init__(self) -> None:
        slow = rate_mistakes(self.rate_hz, self.conversion_s, 3, "measuring takes up to")
        check(self, *_bus.name_mistakes(self.bus), *slow)

    def expects(self) -> tuple[float, int]:
        """Samples a second, and bytes of each, for estimates."""
        return self.rate_hz, 12

    @property
    def conversion_s(self) -> float:
        """The longest that one measurement takes; appendix B, 9.1."""
        return (1.25 + 3 * 2.3 * self.oversampling + 2 * 0.575) / 1e3

    def open(self) -> Polled:
        device = open_i2c(self.bus, self.address, chip="bme280", virtual=self.virtual.document())
        return Polled(Bme280(self, device), self.rate_hz)


class Bme280:
    """The chip; its trimming constants are read twice, since one wrong bit there would bend all that is recorded."""

    def __init__(self, settings: Settings, device: I2cDevice) -> None:
        self._settings = settings
        self._device = device
        self._model = ""
        code = 1 + _OVERSAMPLINGS.index(settings.oversampling)
        self._humidity = code
        self._ctrl = code << 5 | code << 2
        self._wanted: dict[int, int] = {}
        self._trimming = Trimming.of(bytes(24), bytes(8))

    def start(self) -> Identity:
        device, settings = self._device, self._settings
        (answer,) = device.read(CHIP_ID, 1)
        if answer not in MODELS:
            raise DriverError(
                f"bme280: its id at 0x{settings.address:02x} is 0x{answer:02x}, and not 0x60 (BME280) or 0x58 (BMP280);"
                " another chip has this address (0x61 is a BME680), or the wiring is bad"
            )
        self._model = MODELS[answer]
        device.write(RESET, bytes([_RESET_WORD]))
        time.sleep(_START_UP_S)
        if device.read(STATUS, 1)[0] & _COPYING:
            time.sleep(_START_UP_S)
        self._trimming = self._read_trimming()
        wanted = {CONFIG: _FILTERS.index(settings.filter) << 2, CTRL_MEAS: self._ctrl}
        if self._model == _HUMID:
            wanted = {CTRL_HUM: self._humidity, **wanted}  # takes effect with the next write to CTRL_MEAS
        for register, value in wanted.items():
            device.write(register, bytes([value]))  # one at a time: a longer write would be of pairs [6.2.1]
        self._wanted = wanted
        self._check(device.read(CTRL_HUM, 4))
        channels = [Channel("Temperature", "Celsius", "<f4"), Channel("Pressure", "hPa", "<f4")]
        if self._model == _HUMID:
            channels.insert(1, Channel("Humidity", "%", "<f4", limits=(0.0, 100.0)))
        setup = {"oversampling": settings.oversampling, "filter": settings.filter}
        return Identity(self._model, settings.rate_hz, tuple(channels), setup)

    def measure(self) -> Generator[float, None, Row]:
        """One measurement and a burst of what came of it.

        byte  0         1       2          3       4  5 ... 7   8 ... 10     11 ... 12 (BME280 only)
              CTRL_HUM  STATUS  CTRL_MEAS  CONFIG  -  pressure  temperature  humidity
                                                      20 bits and 4 of no meaning    16 bits, big-endian
        """
        device = self._device
        device.write(CTRL_MEAS, bytes([self._ctrl | _FORCED]))
        yield from until(lambda: not device.read(STATUS, 1)[0] & _MEASURING, self._settings.conversion_s, "bme280")
        data = device.read(CTRL_HUM, 13 if self._model == _HUMID else 11)
        self._check(data)
        pressure, temperature = int.from_bytes(data[5:8], "big") >> 4, int.from_bytes(data[8:11], "big") >> 4
        fine = self._trimming.fine(temperature)
        celsius, hpa = fine / 5120, self._trimming.pascal(pressure, fine) / 100
        if self._model == _DRY:
            return celsius, hpa
        return celsius, self._trimming.percent(int.from_bytes(data[11:13], "big"), fine), hpa

    def close(self) -> None:
        self._device.close()

    def _check(self, data: bytes) -> None:
        """Whether the registers from CTRL_HUM on still are as they were set."""
        for register, value in self._wanted.items():
            if (found := data[register - CTRL_HUM]) != value:
                raise DriverError(
                    f"bme280: register 0x{register:02x} says 0x{found:02x} and not 0x{value:02x}, to which it was set:"
                    " the chip has been without power, or there is noise on the bus; check its supply and wiring"
                )

    def _read_trimming(self) -> "Trimming":
        first, second = (self._trimming_bytes() for _ in range(2))
        trimming = Trimming.of(*first)
        if first != second or not trimming.t[0] or not trimming.p[0]:
            raise DriverError(
                "bme280: its trimming constants cannot be right, or change; noise on the bus (check pull-up resistors,"
                " shorten the cable) or a counterfeit chip"
            )
        return trimming

    def _trimming_bytes(self) -> tuple[bytes, bytes]:
        read = self._device.read
        humid = read(CALIBRATION_H1, 1) + read(CALIBRATION_H, 7) if self._model == _HUMID else bytes(8)
        return read(CALIBRATION_T_P, 24), humid


class Trimming(NamedTuple):
    """The constants of one part, and the compensation of 4.2.3 in its floating-point form (BMP280: 3.11.3 and 8.1)."""

    t: tuple[int, ...]
    """dig_T1 ... dig_T3"""
    p: tuple[int, ...]
    """dig_P1 ... dig_P9"""
    h: tuple[int, ...]
    """dig_H1 ... dig_H6; zeros in a BMP280"""

    @classmethod
    def of(cls, temperature_pressure: bytes, humidity: bytes) -> "Trimming":
        """Out of 0x88 ... 0x9F; and 0xA1, 0xE1 ... 0xE7, where dig_H4 and dig_H5 share the byte in their middle."""
        words = struct.unpack("<HhhHhhhhhhhh", temperature_pressure)
        h1, h2, h3, h4_high, middle, h5_high, h6 = struct.unpack("<BhBbBbb", humidity)
        h4, h5 = h4_high << 4 | middle & 0x0F, h5_high << 4 | middle >> 4
        return cls(words[:3], words[3:], (h1, h2, h3, h4, h5, h6))

    def fine(self, raw: int) -> float:
        """The temperature as the other two want it: 5120 a degree Celsius."""
        t1, t2, t3 = self.t
        beside = raw / 16384 - t1 / 1024
        return beside * t2 + (beside / 8) ** 2 * t3

    def pascal(self, raw: int, fine: float) -> float:
        """Air pressure in Pa."""
        p1, p2, p3, p4, p5, p6, p7, p8, p9 = self.p
        beside = fine / 2 - 64000
        offset = (beside * beside * p6 / 32768 + beside * p5 * 2) / 4 + p4 * 65536
        gain = (
            1 + (p3 * beside * beside / 524288 + p2 * beside) / 524288 / 32768
        ) * p1 or math.inf  # noise must not divide by 0
        linear = (1048576 - raw - offset / 4096) * 6250 / gain
        return linear + (p9 * linear * linear / 2147483648 + linear * p8 / 32768 + p7) / 16

    def percent(self, raw: int, fine: float) -> float:
        """Relative humidity in %, from 0 to 100."""
        h1, h2, h3, h4, h5, h6 = self.h
        beside = fine - 76800
        slope = h2 / 65536 * (1 + h6 / 67108864 * beside * (1 + h3 / 67108864 * beside))
        linear = (raw - (h4 * 64 + h5 / 16384 * beside)) * slope
        return min(100.0, max(0.0, linear * (1 - h1 * linear / 524288)))
