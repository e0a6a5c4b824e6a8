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
_LEAD = {"motion": "imu", "imu": "imu", "mcu": "mcu"}
"""The fastest stream of each recording."""
_LONGEST = 1 << 17

Columns = Mapping[str, npt.NDArray[Any]]


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
    estimated = {name for name, stream in status["streams"].items() if not stream["lost_exact"]}
    for name, _, _, lost in streams:
        if name in estimated:
            complaints.append(
                f"stream {name}: about {lost} samples lost, since this machine was too busy for it; its files are not"
                " compared, and the demo should be tried again"
            )
        elif lost:
            complaints.append(f"stream {name}: {lost} samples lost")
    complaints += [f"target {name}: {owed} captures still owed" for name, _, _, owed in targets if owed]
    complaints += status["problems"]
    captures = [Capture.load(sidecar) for sidecar in sorted((folder / "data" / "captures").rglob("*.json"))]
    if not captures:
        complaints.append("there is no capture at all")
    sensors: dict[str, _Imu | _Mcu] = {"imu": _Imu(), "mcu": _Mcu()}
    seen: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for capture in captures:
        if damage := capture.damage():
            complaints.append(f"{capture.name}: {damage}")
        for payload in capture.payloads:
            if payload.format == "jpeg":
                complaints += _picture(capture, payload)
                continue
            for block in format_module(payload.format).Settings().open().read(capture.path(payload), capture):
                for name, columns in _by_stream(capture, block):
                    if name in estimated:
                        continue
                    what = f"{payload.file}, stream {name}"
                    if payload.format == "csv" and name != _LEAD[capture.recording]:
                        complaints += _held(what, sensors[name], columns)
                        continue
                    complaints += _differs(what, sensors[name], block.first, columns)
                    if capture.recording == name:
                        seen.setdefault((name, payload.format), []).append((block.first, block.count))
        complaints += _delivered(capture, folder / "archive", receiver)
    for (name, kind), ranges in seen.items():
        complaints += _contiguous(f"{kind} of {name}", ranges, int(status["streams"][name]["samples"]))
    if receiver.different:
        complaints.append(f"{receiver.different} files came to the receiver twice with different bytes")
    return Proof(folder, streams, targets, len(captures), complaints)


class _Imu:
    """What the virtual MPU-6050 measured."""

    def __init__(self) -> None:
        self._motion = Motion(11, 1000.0)

    def sent(self, first: int, count: int) -> Columns:
        sent = dict(zip(_AXES, self._motion.rows(first, count).T, strict=True))
        return {**sent, "Temperature": temperature(0x68, np.arange(first, first + count), 1000.0)}


class _Mcu:
    """What the virtual microcontroller sent."""

    def __init__(self) -> None:
        self._motion = Motion(12, 500.0)

    def sent(self, first: int, count: int) -> Columns:
        return dict(zip(_AXES, self._motion.rows(first, count).T, strict=True))


def _differs(what: str, sensor: _Imu | _Mcu, first: int, columns: Columns) -> Iterator[str]:
    """Rows that have the sensor's own indexes must be what it sent under these."""
    sent = sensor.sent(first, len(next(iter(columns.values()))))
    for name, column in columns.items():
        if not np.array_equal(column, sent[name]):
            yield f"{what}: {name} is not what was sent, from sample {first} on"


def _held(what: str, sensor: _Imu | _Mcu, columns: Columns) -> Iterator[str]:
    """Rows of a slower stream on the faster one's clock must be its samples, each held until the next."""
    table = np.stack(list(columns.values()), axis=1)
    table = table[~np.isnan(table).any(axis=1)]
    changed = np.append(True, (np.diff(table, axis=0) != 0).any(axis=1)) if len(table) else np.zeros(0, bool)
    runs = table[changed]
    if not len(runs):
        return
    sent = sensor.sent(0, _LONGEST)
    known = np.stack([sent[name] for name in columns], axis=1)
    begin = np.flatnonzero((known == runs[0]).all(axis=1))
    if not any(np.array_equal(known[at : at + len(runs)], runs) for at in begin):
        yield f"{what}: the slower stream's columns are not its samples in their order"


def _by_stream(capture: Capture, block: Block) -> Iterator[tuple[str, Columns]]:
    """(stream, its columns under their channels' own names) of a block that was read back."""
    for stream in capture.document["streams"]:
        names = [
            channel["name"] for channel in stream["channels"] if channel["name"] in (block.samples.dtype.names or ())
        ]
        if names:
            yield stream["name"], {name.removeprefix(f"{stream['name']}_"): block.samples[name] for name in names}


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
        copies = [
            found for found in archive.rglob(path.name) if hashlib.sha256(found.read_bytes()).hexdigest() == digest
        ]
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
