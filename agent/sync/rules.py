"""The rules of a target: which captures it is never owed, decided when they are finished."""

import json
from collections.abc import Mapping

from agent.capture import Capture
from agent.sync.delivery import Delivery


def excluded(delivery: Delivery, capture: Capture) -> str:
    """Why a target with these options is not owed a capture, in words; empty where it is."""
    if delivery.only_recordings and capture.recording not in delivery.only_recordings:
        return f"it is of recording {capture.recording}"
    formats = [payload.format for payload in capture.payloads]
    if delivery.only_formats and not set(delivery.only_formats) & set(formats):
        return f"it has no {' or '.join(delivery.only_formats)}"
    limit = delivery.max_capture_mb * 1e6
    if limit and capture.size > limit:
        return f"it has {capture.size / 1e6:.3g} MB"
    labels: Mapping[str, object] = capture.document["labels"]
    if delivery.only_labels and not any(_has(labels, wanted) for wanted in delivery.only_labels):
        return f"it has no label {' or '.join(delivery.only_labels)}"
    return ""


def may_be_dated(capture: Capture, boot_id: str) -> bool:
    """Whether its date is not known and may still come: to samples of the boot with that id. (A picture's date is in
    its name and EXIF, and is waited for before it is finished.)"""
    start = capture.document["start"]
    undated: bool = start["clock"] == "unsynchronised" and start["boot_id"] == boot_id
    return undated and not capture.pictured


def _has(labels: Mapping[str, object], wanted: str) -> bool:
    name, given, value = wanted.partition("=")
    if name not in labels:
        return False
    has = labels[name]
    return not given or value == (has if isinstance(has, str) else json.dumps(has))
