"""A model of picamera2: what `drivers.ports.libcamera` uses of it, with the errors and hangs that are known of it.

MODEL_TROUBLE says which: fixed (a lens that cannot move), configure, abort, hang (after the first second).
"""

import os
import time
from typing import Any

from PIL import Image

TROUBLE = os.environ.get("MODEL_TROUBLE", "")
FRAME_S = 0.05


class Request:
    def __init__(self, camera: "Picamera2") -> None:
        self._camera = camera
        self._released = False

    def get_metadata(self) -> dict[str, Any]:
        assert not self._released
        controls = self._camera.controls
        return {
            "SensorTimestamp": time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 1000 * controls.get("ExposureTime", 10000),
            "ExposureTime": controls.get("ExposureTime", 10000),
            "AnalogueGain": controls.get("AnalogueGain", 1.0),
            "DigitalGain": 1.1,
            "ColourTemperature": 5500,
            "ColourGains": (1.5, 2.0),
            "Lux": 400.0,
            "LensPosition": controls.get("LensPosition", 0.0),
            "ScalerCrop": (0, 0, 4608, 2592),
        }

    def make_image(self, name: str) -> Image.Image:
        assert not self._released
        return Image.new("RGB", self._camera.configuration[name]["size"], (20, 120, 60))

    def release(self) -> None:
        assert not self._released, "released twice"
        self._released = True
        self._camera.free += 1


class Picamera2:
    def __init__(self, camera_num: int = 0) -> None:
        if camera_num > 0:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        self.camera_properties = {"Model": "imx708", "PixelArraySize": (4608, 2592)}
        names = ["ExposureTime", "AnalogueGain", "AwbMode", "ColourGains"]
        names += [] if TROUBLE == "fixed" else ["AfMode", "LensPosition"]
        self.camera_controls = dict.fromkeys(names, (0, 1, 0))
        self.free = 0

    def create_still_configuration(
        self, main: dict[str, Any], raw: Any, transform: Any, controls: dict[str, Any], queue: bool
    ) -> dict[str, Any]:
        assert raw is None
        return {"main": {"size": (4608, 2592)} | main, "controls": controls, "transform": transform, "queue": queue}

    def configure(self, configuration: dict[str, Any]) -> None:
        if TROUBLE == "configure":
            raise RuntimeError(f"Invalid camera configuration: {configuration}")
        width, height = configuration["main"]["size"]
        configuration["main"]["size"] = (width - width % 32, height)
        self.configuration, self.controls = configuration, configuration["controls"]

    def camera_configuration(self) -> dict[str, Any]:
        return self.configuration

    def start(self) -> None:
        if TROUBLE == "abort":
            os.abort()
        self.free = 1
        self._begun = time.monotonic()

    def capture_request(self) -> Request:
        assert self.free, "its one buffer is still with the application: the camera waits for ever"
        if TROUBLE == "hang" and time.monotonic() > self._begun + 1.5:
            time.sleep(600)
        time.sleep(FRAME_S)
        self.free -= 1
        return Request(self)

    def close(self) -> None:
        self.free = 0
