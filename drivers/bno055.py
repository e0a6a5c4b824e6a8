"""The BNO055 on I2C: orientation and linear acceleration that the chip itself computes, with its calibration state.

Registers from Bosch's BST-BNO055-DS000 rev. 1.4 (sections in brackets); second sources: the Linux kernel's
drivers/iio/imu/bno055 and Adafruit's CircuitPython driver.

It has no FIFO and no sample counter: it is asked at `rate_hz`, by this computer's clock, for what it computed last, a
hundred times a second by its own. Asked as often as that, a value now and then comes twice or never.

It holds the bus clock low while it thinks ("clock stretching"), which the I2C controller of a Raspberry Pi up to the 4
gets wrong now and then: a bit wrong in silence, errno 5 or 110. A sample whose quaternion is none is thrown away and
counted, which finds most of them; what helps is a software bus (`dtoverlay=i2c-gpio,bus=3` in
config.txt, then `bus = 3`), mostly also a slow clock (dtparam=i2c_arm_baudrate=10000, which carries 44 samples a
second).

The calibration that it finds while it is moved is lost when its power is. `Bno055.calibration` says it, the option
`calibration` or `restore` gives it back. A start resets nothing, so a restarted daemon finds a chip that is still
calibrated.
"""

import dataclasses
import time

import numpy as np

from drivers import Block, Channel, DriverError, Hallmark, Identity, _bus, check, option
from drivers.ports import boottime_ns
from drivers.ports.i2c import I2cDevice, open_i2c
from drivers.ports.virtual import Virtual

# fmt: off
CHIP_ID     = 0x00  # [4.3.1]
PAGE        = 0x07  # [4.3.8]
QUATERNION  = 0x20  # four little-endian int16 [4.3.33], linear acceleration, gravity and temperature follow
CALIB_STAT  = 0x35  # bits 7-6 system, 5-4 gyroscope, 3-2 accelerometer, 1-0 magnetometer, 3 is best [4.3.54]
UNIT_SEL    = 0x3B  # bit 0: accelerations in mg [4.3.60]
OPR_MODE    = 0x3D  # bits 3-0 [4.3.61]
PWR_MODE    = 0x3E  # [4.3.62]
SYS_TRIGGER = 0x3F  # bit 7: external crystal [4.3.63]
AXIS_MAP    = 0x41  # and signs [4.3.65]
OFFSETS     = 0x55  # offsets of three sensors and two radii [4.3.67]
UNIQUE_ID   = 0x50  # on page 1 [4.4.14]
# fmt: on

IDENTITY = 0xA0
CONFIG = 0x00
MODES = {"ndof": 0x0C, "ndof_fmc_off": 0x0B, "imu": 0x08}
"""Table 3-5: all nine axes, without fast magnetic calibration, and without the magnetometer."""
PROFILE_BYTES = 22
_OFFSET_BYTES = 18
"""Of these all but the two radii, which are no measurement; 0 after power-up."""

_TO_CONFIG_S, _FROM_CONFIG_S = 0.025, 0.015  # table 3-6 says 19 and 7 ms
_CRYSTAL_S = 0.01
_FUSION_S = 1.0
_UNIT = 2**28
"""What the squares of a quaternion's parts add up to."""
_TOLERANCE = 0.01
_LATEST = 22  # bytes from QUATERNION to CALIB_STAT
_TRANSFER_BYTES = 3 + _LATEST
"""Of one sample: address, register and address again before them."""
_CALIBRATED = ("System", "Gyroscope", "Accelerometer", "Magnetometer")
_CHANNELS = (
    *(Channel(f"Quaternion{part}", scale=2.0**-14) for part in "WXYZ"),  # [3.6.5.5]
    *(Channel(f"LinearAcceleration{axis}", "g", scale=0.001) for axis in "XYZ"),  # [3.6.5.6]
    *(Channel(f"Calibration{name}", dtype="|u1", limits=(-1, 4)) for name in _CALIBRATED),
)
HALLMARKS = (Hallmark((0x28, 0x29), CHIP_ID, {bytes([IDENTITY]): "BNO055"}),)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one BNO055 on I2C."""

    bus: int | str = option(
        'number of the I2C bus (a software one, i2c-gpio, on a Pi up to the 4), its path, or "virtual"', 1, at_least=0
    )
    address: int = option("I2C address: 0x28, or 0x29 with COM3 high", 0x28, choices=(0x28, 0x29))
    rate_hz: float = option(
        "how often to ask a second; it computes 100; a bus at 10 kHz carries 44", 50.0, at_least=0.1, at_most=100
    )
    mode: str = option(
        'which sensors it fuses: "ndof" all, "imu" without the magnetometer, so north is where it started',
        "ndof",
        choices=tuple(MODES),
    )
    external_crystal: bool = option("the board has a 32 kHz crystal (most breakout boards do)", False)
    calibration: str = option(
        "offsets to begin with, 44 hex digits that such a chip has once said; empty: its own, or what `calibrate` kept",
        "",
    )
    virtual: Virtual = option("options of the virtual chip", factory=Virtual)

    def __post_init__(self) -> None:
        mistakes = _bus.name_mistakes(self.bus)
        try:
            whole = len(bytes.fromhex(self.calibration)) in (0, PROFILE_BYTES)
        except ValueError:
            whole = False
        if not whole:
            mistakes.append(("calibration", self.calibration, "44 hex digits, or empty"))
        check(self, *mistakes)

    def expects(self) -> tuple[float, int]:
        """Samples a second, and bytes of each, for estimates."""
        return self.rate_hz, 18

    def open(self) -> "Bno055":
        load = self.rate_hz, _TRANSFER_BYTES
        virtual = self.virtual.document()
        return Bno055(self, open_i2c(self.bus, self.address, chip="bno055", virtual=virtual, load=load))


class Bno055:
    """Sample n is what the chip had computed n periods after the start; times that were missed count as lost."""

    def __init__(self, settings: Settings, device: I2cDevice) -> None:
        self.counters = {"missed": 0, "garbled": 0}
        self._settings = settings
        self._device = device
        self._period_ns = 1e9 / settings.rate_hz
        self._begun_ns = 0
        self._next = 0  # index of the moment to ask at
        self._end = 0  # index after the last sample that was handed out
        self._dtype = np.dtype([])
        self._calibrated = False  # as far as there are offsets

    def start(self) -> Identity:
        settings = self._settings
        self._write(PAGE, 0)
        (answer,) = self._device.read(CHIP_ID, 1)
        if answer != IDENTITY:
            raise DriverError(
                f"bno055: CHIP_ID at 0x{settings.address:02x} says 0x{answer:02x} and not 0x{IDENTITY:02x}; it boots"
                " for 0.7 s after power-up; else another chip has this address, or the clock is stretched too long"
                " for this bus (try a software bus, dtoverlay=i2c-gpio)"
            )
        self._change_mode(CONFIG)
        self._write(PAGE, 1)
        serial = self._device.read(UNIQUE_ID, 16).hex()
        self._write(PAGE, 0)
        self._write(PWR_MODE, 0)
        self._write(UNIT_SEL, 0x01)
        self._write(AXIS_MAP, 0x24)
        self._write(AXIS_MAP + 1, 0x00)
        if settings.calibration:
            self._restore(bytes.fromhex(settings.calibration))
        self._calibrated = any(self._device.read(OFFSETS, _OFFSET_BYTES))
        self._use_crystal(settings.external_crystal)
        self._change_mode(MODES[settings.mode])
        identity = Identity("BNO055", settings.rate_hz, _CHANNELS, {"fusion": settings.mode}, serial)
        self._dtype = identity.dtype
        self._wait_for_fusion()
        self._begun_ns = boottime_ns()
        return identity

    def read(self, timeout: float) -> Block | None:
        wait_ns = self._begun_ns + int(self._next * self._period_ns) - boottime_ns()
        if wait_ns > 0:
            time.sleep(min(timeout, wait_ns / 1e9))
            if wait_ns > timeout * 1e9:
                return None
        index = max(self._next, int((boottime_ns() - self._begun_ns) / self._period_ns))
        data = self._device.read(QUATERNION, _LATEST)
        now_ns = boottime_ns()
        if not any(data[:8]):  # no orientation at all
            raise DriverError("bno055: it no longer computes an orientation; it was reset, or its supply dipped")
        self.counters["missed"] += index - self._next
        self._next = index + 1
        quaternion = np.frombuffer(data, "<i2", 4).astype(np.int64)
        if abs(int(quaternion @ quaternion) / _UNIT - 1) > _TOLERANCE:
            self.counters["garbled"] += 1
            return None
        # the state's two-bit fields become channels of their own
        state = bytes((data[-1] >> shift) & 0x03 for shift in (6, 4, 2, 0))
        samples = np.frombuffer(data[:14] + state, self._dtype)  # of bytes, and so read-only
        lost, self._end = index - self._end, index + 1
        return Block(index, samples, now_ns, newest=index, lost=lost)

    def close(self) -> None:
        self._device.close()

    def calibration(self) -> str:
        """What the chip has found by now, 44 hex digits for the option `calibration`. Call it between reads.

        It is worth keeping once all four calibration channels say 3. Computing pauses for some 40 ms [3.11.4].
        """
        self._change_mode(CONFIG)
        profile = self._device.read(OFFSETS, PROFILE_BYTES)
        self._change_mode(MODES[self._settings.mode])
        self._wait_for_fusion()
        return profile.hex()

    def restore(self, calibration: str) -> None:
        """Gives it back what it once found, before the first read; nothing where it has offsets."""
        profile = bytes.fromhex(calibration)
        if len(profile) != PROFILE_BYTES:
            raise ValueError(f"{calibration!r} is not {2 * PROFILE_BYTES} hex digits")
        if self._calibrated or self._settings.calibration:
            return
        self._change_mode(CONFIG)
        self._restore(profile)
        self._use_crystal(self._settings.external_crystal)
        self._change_mode(MODES[self._settings.mode])
        self._wait_for_fusion()
        self._begun_ns = boottime_ns()

    def _restore(self, profile: bytes) -> None:
        self._use_crystal(False)  # while it runs on that one, offsets have no effect
        for register, byte in enumerate(profile, OFFSETS):
            self._write(register, byte)
        kept = self._device.read(OFFSETS, PROFILE_BYTES)
        if kept != profile:
            raise DriverError(f"bno055: it does not keep the calibration {profile.hex()} but has {kept.hex()}")

    def _use_crystal(self, external: bool) -> None:
        """In CONFIG mode, and after the offsets: adafruit/Adafruit_BNO055 #28, whose driver pauses as long, too."""
        self._write(SYS_TRIGGER, 0x80 if external else 0)
        time.sleep(_CRYSTAL_S)

    def _change_mode(self, mode: int) -> None:
        self._write(OPR_MODE, mode)
        time.sleep(_TO_CONFIG_S if mode == CONFIG else _FROM_CONFIG_S)
        got = self._device.read(OPR_MODE, 1)[0] & 0x0F
        if got != mode:
            raise DriverError(
                f"bno055: it does not go into mode {mode} but stays in {got}; switch it off and on, try a slower bus"
            )

    def _wait_for_fusion(self) -> None:
        """Until it has computed its first orientation: before that it says 0."""
        deadline_ns = boottime_ns() + int(_FUSION_S * 1e9)
        while not any(self._device.read(QUATERNION, 8)):
            if boottime_ns() > deadline_ns:
                raise DriverError(
                    "bno055: it computes no orientation; switch it off and on, and check external_crystal"
                    " (true needs a crystal on the board)"
                )
            time.sleep(0.005)

    def _write(self, register: int, value: int) -> None:
        self._device.write(register, bytes([value]))
