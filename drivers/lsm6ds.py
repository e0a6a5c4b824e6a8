"""The LSM6DS family on I2C: acceleration and rotation out of the chip's FIFO, with tags or without."""

import dataclasses
import time
from collections.abc import Mapping

from drivers import Block, Channel, DriverError, Hallmark, Identity, _bus, check, option
from drivers._fifo import Fifo
from drivers._lsm6ds import (
    ACCEL_RANGES_G,
    BDR_GY,
    BDR_XL,
    BDU,
    DEC_FIFO_GYRO,
    DEC_FIFO_XL,
    DSO32,
    DSO32_ACCEL_RANGES_G,
    FS_G,
    FS_XL,
    FUNC_CFG_ACCESS,
    GYRO_RANGES_DPS,
    IF_INC,
    ODR_G,
    ODR_XL,
    PARTS,
    RATES_HZ,
    SAYS_DSOX,
    SW_RESET,
    WHO_AM_I,
    Part,
)
from drivers._lsm6ds_fifo import PatternFifo, TaggedFifo
from drivers._registers import Field, Registers
from drivers.ports.i2c import I2cDevice, open_i2c
from drivers.ports.virtual import Virtual

_RESET_S = 0.02  # 50 us, and 15 ms where the trimming is loaded anew
_SETTLE_S = 0.08  # the gyroscope turns on in 70 ms at most [4.1]
_SETTLE_SAMPLES = 3  # that the filters spoil
_SAMPLE_BYTES = 14  # on the bus: two tagged words
_RANGES_G = tuple(ACCEL_RANGES_G | DSO32_ACCEL_RANGES_G)
_SAID = {bytes([who]): part.model for who, part in PARTS.items()}
_SAID[bytes([SAYS_DSOX])] = f"LSM6DSO, LSM6DSOX or {DSO32}"
HALLMARKS = (Hallmark((0x6A, 0x6B), WHO_AM_I.address, _SAID),)


@dataclasses.dataclass(frozen=True)
class VirtualLsm(Virtual):
    """Options of the virtual chip, `[stream.NAME.virtual]`, for bus = "virtual"."""

    who_am_i: int = option(
        "what its WHO_AM_I register says: 105 LSM6DS3, 106 LSM6DS3TR-C, 107 ISM330DHCX, 108 LSM6DSOX", 0x6C, at_most=255
    )
    part: str = option(f'"{DSO32}": it is one, which says that it is an LSM6DSOX', "", choices=("", DSO32))


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one LSM6DS3, DS3TR-C, DSL, DSM, DSO, DSOX, DSO32, DSR or ISM330DHCX on I2C."""

    bus: int | str = option('number of the I2C bus, its path such as "/dev/i2c-1", or "virtual"', 1, at_least=0)
    address: int = option("I2C address: 0x6A, or 0x6B with SA0 high", 0x6A, choices=(0x6A, 0x6B))
    bus_hz: int = option(
        "clock of the bus (dtparam=i2c_arm_baudrate), Hz; a rate that it cannot carry is refused",
        400_000,
        at_least=10_000,
        at_most=1_000_000,
    )
    part: str = option(
        f'"{DSO32}" where it is one, which passes for an LSM6DSOX, with half of each acceleration; else empty',
        "",
        choices=("", DSO32),
    )
    rate_hz: float = option("samples a second", 104.0, choices=RATES_HZ)
    accel_range_g: int = option(
        f"accelerations from minus to plus this many g; 32 only, and 2 not, of an {DSO32}",
        8,
        choices=_RANGES_G,
    )
    gyro_range_dps: int = option(
        "rotations from minus to plus this many degrees/s", 2000, choices=tuple(GYRO_RANGES_DPS)
    )
    virtual: VirtualLsm = option("options of the virtual chip", factory=VirtualLsm)

    def __post_init__(self) -> None:
        mistakes = _bus.mistakes(self.bus, self.bus_hz, self.rate_hz, _SAMPLE_BYTES)
        if self.accel_range_g in _RANGES_G and self.accel_range_g not in self.accel_ranges_g:
            which = f"of an {DSO32}" if self.part == DSO32 else f'unless part = "{DSO32}"'
            ranges = ", ".join(map(str, self.accel_ranges_g))
            mistakes.append(("accel_range_g", self.accel_range_g, f"one of {ranges} {which}"))
        check(self, *mistakes)

    @property
    def accel_ranges_g(self) -> dict[int, tuple[int, float]]:
        """FS_XL, and g of a LSB, of the ranges that this part has."""
        return DSO32_ACCEL_RANGES_G if self.part == DSO32 else ACCEL_RANGES_G

    def expects(self) -> tuple[float, int]:
        """Samples a second, and bytes of each, for estimates."""
        return self.rate_hz, 12

    def open(self) -> "Lsm6ds":
        virtual = self.virtual.document()
        return Lsm6ds(
            self, open_i2c(self.bus, self.address, chip="lsm6ds", virtual=virtual, load=(self.rate_hz, _SAMPLE_BYTES))
        )


class Lsm6ds:
    """Reads the FIFO every 28 ms, or before it is half full, in one burst."""

    def __init__(self, settings: Settings, device: I2cDevice) -> None:
        self._settings = settings
        self._device = device
        self._registers = Registers(device)
        self._fifo = Fifo("lsm6ds", settings.rate_hz)
        self.counters: Mapping[str, int] = self._fifo.counters

    def start(self) -> Identity:
        part = self._recognise()
        self._reset(part)
        settings = self._settings
        rate_code = 1 + RATES_HZ.index(settings.rate_hz)
        wanted: dict[Field, int] = {
            ODR_XL: rate_code,
            FS_XL: settings.accel_ranges_g[settings.accel_range_g][0],
            ODR_G: rate_code,
            FS_G: GYRO_RANGES_DPS[settings.gyro_range_dps][0],
        }
        wanted |= {BDR_GY: rate_code, BDR_XL: rate_code} if part.tagged else {DEC_FIFO_GYRO: 1, DEC_FIFO_XL: 1}
        self._registers.keep(wanted, part.model)
        time.sleep(_SETTLE_S + _SETTLE_SAMPLES / settings.rate_hz)
        identity = self._identity(part)
        if part.tagged:
            self._fifo.begin(TaggedFifo(self._device, identity.dtype), part.fifo_samples)
        else:
            self._fifo.begin(PatternFifo(self._device, identity.dtype, rate_code), part.fifo_samples)
        return identity

    def read(self, timeout: float) -> Block | None:
        return self._fifo.read(timeout)

    def close(self) -> None:
        self._device.close()

    def _recognise(self) -> Part:
        answer = self._registers.read(WHO_AM_I)
        if answer not in PARTS:
            known = ", ".join(f"0x{code:02x} {part.model}" for code, part in PARTS.items())
            raise DriverError(
                f"lsm6ds: WHO_AM_I at 0x{self._settings.address:02x} says 0x{answer:02x}, and none of {known};"
                " another chip has this address, or the wiring is bad"
            )
        part = PARTS[answer]
        if self._settings.part and answer != SAYS_DSOX:
            raise DriverError(
                f"lsm6ds: WHO_AM_I says 0x{answer:02x}, an {part.model}, and an {DSO32} says 0x{SAYS_DSOX:02x};"
                " take part out of its settings"
            )
        if self._settings.part:
            part = part._replace(model=self._settings.part)
        if self._settings.rate_hz > part.fastest_hz:
            raise DriverError(
                f"lsm6ds: the gyroscope of this {part.model} has at most {part.fastest_hz:g} samples a second;"
                f" rate_hz = {self._settings.rate_hz:g} is too much for it"
            )
        return part

    def _reset(self, part: Part) -> None:
        self._registers.write({FUNC_CFG_ACCESS: 0})  # whoever used it before may have left other pages open
        self._registers.write({IF_INC: 1, SW_RESET: 1})
        time.sleep(_RESET_S)
        if self._registers.read(SW_RESET):
            raise DriverError(f"{part.model}: it does not come back from its reset; switch it off and on")
        self._registers.keep({BDU: 1, IF_INC: 1}, part.model)

    def _identity(self, part: Part) -> Identity:
        settings = self._settings
        g, dps = settings.accel_ranges_g[settings.accel_range_g][1], GYRO_RANGES_DPS[settings.gyro_range_dps][1]
        channels = [Channel(f"Accelerometer{axis}", "g", scale=g) for axis in "XYZ"]
        channels += [Channel(f"Gyroscope{axis}", "deg/s", scale=dps) for axis in "XYZ"]
        setup = {"accel_range_g": settings.accel_range_g, "gyro_range_dps": settings.gyro_range_dps}
        return Identity(part.model, settings.rate_hz, tuple(channels), setup)
