"""A real flight, where its recording stands beside the checkout; its accelerations x 0.75, so that they fit 16 g."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from drivers.ports.virtual.motion import COLUMNS

FLIGHT = Path(__file__).parents[2] / "shared" / "data" / "rocket_flight_imu.csv"
REPLAY: dict[str, Any] = {"replay": str(FLIGHT), "replay_accel_scale": 0.75}
"""Options of a virtual sensor that feels it."""
needed = pytest.mark.skipif(not FLIGHT.is_file(), reason=f"{FLIGHT.name} does not stand beside the checkout")


def flown() -> npt.NDArray[np.float64]:
    """Accelerations in g and rotations in degrees/s, shape (rows, 6)."""
    table = np.genfromtxt(FLIGHT, delimiter=",", names=True)
    return np.stack([table[name] for name in COLUMNS], axis=1) * [0.75, 0.75, 0.75, 1, 1, 1]
