"""The configuration of the daemon that the soak puts to sea: its streams, recordings and targets."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.soak.truth import PICTURE, RATE_HZ, SEEDS

OWED = {"imu": ("one", "two", "archive"), "mcu": ("one", "two"), "photos": ("two", "archive")}
"""The targets of each recording."""


def _imu(rate_hz: float, faults: str) -> str:
    return f"""
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = {rate_hz}
virtual = {{ seed = {SEEDS["imu"]}, faults = {faults} }}
"""


def _board(stream: str, rate_hz: float, faults: str) -> str:
    return f"""
[stream.{stream}]
driver = "ssi"
port = "virtual"
virtual = {{ seed = {SEEDS[stream]}, rate_hz = {rate_hz}, samples_per_packet = 5, faults = {faults} }}
"""


def configuration(
    one: str,
    two: str,
    archive: Path,
    *,
    schedule: Mapping[str, Sequence[str]],
    rate_hz: float = RATE_HZ,
    longer: float = 1.0,
    chip: bool = True,
    light: bool = False,
) -> str:
    """All but the [agent] table. `schedule`: the faults of each sensor; `longer`: each capture, by this factor.

    `chip` False: the IMU is on a board that sends, since a chip costs an emulated machine too much to be asked.
    `light`: nothing but the microcontroller's board.
    """
    faults = {stream: json.dumps(list(lines)) for stream, lines in schedule.items()}
    parts = [
        _targets(one, two, archive),
        _recording("mcu", "csv", 1.7 * longer),
        _board("mcu", rate_hz, faults["mcu"]),
    ]
    if not light:
        parts += [_imu(rate_hz, faults["imu"]) if chip else _board("imu", rate_hz, faults["imu"])]
        parts += [_recording("imu", "mcap", 1.3 * longer), _CAMERA]
    return "".join(parts)


_CAMERA = f"""
[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 1.0
width = {PICTURE[0]}
height = {PICTURE[1]}
virtual = {{ seed = {SEEDS["cam"]} }}

[recording.photos]
streams = ["cam"]
format = ["jpeg"]
picture_name = "full"
targets = {json.dumps(OWED["photos"])}
"""


def _recording(stream: str, kind: str, length_s: float) -> str:
    return f"""
[recording.{stream}]
streams = ["{stream}"]
format = ["{kind}"]
length_s = {length_s}
targets = {json.dumps(OWED[stream])}
"""


def _targets(one: str, two: str, archive: Path) -> str:
    return f"""
[target.one]
kind = "http"
url = "{one}/{{name}}/{{file}}"
connect_timeout_s = 2.0
idle_timeout_s = 2.0

[target.two]
kind = "http"
url = "{two}/{{file}}"
connect_timeout_s = 2.0
idle_timeout_s = 2.0

[target.archive]
kind = "directory"
path = "{archive}"
"""
