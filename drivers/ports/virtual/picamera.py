"""A virtual camera: pictures that change from one to the next, and that a test can render again."""

import io
import random
import time
from collections.abc import Mapping
from typing import Any

from drivers.ports import boottime_ns
from drivers.ports.camera import BEAT_S, CameraError, Facts, Glance, Shot, serve
from drivers.ports.virtual import Faults, Wire

MODEL = "virtual-camera"
WIDTH, HEIGHT = 1920, 1080
"""The size of the sensor, where nothing else is asked for."""

_EXPOSURE_S = 0.01


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
        self.pause_s = BEAT_S

    def start(self, wanted: Mapping[str, Any]) -> Facts:
        self._there()
        self._wait("stall")
        self._wanted = wanted
        return Facts(MODEL, *self._size)

    def shoot(self) -> Shot:
        self._there()
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
        return Shot(jpeg, timestamp_ns, {"exposure_s": exposure_s, "gain": gain, "frame": number})

    def glance(self) -> Glance:
        self._there()
        self._frames += not self._faults.active("stall")
        return Glance(self._frames)

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
