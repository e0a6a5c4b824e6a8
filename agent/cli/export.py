"""Copies of captures for people: verified on the way, converted to another format where that is asked for."""

import dataclasses
import itertools
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agent.capture import Capture, Payload
from agent.config.modules import FORMATS
from agent.film import Film
from agent.negative import NegativeWriter, identity_as_json
from agent.series import blocks
from agent.targets import Failed, Refused, verified
from drivers import Channel, Identity

_CHUNK = 1 << 20


class Export:
    """Writes captures into one folder; counts what was written, what was there, and says what failed."""

    def __init__(self, folder: Path, kind: str | None = None) -> None:
        """`kind`: the only format that is wanted; None: all payloads as they are."""
        self._folder = folder
        self._kind = kind
        self.written = 0
        self.there = 0
        self.failed: list[str] = []

    def add(self, capture: Capture) -> None:
        """Copies or converts one capture; a failure concerns it alone."""
        try:
            wanted = [payload for payload in capture.payloads if self._kind in (None, payload.format)]
            if wanted:
                new = any([self._copy(capture, payload) for payload in wanted])  # noqa: C419  each of them
                files = {payload.file for payload in wanted}
                listed = [payload for payload in capture.document["payloads"] if payload["file"] in files]
            else:
                new, listed = True, [dataclasses.asdict(self._convert(capture, str(self._kind)))]
            Capture(self._folder, {**capture.document, "payloads": listed}).write_sidecar()
            self.written += new
            self.there += not new
        except (Failed, Refused, OSError, ValueError, LookupError) as error:
            self.failed.append(f"{capture.name}: {error}")

    def _copy(self, capture: Capture, payload: Payload) -> bool:
        """Copies one payload; False where it is there already."""
        path = self._folder / payload.file
        if path.is_file() and Payload.of(path, format="", media_type="").sha256 == payload.sha256:
            return False
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            for chunk in verified(capture, payload, _CHUNK):
                file.write(chunk)
        os.replace(part, path)
        return True

    def _convert(self, capture: Capture, kind: str) -> Payload:
        """Makes a payload of another format, by way of a negative of the samples that the capture has."""
        form = FORMATS.find(kind).Settings().open()
        path = self._folder / f"{capture.name}{form.suffix}"
        part = path.with_name(path.name + ".part")
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".export-") as folder:
            negative = Path(folder) / "negative"
            _to_negative(capture, negative)
            form.develop(Film.scan(negative), part, lambda: None)
        os.replace(part, path)
        return Payload.of(path, format=kind, media_type=form.media_type)


def _to_negative(capture: Capture, path: Path) -> None:
    """A negative of what a payload holds: its streams, or one with all columns where they are on one clock."""
    found = blocks(capture)
    first = next(found, None)
    if first is None:
        raise ValueError("it has no samples")
    document = capture.document
    apart = {tuple(c["name"] for c in stream["channels"]): place for place, stream in enumerate(document["streams"])}
    names = first.samples.dtype.names or ()
    streams = document["streams"] if names in apart else [_together(document, first.samples.dtype)]
    places = apart if names in apart else {names: 0}
    head = {
        key: document[key]
        for key in ("uuid", "name", "recording", "configuration", "device", "software", "labels", "metadata")
    }
    head["started"] = {**document["start"], "wall_ns": 0}
    head["streams"] = [
        {"name": s["name"], "driver": s["driver"], "identity": identity_as_json(_identity(s))} for s in streams
    ]
    negative = NegativeWriter(path, head)
    try:
        for block in itertools.chain([first], found):
            negative.write(places[block.samples.dtype.names or ()], block)
            negative.flush()
        negative.finish({"reason": "converted"})
    finally:
        negative.close()


def _together(document: Mapping[str, Any], dtype: "np.dtype[Any]") -> dict[str, Any]:
    """All streams as one, on the clock of the fastest; columns in the types in which they were read."""
    known = {channel["name"]: channel for stream in document["streams"] for channel in stream["channels"]}
    lead = max(document["streams"], key=lambda stream: (stream["samples"] > 0, stream["rate_hz"]["nominal"]))
    channels = [{**known[name], "dtype": dtype[name].str} for name in dtype.names or ()]
    return {**lead, "model": " and ".join(stream["model"] for stream in document["streams"]), "channels": channels}


def _identity(stream: Mapping[str, Any]) -> Identity:
    channels = [Channel(c["name"], c["unit"], c["dtype"], c["scale"], c["offset"]) for c in stream["channels"]]
    return Identity(stream["model"], stream["rate_hz"]["nominal"], tuple(channels))
