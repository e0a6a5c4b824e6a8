"""The proof: compares every file of the demo with what the virtual devices sent, sample by sample."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.capture import Capture, Payload
from agent.demo.receiver import Receiver
from agent.formats import format_module
from drivers import Block
from drivers.ports.virtual.motion import Motion
from drivers.ports.virtual.mpu6050 import temperature
from drivers.ports.virtual.picamera import HEIGHT, WIDTH, render

_AXES = ("AccelerometerX", "AccelerometerY", "AccelerometerZ", "GyroscopeX", "GyroscopeY", "GyroscopeZ")
_JPEG_TABLES = b"\xff\xdb"
"""The first marker behind the application segments, where EXIF goes."""
_QUALITY = 90


@dataclasses.dataclass
class Proof:
    """What the demo ended with; `complaints` is empty where nothing was lost, owed or different."""

    folder: Path
    streams: list[tuple[str, int, float | None, int]]
    """(name, samples, measured rate in Hz, lost)."""
    targets: list[tuple[str, int, int, int]]
    """(name, delivered, tries that failed, owed)."""
    captures: int
    complaints: list[str]


def prove(folder: Path, status: Mapping[str, Any], receiver: Receiver, exit_code: int) -> Proof:
    """Reads everything back. Takes a second or two."""
    streams = [(n, s["samples"], s["rate_hz"], s["lost"]) for n, s in status["streams"].items()]
    targets = [(n, t["delivered"], t["retried"], t["owed"]) for n, t in status["targets"].items()]
    complaints = [f"the daemon ended with exit code {exit_code}"] if exit_code else []
    complaints += [f"stream {name}: {lost} samples lost" for name, _, _, lost in streams if lost]
    complaints += [f"target {name}: {owed} captures still owed" for name, _, _, owed in targets if owed]
    complaints += status["problems"]
    captures = [Capture.load(sidecar) for sidecar in sorted((folder / "data" / "captures").rglob("*.json"))]
    if not captures:
        complaints.append("there is no capture at all")
    expected = {"imu": _Imu(), "mcu": _Mcu()}
    seen: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for capture in captures:
        if damage := capture.damage():
            complaints.append(f"{capture.name}: {damage}")
        for payload in capture.payloads:
            if payload.format == "jpeg":
                complaints += _picture(capture, payload)
                continue
            for block in format_module(payload.format).Settings().open().read(capture.path(payload), capture):
                for name, rows in _by_stream(capture, block):
                    complaints += expected[name].differs(f"{payload.file} of {name}", block.first, rows)
                    if len(capture.document["streams"]) == 1:
                        seen.setdefault((name, payload.format), []).append((block.first, len(rows)))
        complaints += _delivered(capture, folder / "archive", receiver)
    for (name, kind), ranges in seen.items():
        complaints += _contiguous(f"{kind} of {name}", ranges, int(status["streams"][name]["samples"]))
    if receiver.different:
        complaints.append(f"{receiver.different} files came to the receiver twice with different bytes")
    return Proof(folder, streams, targets, len(captures), complaints)


class _Imu:
    """What the virtual MPU-6050 measured, in the order of its columns."""

    def __init__(self) -> None:
        self._motion = Motion(11, 1000.0)

    def differs(self, what: str, first: int, rows: Mapping[str, npt.NDArray[Any]]) -> Iterator[str]:
        count = len(rows["AccelerometerX"])
        sent = dict(zip(_AXES, self._motion.rows(first, count).T, strict=True))
        sent["Temperature"] = temperature(0x68, np.arange(first, first + count), 1000.0)
        for name, column in rows.items():
            if not np.array_equal(column, sent[name]):
                yield f"{what}: {name} is not what was sent, from row {first} on"


class _Mcu:
    """What the virtual microcontroller sent."""

    def __init__(self) -> None:
        self._motion = Motion(12, 500.0)

    def differs(self, what: str, first: int, rows: Mapping[str, npt.NDArray[Any]]) -> Iterator[str]:
        sent = dict(zip(_AXES, self._motion.rows(first, len(rows["AccelerometerX"])).T, strict=True))
        for name, column in rows.items():
            if not np.array_equal(column, sent[name]):
                yield f"{what}: {name} is not what was sent, from row {first} on"


def _picture(capture: Capture, payload: Payload) -> Iterator[str]:
    """The JPEG behind its tags must be, byte for byte, the one that the camera rendered."""
    number = int(capture.document["streams"][0]["first"])
    sent = render(13, number, (WIDTH, HEIGHT), _QUALITY)
    kept = capture.path(payload).read_bytes()
    if not kept.endswith(sent[sent.index(_JPEG_TABLES) :]):
        yield f"{payload.file} is not picture {number} of the camera"


def _delivered(capture: Capture, archive: Path, receiver: Receiver) -> Iterator[str]:
    """Payloads and sidecar must be in the archive and at the receiver, as they are here."""
    for path in capture.files:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        copies = [found for found in archive.rglob(path.name) if hashlib.sha256(found.read_bytes()).hexdigest() == digest]
        if len(copies) != 1:
            yield f"{path.name} is {len(copies)} times in the archive"
        if receiver.received.get(path.name) != digest:
            yield f"{path.name} is not at the receiver as it is here"


def _contiguous(what: str, ranges: list[tuple[int, int]], samples: int) -> Iterator[str]:
    """The captures of one stream must follow on one another, from its first sample."""
    due = 0
    for first, count in sorted(ranges):
        if first != due:
            yield f"{what}: samples {due} to {first - 1} are in no capture" if first > due else f"{what}: {first} twice"
        due = first + count
    if due > samples:
        yield f"{what}: {due} samples recorded, only {samples} read"
