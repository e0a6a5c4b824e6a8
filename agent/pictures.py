"""Pictures: turns a picture or clip into a capture that lies whole in the recording folder, within milliseconds.

Nothing here waits for the disk: the files are handed to the kernel, and finished in groups elsewhere. The order is

    reserve <name>.jpg.part  ->  EXIF, hashes, bytes  ->  <name>.json  ->  rename to <name>.jpg

so that a kill leaves either a part that nobody has heard of, or a sidecar (itself a part, perhaps) whose hash proves
the part: see `settle`.
"""

import dataclasses
import math
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from agent import __version__, exif
from agent.capture import SCHEMA, Capture, CaptureConfiguration, Hashes, Payload, safe_name, short_id
from agent.clock import iso, stamp, utc
from drivers import Block, Identity

JPEG, MP4 = ("jpeg", "image/jpeg", ".jpg"), ("mp4", "video/mp4", ".mp4")
"""Format, media type and suffix of what a camera gives."""
SUFFIXES = JPEG[2], MP4[2]

_SECONDS_AHEAD = 5
"""How far from its own second a picture's name may be, where that second and the next are taken."""
_NS = 1_000_000_000

Scalar = str | int | float | bool


class WallClock(Protocol):
    """What is asked of `agent.clock.Clock`."""

    boot_id: str

    def wall_ns(self, boot_ns: int) -> int: ...

    def trust(self) -> dict[str, str]: ...


class Device(Protocol):
    """What is asked of `agent.take.Device`."""

    def as_json(self) -> dict[str, str]:
        """name, id and model, as the sidecar has them."""


class PictureWriter:
    """Writes the pictures of one recording. Several may write into one folder, from several threads.

    `counters`: `shifted` names that are not of their picture's own second, `crowded` pictures that got a full name
    because the seconds around theirs were taken.
    """

    def __init__(
        self,
        recording_dir: Path,
        captures_dir: Path,
        *,
        recording: str,
        device: Device,
        clock: WallClock,
        targets: Sequence[str] = (),
        full_names: bool = False,
        new_uuid: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        """Names are `<8 hex device>.<YYYY-MM-DD_HH-MM-SS>`, or full ones with recording, milliseconds and capture.

        `targets`: for whom the pictures are.
        """
        self.counters = {"shifted": 0, "crowded": 0}
        self._folder = recording_dir
        self._captures = captures_dir
        self._recording = recording
        self._device = device.as_json()
        self._clock = clock
        self._targets = list(targets)
        self._full_names = full_names
        self._new_uuid = new_uuid

    def write(
        self,
        block: Block,
        *,
        stream: str,
        driver: str,
        identity: Identity,
        configuration: CaptureConfiguration,
        labels: Mapping[str, Scalar] | None = None,
        metadata: Mapping[str, Scalar] | None = None,
        surroundings: Mapping[str, Scalar] | None = None,
        trigger: Mapping[str, Any] | None = None,
    ) -> Capture:
        """The capture of one picture or clip, in the recording folder, unsynced; `trigger` is what it was taken for.

        `surroundings` are of `exif.SURROUNDINGS`: what other sensors know of this moment. Raises ValueError where the
        block holds no whole JPEG, OSError where the disk does not take it; then nothing is left behind.
        """
        if not block.mp4 and (wrong := exif.whole(block.jpeg)):
            raise ValueError(f"picture {block.first} of {stream} {wrong}")
        known = {name: value for name, value in (surroundings or {}).items() if name in exif.SURROUNDINGS}
        moment = {"moment_s": (block.observed_ns - block.begin_ns) / 1e9} if block.mp4 else {}
        said = {name: value for name, value in {**block.metadata, **moment, **known}.items() if _sayable(value)}
        document = {
            "schema": SCHEMA,
            "uuid": str(self._new_uuid()),
            "revision": 1,
            "name": "",
            "recording": self._recording,
            "configuration": configuration.as_json(),
            "device": self._device,
            "software": {"name": "capture-agent", "version": __version__},
            "start": {"boot_time_ns": block.begin_ns or block.observed_ns, "boot_id": self._clock.boot_id},
            "duration_s": (block.end_ns - block.begin_ns) / 1e9,
            "streams": [
                {
                    "name": stream,
                    "driver": driver,
                    "model": identity.model,
                    "serial": identity.serial,
                    "first": block.first,
                    "samples": 1,
                    "rate_hz": {"nominal": identity.rate_hz, "measured": None, "ppm": None, "residual_s": None},
                    "lost": {"samples": block.lost, "exact": block.exact},
                    "gaps": [],
                    "channels": [],
                    "picture": said,
                }
            ],
            "labels": dict(labels or {}),
            "metadata": dict(metadata or {}),
            "targets": self._targets,
            "payloads": [],
            **({} if trigger is None else {"trigger": dict(trigger)}),
        }
        return self._place(document, block.mp4 or block.jpeg, MP4 if block.mp4 else JPEG)

    def redate(self, capture: Capture) -> Capture:
        """The same picture with its date as the clock has it now, in name, EXIF and sidecar; one revision on.

        For pictures that are not finished yet. Of another boot nothing better is known: the capture as it is.
        """
        if capture.document["start"]["boot_id"] != self._clock.boot_id:
            return capture
        (payload,) = capture.payloads
        old = capture.path(payload)
        document = {**capture.document, "revision": capture.revision + 1}
        kind = next(kind for kind in (JPEG, MP4) if kind[0] == payload.format)
        dated = self._place(document, old.read_bytes(), kind, replaces=capture.name)
        if dated.name != capture.name:
            capture.sidecar.unlink()
            old.unlink()
        return dated

    def _place(
        self, document: dict[str, Any], content: bytes, kind: tuple[str, str, str], *, replaces: str = ""
    ) -> Capture:
        form, media_type, suffix = kind
        wall_ns = self._clock.wall_ns(document["start"]["boot_time_ns"])
        document["start"] = {**document["start"], "wall_time": iso(wall_ns), **self._clock.trust()}
        tagged = exif.tag(content, _tags(document, wall_ns)) if kind is JPEG else content
        hashes = Hashes()
        hashes.update(tagged)
        name, descriptor = self._reserve(document["uuid"], wall_ns, suffix, replaces=replaces)
        picture = self._folder / (name + suffix)
        part = _part(picture)
        payload = hashes.payload(picture.name, format=form, media_type=media_type)
        capture = Capture(self._folder, {**document, "name": name, "payloads": [dataclasses.asdict(payload)]})
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(tagged)
            capture.write_sidecar()
            part.rename(picture)
        except OSError:
            capture.sidecar.with_suffix(".json.part").unlink(missing_ok=True)
            if name != replaces:
                capture.sidecar.unlink(missing_ok=True)
            part.unlink(missing_ok=True)
            raise
        return capture

    def _reserve(self, capture_uuid: str, wall_ns: int, suffix: str, *, replaces: str) -> tuple[str, int]:
        """A name that no picture of this device has, and the open part that holds it against everybody else."""
        for ahead, name in enumerate(self._names(capture_uuid, wall_ns)):
            part = _part(self._folder / (name + suffix))
            try:
                descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            except FileExistsError:
                continue  # another writer is at it
            # Whoever had this name held the part until the picture had it: looking now misses nobody.
            if name == replaces or not self._taken(name, wall_ns, suffix):
                if not self._full_names:
                    self.counters["shifted"] += 0 < ahead <= _SECONDS_AHEAD
                    self.counters["crowded"] += ahead > _SECONDS_AHEAD
                return name, descriptor
            os.close(descriptor)
            part.unlink()
        raise FileExistsError(f"{self._folder}: every name for a picture of {iso(wall_ns)} is taken")

    def _names(self, capture_uuid: str, wall_ns: int) -> Iterator[str]:
        """Names to try. Those of a second have no place for a zone or a fraction: EXIF keeps the true time."""
        if not self._full_names:
            for ahead in range(_SECONDS_AHEAD + 1):
                yield f"{self._device['id']}.{utc(wall_ns + ahead * _NS):%Y-%m-%d_%H-%M-%S}"
        device, recording = safe_name(self._device["name"]), safe_name(self._recording)
        yield f"{device}.{recording}.{stamp(wall_ns)}.{short_id(capture_uuid)}"

    def _taken(self, name: str, wall_ns: int, suffix: str) -> bool:
        """Whether a picture has this name: here first, since finishing links it there before it goes from here.

        Or whether one of another suffix is just getting it, who sees ours: then neither does.

        A capture lies under the day on which it was taken, and its name may be some seconds ahead of that.
        """
        days = {f"{utc(wall_ns + ahead * _NS):%Y-%m-%d}" for ahead in (-_SECONDS_AHEAD, 0, _SECONDS_AHEAD)}
        folders = (self._folder, *(self._captures / day for day in sorted(days)))
        if any(_part(self._folder / (name + other)).exists() for other in SUFFIXES if other != suffix):
            return True
        return any((folder / (name + suffix)).exists() for folder in folders for suffix in (*SUFFIXES, ".json"))


def fully_named(picture: Capture) -> bool:
    """Whether its name is a full one, and not that of its second."""
    return picture.name.endswith(f".{short_id(picture.uuid)}")


def settle(folder: Path) -> list[Path]:
    """Ends what a kill interrupted in a recording folder where nobody writes; returns the files it cannot make whole.

    A part that its sidecar proves gets its name, and so does the sidecar where it is a part still; one of which nothing
    came of goes. Of two dates of one picture (`redate`) the later revision stays.
    """
    orphans = []
    for part in sorted(part for suffix in SUFFIXES for part in folder.glob(f"*{suffix}.part")):
        picture = part.with_suffix("")
        unnamed = picture.with_suffix(".json.part")
        sha256 = Payload.of(part, format="", media_type="").sha256
        if _listed(_sidecar(unnamed), picture.name) == sha256:
            unnamed.rename(picture.with_suffix(".json"))
        if _listed(_sidecar(picture.with_suffix(".json")), picture.name) == sha256:
            part.rename(picture)
        else:
            orphans.append(part)
            unnamed.unlink(missing_ok=True)
    latest: dict[str, Capture] = {}
    for picture in sorted(picture for suffix in SUFFIXES for picture in folder.glob(f"*{suffix}")):
        capture = _sidecar(picture.with_suffix(".json"))
        if capture is None:
            orphans.append(picture)
            continue
        other = latest.setdefault(capture.uuid, capture)
        if other is not capture:
            earlier, latest[capture.uuid] = sorted((capture, other), key=lambda one: one.revision)
            for path in reversed(earlier.files):
                path.unlink()
    return orphans


def _sidecar(path: Path) -> Capture | None:
    """What stands beside a picture; None where nothing readable does."""
    try:
        return Capture.load(path)
    except (OSError, ValueError):
        return None


def _listed(capture: Capture | None, file: str) -> str:
    return next((payload.sha256 for payload in capture.payloads if payload.file == file), "") if capture else ""


def _part(picture: Path) -> Path:
    return picture.with_name(picture.name + ".part")


def _sayable(value: Scalar) -> bool:
    """JSON has no word for what is not a number."""
    return not isinstance(value, float) or math.isfinite(value)


def _tags(document: Mapping[str, Any], wall_ns: int) -> exif.Tags:
    """What a sidecar says, as EXIF has it."""
    stream = document["streams"][0]
    numbers: dict[str, Any] = {
        name: value for name, value in stream["picture"].items() if isinstance(value, int | float)
    }
    return exif.Tags(
        wall_ns,
        document["software"]["version"],
        model=stream["model"],
        configuration=document["configuration"]["uuid"],
        capture=document["uuid"],
        **{name: numbers[name] for name in ("exposure_s", "gain", *exif.SURROUNDINGS) if name in numbers},
    )
