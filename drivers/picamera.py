"""Pictures from a Raspberry Pi camera, at a steady interval or on demand."""

import dataclasses
import queue

import numpy as np

from drivers import Block, Identity, boottime_ns, check, option, samples_dtype
from drivers.ports.camera import Camera, Still, open_camera
from drivers.ports.jpeg import missing
from drivers.ports.virtual import Virtual

PICTURES = True
"""Its blocks are pictures, not samples."""

_AWB = ("auto", "incandescent", "tungsten", "fluorescent", "indoor", "daylight", "cloudy", "manual")
_PATIENCE_S = 10.0
NO_SAMPLES = np.empty(0, samples_dtype(()))
NO_SAMPLES.flags.writeable = False
"""What stands in a block that is a picture."""


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
    virtual: Virtual = option('of a simulated camera (camera = "virtual")', factory=Virtual)

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

    def expects(self) -> tuple[float, int]:
        """Pictures a second, and bytes of each (a third of a byte a pixel, of 12 million if not set): for estimates."""
        pixels = self.width * self.height or 12_300_000
        return (1 / self.interval_s if self.interval_s else 0.0), pixels // 3

    def open(self) -> "Picamera":
        """Starts the camera's process. Raises DriverError."""
        # four frames may pass before a long exposure is in force
        patience_s = _PATIENCE_S + 4 * self.exposure_us / 1e6
        return Picamera(self, open_camera(self.camera, dataclasses.asdict(self.virtual), patience_s=patience_s))


class Picamera:
    """Pictures at start + k * interval, and one more for each `snap`; a turn missed by a whole interval is lost."""

    def __init__(self, settings: Settings, camera: Camera) -> None:
        self.counters = {"missed": 0, "incomplete": 0}
        self.camera = camera
        self._settings = settings
        self._interval_ns = round(settings.interval_s * 1e9)
        self._due_ns = 0
        self._number = 0
        self._lost = 0
        self._asked = False
        self._snaps: queue.SimpleQueue[None] = queue.SimpleQueue()

    def start(self) -> Identity:
        settings = self._settings
        still = Still(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(Still)})
        facts = self.camera.start(still)
        self._due_ns = boottime_ns()
        setup = dataclasses.asdict(still) | {"width": facts.width, "height": facts.height}
        if settings.awb != "manual":
            del setup["red_gain"], setup["blue_gain"]
        if settings.focus != "manual":
            del setup["lens_position"]
        return Identity(facts.model, 1 / settings.interval_s if settings.interval_s else 0.0, setup=setup)

    def snap(self) -> None:
        self._snaps.put(None)

    def read(self, timeout: float) -> Block | None:
        until_ns = boottime_ns() + round(timeout * 1e9)
        if not self._asked:
            if not self._turn(until_ns):
                return None
            self.camera.ask()
            self._asked = True
        shot = self.camera.answer((until_ns - boottime_ns()) / 1e9)
        if shot is None:
            return None
        self._asked = False
        number = self._number
        self._number += 1
        if missing(shot.jpeg):
            self.counters["incomplete"] += 1
            self._lost += 1
            return None
        lost, self._lost = self._lost, 0
        return Block(
            first=number,
            samples=NO_SAMPLES,
            observed_ns=shot.timestamp_ns,
            newest=number,
            lost=lost,
            jpeg=shot.jpeg,
            metadata=shot.metadata,
        )

    def close(self) -> None:
        self.camera.close()

    def _turn(self, until_ns: int) -> bool:
        """Waits for a picture's turn, by schedule or on demand; False where none came in time."""
        scheduled = self._interval_ns > 0
        wake_ns = min(until_ns, self._due_ns) if scheduled else until_ns
        try:
            self._snaps.get(timeout=max(0, wake_ns - boottime_ns()) / 1e9)
        except queue.Empty:
            late_ns = boottime_ns() - self._due_ns
            if not scheduled or late_ns < 0:
                return False
            missed = late_ns // self._interval_ns
            self._due_ns += (missed + 1) * self._interval_ns
            self.counters["missed"] += missed
            self._number += missed
            self._lost += missed
        return True
