"""What the virtual sensors of a voyage have sent: every row by its index, to find what is in a file by its values."""

from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.ports.virtual.motion import COLUMNS, Motion
from drivers.ports.virtual.picamera import render

RATE_HZ = 500.0
SEEDS = {"imu": 21, "mcu": 22, "cam": 23}
PICTURE = (320, 240)
AXES = ("AccelerometerX", "AccelerometerY", "AccelerometerZ", "GyroscopeX", "GyroscopeY", "GyroscopeZ")
assert len(AXES) == len(COLUMNS)
_JPEG_TABLES = b"\xff\xdb"
_STEP = 1 << 14

Rows = npt.NDArray[Any]


class Sensor:
    """The rows of one stream, from the power-on of its device."""

    def __init__(self, stream: str, rate_hz: float = RATE_HZ) -> None:
        self._motion = Motion(SEEDS[stream], rate_hz)
        self._rows = self._motion.rows(0, _STEP)

    def rows(self, first: int, count: int) -> Rows:
        """Shape (count, 6)."""
        while len(self._rows) < first + count:
            self._rows = np.concatenate([self._rows, self._motion.rows(len(self._rows), _STEP)])
        return self._rows[first : first + count]

    def find(self, rows: Rows, after: int, at_most: int) -> tuple[int, int]:
        """(index of the first of these rows, how many of them differ), looked for from `after` on; where the device
        was powered on anew, from 0. (-1, all) where it never sent them."""
        if np.array_equal(self.rows(after, len(rows)), rows):
            return after, 0
        known = self.rows(0, at_most)
        best = (-1, len(rows))
        for probe in sorted({0, len(rows) // 2, len(rows) - 1}):  # one row may be damaged
            for place in np.flatnonzero((known == rows[probe]).all(axis=1)):
                first = int(place) - probe
                if first < 0:
                    continue
                wrong = int((self.rows(first, len(rows)) != rows).any(axis=1).sum())
                if wrong < best[1] or (wrong == best[1] and first >= after > best[0]):
                    best = (first, wrong)
        return best


def picture_is(number: int, jpeg: bytes) -> bool:
    """Whether a JPEG, behind its tags, is that picture of the camera, byte for byte."""
    sent = render(SEEDS["cam"], number, PICTURE, 90)
    return jpeg.endswith(sent[sent.index(_JPEG_TABLES) :])
