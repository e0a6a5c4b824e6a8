"""The ICM-20948 on I2C: acceleration, rotation, magnetic field and temperature out of its FIFO.

The magnetometer is a chip of its own behind the ICM's auxiliary I2C master, which reads it with each sample: so all
columns have one clock. It takes 100 fields a second; at other rates the newest one stands beside each acceleration.
"""

import dataclasses
import time
from collections.abc import Mapping

import numpy as np

from drivers import Block, Channel, DriverError, Hallmark, Identity, Samples, _bus, check, option
from drivers import _icm20948 as chip
from drivers._auxiliary import LAST_S, Auxiliary
from drivers._fifo import Fifo, Level
from drivers._registers import Field, Registers
from drivers.ports.i2c import I2cDevice, open_i2c
from drivers.ports.virtual import Virtual

_INTERNAL_HZ = 1125.0
_SLOWEST_HZ = _INTERNAL_HZ / 256
_RESET_S = 0.1  # [3.3]: registers answer after 11 ms, or 100 at most
_WAKE_S = 0.04  # gyroscope 35 ms from sleep [3.1]
_MAG_S = 0.0002  # between two modes of the magnetometer 0.1 ms [AK09916]
_MAG_FIRST_S = 0.025  # until its first field is there, and some more
_MAG_BYTES = 8
_NO_FIELD = -32768
"""Where the field is beyond the range; the chip itself never says this, and it counts as clipped."""
HALLMARKS = (Hallmark((0x68, 0x69), chip.WHO_AM_I.address, {bytes([chip.IDENTITY]): "ICM-20948"}),)


@dataclasses.dataclass(frozen=True)
class VirtualIcm(Virtual):
    """Options of the virtual chip, `[stream.NAME.virtual]`, for bus = "virtual"."""

    who_am_i: int = option("what its WHO_AM_I register says: 234 is an ICM-20948", chip.IDENTITY, at_most=255)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one ICM-20948 on I2C."""

    bus: int | str = option('number of the I2C bus, its path such as "/dev/i2c-1", or "virtual"', 1, at_least=0)
    address: int = option("I2C address: 0x69, or 0x68 with AD0 low", 0x69, choices=(0x68, 0x69))
    bus_hz: int = option(
        "clock of the bus (dtparam=i2c_arm_baudrate), Hz; a rate that it cannot carry is refused",
        400_000,
        at_least=10_000,
        at_most=400_000,
    )
    rate_hz: float = option("samples a second: 1125 / n, from 4.4 to 1125 (112.5, 125, 225, 375, 562.5 ...)", 112.5)
    accel_range_g: int = option("accelerations from minus to plus this many g", 8, choices=tuple(chip.ACCEL_RANGES_G))
    gyro_range_dps: int = option(
        "rotations from minus to plus this many degrees/s", 2000, choices=tuple(chip.GYRO_RANGES_DPS)
    )
    filter_hz: int = option(
        "bandwidth of the digital low-pass filter, Hz; at most half the rate keeps aliases out",
        51,
        choices=tuple(chip.FILTERS_HZ),
    )
    magnetometer: bool = option("record the magnetic field too, in the accelerometer's axes", True)
    temperature: bool = option("record the chip's temperature too", False)
    virtual: VirtualIcm = option("options of the virtual chip", factory=VirtualIcm)

    def __post_init__(self) -> None:
        mistakes: list[_bus.Mistake] = _bus.name_mistakes(self.bus)
        if not _SLOWEST_HZ <= self.rate_hz <= _INTERNAL_HZ:
            mistakes.append(("rate_hz", self.rate_hz, f"from {_SLOWEST_HZ:.3g} to {_INTERNAL_HZ:g}"))
        elif abs(self.actual_rate_hz / self.rate_hz - 1) > 1e-3:
            n = int(_INTERNAL_HZ / self.rate_hz)
            nearest = f"{_INTERNAL_HZ / (n + 1):.6g} or {_INTERNAL_HZ / n:.6g}"
            mistakes.append(("rate_hz", self.rate_hz, f"1125 / n with a whole n; the nearest are {nearest}"))
        else:
            mistakes = _bus.mistakes(self.bus, self.bus_hz, self.rate_hz, self.frame_bytes)
        check(self, *mistakes)

    def expects(self) -> tuple[float, int]:
        """Samples a second, and bytes of each, for estimates."""
        return self.actual_rate_hz, 12 + 6 * self.magnetometer + 2 * self.temperature

    @property
    def divider(self) -> int:
        return round(_INTERNAL_HZ / self.rate_hz)

    @property
    def actual_rate_hz(self) -> float:
        """What the divider makes of `rate_hz`: 102.3 becomes 1125 / 11."""
        return _INTERNAL_HZ / self.divider

    @property
    def frame_bytes(self) -> int:
        """Of a sample in the FIFO."""
        return 12 + 2 * self.temperature + _MAG_BYTES * self.magnetometer

    def open(self) -> "Icm20948":
        load = self.actual_rate_hz, self.frame_bytes
        return Icm20948(
            self, open_i2c(self.bus, self.address, chip="icm20948", virtual=self.virtual.document(), load=load)
        )


class Icm20948:
    """Reads the FIFO every 28 ms, or before it is half full, in one burst; it is the `Source` of its `Fifo`."""

    def __init__(self, settings: Settings, device: I2cDevice) -> None:
        self._settings = settings
        self._device = device
        self._banks = chip.Banks(device)
        self._registers = Registers(self._banks)
        self._frame = np.dtype(
            [
                ("motion", ">i2", 6),
                *([("celsius", ">i2")] if settings.temperature else []),
                *([("field", "<i2", 3), ("mag_celsius", "|u1"), ("status", "|u1")] if settings.magnetometer else []),
            ]
        )
        self._dtype = np.dtype([])
        self._fifo = Fifo("icm20948", settings.actual_rate_hz)
        self.counters: Mapping[str, int] = self._fifo.counters

    def start(self) -> Identity:
        self._recognise()
        settings, registers = self._settings, self._registers
        registers.write({chip.FIFO_ENABLE: 0, chip.MASTER_ENABLE: 0})
        time.sleep(LAST_S)
        registers.write({chip.DEVICE_RESET: 1})
        time.sleep(_RESET_S)
        self._banks.forget()
        registers.write({chip.CLOCK: 1})  # awake, on the best clock there is
        registers.write({chip.CYCLED: 0})
        time.sleep(_WAKE_S)
        if settings.magnetometer:
            self._start_magnetometer()  # at the full rate still: a byte takes a period
        code, _, _ = chip.FILTERS_HZ[settings.filter_hz]
        wanted: dict[Field, int] = {
            chip.GYRO_DIV: settings.divider - 1,
            chip.GYRO_FILTER: code,
            chip.GYRO_RANGE: list(chip.GYRO_RANGES_DPS).index(settings.gyro_range_dps),
            chip.GYRO_FILTERED: 1,
            chip.ALIGN: 1,
            chip.ACCEL_DIV_HIGH: 0,
            chip.ACCEL_DIV: settings.divider - 1,
            chip.ACCEL_FILTER: code,
            chip.ACCEL_RANGE: list(chip.ACCEL_RANGES_G).index(settings.accel_range_g),
            chip.ACCEL_FILTERED: 1,
        }
        registers.keep(wanted, "ICM-20948")
        registers.write({chip.OVERFLOW_EN: 0x1F})  # its pin need not be connected
        time.sleep(2 / settings.actual_rate_hz)
        identity = self._identity()
        self._dtype = identity.dtype
        size = self._frame.itemsize
        self._fifo.begin(self, chip.FIFO_BYTES // size, most=chip.FIFO_MOST_BYTES // size)
        return identity

    def read(self, timeout: float) -> Block | None:
        return self._fifo.read(timeout)

    def close(self) -> None:
        self._device.close()

    def level(self) -> Level:
        self._banks.choose(0)
        count = int.from_bytes(self._device.read(chip.FIFO_COUNT.address, 2), "big")
        whole, rest = divmod(count, self._frame.itemsize)
        return Level(whole, count >= chip.FIFO_BYTES and self.overflowed(), rest)

    def overflowed(self) -> bool:
        return self._registers.read(chip.OVERFLOW_INT) != 0  # latched

    def take(self, count: int) -> Samples:
        """Whole samples out of the FIFO, in the order of the registers.

        byte  0       2       4       6      8      10     12           12 or 14 ...  18 or 20     19 or 21
              accel x accel y accel z gyro x gyro y gyro z temperature  field x y z   mag's own    status
              big-endian int16                             (when on)    little-endian temperature  (ST2)
        """
        size = self._frame.itemsize
        frames = np.frombuffer(self._device.read_fifo(chip.FIFO_DATA.address, count * size), self._frame)
        samples = np.empty(count, self._dtype)
        words = samples.view("<i2").reshape(count, -1)
        words[:, :6] = frames["motion"]
        if self._settings.magnetometer:
            words[:, 6:9] = frames["field"]
            words[frames["status"] & chip.MAG_BEYOND != 0, 6:9] = _NO_FIELD
        if self._settings.temperature:
            words[:, -1] = frames["celsius"]
        samples.flags.writeable = False
        return samples

    def restart(self) -> None:
        """Off, emptied, on: it begins with a whole sample."""
        settings, registers = self._settings, self._registers
        magnetometer = int(settings.magnetometer)
        registers.write({chip.FIFO_ENABLE: 0, chip.MASTER_ENABLE: magnetometer})
        registers.write({chip.FIFO_ACCEL: 0})
        registers.write({chip.FIFO_SLOT_0: magnetometer, chip.FIFO_MODE: 0})
        registers.write({chip.FIFO_RESET: 0x1F})
        registers.write({chip.FIFO_RESET: 0})
        registers.read(chip.OVERFLOW_INT)  # forgets
        registers.write({chip.FIFO_ENABLE: 1, chip.MASTER_ENABLE: magnetometer})
        registers.write({chip.FIFO_ACCEL: 1, chip.FIFO_ROTATION: 7, chip.FIFO_TEMP: int(settings.temperature)})

    def _recognise(self) -> None:
        answer = self._registers.read(chip.WHO_AM_I)
        if answer != chip.IDENTITY:
            raise DriverError(
                f"icm20948: WHO_AM_I at 0x{self._settings.address:02x} says 0x{answer:02x} and not"
                f" 0x{chip.IDENTITY:02x}; another chip has this address, or the wiring is bad"
            )

    def _start_magnetometer(self) -> None:
        registers = self._registers
        registers.write({chip.MASTER_STOP: 1, chip.MASTER_CLOCK: chip.MASTER_345_KHZ})
        registers.write({chip.MASTER_ENABLE: 1})
        behind = Auxiliary(registers, chip.SLOTS, chip="icm20948", address=chip.MAGNETOMETER)
        answer = behind.identity(chip.MAG_WHO_AM_I, chip.MAG_IDENTITY)
        if answer != chip.MAG_IDENTITY:
            raise DriverError(
                f"icm20948: its magnetometer says that it is 0x{answer:02x}, and an AK09916 is"
                f" 0x{chip.MAG_IDENTITY:02x}; a counterfeit chip? Set magnetometer = false to go on without it"
            )
        behind.write(chip.MAG_RESET, 1)
        time.sleep(_MAG_S)
        behind.write(chip.MAG_MODE, chip.MAG_100_HZ)
        time.sleep(_MAG_FIRST_S)
        behind.sample(chip.MAG_DATA, _MAG_BYTES)

    def _identity(self) -> Identity:
        settings = self._settings
        g, dps = 1 / chip.ACCEL_RANGES_G[settings.accel_range_g], 1 / chip.GYRO_RANGES_DPS[settings.gyro_range_dps]
        channels = [Channel(f"Accelerometer{axis}", "g", scale=g) for axis in "XYZ"]
        channels += [Channel(f"Gyroscope{axis}", "deg/s", scale=dps) for axis in "XYZ"]
        if settings.magnetometer:
            limits = -chip.MAG_LARGEST, chip.MAG_LARGEST
            channels += [
                Channel(f"Magnetometer{axis}", "uT", scale=chip.MAG_UT * sign, limits=limits)
                for axis, sign in zip("XYZ", chip.MAG_SIGNS, strict=True)
            ]
        if settings.temperature:
            channels.append(Channel("Temperature", "Celsius", scale=1 / chip.CELSIUS_LSB, offset=chip.CELSIUS_AT_0))
        _, gyro_hz, accel_hz = chip.FILTERS_HZ[settings.filter_hz]
        setup: Mapping[str, float] = {
            "accel_range_g": settings.accel_range_g,
            "gyro_range_dps": settings.gyro_range_dps,
            "accel_filter_hz": accel_hz,
            "gyro_filter_hz": gyro_hz,
            **({"mag_rate_hz": 100} if settings.magnetometer else {}),
        }
        return Identity("ICM-20948", settings.actual_rate_hz, tuple(channels), setup)
