"""Cameras: whether one is there, and whether the library that reads it is."""

import importlib.util
import re
from collections.abc import Iterator

from agent.doctor import Finding, fail, ok, warn
from agent.doctor.scene import Scene

_LIST = ("rpicam-hello", "libcamera-hello")
_ENTRY = re.compile(r"^\s*(\d+) : (\S+) \[", re.MULTILINE)
LIBRARY = "sudo apt install python3-picamera2, and a virtual environment made with --system-site-packages"
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


def has_library() -> bool:
    return importlib.util.find_spec("picamera2") is not None


def cameras(scene: Scene) -> Iterator[Finding]:
    """Against the streams that want one."""
    wanted = {}
    for name, stream in scene.config.streams.items() if scene.config else ():
        number = getattr(stream.settings, "camera", "virtual")
        if number != "virtual":
            wanted[name] = int(number)
    if wanted and not has_library():
        yield fail("camera", f"picamera2 is not there, which stream {', '.join(wanted)} needs", LIBRARY)
    found = listed(scene)
    if found is None:
        if wanted:
            yield warn("camera", "rpicam-hello is not there to list cameras", "sudo apt install rpicam-apps-lite")
        else:
            yield ok("camera", "none is wanted")
        return
    for number, sensor in found.items():
        yield ok("camera", f"number {number} is an {sensor}")
    for name, number in wanted.items():
        if number not in found:
            has = ", ".join(map(str, found)) or "none"
            yield fail("camera", f"stream {name} wants number {number}; there is {has}", _CABLE)
    if not found and not wanted:
        yield ok("camera", "none is there, and none is wanted")
