"""Cameras: whether one is there, and whether the library that reads it is."""

import importlib.util
import re
from collections.abc import Iterator, Mapping

from agent.doctor import Finding, fail, ok, warn
from agent.doctor.scene import Scene

_LIST = ("rpicam-hello", "libcamera-hello")
_ENTRY = re.compile(r"^\s*(\d+) : (\S+) \[", re.MULTILINE)
WEBCAMS = "pip install 'capture-agent[v4l2]'"
LIBRARY = "sudo apt install python3-picamera2, and a virtual environment made with --system-site-packages"
_BY_ID = "dev/v4l/by-id"
_CABLE = (
    "switch off, check both ends of its cable; camera_auto_detect=1 in config.txt, or its sensor's dtoverlay; reboot"
)


def listed(scene: Scene) -> dict[int, str] | None:
    """Sensor of each camera that libcamera finds, by number; None where its programs are not installed."""
    for program in _LIST:
        said = scene.run([program, "--list-cameras"])
        if said is not None:
            return {int(number): sensor for number, sensor in _ENTRY.findall(said)}
    return None


def webcams(scene: Scene) -> list[str]:
    """Paths of the webcams that are plugged in, by names that stay theirs; of each the node that gives pictures."""
    return [f"/{node.relative_to(scene.root)}" for node in sorted(scene.glob(f"{_BY_ID}/*-video-index0"))]


def has_library() -> bool:
    return importlib.util.find_spec("picamera2") is not None


def reads_webcams() -> bool:
    return importlib.util.find_spec("linuxpy") is not None


def cameras(scene: Scene) -> Iterator[Finding]:
    """Against the streams that want one."""
    wanted, paths = {}, {}
    for name, stream in scene.config.streams.items() if scene.config else ():
        camera = getattr(stream.settings, "camera", "virtual")
        if isinstance(camera, int):
            wanted[name] = camera
        elif camera != "virtual":
            paths[name] = str(camera)
    yield from _webcams(scene, paths)
    if wanted and not has_library():
        yield fail("camera", f"picamera2 is not there, which stream {', '.join(wanted)} needs", LIBRARY)
    found = listed(scene)
    if found is None:
        if wanted:
            yield warn("camera", "rpicam-hello is not there to list cameras", "sudo apt install rpicam-apps-lite")
        elif not paths:
            yield ok("camera", "none is wanted")
        return
    for number, sensor in found.items():
        yield ok("camera", f"number {number} is an {sensor}")
    for name, number in wanted.items():
        if number not in found:
            has = ", ".join(map(str, found)) or "none"
            yield fail("camera", f"stream {name} wants number {number}; there is {has}", _CABLE)
    if not found and not wanted and not paths:
        yield ok("camera", "none is there, and none is wanted")


def _webcams(scene: Scene, paths: Mapping[str, str]) -> Iterator[Finding]:
    """Those that streams want, by the stream's name."""
    if paths and not reads_webcams():
        yield fail("camera", f"linuxpy is not there, which stream {', '.join(paths)} needs", WEBCAMS)
    for name, path in paths.items():
        if scene.path(path.lstrip("/")).exists():
            yield ok("camera", f"{path} of stream {name} is there")
        else:
            has = ", ".join(webcams(scene)) or "none"
            yield fail("camera", f"stream {name} wants {path}, which is not there; there is {has}", "plug it in")
