"""Templates: what may stand in the braces of a layout or a URL, and what takes its place for one file of a capture."""

import string
from typing import TYPE_CHECKING

from agent.capture import Capture

if TYPE_CHECKING:
    from agent.targets import Home

PLACEHOLDERS = ("device", "device_id", "date", "recording", "name", "file", "uuid", "format")
"""What may stand in the braces of a layout or a URL; `name` is the capture's, `file` has the suffix."""


def template_mistake(template: str) -> str:
    """What is wrong with the braces of a layout or a URL; empty where nothing is."""
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    try:
        for _, field, spec, conversion in string.Formatter().parse(template):
            if field is not None and (field not in PLACEHOLDERS or spec or conversion):
                return f"{{{field}}} is not known; there is {known}"
    except ValueError as error:
        return f"{error}; there is {known}"
    return ""


def placeholders_of(template: str) -> tuple[str, ...]:
    """Which placeholders a layout or URL has."""
    return tuple({field for _, field, _, _ in string.Formatter().parse(template) if field is not None})


def placeholders(capture: Capture, home: "Home", file: str, format: str) -> dict[str, str]:
    """The value of each placeholder for one file of a capture, unquoted and unchecked."""
    folder = capture.folder.name
    dated = len(folder) == 10 and folder[4] == folder[7] == "-"
    return {
        "device": home.device,
        "device_id": home.device_id,
        # the folder's date, because that stays when a revision corrects the clock: the same address for good
        "date": folder if dated else str(capture.document["start"]["wall_time"])[:10],
        "recording": capture.recording,
        "name": capture.name,
        "file": file,
        "uuid": capture.uuid,
        "format": format,
    }
