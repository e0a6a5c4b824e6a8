"""The AK8963, the magnetometer in the MPU-9250 and 9255, behind their auxiliary I2C master.

Registers from its data sheet (MS1356, section 8); those of the master from RM-MPU-6500A-00 rev. 2.1, sections 4.13 to
4.19. Second sources: Linux, drivers/iio/imu/inv_mpu6050/inv_mpu_magn.c (sensitivity, axes, slots); SparkFun's
MPU-9250 library (modes).
"""

import time

from drivers import Channel, DriverError
from drivers._auxiliary import Auxiliary, Slots
from drivers._registers import Field, Registers

# fmt: off
#                        name              width addr  shift section
MASTER_WAIT   = Field("WAIT_FOR_ES",       1, 0x24, 6, "6500: 4.13")
MASTER_STOP   = Field("I2C_MST_P_NSR",     1, 0x24, 4, "6500: 4.13")
MASTER_CLOCK  = Field("I2C_MST_CLK",       4, 0x24, 0, "6500: 4.13")
MASTER_ENABLE = Field("I2C_MST_EN",        1, 0x6A, 5, "6500: 4.35")
MASTER_RESET  = Field("I2C_MST_RST",       1, 0x6A, 1, "6500: 4.35")
FIFO_SLOT_0   = Field("SLV0_FIFO_EN",      1, 0x23, 0, "6500: 4.12")

_SLOTS = Slots(
    master_enable   = MASTER_ENABLE,
    master_reset    = MASTER_RESET,
    done            = Field("I2C_SLV4_DONE", 1, 0x36, 6, "6500: 4.19"),
    refused         = Field("I2C_SLV4_NACK", 1, 0x36, 4, "6500: 4.19"),
    single_address  = Field("I2C_SLV4_ADDR", 8, 0x31, 0, "6500: 4.18"),
    single_register = Field("I2C_SLV4_REG",  8, 0x32, 0, "6500: 4.18"),
    single_out      = Field("I2C_SLV4_DO",   8, 0x33, 0, "6500: 4.18"),
    single_enable   = Field("I2C_SLV4_EN",   1, 0x34, 7, "6500: 4.18"),
    single_in       = Field("I2C_SLV4_DI",   8, 0x35, 0, "6500: 4.18"),
    each_address    = Field("I2C_SLV0_ADDR", 8, 0x25, 0, "6500: 4.14"),
    each_register   = Field("I2C_SLV0_REG",  8, 0x26, 0, "6500: 4.14"),
    each_enable     = Field("I2C_SLV0_EN",   1, 0x27, 7, "6500: 4.14"),
    each_length     = Field("I2C_SLV0_LENG", 4, 0x27, 0, "6500: 4.14"),
)
# fmt: on

_ADDRESS = 0x0C
_WHO_AM_I, _IDENTITY = 0x00, 0x48
_DATA = 0x03
_MODE, _OFF, _FUSES, _16_BITS_100_HZ = 0x0A, 0x00, 0x0F, 0x16
_RESET = 0x0B
_SENSITIVITY = 0x10
"""ASAX, ASAY, ASAZ, which can be read in the fuses' mode."""
_UT = 0.15
_LARGEST = 32760
_400_KHZ = 13
_BETWEEN_S = 0.0002  # modes: 0.1 ms
_FIRST_S = 0.025  # until the first field is there, and some more

BYTES = 7
"""Three axes, and ST2, until which the chip keeps what belongs together."""
BEYOND = 0x08
"""HOFL in ST2: the field is beyond the range, and what the axes say means nothing."""
NO_FIELD = -32768
"""What we say there; the chip itself never says it, and it counts as clipped."""
ORDER, SIGNS = (1, 0, 2), (1, 1, -1)
"""Its axes, seen along the accelerometer's x, y and z (product specification of the MPU-9250, 9.1)."""


def start(registers: Registers) -> tuple[Channel, ...]:
    """Starts it at 100 Hz, to be read with each sample, and enables the master.

    Its channels are in the accelerometer's axes, with the sensitivity that this very part was found to have. Raises
    DriverError where it is not there.
    """
    registers.write({MASTER_WAIT: 1, MASTER_STOP: 1, MASTER_CLOCK: _400_KHZ})
    registers.write({MASTER_ENABLE: 1})
    behind = Auxiliary(registers, _SLOTS, chip="mpu6050", address=_ADDRESS)
    answer = behind.identity(_WHO_AM_I, _IDENTITY)
    if answer != _IDENTITY:
        raise DriverError(
            f"mpu6050: its magnetometer says that it is 0x{answer:02x}, and an AK8963 is 0x{_IDENTITY:02x};"
            " a counterfeit chip? Set magnetometer = false to go on without it"
        )
    behind.write(_RESET, 1)
    time.sleep(_BETWEEN_S)
    behind.write(_MODE, _FUSES)
    time.sleep(_BETWEEN_S)
    fuses = [behind.read(_SENSITIVITY + axis) for axis in range(3)]
    behind.write(_MODE, _OFF)
    time.sleep(_BETWEEN_S)
    behind.write(_MODE, _16_BITS_100_HZ)
    time.sleep(_FIRST_S)
    behind.sample(_DATA, BYTES)
    return tuple(
        # data sheet 8.3.11
        Channel(
            f"Magnetometer{axis}", "uT", scale=sign * _UT * ((fuses[of] - 128) / 256 + 1), limits=(-_LARGEST, _LARGEST)
        )
        for axis, of, sign in zip("XYZ", ORDER, SIGNS, strict=True)
    )
