"""What Edge Impulse is told of a capture beside its content: label, metadata, labelled parts; all of it in headers and
a form's second file."""

import dataclasses
import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

from agent.capture import Capture
from agent.targets import Refused

_METADATA_BYTES = 6000
"""Of x-metadata: servers take some 8 kB of headers, all together."""
_LABEL_BYTES = 1000
_UNLABELLED = "unlabeled"


@dataclasses.dataclass(frozen=True)
class Told:
    """The headers, and what found no place in them."""

    label: str
    """Empty: none."""
    headers: Mapping[str, str]
    left_out: tuple[str, ...]


def told(capture: Capture, label_name: str) -> Told:
    """Label and metadata of a capture. The label is the one called `label_name`; without a name, the only one there is.

    Where there is none, it says so: Edge Impulse would make one of the file's name.
    """
    document = capture.document
    labels: Mapping[str, Any] = document["labels"]
    name = label_name or (next(iter(labels)) if len(labels) == 1 else "")
    value = labels.get(name, document["metadata"].get(name))
    label = "" if value is None else _text(value).strip()
    quoted = urllib.parse.quote(label, safe="")
    if len(quoted) > _LABEL_BYTES:
        raise Refused(f"the label {name!r} of {capture.name} is too long for a header: {len(quoted)} bytes")
    headers = {"x-label": quoted} if label else {"x-label": "", "x-no-label": "1"}
    metadata, left_out = _metadata(document)
    return Told(label, headers | {"x-metadata": json.dumps(metadata, separators=(",", ":"))}, left_out)


def _metadata(document: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """As much as a header holds, ours first: Edge Impulse takes texts only."""
    device, start, configuration = document["device"], document["start"], document["configuration"]
    ours = {
        "capture": document["uuid"],
        "configuration": configuration["uuid"],
        "recording": document["recording"],
        "device": device["name"],
        "device_id": device["id"],
        "start": start["wall_time"],
        "clock": start["clock"],
        "lost_samples": str(sum(stream["lost"]["samples"] for stream in document["streams"])),
    }
    metadata: dict[str, str] = {}
    left_out, room = [], _METADATA_BYTES
    for name, value in {**ours, **document["metadata"], **document["labels"], **ours}.items():
        text = _text(value)
        size = len(json.dumps({name: text}))
        if size > room:
            left_out.append(name)
            continue
        room -= size
        metadata[name] = text
    return metadata, tuple(left_out)


def structured_labels(capture: Capture, label_name: str, *, whole: str, first: int, rows: int) -> list[dict[str, Any]]:
    """The segments of a capture as labels of `rows` rows without a hole or an overlap, as Edge Impulse demands; what is
    between them has the label of the `whole`. Empty where there are no segments.

    The indexes are of samples, both inclusive (StructuredLabel of the Studio's API). `first` is the index of the first
    row, as the payload counts.
    """
    parts: list[dict[str, Any]] = []

    def add(until: int, label: str) -> None:
        begin = parts[-1]["endIndex"] + 1 if parts else 0
        if until > begin:
            parts.append({"startIndex": begin, "endIndex": until - 1, "label": label})

    for segment in sorted(capture.document.get("segments", ()), key=lambda segment: int(segment["first"])):
        labels = segment["labels"]
        name = label_name or (next(iter(labels)) if len(labels) == 1 else "")
        if name in labels:
            begin = int(segment["first"]) - first
            add(min(begin, rows), whole or _UNLABELLED)
            add(min(begin + int(segment["samples"]), rows), _text(labels[name]))
    if parts:
        add(rows, whole or _UNLABELLED)
    return parts


def _text(value: object) -> str:
    """True and 1.5 as JSON has them, texts as they are."""
    return value if isinstance(value, str) else json.dumps(value)
