"""Captures to deliver: real files in a folder, with their sidecar."""

import uuid
from pathlib import Path

from agent.capture import SCHEMA, Capture, CaptureConfiguration, Payload


def make_capture(
    folder: Path,
    content: bytes = b"sequence,AccelerometerX\n0,1\n",
    *,
    name: str = "",
    kind: tuple[str, str, str] = ("csv", "text/csv", ".csv"),
    **more,
) -> Capture:
    """A finished capture with one payload, written to `folder/2026-11-21`.

    `kind`: format, media type and suffix of the payload; `more` goes into the document.
    """
    format, media_type, suffix = kind
    folder = folder / "2026-11-21"
    folder.mkdir(parents=True, exist_ok=True)
    capture_uuid = more.pop("uuid", None) or str(uuid.uuid4())
    name = name or f"bay3.walk.20261121T101500.123Z.{capture_uuid[:8]}"
    path = folder / f"{name}{suffix}"
    path.write_bytes(content)
    start = {"boot_time_ns": 1, "boot_id": "", "wall_time": "2026-11-21T10:15:00.123000Z", "clock": "synchronised"}
    payload = Payload.of(path, format=format, media_type=media_type)
    document = {
        "schema": SCHEMA,
        "uuid": capture_uuid,
        "revision": 1,
        "name": name,
        "recording": "walk",
        "configuration": CaptureConfiguration("walk", {"version": 1, "streams": []}).as_json(),
        "device": {"name": "bay3", "id": "0badcafe", "model": ""},
        "software": {"name": "capture-agent", "version": "0"},
        "start": start,
        "duration_s": 0.0,
        "streams": [],
        "labels": {},
        "metadata": {},
        "payloads": [{field: getattr(payload, field) for field in Payload.__dataclass_fields__}],
        **more,
    }
    capture = Capture(folder, document)
    capture.write_sidecar()
    return capture
