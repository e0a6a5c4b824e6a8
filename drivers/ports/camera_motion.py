"""Motion before a camera: whether enough of a small picture has changed against what has been there."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from drivers.settings import check, option

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

WIDTH = 320
"""Pixels across that are enough to look at."""
_ACROSS = 20
"""Patches across the picture; as high as they are wide."""


@dataclasses.dataclass(frozen=True)
class Motion:
    """What TOML says of it, as `[stream.NAME.motion]`."""

    area: float = option(
        "share of the scene (0 to 1) that has to change for a picture to be taken; 0: none is",
        0.0,
        at_least=0,
        at_most=1,
    )
    difference: float = option(
        "how far a patch (a twentieth of the width) has to be from what was there to have changed, levels of 255",
        12.0,
        at_least=1,
        at_most=255,
    )
    hysteresis: float = option(
        "it is over once the share is below area less this part of it (0 to 1)", 0.5, at_least=0, at_most=1
    )
    background_s: float = option(
        "time constant with which what is there becomes what was there, seconds", 10.0, at_least=0.1, at_most=86400
    )
    min_interval_s: float = option(
        "seconds from one picture to the next while it lasts", 2.0, at_least=0.1, at_most=86400
    )

    def __post_init__(self) -> None:
        check(self)

    def wanted(self) -> dict[str, Any] | None:
        """As a camera's process is told; None where no picture is to be taken for it."""
        return dataclasses.asdict(self) if self.area else None

    def setup(self) -> dict[str, float]:
        """What of it shapes a stream of pictures."""
        return {f"motion_{name}": value for name, value in (self.wanted() or {}).items()}


class MotionWatch:
    """Looks at each frame. Light that changes as a whole, and slowly, is no motion."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        """`wanted` is of `Motion.wanted`."""
        self.begun = 0
        """Times that something began to move."""
        self.examined = 0
        self._motion = Motion(**wanted)
        self._background: npt.NDArray[np.float32] | None = None
        self._seen_ns = 0
        self._moving = False
        self._next_ns = 0

    @property
    def counts(self) -> dict[str, int]:
        """Frames `examined`, and `motions` begun."""
        return {"examined": self.examined, "motions": self.begun}

    def feed(self, luma: "npt.NDArray[np.uint8]", time_ns: int) -> float | None:
        """The share that moves, where a picture is wanted of it; `luma` are (height, width) levels of brightness."""
        import numpy as np  # noqa: PLC0415  only where motion is looked for

        motion, patches = self._motion, _patches(luma)
        self.examined += 1
        background, passed_s = self._background, (time_ns - self._seen_ns) / 1e9
        self._seen_ns = time_ns
        if background is None or background.shape != patches.shape:
            self._background = patches
            return None
        change = patches - background
        background += change * min(1.0, max(0.0, passed_s) / motion.background_s)
        change -= np.median(change)
        share = float(np.mean(np.abs(change) >= motion.difference))
        if not self._moving and share >= motion.area:
            self._moving = True
            self.begun += 1
        elif self._moving and share < motion.area * (1 - motion.hysteresis):
            self._moving = False
        if not self._moving or time_ns < self._next_ns:
            return None
        self._next_ns = time_ns + round(motion.min_interval_s * 1e9)
        return round(share, 4)


def _patches(luma: "npt.NDArray[np.uint8]") -> "npt.NDArray[np.float32]":
    """The mean brightness of each patch; what is left over at the right and below is not looked at."""
    import numpy as np  # noqa: PLC0415

    side = max(1, luma.shape[1] // _ACROSS)
    rows, columns = max(1, luma.shape[0] // side), luma.shape[1] // side
    whole = luma[: rows * side, : columns * side]
    found: npt.NDArray[np.float32] = whole.reshape(rows, -1, columns, side).mean(axis=(1, 3), dtype=np.float32)
    return found
