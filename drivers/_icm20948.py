"""The ICM-20948 as its data sheet has it: registers in four banks, ranges, filters, and the AK09916 behind it.

Sections are those of DS-000189 rev. 1.3. Second sources: SparkFun's ICM_20948 library (registers, axes of the
magnetometer), Adafruit's CircuitPython ICM20X (banks, slots of the auxiliary master, its reset, sensitivities), and
W. Ewald's ICM20948_WE (size of the FIFO).
"""

from drivers._auxiliary import Slots
from drivers._registers import Field
from drivers.ports.i2c import I2cDevice

IDENTITY = 0xEA
FIFO_BYTES, FIFO_MOST_BYTES = 512, 4096
"""What the data sheet says [4.17], and what W. Ewald found (ICM20948_WE, examples 12 and 13): only FIFO_OVERFLOW_INT
tells whether a part that holds more than the first is full."""


def _in(bank: int, name: str, width: int, address: int, at: tuple[int, str]) -> Field:
    """A field whose address says its bank too; `at` is (shift, section)."""
    return Field(name, width, bank << 8 | address, *at)


# fmt: off
#                bank name              width addr  shift section
WHO_AM_I       = _in(0, "WHO_AM_I",         8, 0x00, (0, "8.1"))
FIFO_ENABLE    = _in(0, "FIFO_EN",          1, 0x03, (6, "8.2"))
MASTER_ENABLE  = _in(0, "I2C_MST_EN",       1, 0x03, (5, "8.2"))
MASTER_RESET   = _in(0, "I2C_MST_RST",      1, 0x03, (1, "8.2"))
CYCLED         = _in(0, "LP_CONFIG",        8, 0x05, (0, "8.3"))
DEVICE_RESET   = _in(0, "DEVICE_RESET",     1, 0x06, (7, "8.4"))
CLOCK          = _in(0, "CLKSEL",           3, 0x06, (0, "8.4"))
OVERFLOW_EN    = _in(0, "FIFO_OVERFLOW_EN", 5, 0x12, (0, "8.9"))
MASTER_DONE    = _in(0, "I2C_SLV4_DONE",    1, 0x17, (6, "8.11"))
MASTER_REFUSED = _in(0, "I2C_SLV4_NACK",    1, 0x17, (4, "8.11"))
OVERFLOW_INT   = _in(0, "FIFO_OVERFLOW_INT", 5, 0x1B, (0, "8.14"))
FIFO_SLOT_0    = _in(0, "SLV_0_FIFO_EN",    1, 0x66, (0, "8.56"))
FIFO_ACCEL     = _in(0, "ACCEL_FIFO_EN",    1, 0x67, (4, "8.57"))
FIFO_ROTATION  = _in(0, "GYRO_X, Y, Z_FIFO_EN", 3, 0x67, (1, "8.57"))
FIFO_TEMP      = _in(0, "TEMP_FIFO_EN",     1, 0x67, (0, "8.57"))
FIFO_RESET     = _in(0, "FIFO_RESET",       5, 0x68, (0, "8.58"))
FIFO_MODE      = _in(0, "FIFO_MODE",        5, 0x69, (0, "8.59"))
FIFO_COUNT     = _in(0, "FIFO_COUNT",      16, 0x70, (0, "8.60"))
FIFO_DATA      = _in(0, "FIFO_R_W",         8, 0x72, (0, "8.62"))
BANK           = _in(0, "USER_BANK",        2, 0x7F, (4, "8.65"))
GYRO_DIV       = _in(2, "GYRO_SMPLRT_DIV",  8, 0x00, (0, "10.1"))
GYRO_FILTER    = _in(2, "GYRO_DLPFCFG",     3, 0x01, (3, "10.2"))
GYRO_RANGE     = _in(2, "GYRO_FS_SEL",      2, 0x01, (1, "10.2"))
GYRO_FILTERED  = _in(2, "GYRO_FCHOICE",     1, 0x01, (0, "10.2"))
ALIGN          = _in(2, "ODR_ALIGN_EN",     1, 0x09, (0, "10.10"))
ACCEL_DIV_HIGH = _in(2, "ACCEL_SMPLRT_DIV_1", 4, 0x10, (0, "10.11"))
ACCEL_DIV      = _in(2, "ACCEL_SMPLRT_DIV_2", 8, 0x11, (0, "10.12"))
ACCEL_FILTER   = _in(2, "ACCEL_DLPFCFG",    3, 0x14, (3, "10.15"))
ACCEL_RANGE    = _in(2, "ACCEL_FS_SEL",     2, 0x14, (1, "10.15"))
ACCEL_FILTERED = _in(2, "ACCEL_FCHOICE",    1, 0x14, (0, "10.15"))
MASTER_STOP    = _in(3, "I2C_MST_P_NSR",    1, 0x01, (4, "11.2"))
MASTER_CLOCK   = _in(3, "I2C_MST_CLK",      4, 0x01, (0, "11.2"))

SLOTS = Slots(
    master_enable   = MASTER_ENABLE,
    master_reset    = MASTER_RESET,
    done            = MASTER_DONE,
    refused         = MASTER_REFUSED,
    single_address  = _in(3, "I2C_SLV4_ADDR", 8, 0x13, (0, "11.20")),
    single_register = _in(3, "I2C_SLV4_REG",  8, 0x14, (0, "11.21")),
    single_enable   = _in(3, "I2C_SLV4_EN",   1, 0x15, (7, "11.22")),
    single_out      = _in(3, "I2C_SLV4_DO",   8, 0x16, (0, "11.23")),
    single_in       = _in(3, "I2C_SLV4_DI",   8, 0x17, (0, "11.24")),
    each_address    = _in(3, "I2C_SLV0_ADDR", 8, 0x03, (0, "11.4")),
    each_register   = _in(3, "I2C_SLV0_REG",  8, 0x04, (0, "11.5")),
    each_enable     = _in(3, "I2C_SLV0_EN",   1, 0x05, (7, "11.6")),
    each_length     = _in(3, "I2C_SLV0_LENG", 4, 0x05, (0, "11.6")),
)
# fmt: on

MASTER_345_KHZ = 7
"""I2C_MST_CLK, as the data sheet wants it for up to 400 kHz."""

ACCEL_RANGES_G = {2: 16384.0, 4: 8192.0, 8: 4096.0, 16: 2048.0}
"""LSB per g of each range, in the order of ACCEL_FS_SEL [3.2]."""
GYRO_RANGES_DPS = {250: 131.0, 500: 65.5, 1000: 32.8, 2000: 16.4}
"""LSB per degree/s of each range, in the order of GYRO_FS_SEL [3.1]."""
FILTERS_HZ = {
    361: (7, 361.4, 473.0),
    197: (0, 196.6, 246.0),
    152: (1, 151.8, 246.0),
    120: (2, 119.5, 111.4),
    51: (3, 51.2, 50.4),
    24: (4, 23.9, 23.9),
    12: (5, 11.6, 11.5),
    6: (6, 5.7, 5.7),
}
"""DLPFCFG, and the 3 dB bandwidth that it means for the gyroscope and for the accelerometer [10.2, 10.15]."""
CELSIUS_LSB, CELSIUS_AT_0 = 333.87, 21.0
"""[3.4]"""

# AK09916 [12, 13]
MAGNETOMETER = 0x0C
MAG_WHO_AM_I, MAG_IDENTITY = 0x01, 0x09
MAG_DATA = 0x11
"""HXL; until ST2 is read, which is the eighth byte, the chip keeps what belongs together."""
MAG_MODE, MAG_100_HZ = 0x31, 0x08
MAG_RESET = 0x32
MAG_UT = 0.15
MAG_SIGNS = (1, -1, -1)
"""Of its axes, seen along the accelerometer's [figures 12 and 13]."""
MAG_LARGEST = 32752
MAG_BEYOND = 0x08
"""HOFL in ST2: the field is beyond the range, and what the axes say means nothing."""


class Banks:
    """The registers of all four banks, which are chosen as the addresses want it."""

    def __init__(self, device: I2cDevice) -> None:
        self._device = device
        self._open = -1

    def read(self, register: int, count: int) -> bytes:
        self.choose(register >> 8)
        return self._device.read(register & 0xFF, count)

    def write(self, register: int, data: bytes) -> None:
        self.choose(register >> 8)
        self._device.write(register & 0xFF, data)

    def choose(self, bank: int) -> None:
        """Opens a bank, where it is not open."""
        if bank != self._open:
            self._device.write(BANK.address, bytes([bank << BANK.shift]))
            self._open = bank

    def forget(self) -> None:
        """After a reset nobody knows which one is open."""
        self._open = -1
