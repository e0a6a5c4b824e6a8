"""The LSM6DS family as its data sheets have it: parts, registers, ranges, rates.

Sections are those of the LSM6DSO's data sheet (DS12140), or of the LSM6DSL's (DocID028475), whose registers the
LSM6DS3TR-C has, where it says DSL. Second sources: Linux, drivers/iio/imu/st_lsm6dsx (registers, sensitivities, FIFO
sizes, tags, identities); rvanee/Arduino_LSM6DSOX (status bits); adafruit/Adafruit_CircuitPython_LSM6DS (ranges, rates,
and those of the LSM6DSO32).
"""

from typing import NamedTuple

from drivers._registers import Field


class Part(NamedTuple):
    """What differs between the members of the family."""

    model: str
    tagged: bool
    """Whether each word of the FIFO says what it is; otherwise the order does."""
    fifo_samples: int
    fastest_hz: float


PARTS = {
    0x69: Part("LSM6DS3", False, 682, 1660),
    0x6A: Part("LSM6DS3TR-C", False, 341, 6660),  # LSM6DSL, LSM6DSM and ISM330DLC say the same
    0x6B: Part("ISM330DHCX", True, 256, 6660),  # and LSM6DSR
    0x6C: Part("LSM6DSOX", True, 256, 6660),  # and LSM6DSO, and LSM6DSO32
}
"""By WHO_AM_I. FIFO: 512 tagged words; 4 kbyte, of the LSM6DS3 8 kbyte."""
DSO32, SAYS_DSOX = "LSM6DSO32", 0x6C
"""A part that WHO_AM_I does not tell from an LSM6DSOX; only its FS_XL means something else."""

# fmt: off
#                          name            width addr  shift section
FUNC_CFG_ACCESS  = Field("FUNC_CFG_ACCESS",  8, 0x01, 0, "9.1")
WHO_AM_I         = Field("WHO_AM_I",         8, 0x0F, 0, "9.11")
ODR_XL           = Field("ODR_XL",           4, 0x10, 4, "9.12")
FS_XL            = Field("FS_XL",            2, 0x10, 2, "9.12")
ODR_G            = Field("ODR_G",            4, 0x11, 4, "9.13")
FS_G             = Field("FS_G, FS_125",     3, 0x11, 1, "9.13")
BDU              = Field("BDU",              1, 0x12, 6, "9.14")
IF_INC           = Field("IF_INC",           1, 0x12, 2, "9.14")
SW_RESET         = Field("SW_RESET",         1, 0x12, 0, "9.14")
# the tagged FIFO
BDR_GY           = Field("BDR_GY",           4, 0x09, 4, "9.5")
BDR_XL           = Field("BDR_XL",           4, 0x09, 0, "9.5")
FIFO_MODE        = Field("FIFO_MODE",        3, 0x0A, 0, "9.6")
FIFO_STATUS      = Field("FIFO_STATUS1",     8, 0x3A, 0, "6.5.7")
FIFO_OUT_TAG     = Field("FIFO_DATA_OUT_TAG", 8, 0x78, 0, "6.5.7")
# the FIFO without tags
DEC_FIFO_GYRO    = Field("DEC_FIFO_GYRO",    3, 0x08, 3, "DSL: 5.5")
DEC_FIFO_XL      = Field("DEC_FIFO_XL",      3, 0x08, 0, "DSL: 5.5")
ODR_FIFO         = Field("ODR_FIFO",         4, 0x0A, 3, "DSL: 5.5")
FIFO_DATA_OUT    = Field("FIFO_DATA_OUT_L",  8, 0x3E, 0, "DSL: 5.5.6")
# fmt: on

BYPASS, CONTINUOUS = 0, 6
"""FIFO_MODE: off and empty; always on, the newest overwrite the oldest."""

RATES_HZ = (12.5, 26.0, 52.0, 104.0, 208.0, 416.0, 833.0, 1660.0, 3330.0, 6660.0)
"""For ODR_XL, ODR_G, BDR_XL, BDR_GY and ODR_FIFO from 1 on."""
ACCEL_RANGES_G = {2: (0, 0.061e-3), 4: (2, 0.122e-3), 8: (3, 0.244e-3), 16: (1, 0.488e-3)}
"""FS_XL, and g of a LSB [4.1]."""
DSO32_ACCEL_RANGES_G = {4: (0, 0.122e-3), 8: (2, 0.244e-3), 16: (3, 0.488e-3), 32: (1, 0.976e-3)}
"""The same of an LSM6DSO32."""
GYRO_RANGES_DPS = {125: (1, 4.375e-3), 250: (0, 8.75e-3), 500: (2, 17.5e-3), 1000: (4, 35e-3), 2000: (6, 70e-3)}
"""FS_G with FS_125, and degrees/s of a LSB [4.1]."""
