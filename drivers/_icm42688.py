"""The ICM-42688-P and ICM-42605 as their data sheets have them: registers, ranges, rates.

Sections are those of the ICM-42688-P's data sheet (DS-000347). Second sources: Linux, drivers/iio/imu/inv_icm42600
(registers, identities, packets, the FIFO's first count); finani/ICM42688 (registers, scales); PX4, icm42688p;
ArduPilot, AP_InertialSensor_Invensensev3, and Betaflight, accgyro_spi_icm426xx (AFSR, which the data sheet leaves out).
"""

from drivers._registers import Field

MODELS = {0x47: "ICM-42688-P", 0x42: "ICM-42605"}
"""By WHO_AM_I."""

FIFO_SAMPLES = 128
"""2 kbyte [6.1], in packets of 16 bytes."""

# fmt: off
#                        name              width addr  shift section
SOFT_RESET     = Field("SOFT_RESET_CONFIG", 1, 0x11, 0, "14.1")
FIFO_MODE      = Field("FIFO_MODE",         2, 0x16, 6, "14.4")
INT_STATUS     = Field("INT_STATUS",        8, 0x2D, 0, "14.21")
FIFO_DATA      = Field("FIFO_DATA",         8, 0x30, 0, "14.24")
FIFO_FLUSH     = Field("FIFO_FLUSH",        1, 0x4B, 1, "14.33")
COUNT_RECORDS  = Field("FIFO_COUNT_REC",    1, 0x4C, 6, "14.34")
COUNT_ENDIAN   = Field("FIFO_COUNT_ENDIAN", 1, 0x4C, 5, "14.34")
DATA_ENDIAN    = Field("SENSOR_DATA_ENDIAN", 1, 0x4C, 4, "14.34")
INTF_CONFIG1   = Field("INTF_CONFIG1",      8, 0x4D, 0, "14.35")
GYRO_MODE      = Field("GYRO_MODE",         2, 0x4E, 2, "14.36")
ACCEL_MODE     = Field("ACCEL_MODE",        2, 0x4E, 0, "14.36")
GYRO_RANGE     = Field("GYRO_FS_SEL",       3, 0x4F, 5, "14.37")
GYRO_ODR       = Field("GYRO_ODR",          4, 0x4F, 0, "14.37")
ACCEL_RANGE    = Field("ACCEL_FS_SEL",      3, 0x50, 5, "14.38")
ACCEL_ODR      = Field("ACCEL_ODR",         4, 0x50, 0, "14.38")
FIFO_TEMP      = Field("FIFO_TEMP_EN",      1, 0x5F, 2, "14.45")
FIFO_GYRO      = Field("FIFO_GYRO_EN",      1, 0x5F, 1, "14.45")
FIFO_ACCEL     = Field("FIFO_ACCEL_EN",     1, 0x5F, 0, "14.45")
WHO_AM_I       = Field("WHO_AM_I",          8, 0x75, 0, "14.58")
BANK           = Field("BANK_SEL",          3, 0x76, 0, "14.59")
# fmt: on

AFSR, AFSR_OFF = 0xC0, 0x40
"""Of INTF_CONFIG1. Where it is on, as after a reset, the rotation stands still for 1 or 2 ms at 100 degrees/s."""
LOW_NOISE = 3
"""For ACCEL_MODE and GYRO_MODE."""
BYPASS, STREAM = 0, 1
"""FIFO_MODE: off; always on, the newest overwrite the oldest."""
RESET_DONE, FIFO_FULL = 0x10, 0x02
"""Bits of INT_STATUS; reading it clears them."""

RATES_HZ = {12.5: 11, 25.0: 10, 50.0: 9, 100.0: 8, 200.0: 7, 500.0: 15, 1000.0: 6, 2000.0: 5, 4000.0: 4}
"""ACCEL_ODR and GYRO_ODR; those that I2C can carry."""
ACCEL_RANGES_G = {2: (3, 16384.0), 4: (2, 8192.0), 8: (1, 4096.0), 16: (0, 2048.0)}
"""ACCEL_FS_SEL, and LSB per g [3.2]."""
GYRO_RANGES_DPS = {125: (4, 262.0), 250: (3, 131.0), 500: (2, 65.5), 1000: (1, 32.8), 2000: (0, 16.4)}
"""GYRO_FS_SEL, and LSB per degree/s [3.1]."""
CELSIUS_LSB, CELSIUS_AT_0 = 2.07, 25.0
"""Of the temperature's byte in a packet [4.13]."""
