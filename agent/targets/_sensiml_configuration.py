"""A capture configuration in the form, version 3, that SensiML's Data Studio writes and reads."""

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

PLUGIN = "37c9a8f0-52c4-5f0b-8a53-0d7e3c1a9b64"
"""Of this agent as a device of Data Studio; part of the format, never to change."""
_SIMPLE_STREAMING = "5b2ffd03-7793-4f46-a91b-b515f1e4c837"
_LONGEST_NAME = 255

_SUFFIX = re.compile(r"(.+?)([XYZW])")
_MOTION = ("Accelerometer", "Gyroscope", "Magnetometer", "Orientation", "Gravity", "LinearAcceleration")
_RANGES = {
    "accel_range_g": ("Accelerometer", "G"),
    "gyro_range_dps": ("Gyroscope", "DPS"),
    "mag_range_gauss": ("Magnetometer", "Gauss"),
}
"""Settings that Data Studio knows as the `Sensor Range` of one type."""


def version_3(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What to POST for a sidecar's `configuration`: uuid and name, and the document with ours whole inside.

    Columns are `type` and a suffix put together, exactly the columns of the CSV. The name holds the beginning of the
    uuid, because names are unique there and set-ups of one recording are not.
    """
    streams = configuration["document"]["streams"]
    models = " + ".join(dict.fromkeys(stream["model"] for stream in streams if stream["model"]))
    return {
        "uuid": configuration["uuid"],
        "name": f"{configuration['name'][: _LONGEST_NAME - 9]} {configuration['uuid'][:8]}",
        "configuration": {
            "name": f"capture-agent ({models})" if models else "capture-agent",
            "version": 3,
            "plugin_uuid": PLUGIN,
            "protocol_uuid": _SIMPLE_STREAMING,
            "capture_sources": [_source(stream) for stream in streams],
            "is_little_endian": True,
            "capture_agent": dict(configuration["document"]),
        },
    }


def _source(stream: Mapping[str, Any]) -> dict[str, Any]:
    sensors = [_sensor(type, suffixes) for type, suffixes in _grouped(c["name"] for c in stream["channels"])]
    for key, value in stream["setup"].items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            continue  # parameters are unsigned numbers there; the others stand in our own document
        type, units = _RANGES.get(key, ("", ""))
        known = [sensor for sensor in sensors if type and sensor["type"].endswith(type)]
        for sensor in known or sensors[:1]:
            sensor["parameters"].append(_parameter("Sensor Range" if known else key, value, units if known else ""))
    types = [sensor["type"] for sensor in sensors]
    audio = any("Microphone" in type or "Audio" in type for type in types)
    motion = any(type.endswith(_MOTION) for type in types)
    return {
        "name": "Audio" if audio else "Motion" if motion else "Sensor",
        "part": stream["model"],
        "sample_rate": max(1, round(stream["rate_hz"])),
        "sensors": sensors,
        "sensor_combinations": [],
    }


def _grouped(columns: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Columns side by side whose names differ in their last letter alone, as (type, suffixes)."""
    found = []
    parted = [(match[1], match[2]) if (match := _SUFFIX.fullmatch(name)) else (name, "") for name in columns]
    for type, group in itertools.groupby(parted, key=lambda part: part[0]):
        found.append((type, [suffix for _, suffix in group if suffix]))
    return found


def _sensor(type: str, suffixes: list[str]) -> dict[str, Any]:
    return {
        "type": type,
        "sensor_id": 0,
        "column_count": len(suffixes) or 1,
        "column_names": suffixes,
        "can_live_stream": False,
        "parameters": [],
    }


def _parameter(name: str, value: int, units: str) -> dict[str, Any]:
    size = next((size for size in (1, 2, 4) if value < 1 << (8 * size)), 8)
    return {"name": name, "value": value, "num_bytes": size} | ({"units": units} if units else {})
