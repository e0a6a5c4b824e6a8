"""Whose capture it is: the names of subject, session, condition and trial, said by the capture or by the settings."""

import dataclasses
import datetime
import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from agent.capture import Capture
from agent.targets import Home, Plan, Refused, placeholders
from agent.targets._people import unnamed

LEVELS = ("subject", "session", "condition", "trial")
"""Keys of a capture's metadata or labels, and options of the settings."""
_LONGEST = 200


@dataclasses.dataclass(frozen=True)
class Names:
    """Where in a project a capture belongs. People may stand in here: no message, file name or path has these."""

    subject: str = dataclasses.field(repr=False)
    session: str = dataclasses.field(repr=False)
    condition: str = dataclasses.field(repr=False)
    trial: str = dataclasses.field(repr=False)

    @classmethod
    def of(cls, capture: Capture, defaults: Mapping[str, str], home: Home) -> "Names":
        """By the capture's metadata, else its labels, else `defaults` with their braces filled in.

        Refused where one is missing, or could not stand in one of Moveshelf's paths.
        """
        found = {}
        for level in LEVELS:
            name = _said(level, capture.document["metadata"], capture.document["labels"])
            if not name:
                name = as_name(defaults[level].format_map(placeholders(capture, home, "", "")))
            if not name:
                raise Refused(
                    f"it does not say its {level}: label the recording with {level}=..., or set it in the target"
                )
            if mistake := name_mistake(name):
                raise Refused(f"its {level} {mistake}, which is no name at Moveshelf")
            found[level] = name
        return cls(**found)

    @property
    def session_path(self) -> str:
        return f"/{self.subject}/{self.session}/"

    def date(self, capture: Capture) -> str | None:
        """Of the session: what its name says, else the capture's, where its clock was right."""
        try:
            return datetime.datetime.strptime(self.session, "%Y-%m-%d").date().isoformat()
        except ValueError:
            return str(capture.document["start"]["wall_time"])[:10] if dated(capture) else None

    def key(self, project: str) -> str:
        """The same for the same place; says nothing of the names to who does not know them."""
        return hashlib.sha256(json.dumps([project, *dataclasses.astuple(self)]).encode()).hexdigest()[:16]

    def hidden(self, text: str) -> str:
        """`text` without the subject, should the server have repeated it."""
        return unnamed(text, (self.subject,))


def as_name(value: object) -> str:
    """A value as one name, empty for None: equal texts are equal, however their accents are written."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    return unicodedata.normalize("NFC", text.strip())


def name_mistake(name: str) -> str:
    """Why a name cannot be a part of a path at Moveshelf; empty where it can."""
    if "/" in name:
        return "has a slash"
    if not name.isprintable():
        return "has characters that cannot be printed"
    if name in (".", ".."):
        return "is only dots"
    return f"is longer than {_LONGEST} characters" if len(name) > _LONGEST else ""


def plan_mistakes(plan: Plan) -> Iterator[tuple[str, object, str]]:
    """Names that each capture of a recording would have and Moveshelf cannot."""
    for level in LEVELS:
        for option, given in (("metadata", plan.metadata), ("labels", plan.labels)):
            if name := _said(level, given):
                if mistake := name_mistake(name):
                    yield f"{option}.{level}", given[level], f"a name for Moveshelf: this {mistake}"
                break


def clip_metadata(capture: Capture, names: Names) -> dict[str, Any]:
    """What a trial of this capture is made with (ClipCreationInput.metadata), but for its path.

    The time code is UTC, and only there where the clock was right. The description says what the capture says.
    """
    document = capture.document
    device, configuration = document["device"], document["configuration"]
    said = {**document["labels"], **document["metadata"]}
    lines = [
        f"capture {capture.uuid} of {capture.recording} by {device['name']} ({device['id']})",
        f"configuration {configuration['uuid']}",
        f"start {document['start']['wall_time']} ({document['start']['clock']}), {document['duration_s']:g} s",
        *(f"{key} = {value}" for key, value in sorted(said.items()) if key not in LEVELS),
    ]
    metadata: dict[str, Any] = {
        "title": names.trial,
        "description": "\n".join(lines),
    }
    if dated(capture):
        clock = str(document["start"]["wall_time"])[11:23].replace(".", ":")
        metadata["startTimecode"] = {"timecode": clock, "framerate": "FPS_1000"}
    return metadata


def dated(capture: Capture) -> bool:
    """Whether its wall time is more than a guess."""
    return bool(capture.document["start"]["clock"] != "unsynchronised")


def _said(level: str, *places: Mapping[str, Any]) -> str:
    """The first name there is; empty where there is none."""
    return next(filter(None, (as_name(place[level]) for place in places if level in place)), "")
