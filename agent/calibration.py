"""Calibration: what is known of a sensor's bias, scale and mounting. It stands beside the raw data, never in it.

`data_dir/calibration/<stream>.json`, and the same in the sidecar of each capture that began after it:

    calibrated = matrix @ (value - bias)      in the channels' unit; no matrix: only the bias is known
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.capture import safe_name, sync_directory
from agent.number import is_number
from drivers import DriverError, Identity, Restorable

log = logging.getLogger(__name__)

SENSORS = ("accelerometer", "gyroscope", "magnetometer")
_LONGEST_CHIP = 4096


class Calibrations:
    """The calibrations in one folder, one file a stream."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, stream: str) -> Mapping[str, Any] | None:
        """What is known of a stream; None where nothing is, or nothing that can be read, which is logged."""
        path = self._path(stream)
        try:
            document = json.loads(path.read_bytes())
            if not isinstance(document, dict):
                raise ValueError("not a table")
            _check(document)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.error("%s is not used: %s; calibrate again, or delete it", path, error)
            return None
        return document

    def keep(self, stream: str, document: Mapping[str, Any]) -> None:
        """Puts it on the disk in place of what was known. OSError."""
        path = self._path(stream)
        path.parent.mkdir(mode=0o750, exist_ok=True)
        part = path.with_suffix(".json.part")
        with part.open("wb") as file:
            file.write(json.dumps(document, indent=1, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        sync_directory(path.parent)

    def _path(self, stream: str) -> Path:
        return self._folder / f"{safe_name(stream)}.json"


def joined(
    known: Mapping[str, Any] | None, found: Mapping[str, Any], identity: Identity, made: str
) -> Mapping[str, Any]:
    """What is known once `found`, {"sensors": {...}, "chip": "..."}, is too. ValueError where that is none."""
    document: dict[str, Any] = {"model": identity.model, "serial": identity.serial, "sensors": {}}
    if known is not None and fits(known, identity):
        document.update(known)
    sensors = found.get("sensors", {})
    if set(found) - {"sensors", "chip"} or not isinstance(sensors, Mapping) or not (sensors or "chip" in found):
        raise ValueError('{"sensors": {"accelerometer": {...}}}, {"chip": "..."}, or both')
    for sensor in sensors.values():
        if not isinstance(sensor, Mapping):
            raise ValueError("each sensor is a table")
    document["sensors"] = {**document["sensors"], **{name: {**one, "made": made} for name, one in sensors.items()}}
    if "chip" in found:
        document["chip"] = {"calibration": found["chip"], "made": made}
    _check(document)
    have = {channel.name for channel in identity.channels}
    if missing := [name for sensor in document["sensors"].values() for name in sensor["channels"] if name not in have]:
        raise ValueError(f"the stream has no channel {missing[0]}")
    return document


def fits(document: Mapping[str, Any], identity: Identity) -> bool:
    """Whether it was made with this hardware, as far as the hardware says who it is."""
    return (document["model"], document["serial"]) == (identity.model, identity.serial)


def give_back(driver: object, known: Mapping[str, Any] | None, stream: str) -> None:
    """What its chip once found, to a driver that has just started; `known` is what fits. DriverError."""
    chip = known.get("chip") if known is not None else None
    if chip is None or not isinstance(driver, Restorable):
        return
    try:
        driver.restore(chip["calibration"])
    except ValueError as error:
        log.warning("stream %s: its chip does not get back what it found: %s; calibrate again", stream, error)
    except DriverError as error:
        remedy = f"where it never does, delete calibration/{safe_name(stream)}.json in the data folder"
        raise DriverError(f"{error}; {remedy}") from error


def _check(document: Mapping[str, Any]) -> None:
    """ValueError where it is not as the sidecar's schema says."""
    for key in ("model", "serial"):
        if not isinstance(document.get(key), str):
            raise ValueError(f"{key}: not text")
    sensors, chip = document.get("sensors"), document.get("chip")
    if not isinstance(sensors, Mapping):
        raise ValueError("sensors: not a table")
    for name, sensor in sensors.items():
        if name not in SENSORS:
            raise ValueError(f"there is no sensor {name!r}; there is {', '.join(SENSORS)}")
        _check_sensor(name, sensor)
    if chip is not None:
        said = chip.get("calibration") if isinstance(chip, Mapping) else None
        if not isinstance(said, str) or not 0 < len(said) <= _LONGEST_CHIP or not isinstance(chip.get("made"), str):
            raise ValueError("chip: not what a chip said")


def _check_sensor(name: str, sensor: object) -> None:
    shapes = {"bias": (3,), "matrix": (3, 3), "scale": (3,), "mounting": (3, 3), "residual": (), "samples": ()}
    texts = {"unit", "made"}
    if not isinstance(sensor, Mapping) or set(sensor) - {*shapes, *texts, "channels"}:
        raise ValueError(f"{name}: only {', '.join(shapes)}, unit and channels are known")
    channels = sensor.get("channels")
    if not isinstance(channels, Sequence) or len(channels) != 3 or not all(isinstance(one, str) for one in channels):
        raise ValueError(f"{name}.channels: not three names")
    for key in texts:
        if not isinstance(sensor.get(key), str):
            raise ValueError(f"{name}.{key}: not text")
    for key, shape in shapes.items():
        if (key == "bias" or key in sensor) and not _shaped(sensor.get(key), shape):
            raise ValueError(
                f"{name}.{key}: not {' times '.join(map(str, shape)) or 'a'} finite number{'s' * bool(shape)}"
            )


def _shaped(value: object, shape: tuple[int, ...]) -> bool:
    if not shape:
        return is_number(value)
    return isinstance(value, list) and len(value) == shape[0] and all(_shaped(one, shape[1:]) for one in value)
