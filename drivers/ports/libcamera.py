"""A Pi's camera through picamera2, in the process that `drivers.ports.camera` gives it."""

import dataclasses
import io
from collections.abc import Mapping
from typing import Any

from drivers.ports import boottime_ns
from drivers.ports.camera import BEAT_S, CameraError, Facts, Glance, Shot, Value, serve
from drivers.ports.camera_clip import Director
from drivers.ports.camera_motion import WIDTH, MotionWatch
from drivers.ports.libcamera_clips import Clips
from drivers.ports.virtual import Wire

_LOOK_S = 0.1
"""How often it is seen whether a clip begins or ends."""
_CLIP_SIZE = (1280, 720)
"""Of clips, where nothing else is asked for."""

_SCALARS = {
    "AnalogueGain": "analogue_gain",
    "DigitalGain": "digital_gain",
    "ColourTemperature": "colour_temperature_k",
    "Lux": "lux",
    "LensPosition": "lens_position",
    "FocusFoM": "focus_fom",
    "SensorTemperature": "sensor_temperature_c",
}
"""libcamera's names of what a request says of its frame, and ours."""


@dataclasses.dataclass(frozen=True, slots=True)
class Still:
    """What a camera is asked for. Zero, and `auto`, leave it to the camera."""

    width: int = 0
    height: int = 0
    quality: int = 90
    rotation: int = 0
    exposure_us: int = 0
    gain: float = 0.0
    awb: str = "auto"
    red_gain: float = 0.0
    blue_gain: float = 0.0
    focus: str = "auto"
    lens_position: float = 0.0


class Libcamera:
    """One camera. Errors of picamera2 and libcamera, which are of every kind, become CameraErrors."""

    def __init__(self, number: int) -> None:
        try:
            import libcamera  # noqa: PLC0415  only where a camera is configured
            from picamera2 import Picamera2  # noqa: PLC0415
        except Exception as error:  # one that does not fit libcamera fails with errors of any kind
            raise CameraError(
                f"picamera2 cannot be imported ({_say(error)}); `apt install python3-picamera2`, "
                "and make the virtual environment with --system-site-packages"
            ) from error
        self._libcamera = libcamera
        try:
            self._camera: Any = Picamera2(number)
        except Exception as error:
            raise CameraError(
                f"camera {number} cannot be opened ({_say(error)}); `rpicam-hello --list-cameras` shows what there is, "
                "and only one program may use a camera"
            ) from error
        self.pause_s = BEAT_S
        self._quality = 90
        self._frames = 0
        self._motion: MotionWatch | None = None
        self._small = (0, 0)
        self._clips: Clips | None = None
        self._director = Director(0)
        self._said: dict[str, Value] = {}

    def start(self, wanted: Mapping[str, Any]) -> Facts:
        still = Still(**{field.name: wanted[field.name] for field in dataclasses.fields(Still)})
        self._quality = still.quality
        camera, half_turn = self._camera, int(still.rotation == 180)
        transform = self._libcamera.Transform(hflip=half_turn, vflip=half_turn)
        lores = None
        try:
            if wanted["motion"]:
                self._motion, self.pause_s = MotionWatch(wanted["motion"]), 0.0
                full = _CLIP_SIZE if wanted["clip"] else camera.sensor_resolution
                lores = {"size": _small(*((still.width, still.height) if still.width else full))}
            self._configure(still, wanted["clip"], lores, transform)
            if camera.camera_configuration()["transform"] != transform:  # libcamera leaves out what a camera cannot
                raise CameraError("this camera cannot turn its pictures by 180 degrees; leave rotation out")
            camera.post_callback = self._count
            if wanted["clip"]:
                self._clips = Clips(wanted["clip"], camera.camera_configuration()["main"]["size"])
                self._director = Director(wanted["clip"]["length_s"])
                self.pause_s = min(self.pause_s, _LOOK_S)
                camera.start_encoder(self._clips.encoder, self._clips.output)
            camera.start()
            settled_ns = boottime_ns() + round(wanted["settle_s"] * 1e9)
            while boottime_ns() < settled_ns:
                camera.capture_request().release()
            used = camera.camera_configuration()
            width, height = used["main"]["size"]
            if self._motion is not None:
                self._small = used["lores"]["size"]
            model = str(camera.camera_properties.get("Model", "camera"))
        except CameraError:
            raise
        except Exception as error:
            raise CameraError(f"the camera cannot be started with these settings: {_say(error)}") from error
        return Facts(model, width, height)

    def _configure(
        self, still: Still, clip: Mapping[str, Any] | None, lores: Mapping[str, Any] | None, transform: Any
    ) -> None:
        camera = self._camera
        controls = self._controls(still, camera.camera_controls)
        if clip is None:
            configuration = camera.create_still_configuration(
                main={"size": (still.width, still.height)} if still.width else {},
                lores=lores,
                raw=None,
                transform=transform,
                controls=controls,
                queue=False,
            )
        else:
            frame_us = round(1e6 / clip["frames_hz"])
            configuration = camera.create_video_configuration(
                main={"size": (still.width, still.height) if still.width else _CLIP_SIZE, "format": "YUV420"},
                lores=lores,
                raw=None,
                transform=transform,
                controls={**controls, "FrameDurationLimits": (frame_us, frame_us)},
                display=None,
                encode="main",
            )
        camera.configure(configuration)

    def shoot(self) -> Shot | None:
        if self._clips is not None:
            self._director.ask()
            return None
        return self._shot(asked=True)

    def glance(self) -> Glance:
        if self._clips is not None:
            return self._film(self._clips)
        if self._motion is None:
            return Glance(self._frames)
        shot = self._shot(asked=False)
        return Glance(self._frames, self._motion.counts, shot)

    def _film(self, clips: Clips) -> Glance:
        """Begins a clip where one is wanted, and ends it when its time is over."""
        try:
            motion = None
            if self._motion is not None:
                request = self._camera.capture_request()
                try:
                    metadata = request.get_metadata()
                    motion = self._moved(request, int(metadata.get("SensorTimestamp", boottime_ns())))
                finally:
                    request.release()
            if self._director.begins(boottime_ns(), motion):
                clips.begin()
                self._said = said(self._camera.capture_metadata())
            counts = {} if self._motion is None else self._motion.counts
            if (scene := self._director.ended(clips.newest_ns)) is None:
                if self._director.late(boottime_ns()):
                    raise CameraError("its encoder gives no frames")
                return Glance(self._frames, counts)
            mp4, begin_ns, end_ns = clips.end()
        except Exception as error:
            raise CameraError(f"the camera made no clip: {_say(error)}") from error
        found = self._said if scene.motion is None else {**self._said, "motion": scene.motion}
        shot = Shot(scene.moment_ns, found, scene.asked, mp4=mp4, begin_ns=begin_ns, end_ns=end_ns)
        return Glance(self._frames, counts, shot)

    def _shot(self, *, asked: bool) -> Shot | None:
        """The next frame's picture; where it was not asked for, only if something moves in it."""
        try:
            request = self._camera.capture_request()
            try:
                metadata = request.get_metadata()
                taken_ns = int(metadata.get("SensorTimestamp", boottime_ns()))
                share = self._moved(request, taken_ns)
                if share is None and not asked:
                    return None
                picture = request.make_image("main")  # a copy: the camera has its buffer back while we compress
            finally:
                request.release()
            jpeg = io.BytesIO()
            picture.save(jpeg, format="jpeg", quality=self._quality)
        except Exception as error:
            raise CameraError(f"the camera gave no picture: {_say(error)}") from error
        found = said(metadata) if share is None else {**said(metadata), "motion": share}
        return Shot(taken_ns, found, asked, jpeg.getvalue())

    def _moved(self, request: Any, taken_ns: int) -> float | None:
        """The share of the scene that moves, where a picture is wanted of it."""
        if self._motion is None:
            return None
        # YUV420 begins with the brightness; its lines may be longer than the picture is wide
        width, height = self._small
        return self._motion.feed(request.make_array("lores")[:height, :width], taken_ns)

    def inject(self, kind: str, seconds: float) -> None:
        raise CameraError("only a virtual camera misbehaves on command")

    def close(self) -> None:
        self._camera.close()

    def _count(self, request: Any) -> None:
        """Called by picamera2, in its own thread, with each frame that comes, wanted or not."""
        self._frames += 1

    def _controls(self, still: Still, offered: Mapping[str, Any]) -> dict[str, Any]:
        """libcamera's controls; CameraError for a wish that this camera does not know."""
        enums = self._libcamera.controls
        wanted: dict[str, Any] = {}
        if still.exposure_us:
            wanted["ExposureTime"] = still.exposure_us
        if still.gain:
            wanted["AnalogueGain"] = still.gain
        if still.awb == "manual":
            wanted["ColourGains"] = (still.red_gain, still.blue_gain)
        elif still.awb != "auto":
            wanted["AwbMode"] = getattr(enums.AwbModeEnum, still.awb.capitalize())
        if still.focus == "manual":
            wanted["AfMode"] = enums.AfModeEnum.Manual
            wanted["LensPosition"] = still.lens_position
        elif "AfMode" in offered:
            wanted["AfMode"] = enums.AfModeEnum.Continuous
        unknown = sorted(set(wanted) - set(offered))
        if unknown:
            raise CameraError(f"this camera has no {', '.join(unknown)}; leave that setting out")
        return wanted


def _small(width: int, height: int) -> tuple[int, int]:
    """The size of a small picture of the same shape, even."""
    scale = min(1.0, WIDTH / width)
    return round(width * scale) & ~1, round(height * scale) & ~1


def said(metadata: Mapping[str, Any]) -> dict[str, Value]:
    """A request's metadata in our names and units; what the camera did not say is not there."""
    found: dict[str, Value] = {ours: metadata[name] for name, ours in _SCALARS.items() if name in metadata}
    if "ExposureTime" in metadata:
        found["exposure_s"] = metadata["ExposureTime"] / 1e6
    if "AnalogueGain" in metadata:
        found["gain"] = metadata["AnalogueGain"] * metadata.get("DigitalGain", 1.0)
    if "ColourGains" in metadata:
        found["red_gain"], found["blue_gain"] = metadata["ColourGains"]
    return found


def _say(error: Exception) -> str:
    return str(error) or type(error).__name__


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The camera's process."""
    serve(wire, lambda: Libcamera(document["camera"]))
