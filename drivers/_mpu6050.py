"""The MPU-6050 and its kin as their data sheets have them: parts, registers, ranges, filters.

Sections of RM-MPU-6000A-00 rev. 4.2; of RM-MPU-6500A-00 rev. 2.1 where it says 6500.
"""

from typing import NamedTuple

from drivers._registers import Field


class Part(NamedTuple):
    """What differs between the members of the family."""

    model: str
    fifo_bytes: int
    celsius_lsb: float
    celsius_at_0: float
    gyro_filters_hz: tuple[int, ...]
    """Bandwidth for DLPF_CFG 1 ... 6."""
    accel_filters_hz: tuple[float, ...]
    own_accel_filter: bool
    """Whether the accelerometer's filter is set in a register of its own."""
    magnetometer: bool = False
    """Whether there is an AK8963 in it."""


FILTERS_6050 = (188, 98, 42, 20, 10, 5), (184.0, 94.0, 44.0, 21.0, 10.0, 5.0)
_FILTERS_6500 = (184, 92, 41, 20, 10, 5), (218.1, 99.0, 44.8, 21.2, 10.2, 5.1)

PARTS = {
    0x68: Part("MPU-6050", 1024, 340.0, 36.53, *FILTERS_6050, False),  # MPU-6000 and 9150 say the same
    0x70: Part("MPU-6500", 512, 333.87, 21.0, *_FILTERS_6500, True),
    0x71: Part("MPU-9250", 512, 333.87, 21.0, *_FILTERS_6500, True, True),
    0x73: Part("MPU-9255", 512, 333.87, 21.0, *_FILTERS_6500, True, True),
    0x74: Part("MPU-6515", 512, 333.87, 21.0, *_FILTERS_6500, True),
}
"""By WHO_AM_I. Product specifications: temperature in "Electrical Specifications", FIFO in 7.17 (6050), 4.17 (6500)."""


# fmt: off
#                          name            width addr  shift section
SMPLRT_DIV       = Field("SMPLRT_DIV",       8, 0x19, 0, "4.2")
DLPF_CFG         = Field("DLPF_CFG",         3, 0x1A, 0, "4.3")
GYRO_RANGE       = Field("FS_SEL",           2, 0x1B, 3, "4.4")
ACCEL_RANGE      = Field("AFS_SEL",          2, 0x1C, 3, "4.5")
A_DLPF_CFG       = Field("A_DLPF_CFG",       3, 0x1D, 0, "6500: 4.8")
FIFO_TEMPERATURE = Field("TEMP_FIFO_EN",     1, 0x23, 7, "4.6")
FIFO_ROTATION    = Field("XG, YG, ZG_FIFO_EN", 3, 0x23, 4, "4.6")
FIFO_ACCEL       = Field("ACCEL_FIFO_EN",    1, 0x23, 3, "4.6")
OVERFLOW_INT_EN  = Field("FIFO_OFLOW_EN",    1, 0x38, 4, "4.15")
OVERFLOW_INT     = Field("FIFO_OFLOW_INT",   1, 0x3A, 4, "4.16")
FIFO_ENABLE      = Field("FIFO_EN",          1, 0x6A, 6, "4.27")
FIFO_RESET       = Field("FIFO_RESET",       1, 0x6A, 2, "4.27")
DEVICE_RESET     = Field("DEVICE_RESET",     1, 0x6B, 7, "4.28")
CLOCK            = Field("CLKSEL",           3, 0x6B, 0, "4.28")
FIFO_COUNT       = Field("FIFO_COUNT",      16, 0x72, 0, "4.30")
FIFO_DATA        = Field("FIFO_R_W",         8, 0x74, 0, "4.31")
WHO_AM_I         = Field("WHO_AM_I",         8, 0x75, 0, "4.32")
# fmt: on

ACCEL_RANGES_G = {2: 16384.0, 4: 8192.0, 8: 4096.0, 16: 2048.0}
"""LSB per g of each range [4.17]."""
GYRO_RANGES_DPS = {250: 131.0, 500: 65.5, 1000: 32.8, 2000: 16.4}
"""LSB per degree/s of each range [4.19]."""
