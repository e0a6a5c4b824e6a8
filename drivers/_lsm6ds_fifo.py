"""The two FIFOs of the LSM6DS family: words with tags, and words in a fixed order."""

import numpy as np

from drivers import Samples
from drivers._fifo import Level
from drivers._lsm6ds import (
    BYPASS,
    CONTINUOUS,
    FIFO_DATA_OUT,
    FIFO_MODE,
    FIFO_OUT_TAG,
    FIFO_STATUS,
    ODR_FIFO,
)
from drivers._registers import Registers
from drivers.ports.i2c import I2cDevice

_WORD = np.dtype([("tag", "|u1"), ("xyz", "<i2", 3)])
_GYRO, _ACCEL = 1, 2
_AXES = 6


class TaggedFifo:
    """LSM6DSO and later: 7 bytes a word, two words a sample."""

    def __init__(self, device: I2cDevice, dtype: np.dtype[np.void]) -> None:
        self._device = device
        self._dtype = dtype
        self._slot: int | None = None  # TAG_CNT of the last sample

    def level(self) -> Level:
        """From FIFO_STATUS1 and 2 [6.5.7].

        bit   15    14    13    12    11       9 ... 0
              WTM   OVR   FULL  BDR   OVR      DIFF_FIFO, in words
                                      LATCHED
        """
        status = int.from_bytes(self._device.read(FIFO_STATUS.address, 2), "little")
        return Level((status & 0x3FF) // 2, bool(status & 0x4800))

    def overflowed(self) -> bool:
        return self.level().overflowed  # latched

    def take(self, count: int) -> Samples | None:
        """Pairs of words with consecutive time slots [6.5.7]; which of a pair comes first does not matter.

        byte  0                        1    3    5
              tag                      x    y    z      little-endian int16
              7-3 sensor  2-1 TAG_CNT
        """
        data = self._device.read_fifo(FIFO_OUT_TAG.address, 2 * count * _WORD.itemsize, unit=_WORD.itemsize)
        words = np.frombuffer(data, _WORD).reshape(count, 2)
        sensor, slot = words["tag"] >> 3, words["tag"] >> 1 & 3
        before = (int(slot[0, 0]) - 1) % 4 if self._slot is None else self._slot
        follows = np.diff(slot[:, 0], prepend=np.uint8(before)) & 3 == 1
        if not (follows.all() and (slot[:, 0] == slot[:, 1]).all() and (np.sort(sensor) == (_GYRO, _ACCEL)).all()):
            return None
        self._slot = int(slot[-1, 0])
        axes = np.empty((count, _AXES), "<i2")
        axes[:, :3], axes[:, 3:] = words["xyz"][sensor == _ACCEL], words["xyz"][sensor == _GYRO]
        return _samples(axes, self._dtype)

    def restart(self) -> None:
        registers = Registers(self._device)
        registers.write({FIFO_MODE: BYPASS})
        self.level()  # forgets that it overflowed
        self._slot = None
        registers.write({FIFO_MODE: CONTINUOUS})


class PatternFifo:
    """LSM6DS3 and its kin: words of 2 bytes, rotation before acceleration; FIFO_PATTERN says which comes next."""

    def __init__(self, device: I2cDevice, dtype: np.dtype[np.void], rate_code: int) -> None:
        self._device = device
        self._dtype = dtype
        self._rate_code = rate_code
        self._in_step = True

    def level(self) -> Level:
        """From FIFO_STATUS1 to 4 [DSL: 5.5.6].

        bit   25 ... 16     15    14    13    12     11 ... 0
              FIFO_PATTERN  WTM   OVER  FULL  EMPTY  DIFF_FIFO, in words; 0 when overrun
                                  RUN
        """
        status = int.from_bytes(self._device.read(FIFO_STATUS.address, 4), "little")
        words, empty = status & 0xFFF, bool(status & 0x1000)
        self._in_step = (status >> 16) & 0x3FF == 0
        return Level(words // _AXES, bool(status & 0x4000) or (not words and not empty))

    def overflowed(self) -> bool:
        return True  # reading it clears OVER_RUN

    def take(self, count: int) -> Samples | None:
        """Whole patterns.

        byte  0       2       4       6        8        10
              gyro x  gyro y  gyro z  accel x  accel y  accel z      little-endian int16
        """
        data = self._device.read_fifo(FIFO_DATA_OUT.address, 2 * _AXES * count)
        if not self._in_step:
            return None
        return _samples(np.roll(np.frombuffer(data, "<i2").reshape(count, _AXES), 3, axis=1), self._dtype)

    def restart(self) -> None:
        registers = Registers(self._device)
        registers.write({FIFO_MODE: BYPASS, ODR_FIFO: self._rate_code})
        registers.write({FIFO_MODE: CONTINUOUS, ODR_FIFO: self._rate_code})


def _samples(axes: np.ndarray[tuple[int, ...], np.dtype[np.int16]], dtype: np.dtype[np.void]) -> Samples:
    """Shape (n, 6), accelerations before rotations, as read-only samples."""
    samples: Samples = axes.view(dtype)[:, 0]
    samples.flags.writeable = False
    return samples
