"""Copies of captures for people: verified on the way, converted to another format where that is asked for."""

import os
from pathlib import Path

from agent.capture import Capture, Payload
from agent.targets import Failed, Refused, verified

_CHUNK = 1 << 20


class Export:
    """Writes captures into one folder; counts what was written, what was there, and says what failed."""

    def __init__(self, folder: Path, kind: str | None = None) -> None:
        self._folder = folder
        self._kind = kind
        self.written = 0
        self.there = 0
        self.failed: list[str] = []

    def add(self, capture: Capture) -> None:
        """Copies or converts one capture; a failure concerns it alone."""
        try:
            if self._kind is None or self._kind in [payload.format for payload in capture.payloads]:
                self._copy(capture)
            else:
                raise ValueError(f"conversion to {self._kind} is not there yet")
        except (Failed, Refused, OSError, ValueError, LookupError) as error:
            self.failed.append(f"{capture.name}: {error}")

    def _copy(self, capture: Capture) -> None:
        chosen = [payload for payload in capture.payloads if self._kind in (None, payload.format)]
        fresh = False
        for payload in chosen:
            path = self._folder / payload.file
            if not (path.is_file() and Payload.of(path, format="", media_type="").sha256 == payload.sha256):
                part = path.with_name(path.name + ".part")
                with part.open("wb") as file:
                    for chunk in verified(capture, payload, _CHUNK):
                        file.write(chunk)
                os.replace(part, path)
                fresh = True
        files = {payload.file for payload in chosen}
        listed = [payload for payload in capture.document["payloads"] if payload["file"] in files]
        document = {**capture.document, "payloads": listed}
        Capture(self._folder, document).write_sidecar()
        self.written += fresh
        self.there += not fresh
