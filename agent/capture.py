"""A capture: payload files that never change, a JSON sidecar with a revision, and the set-up that shaped them."""

import dataclasses
import hashlib
import importlib
import json
import os
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import rfc8785

from drivers import Identity

SCHEMA = "capture-agent/capture/1"
"""Value of `schema` in every sidecar; its JSON Schema is `agent/capture.schema.json`."""

NAMESPACE = uuid.UUID("6f0f2f0a-6d0c-5c0c-9b1e-2f6b0a3c7d51")
"""Namespace of the UUIDv5 of capture configurations; part of the format, never to change."""

_SAFE = re.compile(r"[^A-Za-z0-9_-]+")


def safe_name(text: str) -> str:
    """`text` as one part of a file name: [A-Za-z0-9_-], never empty, never a path, no dots."""
    return _SAFE.sub("-", text).strip("-") or "unnamed"


def short_id(capture_uuid: str) -> str:
    """The eight hex digits that stand in file names."""
    return capture_uuid.replace("-", "")[:8]


@dataclasses.dataclass(frozen=True)
class CaptureConfiguration:
    """The set-up that shaped the data; equal set-ups have equal uuids on every device and after every upgrade."""

    name: str
    """For people; not part of the uuid."""
    document: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, streams: Sequence[tuple[Identity, Sequence[str]]], **more: Any) -> "CaptureConfiguration":
        """From what the hardware said: (identity, its column names) for each stream, in recording order."""
        document: dict[str, Any] = {
            "version": 1,
            "streams": [
                {
                    "model": identity.model,
                    "rate_hz": identity.rate_hz,
                    "setup": dict(identity.setup),
                    "channels": [
                        {
                            "name": column,
                            "unit": channel.unit,
                            "dtype": channel.dtype,
                            "scale": channel.scale,
                            "offset": channel.offset,
                        }
                        for channel, column in zip(identity.channels, columns, strict=True)
                    ],
                }
                for identity, columns in streams
            ],
        }
        return cls(name, document | more)

    @cached_property
    def uuid(self) -> str:
        """UUIDv5 of the document's canonical JSON (RFC 8785)."""
        return str(uuid.uuid5(NAMESPACE, rfc8785.dumps(dict(self.document)).decode()))

    def as_json(self) -> dict[str, Any]:
        return {"uuid": self.uuid, "name": self.name, "document": dict(self.document)}


@dataclasses.dataclass(frozen=True, slots=True)
class Payload:
    """One file of a capture, as the sidecar lists it."""

    file: str
    format: str
    media_type: str
    size: int
    sha256: str
    md5: str
    crc32c: str | None
    """Eight hex digits; None where google-crc32c is not installed."""

    @classmethod
    def of(cls, path: Path, *, format: str, media_type: str, breathe: Callable[[], None] = lambda: None) -> "Payload":
        """Reads the whole file once and hashes it; a large one takes minutes on a small board."""
        hashes = Hashes()
        with path.open("rb") as file:
            while chunk := file.read(1 << 18):
                hashes.update(chunk)
                breathe()
        return hashes.payload(path.name, format=format, media_type=media_type)


class Hashes:
    """size, sha256, md5 and crc32c of bytes that pass by."""

    def __init__(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c: Any = None
        try:
            self._crc32c = importlib.import_module("google_crc32c").Checksum()
        except ImportError:
            pass  # an extra: the sidecar then says null

    def update(self, chunk: bytes | memoryview) -> None:
        self.size += len(chunk)
        self._sha256.update(chunk)
        self._md5.update(chunk)
        if self._crc32c is not None:
            self._crc32c.update(bytes(chunk))

    def payload(self, file: str, *, format: str, media_type: str) -> Payload:
        crc32c = None if self._crc32c is None else self._crc32c.digest().hex()
        return Payload(file, format, media_type, self.size, self._sha256.hexdigest(), self._md5.hexdigest(), crc32c)


@dataclasses.dataclass(frozen=True)
class Capture:
    """One finished result: the folder it lies in and its sidecar document. Everything else is read from these."""

    folder: Path
    document: Mapping[str, Any]

    @classmethod
    def load(cls, sidecar: Path) -> "Capture":
        """Reads a sidecar. ValueError, naming the file, where it is not one."""
        try:
            document = json.loads(sidecar.read_bytes())
        except ValueError as error:
            raise ValueError(f"{sidecar}: not JSON: {error}") from None
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise ValueError(f"{sidecar}: not a sidecar of schema {SCHEMA!r}")
        capture = cls(sidecar.parent, document)
        try:
            files = [document["name"], *(payload.file for payload in capture.payloads)]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{sidecar}: its name or payloads are not as they should be: {error}") from None
        for file in files:
            if not isinstance(file, str) or Path(file).name != file:
                raise ValueError(f"{sidecar}: {file!r} is not a plain file name")
        return capture

    @property
    def uuid(self) -> str:
        return str(self.document["uuid"])

    @property
    def revision(self) -> int:
        return int(self.document["revision"])

    @property
    def name(self) -> str:
        """File name without suffix, unique on this device."""
        return str(self.document["name"])

    @property
    def recording(self) -> str:
        return str(self.document["recording"])

    @property
    def payloads(self) -> tuple[Payload, ...]:
        return tuple(Payload(**payload) for payload in self.document["payloads"])

    @property
    def pictured(self) -> bool:
        """Whether it is a picture or a clip, whose name and EXIF are its date, and not samples."""
        return any(payload.media_type.startswith(("image/", "video/")) for payload in self.payloads)

    @property
    def sidecar(self) -> Path:
        return self.folder / f"{self.name}.json"

    def path(self, payload: Payload) -> Path:
        return self.folder / payload.file

    @property
    def files(self) -> tuple[Path, ...]:
        """All of its files: payloads, then the sidecar."""
        return (*(self.path(payload) for payload in self.payloads), self.sidecar)

    @property
    def size(self) -> int:
        """Bytes of all payloads."""
        return sum(payload.size for payload in self.payloads)

    def sidecar_bytes(self) -> bytes:
        return json.dumps(self.document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"

    def write_sidecar(self) -> Path:
        """Replaces the sidecar atomically (not synced: whoever finishes a capture syncs once for all its files)."""
        part = self.sidecar.with_suffix(".json.part")
        part.write_bytes(self.sidecar_bytes())
        part.rename(self.sidecar)
        return self.sidecar

    def amended(self, **changes: Any) -> "Capture":
        """The same capture one revision on (labels, segments, a corrected date); the payloads stay."""
        return Capture(self.folder, {**self.document, **changes, "revision": self.revision + 1})

    def damage(self, *, whole: bool = True) -> str:
        """Empty where every payload is there with its size (and, when `whole`, its hash); else what is wrong."""
        for payload in self.payloads:
            path = self.path(payload)
            if not path.is_file():
                return f"{payload.file} is gone"
            if path.stat().st_size != payload.size:
                return f"{payload.file} has {path.stat().st_size} bytes instead of {payload.size}"
            if whole and Payload.of(path, format="", media_type="").sha256 != payload.sha256:
                return f"{payload.file} has changed: its sha256 is not the sidecar's"
        return ""


def sync_directory(folder: Path) -> None:
    """fsync of a directory: the names in it survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
