"""All captures of a voyage, wherever they still are: on the device's disk, at a server, in the archive."""

import hashlib
import json
from pathlib import Path
from typing import Protocol

from agent.capture import Capture
from tests.soak.far import Server
from tests.soak.ship import OWED


class Places(Protocol):
    """Where captures may be."""

    folder: Path
    data: Path
    one: Server
    two: Server
    damaged: set[str]


class Union:
    """`captures` by uuid; what is wrong with places and copies of them in `complaints`."""

    def __init__(self, voyage: Places) -> None:
        self.captures: dict[str, Capture] = {}
        self.complaints: list[str] = []
        self.delivered = self.only_far = 0
        self.here: set[str] = set()
        self._voyage = voyage
        self._names: dict[str, str] = {}
        archive = {path.name: path.read_bytes() for path in (voyage.folder / "archive").rglob("*") if path.is_file()}
        self._places = {"one": voyage.one.named(), "two": voyage.two.named(), "archive": archive}
        self._on_disk()
        for place, files in self._places.items():
            self._at(place, files)
        for server in (voyage.one, voyage.two):
            self.complaints += [f"a payload came twice and different: {text}" for text in server.different]

    def _on_disk(self) -> None:
        for sidecar in sorted((self._voyage.data / "captures").rglob("*.json")):
            damaged = sidecar.stem in self._voyage.damaged
            try:
                capture = Capture.load(sidecar)
            except (ValueError, KeyError, TypeError) as error:
                if not damaged:
                    self.complaints.append(f"{sidecar.name} cannot be read: {error}")
                continue
            if (harm := capture.damage()) and not damaged:
                self.complaints.append(f"{capture.name}: {harm}")
            elif not harm:
                self._keep(capture, "the disk")
                self.here.add(capture.uuid)

    def _at(self, place: str, files: dict[str, bytes]) -> None:
        """Sidecars that are there, with payloads that must be what they say."""
        folder = self._voyage.folder / "far" / place
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            if not name.endswith(".json"):
                continue
            document = json.loads(content)
            whole = True
            for payload in document["payloads"]:
                there = files.get(payload["file"])
                if there is None:
                    whole = False
                    self.complaints.append(f"{place} has {name} without {payload['file']}")
                elif hashlib.sha256(there).hexdigest() != payload["sha256"]:
                    whole = False
                    self.complaints.append(f"{place} has another {payload['file']} than {name} says")
                else:
                    (folder / payload["file"]).write_bytes(there)
            if whole:
                self._keep(Capture(folder, document), place)

    def _keep(self, capture: Capture, place: str) -> None:
        before = self._names.setdefault(capture.uuid, capture.name)
        if before != capture.name:
            self.complaints.append(f"{capture.uuid} is {before}, and at {place} {capture.name}")
        self.captures.setdefault(capture.uuid, capture)

    def settle(self) -> None:
        """Every capture must be at each of its targets once; those that were damaged may be missing, never wrong."""
        for capture in self.captures.values():
            for place in OWED[capture.recording]:
                files = self._places[place]
                if all(payload.file in files for payload in capture.payloads) and f"{capture.name}.json" in files:
                    self.delivered += 1
                elif capture.name not in self._voyage.damaged:
                    self.complaints.append(f"{capture.name} is not at {place}")
        self.only_far = len(self.captures.keys() - self.here)


def quarantine(voyage: Places) -> dict[str, str]:
    """What lies there, with its reason."""
    return {path.parent.name: path.read_text().strip() for path in Path(voyage.data / "quarantine").rglob("reason.txt")}
