"""A virtual camera: pictures that change from one to the next, and that a test can render again."""

import dataclasses
import io
import random
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from drivers.ports import boottime_ns
from drivers.ports.camera import BEAT_S, CameraError, Facts, Glance, Shot, Value, serve
from drivers.ports.camera_clip import Director
from drivers.ports.camera_motion import WIDTH as SMALL
from drivers.ports.camera_motion import MotionWatch
from drivers.ports.mp4 import movie
from drivers.ports.virtual import Faults, Virtual, Wire
from drivers.settings import SettingsError, option

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MODEL = "virtual-camera"
WIDTH, HEIGHT = 1920, 1080
"""The size of the sensor, where nothing else is asked for."""

_EXPOSURE_S = 0.01
_FRAME_S = 0.1


@dataclasses.dataclass(frozen=True)
class VirtualScene(Virtual):
    """Options of a virtual camera, `[stream.NAME.virtual]`."""

    motion: tuple[str, ...] = option(
        'when something moves before it: "AT FOR" in seconds since first opened, "5 1.5"', ()
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            moments(self.motion)
        except ValueError as error:
            raise SettingsError(("motion", self.motion, str(error))) from error


def moments(lines: tuple[str, ...]) -> list[tuple[float, float]]:
    """(at, for) in seconds of each line; ValueError where one is not understood."""
    found = []
    for line in lines:
        try:
            at, seconds = map(float, line.split())
        except ValueError:
            raise ValueError(f"{line!r} is not AT FOR, two numbers of seconds") from None
        found.append((at, seconds))
    return found


def render(seed: int, number: int, size: tuple[int, int], quality: int) -> bytes:
    """The JPEG that a virtual camera with this seed gives as its picture `number`: (width, height), 1 to 100.

    The same bytes whenever it is called with the same Pillow: a slope between four colours, a square of noise that
    moves, and the number.
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415  only the child and tests render

    chance = random.Random(f"{seed}:{number}")  # noqa: S311  pictures, no secrets
    corners = Image.frombytes("RGB", (2, 2), chance.randbytes(12))
    picture = corners.resize(size, Image.Resampling.BILINEAR)
    side = max(8, min(size) // 4)
    noise = Image.frombytes("L", (side, side), chance.randbytes(side * side))
    picture.paste(noise, (chance.randrange(max(1, size[0] - side)), chance.randrange(max(1, size[1] - side))))
    label = Image.new("L", (80, 12))
    ImageDraw.Draw(label).text((1, 0), f"#{number}", fill=255)
    picture.paste(label.resize((side, max(2, side * 12 // 80))), (0, 0))
    jpeg = io.BytesIO()
    picture.save(jpeg, format="jpeg", quality=quality)
    return jpeg.getvalue()


def scene(seed: int, size: tuple[int, int], at_s: float, *, moving: bool) -> "npt.NDArray[np.uint8]":
    """What stands before the camera, small: (height, width) levels of a slope with noise, in light that comes and goes.

    Something that moves is a bright square, a quarter as high as the picture.
    """
    import numpy as np  # noqa: PLC0415  only where motion is looked for

    width, height = size
    chance = np.random.default_rng((seed, int(at_s * 1000)))
    light = 110 + 15 * np.sin(at_s / 20)
    picture = light + np.linspace(-60, 60, width)[None, :] + chance.normal(0, 3, (height, width))
    if moving:
        side = height // 4
        left, top = int(at_s * width) % (width - side), int(at_s * height / 2) % (height - side)
        picture[top : top + side, left : left + side] += 80
    found: npt.NDArray[np.uint8] = np.clip(picture, 0, 255).astype(np.uint8)
    return found


class VirtualCamera:
    """The model: one frame number a picture, exposed when it is asked for, delivered when the virtual wire likes."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._seed: int = document["seed"]
        self._delay_s: float = document["delay_s"]
        self._faults = Faults(tuple(document["faults"]), document["begun_ns"])
        self._chance = random.Random(self._seed)  # noqa: S311  delays, no secrets
        self._wanted: Mapping[str, Any] = {}
        self._number = 0
        self._frames = 0
        self._begun_ns: int = document["begun_ns"]
        self._motion: MotionWatch | None = None
        self._director: Director | None = None
        self._reel: list[tuple[int, bytes]] = []
        """Frames of the clip and before it, and when each was taken."""
        for at_s, seconds in moments(tuple(document.get("motion", ()))):
            self._faults.inject("motion", seconds, at_s - (boottime_ns() - self._begun_ns) / 1e9)
        self.pause_s = BEAT_S

    def start(self, wanted: Mapping[str, Any]) -> Facts:
        if wanted.get("motion"):
            self._motion, self.pause_s = MotionWatch(wanted["motion"]), _FRAME_S
        self._there()
        self._wait("stall")
        self._wanted = wanted
        if not wanted.get("clip"):
            return Facts(MODEL, *self._size)
        self._director = Director(wanted["clip"]["length_s"])
        self.pause_s = 1 / wanted["clip"]["frames_hz"]
        return Facts(MODEL, *self._size, {"clip_codec": "mjpeg"})

    def shoot(self) -> Shot | None:
        self._there()
        if self._director is not None:
            self._director.ask()
            return None
        return self._shot(self._moved())

    def glance(self) -> Glance:
        self._there()
        if self._faults.active("stall"):
            return Glance(self._frames)
        self._frames += 1
        share = self._moved()
        if self._director is not None:
            return Glance(self._frames, self._counts, self._film(self._director, share))
        shot = None if share is None else self._shot(share, asked=False)
        return Glance(self._frames, self._counts, shot)

    @property
    def _counts(self) -> dict[str, int]:
        return {} if self._motion is None else self._motion.counts

    def _film(self, director: Director, share: float | None) -> Shot | None:
        """One frame more, and the clip that ends with it."""
        now, clip = boottime_ns(), self._wanted["clip"]
        self._reel.append((now, render(self._seed, self._number, self._size, self._wanted.get("quality", 90))))
        self._number += 1
        director.begins(now, share)
        scene = director.ended(now)
        if scene is None:
            since_ns = (now if director.scene is None else director.scene.moment_ns) - round(clip["pre_roll_s"] * 1e9)
            self._reel = [each for each in self._reel if each[0] >= since_ns]
            return None
        times, frames = zip(*self._reel, strict=True)
        said: dict[str, Value] = {"frame": self._number - len(frames)}
        if scene.motion is not None:
            said["motion"] = scene.motion
        mp4 = movie(frames, times, self._size, "mjpeg")
        return Shot(scene.moment_ns, said, scene.asked, mp4=mp4, begin_ns=times[0], end_ns=times[-1])

    def _moved(self) -> float | None:
        """The share of the scene that moves, where a picture is wanted of it."""
        if self._motion is None:
            return None
        now, (width, height) = boottime_ns(), self._size
        small = (SMALL, SMALL * height // width)
        moving = self._faults.active("motion")
        return self._motion.feed(scene(self._seed, small, (now - self._begun_ns) / 1e9, moving=moving), now)

    def _shot(self, motion: float | None, *, asked: bool = True) -> Shot:
        timestamp_ns, number = boottime_ns(), self._number
        self._number += 1
        jpeg = render(self._seed, number, self._size, self._wanted.get("quality", 90))
        if self._delay_s:
            time.sleep(self._chance.uniform(0, self._delay_s))
        self._wait("stall")
        if self._faults.active("garble"):
            jpeg = jpeg[: self._chance.randrange(len(jpeg))]
        exposure_s = self._wanted.get("exposure_us", 0) / 1e6 or _EXPOSURE_S
        gain = self._wanted.get("gain", 0) or 1.0
        said: dict[str, Value] = {"exposure_s": exposure_s, "gain": gain, "frame": number}
        if motion is not None:
            said["motion"] = motion
        return Shot(timestamp_ns, said, asked, jpeg)

    def inject(self, kind: str, seconds: float) -> None:
        self._faults.inject(kind, seconds)

    def close(self) -> None:
        """Nothing to let go."""

    @property
    def _size(self) -> tuple[int, int]:
        wanted = self._wanted
        return (wanted["width"], wanted["height"]) if wanted["width"] else (WIDTH, HEIGHT)

    def _wait(self, kind: str) -> None:
        """For as long as this fault is on."""
        time.sleep(max(0, self._faults.until_ns(kind) - boottime_ns()) / 1e9)

    def _there(self) -> None:
        if self._faults.active("unplug") or self._faults.active("nack"):
            raise CameraError("the virtual camera is unplugged; it comes back by itself")


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The camera's process."""
    serve(wire, lambda: VirtualCamera(document))
