"""The MPU-6050 and its kin on I2C: acceleration, rotation and temperature out of the chip's FIFO.

The magnetometer of the MPU-9250 and 9255 is read by their auxiliary I2C master with each sample, into the same FIFO: so
all columns have one clock. It takes 100 fields a second; at other rates the newest one stands beside each acceleration.
"""

import dataclasses
import time
from collections.abc import Mapping

import numpy as np

from drivers import Block, Channel, DriverError, Hallmark, Identity, Samples, _ak8963, _bus, check, option
from drivers._ak8963 import FIFO_SLOT_0, MASTER_ENABLE
from drivers._auxiliary import LAST_S
from drivers._fifo import Fifo, Level
from drivers._mpu6050 import (
    A_DLPF_CFG,
    ACCEL_RANGE,
    ACCEL_RANGES_G,
    CLOCK,
    DEVICE_RESET,
    DLPF_CFG,
    FIFO_ACCEL,
    FIFO_COUNT,
    FIFO_DATA,
    FIFO_ENABLE,
    FIFO_RESET,
    FIFO_ROTATION,
    FIFO_TEMPERATURE,
    FILTERS_6050,
    GYRO_RANGE,
    GYRO_RANGES_DPS,
    OVERFLOW_INT,
    OVERFLOW_INT_EN,
    PARTS,
    SMPLRT_DIV,
    WHO_AM_I,
    Part,
)
from drivers._registers import Registers
from drivers.ports.i2c import I2cDevice, open_i2c
from drivers.ports.virtual import Virtual

_PLAIN = 12
"""Bytes of a sample without temperature and field."""
_INTERNAL_HZ = 1000.0
_RESET_S = 0.1  # [4.28] names 100 ms
_WAKE_S = 0.06  # gyroscope 30 ms, typically; product specification 6.1
HALLMARKS = (Hallmark((0x68, 0x69), WHO_AM_I.address, {bytes([who]): part.model for who, part in PARTS.items()}),)


@dataclasses.dataclass(frozen=True)
class VirtualMpu(Virtual):
    """Options of the virtual chip, `[stream.NAME.virtual]`, for bus = "virtual"."""

    who_am_i: int = option("what its WHO_AM_I register says: 104 is an MPU-6050, 112 an MPU-6500", 0x68, at_most=255)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one MPU-6000, 6050, 6500, 6515, 9150, 9250 or 9255 on I2C."""

    bus: int | str = option('number of the I2C bus, its path such as "/dev/i2c-1", or "virtual"', 1, at_least=0)
    address: int = option("I2C address: 0x68, or 0x69 with AD0 high", 0x68, choices=(0x68, 0x69))
    rate_hz: float = option("samples a second: 1000 / n, from 4 to 1000 (100, 125, 200, 250, 500 ...)", 100.0)
    accel_range_g: int = option("accelerations from minus to plus this many g", 8, choices=tuple(ACCEL_RANGES_G))
    gyro_range_dps: int = option(
        "rotations from minus to plus this many degrees/s", 2000, choices=tuple(GYRO_RANGES_DPS)
    )
    filter_hz: int = option(
        "bandwidth of the digital low-pass filter, Hz; at most half the rate keeps aliases out",
        42,
        choices=FILTERS_6050[0],
    )
    magnetometer: bool = option(
        "record the magnetic field of an MPU-9250 or 9255 too, in the accelerometer's axes", False
    )
    temperature: bool = option("record the chip's temperature too", False)
    virtual: VirtualMpu = option("options of the virtual chip", factory=VirtualMpu)

    def __post_init__(self) -> None:
        mistakes = _bus.name_mistakes(self.bus)
        if not 4 <= self.rate_hz <= _INTERNAL_HZ:
            mistakes.append(("rate_hz", self.rate_hz, "from 4 to 1000"))
        elif abs(self.actual_rate_hz / self.rate_hz - 1) > 1e-3:
            n = int(_INTERNAL_HZ / self.rate_hz)
            nearest = f"{_INTERNAL_HZ / (n + 1):.6g} or {_INTERNAL_HZ / n:.6g}"
            mistakes.append(("rate_hz", self.rate_hz, f"1000 / n with a whole n; the nearest are {nearest}"))
        check(self, *mistakes)

    def expects(self) -> tuple[float, int]:
        """Samples a second, and bytes of each, for estimates."""
        return self.actual_rate_hz, 12 + 6 * self.magnetometer + 2 * self.temperature

    @property
    def divider(self) -> int:
        return round(_INTERNAL_HZ / self.rate_hz)

    @property
    def actual_rate_hz(self) -> float:
        """What the divider makes of `rate_hz`: 333.3 becomes 1000 / 3."""
        return _INTERNAL_HZ / self.divider

    def open(self) -> "Mpu6050":
        virtual = self.virtual.document()
        load = self.actual_rate_hz, 12 + 2 * self.temperature + _ak8963.BYTES * self.magnetometer
        return Mpu6050(self, open_i2c(self.bus, self.address, chip="mpu6050", virtual=virtual, load=load))


class Mpu6050:
    """Reads the FIFO every 28 ms, or before it is half full, in one burst; it is the `Source` of its `Fifo`."""

    def __init__(self, settings: Settings, device: I2cDevice) -> None:
        self._settings = settings
        self._device = device
        self._registers = Registers(device)
        self._frame = np.dtype(
            [
                ("acceleration", ">i2", 3),
                *([("celsius", ">i2")] if settings.temperature else []),
                ("rotation", ">i2", 3),
                *([("field", "<i2", 3), ("status", "|u1")] if settings.magnetometer else []),
            ]
        )
        self._dtype = np.dtype([])
        self._fifo_bytes = 0
        self._fifo = Fifo("mpu6050", settings.actual_rate_hz)
        self.counters: Mapping[str, int] = self._fifo.counters

    def start(self) -> Identity:
        part = self._recognise()
        settings = self._settings
        self._registers.write({FIFO_ENABLE: 0, MASTER_ENABLE: 0})
        time.sleep(LAST_S)
        self._registers.write({DEVICE_RESET: 1})
        time.sleep(_RESET_S)
        self._registers.write({CLOCK: 1})  # awake; the gyroscope's PLL is steadier than the internal oscillator
        time.sleep(_WAKE_S)
        code = 1 + FILTERS_6050[0].index(settings.filter_hz)
        field: tuple[Channel, ...] = ()
        if settings.magnetometer:
            self._registers.write({DLPF_CFG: code})  # at 1 kHz, and no divider yet: the master takes a period a byte
            field = _ak8963.start(self._registers)
        wanted = {
            SMPLRT_DIV: settings.divider - 1,
            DLPF_CFG: code,
            GYRO_RANGE: list(GYRO_RANGES_DPS).index(settings.gyro_range_dps),
            ACCEL_RANGE: list(ACCEL_RANGES_G).index(settings.accel_range_g),
            **({A_DLPF_CFG: code} if part.own_accel_filter else {}),
        }
        self._registers.keep(wanted, part.model)
        self._registers.write({OVERFLOW_INT_EN: 1})  # its pin need not be connected
        identity = self._identity(part, code, field)
        self._dtype = identity.dtype
        self._fifo_bytes = part.fifo_bytes
        self._fifo.begin(self, part.fifo_bytes // self._frame.itemsize)
        return identity

    def read(self, timeout: float) -> Block | None:
        return self._fifo.read(timeout)

    def close(self) -> None:
        self._device.close()

    def level(self) -> Level:
        count = int.from_bytes(self._device.read(FIFO_COUNT.address, 2), "big")
        whole, rest = divmod(count, self._frame.itemsize)
        return Level(whole, count == self._fifo_bytes, rest)

    def overflowed(self) -> bool:
        return self._registers.read(OVERFLOW_INT) == 1

    def take(self, count: int) -> Samples:
        """Whole samples out of the FIFO, in the order of the registers.

            byte  0       2       4       6             6 or 8  8 or 10 10 or 12  12 or 14 ...   18 or 20
                  accel x accel y accel z temperature   gyro x  gyro y  gyro z    field x, y, z  status (ST2)
                  big-endian int16        (when on)     big-endian int16          little-endian (when on)

        Temperature, which stands between them for its register's sake, becomes the last channel.
        """
        data = self._device.read_fifo(FIFO_DATA.address, count * self._frame.itemsize)
        if self._frame.itemsize == _PLAIN:
            plain: Samples = np.frombuffer(data, ">i2").astype("<i2").view(self._dtype)
            plain.flags.writeable = False
            return plain
        frames = np.frombuffer(data, self._frame)
        samples: Samples = np.empty(count, self._dtype)
        words = samples.view("<i2").reshape(count, -1)
        words[:, :3], words[:, 3:6] = frames["acceleration"], frames["rotation"]
        if self._settings.magnetometer:
            words[:, 6:9] = frames["field"][:, _ak8963.ORDER]
            words[frames["status"] & _ak8963.BEYOND != 0, 6:9] = _ak8963.NO_FIELD
        if self._settings.temperature:
            words[:, -1] = frames["celsius"]
        samples.flags.writeable = False
        return samples

    def restart(self) -> None:
        """Off, emptied, on: it begins with a whole sample."""
        magnetometer = int(self._settings.magnetometer)
        self._registers.write({FIFO_ENABLE: 0, MASTER_ENABLE: magnetometer})
        self._registers.write({FIFO_RESET: 1, MASTER_ENABLE: magnetometer})
        self._registers.read(OVERFLOW_INT)  # forgets
        chosen = {FIFO_TEMPERATURE: int(self._settings.temperature), FIFO_ROTATION: 7, FIFO_ACCEL: 1}
        self._registers.write({**chosen, FIFO_SLOT_0: magnetometer})
        self._registers.write({FIFO_ENABLE: 1, MASTER_ENABLE: magnetometer})

    def _recognise(self) -> Part:
        answer = self._registers.read(WHO_AM_I)
        if answer not in PARTS:
            known = ", ".join(f"0x{code:02x} {part.model}" for code, part in PARTS.items())
            raise DriverError(
                f"mpu6050: WHO_AM_I at 0x{self._settings.address:02x} says 0x{answer:02x}, and none of {known};"
                " another chip has this address, or the wiring is bad"
            )
        part = PARTS[answer]
        if self._settings.magnetometer and not part.magnetometer:
            having = " and ".join(part.model for part in PARTS.values() if part.magnetometer)
            raise DriverError(
                f"mpu6050: this is an {part.model} (WHO_AM_I 0x{answer:02x}), in which there is no magnetometer;"
                f" {having} have one: set magnetometer = false"
            )
        return part

    def _identity(self, part: Part, code: int, field: tuple[Channel, ...]) -> Identity:
        settings = self._settings
        g, dps = 1 / ACCEL_RANGES_G[settings.accel_range_g], 1 / GYRO_RANGES_DPS[settings.gyro_range_dps]
        channels = [Channel(f"Accelerometer{axis}", "g", scale=g) for axis in "XYZ"]
        channels += [Channel(f"Gyroscope{axis}", "deg/s", scale=dps) for axis in "XYZ"]
        channels += field
        if settings.temperature:
            channels.append(Channel("Temperature", "Celsius", scale=1 / part.celsius_lsb, offset=part.celsius_at_0))
        setup: Mapping[str, float] = {
            "accel_range_g": settings.accel_range_g,
            "gyro_range_dps": settings.gyro_range_dps,
            "accel_filter_hz": part.accel_filters_hz[code - 1],
            "gyro_filter_hz": part.gyro_filters_hz[code - 1],
            **({"mag_rate_hz": 100} if field else {}),
        }
        return Identity(part.model, settings.actual_rate_hz, tuple(channels), setup)
