"""The ICM-42688-P and ICM-42605 on I2C: acceleration, rotation and temperature out of the packets of its FIFO."""

import dataclasses
import time
from collections.abc import Mapping

import numpy as np

from drivers import Block, Channel, DriverError, Hallmark, Identity, Samples, _bus, check, option
from drivers._fifo import Fifo, Level
from drivers._icm42688 import (
    ACCEL_MODE,
    ACCEL_ODR,
    ACCEL_RANGE,
    ACCEL_RANGES_G,
    AFSR,
    AFSR_OFF,
    BANK,
    BYPASS,
    CELSIUS_AT_0,
    CELSIUS_LSB,
    COUNT_ENDIAN,
    COUNT_RECORDS,
    DATA_ENDIAN,
    FIFO_ACCEL,
    FIFO_DATA,
    FIFO_FLUSH,
    FIFO_FULL,
    FIFO_GYRO,
    FIFO_MODE,
    FIFO_SAMPLES,
    FIFO_TEMP,
    GYRO_MODE,
    GYRO_ODR,
    GYRO_RANGE,
    GYRO_RANGES_DPS,
    INT_STATUS,
    INTF_CONFIG1,
    LOW_NOISE,
    MODELS,
    RATES_HZ,
    RESET_DONE,
    SOFT_RESET,
    STREAM,
    WHO_AM_I,
)
from drivers._registers import Field, Registers
from drivers.ports.i2c import I2cDevice, open_i2c
from drivers.ports.virtual import Virtual

_RESET_S = 0.01  # 1 ms [14.1]
_SETTLE_S = 0.06  # the gyroscope's start-up; no register may be written for the first 0.2 ms of it [14.36]
_SETTLE_SAMPLES = 3  # that the filters spoil
_PACKET = np.dtype([("header", "|u1"), ("axes", ">i2", 6), ("celsius", "|i1"), ("time", ">u2")])
_HEADER = 0x60  # not empty, acceleration and rotation, of 16 bits
HALLMARKS = (Hallmark((0x68, 0x69), WHO_AM_I.address, {bytes([who]): model for who, model in MODELS.items()}),)


@dataclasses.dataclass(frozen=True)
class VirtualIcm(Virtual):
    """Options of the virtual chip, `[stream.NAME.virtual]`, for bus = "virtual"."""

    who_am_i: int = option("what its WHO_AM_I register says: 71 is an ICM-42688-P, 66 an ICM-42605", 0x47, at_most=255)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one ICM-42688-P or ICM-42605 on I2C."""

    bus: int | str = option('number of the I2C bus, its path such as "/dev/i2c-1", or "virtual"', 1, at_least=0)
    address: int = option("I2C address: 0x68, or 0x69 with AP_AD0 high", 0x68, choices=(0x68, 0x69))
    bus_hz: int = option(
        "clock of the bus (dtparam=i2c_arm_baudrate), Hz; a rate that it cannot carry is refused",
        400_000,
        at_least=10_000,
        at_most=1_000_000,
    )
    rate_hz: float = option("samples a second", 100.0, choices=tuple(RATES_HZ))
    accel_range_g: int = option("accelerations from minus to plus this many g", 8, choices=tuple(ACCEL_RANGES_G))
    gyro_range_dps: int = option(
        "rotations from minus to plus this many degrees/s", 2000, choices=tuple(GYRO_RANGES_DPS)
    )
    temperature: bool = option("record the chip's temperature too", False)
    virtual: VirtualIcm = option("options of the virtual chip", factory=VirtualIcm)

    def __post_init__(self) -> None:
        check(self, *_bus.mistakes(self.bus, self.bus_hz, self.rate_hz, _PACKET.itemsize))

    def expects(self) -> tuple[float, int]:
        """Samples a second, and bytes of each, for estimates."""
        return self.rate_hz, 13 if self.temperature else 12

    def open(self) -> "Icm42688":
        virtual = self.virtual.document()
        return Icm42688(
            self,
            open_i2c(self.bus, self.address, chip="icm42688", virtual=virtual, load=(self.rate_hz, _PACKET.itemsize)),
        )


class Icm42688:
    """Reads the FIFO every 28 ms, or before it is half full, in one burst; it is the `Source` of its `Fifo`."""

    def __init__(self, settings: Settings, device: I2cDevice) -> None:
        self._settings = settings
        self._device = device
        self._registers = Registers(device)
        self._dtype = np.dtype([])
        self._fifo = Fifo("icm42688", settings.rate_hz)
        self.counters: Mapping[str, int] = self._fifo.counters

    def start(self) -> Identity:
        model = self._recognise()
        self._reset(model)
        settings = self._settings
        rate_code = RATES_HZ[settings.rate_hz]
        wanted: dict[Field, int] = {
            COUNT_RECORDS: 0,
            COUNT_ENDIAN: 1,
            DATA_ENDIAN: 1,
            ACCEL_RANGE: ACCEL_RANGES_G[settings.accel_range_g][0],
            ACCEL_ODR: rate_code,
            GYRO_RANGE: GYRO_RANGES_DPS[settings.gyro_range_dps][0],
            GYRO_ODR: rate_code,
            FIFO_TEMP: 1,
            FIFO_GYRO: 1,
            FIFO_ACCEL: 1,
            INTF_CONFIG1: self._registers.read(INTF_CONFIG1) & ~AFSR | AFSR_OFF,  # the rest is the clock's
        }
        self._registers.keep(wanted, model)
        self._registers.write({GYRO_MODE: LOW_NOISE, ACCEL_MODE: LOW_NOISE})
        time.sleep(_SETTLE_S + _SETTLE_SAMPLES / settings.rate_hz)
        identity = self._identity(model)
        self._dtype = identity.dtype
        self._fifo.begin(self, FIFO_SAMPLES)
        return identity

    def read(self, timeout: float) -> Block | None:
        return self._fifo.read(timeout)

    def close(self) -> None:
        self._device.close()

    def level(self) -> Level:
        """From INT_STATUS, FIFO_COUNTH and FIFO_COUNTL [14.21 to 14.23], which lie side by side."""
        status, *count = self._device.read(INT_STATUS.address, 3)
        return Level(int.from_bytes(count, "big") // _PACKET.itemsize, bool(status & FIFO_FULL))

    def overflowed(self) -> bool:
        return self.level().overflowed  # latched

    def take(self, count: int) -> Samples | None:
        """Packets of structure 3 [6.1].

        byte  0       1        3        5        7       9       11      13           14
              header  accel x  accel y  accel z  gyro x  gyro y  gyro z  temperature  time
              big-endian int16; temperature int8, time uint16

        header  bit 7: empty  6: acceleration  5: rotation  4: 20 bits  3-2: kind of time  1-0: rate has changed
        """
        data = self._device.read_fifo(FIFO_DATA.address, count * _PACKET.itemsize, unit=_PACKET.itemsize)
        packets = np.frombuffer(data, _PACKET)
        if (packets["header"] & 0xF0 != _HEADER).any():
            return None
        samples = np.empty(count, self._dtype)
        for name, axis in zip(self._dtype.names or (), packets["axes"].T, strict=False):
            samples[name] = axis
        if self._settings.temperature:
            samples["Temperature"] = packets["celsius"]
        samples.flags.writeable = False
        return samples

    def restart(self) -> None:
        self._registers.write({FIFO_MODE: BYPASS})
        self._registers.write({FIFO_FLUSH: 1})
        self.level()  # forgets that it was full
        self._registers.write({FIFO_MODE: STREAM})
        self.level()  # the first count after a flush is 0, whatever is there

    def _recognise(self) -> str:
        self._registers.write({BANK: 0})  # whoever used it before may have left another open
        answer = self._registers.read(WHO_AM_I)
        if answer not in MODELS:
            known = ", ".join(f"0x{code:02x} {model}" for code, model in MODELS.items())
            raise DriverError(
                f"icm42688: WHO_AM_I at 0x{self._settings.address:02x} says 0x{answer:02x}, and none of {known};"
                " another chip has this address, or the wiring is bad"
            )
        return MODELS[answer]

    def _reset(self, model: str) -> None:
        self._registers.write({SOFT_RESET: 1})
        time.sleep(_RESET_S)
        if not self._registers.read(INT_STATUS) & RESET_DONE:
            raise DriverError(f"{model}: it does not come back from its reset; switch it off and on")

    def _identity(self, model: str) -> Identity:
        settings = self._settings
        g, dps = 1 / ACCEL_RANGES_G[settings.accel_range_g][1], 1 / GYRO_RANGES_DPS[settings.gyro_range_dps][1]
        channels = [Channel(f"Accelerometer{axis}", "g", scale=g) for axis in "XYZ"]
        channels += [Channel(f"Gyroscope{axis}", "deg/s", scale=dps) for axis in "XYZ"]
        if settings.temperature:
            channels.append(Channel("Temperature", "Celsius", "|i1", scale=1 / CELSIUS_LSB, offset=CELSIUS_AT_0))
        setup = {"accel_range_g": settings.accel_range_g, "gyro_range_dps": settings.gyro_range_dps}
        return Identity(model, settings.rate_hz, tuple(channels), setup)
