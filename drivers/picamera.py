"""Pictures or clips from a Raspberry Pi camera, at a steady interval, on demand, or when something moves."""

import dataclasses

from drivers import check, option
from drivers._camera import PictureTaker
from drivers.ports.camera import open_camera
from drivers.ports.camera_clip import Clip
from drivers.ports.camera_motion import Motion
from drivers.ports.libcamera import Still
from drivers.ports.virtual.picamera import VirtualScene

PICTURES = True
"""Its blocks are pictures, not samples."""

_AWB = ("auto", "incandescent", "tungsten", "fluorescent", "indoor", "daylight", "cloudy", "manual")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one camera."""

    camera: int | str = option(
        'number of the camera as `rpicam-hello --list-cameras` counts, or "virtual" for a simulated one', 0, at_least=0
    )
    interval_s: float = option("seconds from one picture to the next; 0: only on demand", 60.0, at_least=0)
    width: int = option("pixels, even; 0: as many as the sensor has", 0, at_least=0, at_most=16384)
    height: int = option("pixels, even; 0: as many as the sensor has", 0, at_least=0, at_most=16384)
    quality: int = option("of the JPEG, 1 to 100", 90, at_least=1, at_most=100)
    rotation: int = option("degrees, for a camera mounted upside down", 0, choices=(0, 180))
    exposure_us: int = option("exposure in microseconds; 0: automatic", 0, at_least=0, at_most=700_000_000)
    gain: float = option("analogue gain, 1 is ISO 100; 0: automatic", 0.0, at_least=0, at_most=64)
    awb: str = option("white balance; manual takes red_gain and blue_gain", "auto", choices=_AWB)
    red_gain: float = option("gain of red where awb is manual", 0.0, at_least=0, at_most=32)
    blue_gain: float = option("gain of blue where awb is manual", 0.0, at_least=0, at_most=32)
    focus: str = option(
        "auto: continuously, where the lens can move; manual: at lens_position", "auto", choices=("auto", "manual")
    )
    lens_position: float = option("dioptres (1 / metres, 0 is infinity) where focus is manual", 0.0, at_least=0)
    settle_s: float = option(
        "seconds that exposure and white balance get before the first picture", 1.5, at_least=0, at_most=10
    )
    hung_after_s: float = option(
        "seconds without a frame after which the camera counts as hung and is opened again; long exposures come on top",
        10.0,
        at_least=2,
        at_most=3600,
    )
    motion: Motion = option("pictures for motion, besides those of the interval", factory=Motion)
    clip: Clip = option("clips instead of pictures", factory=Clip)
    virtual: VirtualScene = option('of a simulated camera (camera = "virtual")', factory=VirtualScene)

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        if isinstance(self.camera, str) and self.camera != "virtual":
            mistakes.append(("camera", self.camera, 'a number, or "virtual"'))
        if (self.width == 0) != (self.height == 0):
            mistakes.append(("height", self.height, "both or neither of width and height"))
        mistakes += [(name, n, "even") for name, n in (("width", self.width), ("height", self.height)) if n % 2]
        if self.awb == "manual" and not (self.red_gain and self.blue_gain):
            mistakes.append(("awb", self.awb, "manual needs red_gain and blue_gain"))
        check(self, *mistakes)

    @property
    def payload(self) -> str:
        """The format of what it gives."""
        return "mp4" if self.clip.length_s else "jpeg"

    def expects(self) -> tuple[float, int]:
        """Pictures a second, and bytes of each (a third of a byte a pixel, of 12 million if not set): for estimates."""
        if self.clip.length_s:
            return (1 / self.interval_s if self.interval_s else 0.0), self.clip.expected_bytes
        pixels = self.width * self.height or 12_300_000
        return (1 / self.interval_s if self.interval_s else 0.0), pixels // 3

    def open(self) -> PictureTaker:
        """Starts the camera's process. Raises DriverError."""
        still = Still(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Still)})
        setup = dataclasses.asdict(still)
        wanted = {**setup, "settle_s": self.settle_s, "motion": self.motion.wanted(), "clip": self.clip.wanted()}
        setup |= {**self.motion.setup(), **self.clip.setup()}
        if self.awb != "manual":
            del setup["red_gain"], setup["blue_gain"]
        if self.focus != "manual":
            del setup["lens_position"]
        # four frames may pass before a long exposure is in force
        patience_s = self.hung_after_s + 4 * self.exposure_us / 1e6
        if self.camera == "virtual":
            camera = open_camera("picamera", self.virtual.document(), patience_s=patience_s)
        else:
            camera = open_camera("drivers.ports.libcamera", {"camera": self.camera}, patience_s=patience_s)
        lag_s = self.clip.length_s
        return PictureTaker(camera, wanted=wanted, setup=setup, interval_s=self.interval_s, lag_s=lag_s)
