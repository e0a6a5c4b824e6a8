"""What the virtual sensors feel: synthetic motion by a documented formula, or the rows of a CSV file.

Row n is the same whenever it is asked for, so a test knows every sample that a virtual device has sent.

Synthetic motion, in LSB of int16 at 4096 LSB/g and 16.4 LSB/(degree/s), t = n / rate_hz, s = 2 pi 1.9 Hz t:

    even periods of 8 s: still       acceleration (0, 0, 1 g), rotation 0
    odd periods of 8 s:  walking     ax = 0.15 g sin(s/2 + 0.4)      gx = 30 deg/s sin(s/2)
                                     ay = 0.10 g sin(s + 1.1)        gy = 45 deg/s sin(s + 0.7)
                                     az = 1 g + 0.30 g sin(s) + 0.12 g sin(2 s + 0.3)
                                                                     gz = 20 deg/s sin(s/2 + 2.0)
    always: Gaussian noise of 8 LSB (acceleration) and 1.7 LSB (rotation), rounded to the nearest integer;
            numpy's PCG64, one stream of it for each 1024 rows, seeded with (seed, n // 1024)
"""

import copy
import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.random import default_rng  # here, since numpy loads it late and a FIFO fills meanwhile

ACCEL_LSB_PER_G = 4096.0
GYRO_LSB_PER_DPS = 16.4
COLUMNS = ("ax_g", "ay_g", "az_g", "gx_dps", "gy_dps", "gz_dps")
_CHUNK = 1024
_PERIOD_S = 8.0
_STEP_HZ = 1.9

Rows = npt.NDArray[np.int16]


class Motion:
    """Rows of six int16, accelerations before rotations, by index."""

    def __init__(
        self,
        seed: int,
        rate_hz: float,
        *,
        replay: str = "",
        replay_accel_scale: float = 1.0,
        lsb: tuple[float, float] = (ACCEL_LSB_PER_G, GYRO_LSB_PER_DPS),
    ) -> None:
        """`lsb` is (LSB per g, LSB per degree/s): of the chip's ranges, or the formula's own."""
        self._seed = seed
        self._rate_hz = rate_hz
        self._lsb = np.repeat(lsb, 3)
        self._replay = _read(Path(replay), replay_accel_scale) if replay else None
        self._cached: tuple[int, Rows] = (-1, np.empty((0, 6), np.int16))

    def at(self, rate_hz: float, lsb: tuple[float, float]) -> "Motion":
        """The same motion felt by a sensor of another rate or range; a replayed file is not read again."""
        other = copy.copy(self)
        other._rate_hz = rate_hz
        other._lsb = np.repeat(lsb, 3)
        other._cached = (-1, self._cached[1])
        return other

    def rows(self, first: int, count: int) -> Rows:
        """Rows `first` ... `first + count - 1`, shape (count, 6), int16."""
        if self._replay is not None:
            values = self._replay[np.arange(first, first + count) % len(self._replay)]
            return _whole(values * self._lsb)
        pieces = []
        index, end = first, first + count
        while index < end:
            chunk, at = divmod(index, _CHUNK)
            stop = min(_CHUNK, at + end - index)
            pieces.append(self._chunk(chunk)[at:stop])
            index += stop - at
        return np.concatenate(pieces) if pieces else np.empty((0, 6), np.int16)

    def _chunk(self, chunk: int) -> Rows:
        if self._cached[0] == chunk:
            return self._cached[1]
        n = np.arange(chunk * _CHUNK, (chunk + 1) * _CHUNK)
        t = n / self._rate_hz
        s = 2 * np.pi * _STEP_HZ * t
        walking = (np.floor(t / _PERIOD_S) % 2).astype(float)
        values = np.stack(
            [
                0.15 * np.sin(s / 2 + 0.4) * walking,
                0.10 * np.sin(s + 1.1) * walking,
                1.0 + (0.30 * np.sin(s) + 0.12 * np.sin(2 * s + 0.3)) * walking,
                30 * np.sin(s / 2) * walking,
                45 * np.sin(s + 0.7) * walking,
                20 * np.sin(s / 2 + 2.0) * walking,
            ],
            axis=1,
        )
        noise = default_rng((self._seed, chunk)).standard_normal((_CHUNK, 6)) * np.repeat((8.0, 1.7), 3)
        rows = _whole(values * self._lsb + noise)
        self._cached = (chunk, rows)
        return rows


def _whole(values: npt.NDArray[np.float64]) -> Rows:
    rows: Rows = np.clip(np.rint(values), -32768, 32767).astype(np.int16)
    return rows


def _read(path: Path, accel_scale: float) -> npt.NDArray[np.float64]:
    """g and degrees/s, shape (rows, 6)."""
    with path.open(newline="") as file:
        values = np.array([[float(row[name]) for name in COLUMNS] for row in csv.DictReader(file)])
    if not len(values):
        raise ValueError(f"{path} has no rows to replay")
    values[:, :3] *= accel_scale
    return values
