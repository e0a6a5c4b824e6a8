"""A model of picamera2: what `drivers.ports.libcamera` uses of it, with the errors and hangs that are known of it.

MODEL_TROUBLE says which: fixed (a lens that cannot move), upright (a sensor that cannot turn), unfit (for this
libcamera), configure, abort, hang (once it has settled), blind (its encoder gives nothing).
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from libcamera import Transform
from PIL import Image

TROUBLE = os.environ.get("MODEL_TROUBLE", "")
FRAME_S = 0.05

if TROUBLE == "unfit":
    raise AttributeError("module 'libcamera' has no attribute 'Transform'")


class Request:
    def __init__(self, camera: "Picamera2") -> None:
        self._camera = camera
        self._released = False
        exposure_us = camera.controls.get("ExposureTime", 10000)
        self.taken_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 1000 * exposure_us

    def get_metadata(self) -> dict[str, Any]:
        assert not self._released
        controls = self._camera.controls
        return {
            "SensorTimestamp": self.taken_ns,
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

    def make_array(self, name: str) -> np.ndarray:
        """YUV420, in lines longer than they need to be; from the second second on something moves."""
        assert not self._released
        configuration = self._camera.configuration[name]
        assert configuration["format"] == "YUV420"
        width, height = configuration["size"]
        array = np.full((height * 3 // 2, width + 64), 90, np.uint8)
        array[:, width:] = np.random.default_rng().integers(0, 255, (len(array), 64))
        if time.monotonic() > self._camera.begun + 1:
            array[: height // 2, : width // 2] = 200
        return array

    def release(self) -> None:
        assert not self._released, "released twice"
        self._released = True
        self._camera.give_back(self)


class Picamera2:
    def __init__(self, camera_num: int = 0) -> None:
        if camera_num > 0:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        self.camera_properties = {"Model": "imx708", "PixelArraySize": (4608, 2592)}
        self.sensor_resolution = (4608, 2592)
        names = ["ExposureTime", "AnalogueGain", "AwbMode", "ColourGains"]
        names += [] if TROUBLE == "fixed" else ["AfMode", "LensPosition"]
        self.camera_controls = dict.fromkeys(names, (0, 1, 0))
        self._buffers: int = 0
        self._held: set[Request] = set()
        self.post_callback: Callable[[Request], None] | None = None
        self._wanted = threading.Condition()
        self._jobs: list[list[Request]] = []
        self._closed = False
        self._encoder: Any = None
        self._number = 0

    def create_still_configuration(
        self,
        main: dict[str, Any],
        raw: Any,
        transform: Any,
        controls: dict[str, Any],
        queue: bool,
        lores: dict[str, Any] | None = None,
        buffer_count: int = 1,
    ) -> dict[str, Any]:
        assert raw is None
        return {
            "main": {"size": (4608, 2592)} | main,
            "lores": lores and {"format": "YUV420"} | lores,
            "controls": controls,
            "transform": transform,
            "queue": queue,
            "buffer_count": buffer_count,
        }

    def create_video_configuration(
        self,
        main: dict[str, Any],
        lores: dict[str, Any] | None,
        raw: Any,
        transform: Any,
        controls: dict[str, Any],
        display: Any,
        encode: str,
    ) -> dict[str, Any]:
        assert main["format"] == "YUV420" and encode == "main" and display is None
        assert controls["FrameDurationLimits"] == (round(FRAME_S * 1e6),) * 2
        return self.create_still_configuration(main, raw, transform, controls, True, lores, buffer_count=6)

    def start_encoder(self, encoder: Any, output: Any) -> None:
        assert self.configuration["main"]["format"] == "YUV420"
        encoder.output = output
        output.start()
        self._encoder = encoder

    def configure(self, configuration: dict[str, Any]) -> None:
        if TROUBLE == "configure":
            raise RuntimeError(f"Invalid camera configuration: {configuration}")
        width, height = configuration["main"]["size"]
        configuration["main"]["size"] = (width - width % 32, height)
        if TROUBLE == "upright":
            configuration["transform"] = Transform()
        self.configuration, self.controls = configuration, configuration["controls"]

    def camera_configuration(self) -> dict[str, Any]:
        return self.configuration

    def start(self) -> None:
        if TROUBLE == "abort":
            os.abort()
        self._buffers = self.configuration["buffer_count"]
        self.begun = time.monotonic()
        threading.Thread(target=self._frames, daemon=True).start()

    def _frames(self) -> None:
        """The camera's thread: a frame after the other, for who waits for one, and through the callback."""
        while not self._closed:
            if TROUBLE == "hang" and time.monotonic() > self.begun + 0.5:
                return
            time.sleep(FRAME_S)
            with self._wanted:
                if not self._buffers:
                    continue  # all are with the application
                self._buffers -= 1
                request = Request(self)
                taken = bool(self._jobs)
                if taken:
                    self._held.add(request)
                    self._jobs.pop(0).append(request)
                    self._wanted.notify_all()
            if self.post_callback:
                self.post_callback(request)
            if self._encoder is not None and TROUBLE != "blind":
                # the number of the frame is how bright it is
                picture = Image.new("RGB", self.configuration["main"]["size"], (self._number % 200 + 20,) * 3)
                self._encoder.encode(picture, request.taken_ns // 1000)
                self._number += 1
            if not taken:
                request.release()

    def capture_request(self) -> Request:
        job: list[Request] = []
        with self._wanted:
            assert len(self._held) < self.configuration["buffer_count"], "the camera waits for its buffers for ever"
            self._jobs.append(job)
            self._wanted.wait_for(lambda: job)
        return job[0]

    def capture_metadata(self) -> dict[str, Any]:
        request = self.capture_request()
        try:
            return request.get_metadata()
        finally:
            request.release()

    def give_back(self, request: Request) -> None:
        with self._wanted:
            self._held.discard(request)
            self._buffers += 1

    def close(self) -> None:
        self._closed = True
