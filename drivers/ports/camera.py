"""Camera: single JPEG pictures from a camera that lives, real or virtual, in a process of its own.

libcamera can hang and abort, and needs as much memory as the whole daemon: in its own process a camera that hangs is
ended and opened again, and one that aborts takes nobody with it. Both ends of the socket pair are in this file:

    request   {"do": "start", "wanted": {...}}  answer  {"model": ..., "width": ..., "height": ..., "setup": {...}}
              {"do": "shoot"}                           {"payload": "jpeg", "timestamp_ns": ..., ...}, the JPEG
              {"do": "inject", ...}                     none (virtual cameras only)
    twice a second, while frames come                   {"counts": {...}}
    where something went wrong, at any time             {"error": "what, and what to do"}
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from drivers.ports import DriverError
from drivers.ports.virtual import Child, Wire

Value = str | int | float | bool

BEAT_S = 0.5
"""How often a camera's process says that frames come."""
_CONTENT_S = 5.0
"""Longest wait for a picture that has been announced: it is all there."""
_START_S = 25.0
"""Longest wait for a camera to start: importing picamera2 alone takes seconds on a Pi Zero."""


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What a camera says of itself once it has been started."""

    model: str
    width: int
    height: int
    setup: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    """What else shapes its pictures, as the hardware has it."""
    serial: str = ""
    """Serial number of this very camera, where it has one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shot:
    """One picture, or one clip, as the camera gave it."""

    timestamp_ns: int
    """CLOCK_BOOTTIME at which the sensor began to expose the first row; of a clip the moment for which it is."""
    metadata: Mapping[str, Value]
    asked: bool = True
    """Whether it was asked for; else the camera's process took it by itself."""
    jpeg: bytes = b""
    mp4: bytes = b""
    """The clip, where it is one ..."""
    begin_ns: int = 0
    """... CLOCK_BOOTTIME of its first frame ..."""
    end_ns: int = 0
    """... and of its last."""


@dataclasses.dataclass(frozen=True, slots=True)
class Glance:
    """What has come of a camera since its start, without being asked for."""

    frames: int
    """Where it is no more than the last time, no frame has come since."""
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """What its process counts for the driver."""
    shot: Shot | None = None
    """A picture that it took by itself."""


class CameraError(Exception):
    """Why the camera's own process cannot go on; the port makes a DriverError of it."""


class Sensor(Protocol):
    """A camera as its own process sees it. Raises CameraError."""

    pause_s: float
    """How long its process may wait between two glances; 0: each looks at a frame, and lasts as long."""

    def start(self, wanted: Mapping[str, Any]) -> Facts: ...

    def shoot(self) -> Shot | None:
        """The next picture, as long as it takes; None: a clip, which a later glance has."""

    def glance(self) -> Glance: ...

    def inject(self, kind: str, seconds: float) -> None:
        """Misbehaves on purpose from now on, where it can."""

    def close(self) -> None: ...


class Camera:
    """The port. Used by one thread; every method raises DriverError, and nothing else, when the camera is to blame."""

    def __init__(self, child: Child, *, patience_s: float) -> None:
        """`patience_s`: a camera of which nothing is heard for longer hangs."""
        self.counts: Mapping[str, int] = {}
        """What the camera's process counts."""
        self._child = child
        self._patience_s = patience_s
        self._heard_s = time.monotonic()  # which a suspended board does not count

    def start(self, wanted: Mapping[str, Any]) -> Facts:
        """Configures the camera and starts it; returns when its exposure has settled."""
        self._send({"do": "start", "wanted": wanted})
        answer = self._receive(_START_S)
        if answer is None:
            raise DriverError(f"the camera did not start within {_START_S:g} s; it is being opened again")
        return Facts(**answer)

    def ask(self) -> None:
        """Asks for a picture; `picture` waits for it."""
        self._send({"do": "shoot"})

    def picture(self, timeout: float) -> Shot | None:
        """The next picture or clip, asked for or not; None where none has come within `timeout` seconds."""
        until_s = time.monotonic() + timeout
        while (answer := self._receive(until_s - time.monotonic())) is not None:
            if "counts" in answer:
                self.counts = answer["counts"]
                continue
            content = self._message(min(self._patience_s, _CONTENT_S))
            if content is None:
                raise self._hung()
            answer[answer.pop("payload")] = content
            return Shot(**answer)
        if time.monotonic() - self._heard_s > self._patience_s:
            raise self._hung()
        return None

    def inject(self, kind: str, seconds: float) -> None:
        """Makes a virtual camera misbehave from now on: unplug, stall or garble; or something move before it."""
        self._send({"do": "inject", "kind": kind, "seconds": seconds})

    def close(self) -> None:
        """Ends the camera's process, also one that hangs; may be called twice."""
        self._child.close()

    def _hung(self) -> DriverError:
        return DriverError(
            f"the camera hangs: no frame for {self._patience_s:g} s; it is being opened again. "
            "If that goes on, check the ribbon cable and the power supply"
        )

    def _send(self, request: Mapping[str, Any]) -> None:
        try:
            self._child.wire.send(json.dumps(request).encode())
        except OSError as error:
            raise _gone() from error

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        message = self._message(timeout)
        if message is None:
            return None
        answer: dict[str, Any] = json.loads(message)
        if "error" in answer:
            raise DriverError(answer["error"])
        return answer

    def _message(self, timeout: float) -> bytes | None:
        try:
            message = self._child.wire.receive(max(0.0, timeout))
        except (EOFError, OSError) as error:
            raise _gone() from error
        if message is not None:
            self._heard_s = time.monotonic()
        return message


def _gone() -> DriverError:
    return DriverError("the camera's process has ended; its own message stands above")


def open_camera(model: str, document: Mapping[str, Any], *, patience_s: float) -> Camera:
    """Starts a camera's process: `model` is a virtual one, or the full name of a real one's module."""
    return Camera(Child(model, document), patience_s=patience_s)


def serve(wire: Wire, open_sensor: Callable[[], Sensor]) -> None:
    """The other end: answers requests, and tells of life, until the daemon is gone. Runs in the camera's process."""
    wire.send(b"ready")
    sensor: Sensor | None = None
    running, frames, told_s = False, 0, 0.0
    try:
        while True:
            message = wire.receive(sensor.pause_s if sensor is not None and running else None)
            try:
                if message is not None:
                    if sensor is None:
                        sensor = open_sensor()
                    running |= _answer(wire, sensor, json.loads(message)) == "start"
                elif sensor is not None:
                    seen = sensor.glance()
                    if seen.shot is not None:
                        _send_shot(wire, seen.shot)
                    if seen.frames > frames and time.monotonic() - told_s >= BEAT_S:
                        frames, told_s = seen.frames, time.monotonic()
                        wire.send(json.dumps({"counts": dict(seen.counts)}).encode())
            except CameraError as error:
                running = False
                wire.send(json.dumps({"error": str(error)}).encode())
    finally:
        if sensor is not None:
            sensor.close()


def _answer(wire: Wire, sensor: Sensor, request: Mapping[str, Any]) -> str:
    """Does what is asked; what that was."""
    wish: str = request["do"]
    if wish == "inject":
        sensor.inject(request["kind"], request["seconds"])
    elif wish == "start":
        wire.send(json.dumps(dataclasses.asdict(sensor.start(request["wanted"]))).encode())
    elif (shot := sensor.shoot()) is not None:
        _send_shot(wire, shot)
    return wish


def _send_shot(wire: Wire, shot: Shot) -> None:
    said = {
        "payload": "mp4" if shot.mp4 else "jpeg",
        "timestamp_ns": shot.timestamp_ns,
        "metadata": dict(shot.metadata),
        "asked": shot.asked,
        "begin_ns": shot.begin_ns,
        "end_ns": shot.end_ns,
    }
    wire.send(json.dumps(said).encode())
    wire.send(shot.mp4 or shot.jpeg)
