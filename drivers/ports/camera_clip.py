"""Clips of a camera: what is wished of them, and which one is being made."""

import dataclasses
from typing import Any

from drivers.ports.mp4 import CODECS
from drivers.settings import check, option

_LATE_NS = 3_000_000_000
"""How much later than it is taken a frame may come out of an encoder."""
MOST_BYTES = 64_000_000
"""A clip passes through memory."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """What TOML says of them, as `[stream.NAME.clip]`."""

    length_s: float = option(
        "seconds of a clip, an MP4, from the moment for which it is made; 0: pictures are taken, and no clips",
        0.0,
        at_least=0,
        at_most=600,
    )
    pre_roll_s: float = option("seconds of it before that moment", 2.0, at_least=0, at_most=60)
    codec: str = option("h264: in hardware up to a Pi 4, in software on a Pi 5; mjpeg", "h264", choices=CODECS)
    frames_hz: float = option("frames a second", 25.0, at_least=1, at_most=120)
    bitrate: int = option("bits a second", 4_000_000, at_least=50_000, at_most=50_000_000)

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        if self.length_s and self.expected_bytes > MOST_BYTES:
            may_be = f"less, or a lower bitrate: {self.expected_bytes} bytes are more than the {MOST_BYTES} of a clip"
            mistakes.append(("length_s", self.length_s, may_be))
        check(self, *mistakes)

    @property
    def expected_bytes(self) -> int:
        """Of one clip."""
        return round((self.length_s + self.pre_roll_s) * self.bitrate / 8)

    def wanted(self) -> dict[str, Any] | None:
        """As a camera's process is told; None where it makes no clips."""
        return dataclasses.asdict(self) if self.length_s else None

    def setup(self) -> dict[str, Any]:
        """What of it shapes a stream of clips."""
        return {f"clip_{name}": value for name, value in (self.wanted() or {}).items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """A clip in the making."""

    moment_ns: int
    """CLOCK_BOOTTIME for which it is made."""
    until_ns: int
    asked: bool
    """Whether somebody asked for it; else something moved."""
    motion: float | None


class Director:
    """Says when a clip begins and ends. One is made at a time: what is asked for meanwhile comes after it."""

    def __init__(self, length_s: float) -> None:
        self.scene: Scene | None = None
        """The one that is being made."""
        self._length_ns = round(length_s * 1e9)
        self._asked = 0

    def ask(self) -> None:
        """A clip, from now on."""
        self._asked += 1

    def begins(self, now_ns: int, motion: float | None) -> bool:
        """Whether a clip begins at this moment, since it was asked for or something moves; then that is the scene."""
        if self.scene is not None or (not self._asked and motion is None):
            return False
        self.scene = Scene(now_ns, now_ns + self._length_ns, bool(self._asked), motion)
        self._asked = max(0, self._asked - 1)
        return True

    def late(self, now_ns: int) -> bool:
        """Whether the clip should long have ended: then no frames come."""
        return self.scene is not None and now_ns > self.scene.until_ns + _LATE_NS

    def ended(self, now_ns: int) -> Scene | None:
        """The scene whose time is over; then there is none."""
        scene = self.scene
        if scene is None or now_ns < scene.until_ns:
            return None
        self.scene = None
        return scene
