"""Pictures from a USB webcam, as it compressed them, at a steady interval, on demand, or when something moves."""

import dataclasses
from collections.abc import Mapping

from drivers import check, option
from drivers._camera import PictureTaker
from drivers.ports.camera import Value, open_camera
from drivers.ports.camera_motion import Motion
from drivers.ports.virtual.picamera import VirtualScene

PICTURES = True
"""Its blocks are pictures, not samples."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of one webcam."""

    camera: str = option(
        'path of the camera: those in /dev/v4l/by-id keep their names, -video-index0 gives pictures; or "virtual"',
        example="/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920_1A2B3C4D-video-index0",
    )
    interval_s: float = option("seconds from one picture to the next; 0: only on demand", 60.0, at_least=0)
    width: int = option(
        "pixels, the camera takes the nearest it has; 0: as many as it has", 0, at_least=0, at_most=16384
    )
    height: int = option(
        "pixels, the camera takes the nearest it has; 0: as many as it has", 0, at_least=0, at_most=16384
    )
    frames_hz: float = option(
        "frames a second that it is asked for, of which pictures are taken; it takes the nearest it has",
        5.0,
        at_least=0.1,
        at_most=240,
    )
    quality: int = option("of the JPEG, 1 to 100, where a camera gives raw pictures only", 90, at_least=1, at_most=100)
    controls: Mapping[str, Value] = option(
        "the camera's own, as `v4l2-ctl --list-ctrls-menus` names them, set in this order: a number, true or false, or "
        "the name of a menu's entry",
        factory=dict,
        example={"auto_exposure": 1, "exposure_time_absolute": 200},
    )
    settle_s: float = option(
        "seconds that exposure and white balance get before the first picture", 1.5, at_least=0, at_most=10
    )
    hung_after_s: float = option(
        "seconds without a frame after which the camera counts as hung and is opened again",
        10.0,
        at_least=2,
        at_most=3600,
    )
    motion: Motion = option("pictures for motion, besides those of the interval", factory=Motion)
    virtual: VirtualScene = option('of a simulated camera (camera = "virtual")', factory=VirtualScene)

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        if self.camera != "virtual" and not self.camera.startswith("/"):
            mistakes.append(("camera", self.camera, 'a path such as /dev/v4l/by-id/usb-..., or "virtual"'))
        if (self.width == 0) != (self.height == 0):
            mistakes.append(("height", self.height, "both or neither of width and height"))
        check(self, *mistakes)

    def expects(self) -> tuple[float, int]:
        """Pictures a second, and bytes of each (a sixth of a byte a pixel, of 2 million if not set): for estimates."""
        pixels = self.width * self.height or 2_100_000
        return (1 / self.interval_s if self.interval_s else 0.0), pixels // 6

    def open(self) -> PictureTaker:
        """Starts the camera's process. Raises DriverError."""
        wanted = {name: getattr(self, name) for name in ("width", "height", "frames_hz", "quality", "settle_s")}
        wanted |= {"controls": dict(self.controls), "motion": self.motion.wanted()}
        setup = {"frames_hz": self.frames_hz, **self.motion.setup()}
        if self.camera == "virtual":
            camera = open_camera("picamera", self.virtual.document(), patience_s=self.hung_after_s)
        else:
            camera = open_camera("drivers.ports.v4l2", {"camera": self.camera}, patience_s=self.hung_after_s)
        return PictureTaker(camera, wanted=wanted, setup=setup, interval_s=self.interval_s)
