"""The ADXL345 (and 343) on I2C: acceleration out of its FIFO, in full resolution.

Registers from the ADXL345 data sheet rev. E, "Register Map" and "Register Definitions"; second source: RIOT's
drivers/adxl345/include/adxl345_regs.h. The chip has no reset, so whatever shapes the data is written.

Each transfer yields one sample: the address does not turn back from 0x37 to 0x32, so that a burst over several
samples cannot be had ("FIFO", "Retrieving Data from FIFO").
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from drivers import Block, Channel, DriverError, Hallmark, Identity, Samples, _bus, check, option
from drivers._fifo import Fifo, Level
from drivers.ports.i2c import I2cDevice, open_i2c
from drivers.ports.virtual import Virtual

# fmt: off
DEVID       = 0x00
OFSX        = 0x1E  # and OFSY, OFSZ
BW_RATE     = 0x2C  # bits 3-0: rate code, 4: low power
POWER_CTL   = 0x2D  # bit 3: measure
INT_ENABLE  = 0x2E
DATA_FORMAT = 0x31  # bits 1-0: range, 3: full resolution
DATAX0      = 0x32  # three little-endian int16, right-justified
FIFO_CTL    = 0x38  # bits 7-6: 0 bypass, 2 stream
FIFO_STATUS = 0x39  # bits 5-0: entries
# fmt: on

IDENTITY = 0xE5
FIFO_SAMPLES = 32
_SAMPLE_BYTES = 500 / 9
"""What the data sheet grants each sample, with all that is around the nine of its transfer: 500 clocks of the bus, in
bytes of nine (section "I2C": at 400 kHz 800 samples a second at most, and in proportion)."""
RANGES_G = (2, 4, 8, 16)
"""By code of DATA_FORMAT."""
LSB_PER_G = 256.0
"""In full resolution, at any range: table 1, "Sensitivity"."""
RATES_HZ = {3200.0 / 2 ** (15 - code): code for code in range(6, 14)}
"""Table 7: 6.25 to 800 Hz. Faster ones are refused: I2C at 400 kHz carries 800 Hz at most (section "I2C")."""
HALLMARKS = (Hallmark((0x53, 0x1D), DEVID, {bytes([IDENTITY]): "ADXL345"}),)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one ADXL345 or ADXL343 on I2C."""

    bus: int | str = option('number of the I2C bus, its path such as "/dev/i2c-1", or "virtual"', 1, at_least=0)
    address: int = option("I2C address: 0x53, or 0x1D with ALT ADDRESS high", 0x53, choices=(0x53, 0x1D))
    rate_hz: float = option(
        "samples a second; above 200 the bus must run at 400 kHz (dtparam=i2c_arm_baudrate=400000)",
        100.0,
        choices=tuple(RATES_HZ),
    )
    accel_range_g: int = option("accelerations from minus to plus this many g", 16, choices=RANGES_G)
    virtual: Virtual = option("options of the virtual chip", factory=Virtual)

    def __post_init__(self) -> None:
        check(self, *_bus.name_mistakes(self.bus))

    def expects(self) -> tuple[float, int]:
        """Samples a second, and bytes of each, for estimates."""
        return self.rate_hz, 6

    def open(self) -> "Adxl345":
        virtual = self.virtual.document()
        return Adxl345(
            self,
            open_i2c(self.bus, self.address, chip="adxl345", virtual=virtual, load=(self.rate_hz, _SAMPLE_BYTES)),
        )


class Adxl345:
    """Reads the FIFO every 50 ms, or before it is half full."""

    def __init__(self, settings: Settings, device: I2cDevice) -> None:
        self._settings = settings
        self._device = device
        self._fifo = Fifo("adxl345", settings.rate_hz, longest_s=0.05)
        self._dtype = np.dtype([])

    @property
    def counters(self) -> Mapping[str, int]:
        return self._fifo.counters

    def start(self) -> Identity:
        settings = self._settings
        (answer,) = self._device.read(DEVID, 1)
        if answer != IDENTITY:
            raise DriverError(
                f"adxl345: DEVID at 0x{settings.address:02x} says 0x{answer:02x} and not 0x{IDENTITY:02x};"
                " another chip has this address, or the wiring is bad (CS must be high for I2C)"
            )
        self._write(POWER_CTL, 0)  # what follows is to be set in standby
        self._write(INT_ENABLE, 0)
        for axis in range(3):
            self._write(OFSX + axis, 0)
        wanted = {BW_RATE: RATES_HZ[settings.rate_hz], DATA_FORMAT: 0x08 | RANGES_G.index(settings.accel_range_g)}
        for register, value in wanted.items():
            self._write(register, value)
            if self._device.read(register, 1)[0] != value:
                raise DriverError(
                    f"adxl345: register 0x{register:02x} does not keep 0x{value:02x};"
                    " check the wiring, keep cables short, try a slower bus"
                )
        limit = LSB_PER_G * settings.accel_range_g
        channels = tuple(
            Channel(f"Accelerometer{axis}", "g", scale=1 / LSB_PER_G, limits=(-limit, limit - 1)) for axis in "XYZ"
        )
        identity = Identity("ADXL345", settings.rate_hz, channels, {"accel_range_g": settings.accel_range_g})
        self._dtype = identity.dtype
        self._fifo.begin(self, FIFO_SAMPLES)
        self._write(POWER_CTL, 0x08)
        return identity

    def read(self, timeout: float) -> Block | None:
        return self._fifo.read(timeout)

    def close(self) -> None:
        self._device.close()

    def level(self) -> Level:
        entries = self._device.read(FIFO_STATUS, 1)[0] & 0x3F
        return Level(entries, entries >= FIFO_SAMPLES)  # full stays full until it is read

    def overflowed(self) -> bool:
        return True  # reading it makes room, and nothing tells any more

    def take(self, count: int) -> Samples:
        data = b"".join(self._device.read(DATAX0, 6) for _ in range(count))
        samples: Samples = np.frombuffer(data, self._dtype)  # of bytes, and so read-only
        return samples

    def restart(self) -> None:
        self._write(FIFO_CTL, 0x00)
        self._write(FIFO_CTL, 0x80)

    def _write(self, register: int, value: int) -> None:
        self._device.write(register, bytes([value]))
