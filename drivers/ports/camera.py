"""Camera: single JPEG pictures from a camera that lives, real or virtual, in a process of its own.

libcamera can hang and abort, and needs as much memory as the whole daemon: in its own process a camera that hangs is
ended and opened again, and one that aborts takes nobody with it. Both ends of the socket pair are in this file:

    request   {"do": "start", "still": {...}}   answer  {"model": ..., "width": ..., "height": ...}
              {"do": "shoot"}                           {"timestamp_ns": ..., "metadata": {...}}, then the JPEG
              {"do": "inject", ...}                     none (virtual cameras only)
    where something went wrong, any answer is           {"error": "what, and what to do"}
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from drivers.ports import DriverError, boottime_ns
from drivers.ports.virtual import Child, Wire

Value = str | int | float | bool

_START_S = 25.0
"""Longest wait for a camera to start: importing picamera2 alone takes seconds on a Pi Zero."""


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


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What a camera says of itself once it has been started."""

    model: str
    width: int
    height: int


@dataclasses.dataclass(frozen=True, slots=True)
class Shot:
    """One picture as the camera gave it."""

    jpeg: bytes
    timestamp_ns: int
    """CLOCK_BOOTTIME at which the sensor began to expose the first row."""
    metadata: Mapping[str, Value]


class CameraError(Exception):
    """Why the camera's own process cannot go on; the port makes a DriverError of it."""


class Sensor(Protocol):
    """A camera as its own process sees it. Raises CameraError."""

    def start(self, still: Still) -> Facts: ...

    def shoot(self) -> Shot:
        """The next picture; as long as it takes."""

    def inject(self, kind: str, seconds: float) -> None:
        """Misbehaves on purpose from now on, where it can."""

    def close(self) -> None: ...


class Camera:
    """The port. Used by one thread; every method raises DriverError, and nothing else, when the camera is to blame."""

    def __init__(self, child: Child, *, patience_s: float) -> None:
        """`patience_s`: a picture that takes longer means that the camera hangs."""
        self._child = child
        self._patience_s = patience_s
        self._asked_ns = 0

    def start(self, still: Still) -> Facts:
        """Configures the camera and starts it; returns when its exposure has settled."""
        self._send({"do": "start", "still": dataclasses.asdict(still)})
        answer = self._receive(_START_S)
        if answer is None:
            raise DriverError(f"the camera did not start within {_START_S:g} s; it is being opened again")
        return Facts(**answer)

    def ask(self) -> None:
        """Asks for a picture; `answer` waits for it."""
        self._send({"do": "shoot"})
        self._asked_ns = boottime_ns()

    def answer(self, timeout: float) -> Shot | None:
        """The picture asked for; None where it has not come within `timeout` seconds."""
        answer = self._receive(timeout)
        if answer is None:
            if boottime_ns() - self._asked_ns > self._patience_s * 1e9:
                raise DriverError(
                    f"the camera gave no picture within {self._patience_s:g} s; it is being opened again. "
                    "If that goes on, check the ribbon cable and the power supply"
                )
            return None
        jpeg = self._child.wire.receive()
        return Shot(jpeg or b"", answer["timestamp_ns"], answer["metadata"])

    def inject(self, kind: str, seconds: float) -> None:
        """Makes a virtual camera misbehave from now on: unplug, stall or garble."""
        self._send({"do": "inject", "kind": kind, "seconds": seconds})

    def close(self) -> None:
        """Ends the camera's process, also one that hangs; may be called twice."""
        self._child.close()

    def _send(self, request: Mapping[str, Any]) -> None:
        try:
            self._child.wire.send(json.dumps(request).encode())
        except OSError as error:
            raise _gone() from error

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        try:
            message = self._child.wire.receive(max(0.0, timeout))
        except (EOFError, OSError) as error:
            raise _gone() from error
        if message is None:
            return None
        answer: dict[str, Any] = json.loads(message)
        if "error" in answer:
            raise DriverError(answer["error"])
        return answer


def _gone() -> DriverError:
    return DriverError("the camera's process has ended; its own message stands above")


def open_camera(camera: int | str, virtual: Mapping[str, Any], *, patience_s: float) -> Camera:
    """Starts the process of camera number `camera`, or of a virtual one with these options."""
    if camera == "virtual":
        return Camera(Child("picamera", virtual), patience_s=patience_s)
    return Camera(Child("drivers.ports.libcamera", {"camera": camera}), patience_s=patience_s)


def serve(wire: Wire, open_sensor: Callable[[], Sensor]) -> None:
    """The other end: answers requests until the daemon is gone. Runs in the camera's own process."""
    wire.send(b"ready")
    sensor: Sensor | None = None
    try:
        while True:
            request = json.loads(wire.receive() or b"{}")
            shot = None
            try:
                if sensor is None:
                    sensor = open_sensor()
                if request["do"] == "inject":
                    sensor.inject(request["kind"], request["seconds"])
                    continue
                if request["do"] == "start":
                    answer = dataclasses.asdict(sensor.start(Still(**request["still"])))
                else:
                    shot = sensor.shoot()
                    answer = {"timestamp_ns": shot.timestamp_ns, "metadata": dict(shot.metadata)}
            except CameraError as error:
                answer = {"error": str(error)}
            wire.send(json.dumps(answer).encode())
            if shot is not None:
                wire.send(shot.jpeg)
    finally:
        if sensor is not None:
            sensor.close()
