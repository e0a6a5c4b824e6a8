"""A webcam through V4L2 (linuxpy), in the process that `drivers.ports.camera` gives it.

It streams all the time, so that exposure has settled, the newest frame is at hand, and a loss is noticed at once.
"""

import contextlib
import errno
import re
import select
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from drivers.ports import boottime_ns, yuyv
from drivers.ports.camera import CameraError, Facts, Glance, Shot, Value, serve
from drivers.ports.camera_motion import WIDTH, MotionWatch
from drivers.ports.jpeg import brightness, standalone
from drivers.ports.virtual import Wire

_BUFFERS = 3
_PATIENCE_S = 60.0
"""After this long without a frame the process gives up by itself, should nobody be there any more to end it."""
_REMEDIES = {
    errno.ENOENT: "is not there; `ls /dev/v4l/by-id` shows what is",
    errno.ENXIO: "is not there; `ls /dev/v4l/by-id` shows what is",
    errno.ENODEV: "has been unplugged; it is opened again when it is back",
    errno.EACCES: "may not be opened; add the daemon's user to the group video",
    errno.EBUSY: "is in use by another program; `fuser -v` of it says by which",
    errno.ENOSPC: "gets no bandwidth on its USB bus; set a smaller width and height, or use another socket",
}


class Webcam:
    """One camera. What linuxpy and the kernel object to becomes a CameraError."""

    pause_s = 0.0

    def __init__(self, path: str) -> None:
        try:
            from linuxpy.video import device  # noqa: PLC0415  only where a webcam is configured
        except ImportError as error:
            raise CameraError(f"linuxpy cannot be imported ({error}); pip install 'capture-agent[v4l2]'") from error
        self._v4l2 = device
        self._path = path
        self._quality = 90
        self._frames = self._damaged = 0
        self._poll = select.poll()
        self._stream: Any = None
        self._motion: MotionWatch | None = None
        self._device: Any = device.Device(path)
        with self._blaming():
            self._device.open()

    def start(self, wanted: Mapping[str, Any]) -> Facts:
        device, v4l2 = self._device, self._v4l2
        self._quality = wanted["quality"]
        self._motion = MotionWatch(wanted["motion"]) if wanted["motion"] else None
        with self._blaming():
            if v4l2.Capability.VIDEO_CAPTURE not in device.info.device_capabilities:
                raise CameraError(f"{self._path} gives no pictures; the camera's other nodes may, video-index0 mostly")
            pixels = self._pixels([each.pixel_format for each in device.info.formats])
            size = (wanted["width"], wanted["height"]) if wanted["width"] else self._largest(pixels)
            stream = v4l2.VideoCapture(device, size=_BUFFERS)
            stream.set_format(*size, pixel_format=pixels)
            form = stream.get_format()
            self._ask_rate(stream, wanted["frames_hz"])
            setup = {"pixels": form.pixel_format.name, **self._set(wanted["controls"])}
            stream.open()
            self._stream = stream
            self._poll.register(device.fileno(), select.POLLIN)
            settled_s = time.monotonic() + wanted["settle_s"]
            while time.monotonic() < settled_s:
                self._next(1.0)
        if form.pixel_format == v4l2.PixelFormat.YUYV:
            setup["quality"] = self._quality
        return Facts(device.info.card, form.width, form.height, setup, serial=_serial(self._path))

    def shoot(self) -> Shot:
        until_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until_s:
            with self._blaming():
                frame = self._next(1.0)
                if frame is not None and (shot := self._shot(frame, asked=True)) is not None:
                    return shot
        raise CameraError(f"{self._path} gave no frame for {_PATIENCE_S:g} s")

    def glance(self) -> Glance:
        counts, shot = {"damaged": self._damaged}, None
        with self._blaming():
            frame = self._next(0.25)
            if frame is not None and self._motion is not None:
                shot = self._shot(frame, asked=False)
                counts |= self._motion.counts
        return Glance(self._frames, counts, shot)

    def inject(self, kind: str, seconds: float) -> None:
        raise CameraError("only a virtual camera misbehaves on command")

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a camera that is gone
            if self._stream is not None:
                self._stream.close()
        self._device.close()

    def _next(self, wait_s: float) -> Any:
        """The oldest frame not seen yet; None where none came in time, or a damaged one did."""
        if not self._poll.poll(wait_s * 1000):
            return None
        frame = self._stream.buffer.raw_read()
        self._frames += 1
        if self._v4l2.BufferFlag.ERROR in frame.flags:
            self._damaged += 1
            return None
        return frame

    def _shot(self, frame: Any, *, asked: bool) -> Shot | None:
        """A frame's picture; where it was not asked for, only if something moves in it."""
        taken_ns, how = self._dated(frame)
        size, line = (frame.width, frame.height), frame.format.bytes_per_line
        raw = frame.pixel_format == self._v4l2.PixelFormat.YUYV
        jpeg = b"" if raw else standalone(frame.data)
        said: dict[str, Value] = {"frame": frame.frame_nb, "timestamp_of": how}
        if self._motion is not None:
            luma = yuyv.luma(frame.data, size, line) if raw else brightness(jpeg, WIDTH)
            share = None if luma is None else self._motion.feed(luma, taken_ns)
            if share is not None:
                said["motion"] = share
        if not asked and "motion" not in said:
            return None
        if raw:
            jpeg = yuyv.compressed(frame.data, size, line, self._quality)
        return Shot(taken_ns, said, asked, jpeg)

    def _dated(self, frame: Any) -> tuple[int, str]:
        """CLOCK_BOOTTIME of a frame, and of what it is: exposure, end of the frame, or its arrival here.

        Source: V4L2, struct v4l2_buffer, "Buffer Flags". Drivers date by CLOCK_MONOTONIC, which stands still while the
        board is suspended: the two clocks are compared now, since a camera does not stream through a suspension.
        """
        flag = self._v4l2.BufferFlag
        if frame.flags & flag.TIMESTAMP_MASK != flag.TIMESTAMP_MONOTONIC:
            return boottime_ns(), "arrival"
        stamp = frame.buff.timestamp
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        boot = boottime_ns()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        taken_ns = stamp.secs * 1_000_000_000 + stamp.usecs * 1000 + boot - (before + after) // 2
        exposed = frame.flags & flag.TSTAMP_SRC_MASK == flag.TSTAMP_SRC_SOE
        # some drivers date the end of a frame by what it should be, which is ahead of its arrival
        return min(taken_ns, boottime_ns()), "exposure" if exposed else "end of frame"

    def _pixels(self, offered: list[Any]) -> Any:
        """The best of the formats that a camera has: compressed by itself, or raw as most have it."""
        kinds = self._v4l2.PixelFormat
        for kind in (kinds.MJPEG, kinds.JPEG, kinds.YUYV):
            if kind in offered:
                return kind
        there = ", ".join(each.name for each in offered) or "nothing that is known"
        raise CameraError(f"{self._path} gives {there}; MJPEG, JPEG or YUYV is needed")

    def _largest(self, pixels: Any) -> tuple[int, int]:
        sizes = self._device.info.format_frame_sizes(pixels)
        discrete = self._v4l2.FrameSizeType.DISCRETE
        found = [
            (each.info.width, each.info.height)
            if each.type == discrete
            else (each.info.max_width, each.info.max_height)
            for each in sizes
        ]
        return max(found, key=lambda size: size[0] * size[1], default=(1280, 720))

    def _ask_rate(self, stream: Any, frames_hz: float) -> None:
        """Asks for a frame rate; a camera that has only one goes on with that."""
        try:
            stream.set_fps(frames_hz)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY):
                raise

    def _set(self, controls: Mapping[str, Value]) -> dict[str, Value]:
        """Sets controls, in the order in which they are given; their values as the camera has them then."""
        known = {_name(each.name): each for each in self._device.controls.values()}
        done: dict[str, Value] = {}
        for name, value in controls.items():
            if name not in known:
                raise CameraError(f"{self._path} has no control {name!r}; it has {', '.join(sorted(known)) or 'none'}")
            control = known[name]
            number = _number(control, value)
            if number is None or not control.minimum <= number <= control.maximum:
                raise CameraError(f"control {name} = {value!r}: {_allowed(control)}")
            try:
                control.value = number
                done[name] = int(control.value)
            except (AttributeError, OSError) as error:
                why = "it may wait for another, such as auto_exposure, to be set before it"
                raise CameraError(f"control {name} cannot be set to {value!r} ({error}); {why}") from error
        return done

    @contextlib.contextmanager
    def _blaming(self) -> Iterator[None]:
        """Errors of the kernel, as what to do about them."""
        try:
            yield
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0, f"failed ({error.strerror or error}); it is opened again")
            raise CameraError(f"camera {self._path} {remedy}") from error
        except (self._v4l2.V4L2Error, ValueError) as error:
            raise CameraError(f"camera {self._path} cannot be used: {error}") from error


def _name(title: str) -> str:
    """`White Balance, Automatic` as `v4l2-ctl --list-ctrls` names it: white_balance_automatic."""
    return re.sub("[^a-z0-9]+", "_", title.lower()).strip("_")


def _number(control: Any, value: Value) -> int | None:
    """A value as V4L2 has it: a number, or that of a menu's entry of this name."""
    if not isinstance(value, str):
        return int(value)
    entries: Mapping[int, object] = getattr(control, "data", {})
    return next((number for number, title in entries.items() if str(title) == value), None)


def _allowed(control: Any) -> str:
    entries: Mapping[int, object] = getattr(control, "data", {})
    if entries:
        return "one of " + ", ".join(f"{number} ({title})" for number, title in entries.items())
    return f"{control.minimum} to {control.maximum}"


def _serial(path: str) -> str:
    """The serial number of a USB camera; empty where it has none."""
    try:
        return (Path("/sys/class/video4linux") / Path(path).resolve().name / "device/../serial").read_text().strip()
    except OSError:
        return ""


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    """The camera's process."""
    serve(wire, lambda: Webcam(document["camera"]))
