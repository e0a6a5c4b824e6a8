"""What is said of a capture at SensiML: metadata, and labels of the whole or of segments, in a session of their own."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from agent.capture import Capture
from agent.targets import Progress
from agent.targets._sensiml_api import Api, meaning
from agent.targets._sensiml_file import Sheet
from agent.targets._sensiml_project import LONGEST, Project, plain_name, plain_value

FACTS = ("device", "device_id", "recording", "uuid", "started", "clock")
"""What can be attached of a capture beside its own metadata."""


@dataclasses.dataclass(frozen=True)
class Marks:
    """What is to be attached to a capture, all by the server's own uuids."""

    metadata: Mapping[str, str]
    """Value by name."""
    segments: frozenset[tuple[str, str, int, int]]
    """Label, value, first and last sample."""
    session: int | None
    left_out: tuple[str, ...]
    """What the platform cannot be told, in words."""


def marks_of(
    sheet: Sheet, project: Project, progress: Progress, *, facts: Iterable[str], session: str, numbers: int
) -> Marks:
    """Finds, or makes, every name and value that a capture needs. Refused where the project knows one otherwise.

    `numbers`: so many different values with a point a name of metadata may have. What is measured has ever new ones,
    and nothing on the server, which keeps and lists them all, ever removes one.
    """
    capture, left_out = sheet.capture, list[str]()
    said = {**_facts(capture, facts), **capture.document["metadata"]}
    if tags := capture.document.get("tags"):
        said.setdefault("tags", " ".join(tags))
    measured = {plain_name(name) for name, value in said.items() if isinstance(value, float)}
    metadata = {}
    for name, value in _plain(said, left_out):
        most = numbers if name in measured else None
        found = None if most == 0 else project.value("metadata", (name, value), progress, most=most)
        if found is None:
            left_out.append(f"{name} = {value}, of which there are {numbers} other values")
        else:
            metadata[found[0]] = found[1]
    whole = {"first": None, "labels": capture.document["labels"]}
    segments: set[tuple[str, str, int, int]] = set()
    for segment in (whole, *capture.document.get("segments", ())):
        start, end = _ends(sheet, segment)
        pairs = _plain(segment["labels"], left_out)
        if pairs and end <= start:
            left_out += [f"{name} = {value} of fewer than two samples" for name, value in pairs]
            continue
        for pair in pairs:
            if (found := project.value("label", pair, progress)) is not None:
                segments.add((*found, start, end))
    number = None
    if segments or capture.revision > 1:  # which may have taken the last label away
        number = project.session(session, progress, make=bool(segments))
    return Marks(metadata, frozenset(segments), number, tuple(left_out))


def subjects_of(capture: Capture) -> set[str]:
    """Names of who was measured, as they were said and as the server gets them: no message repeats them."""
    places = (capture.document["metadata"], capture.document["labels"])
    said = [str(place["subject"]) for place in places if "subject" in place]
    return {*said, *map(plain_value, said)}


def attach(api: Api, at: str, marks: Marks, progress: Progress, *, replace: bool) -> None:
    """Makes what is missing and changes what is different, so that it may be called again at any time.

    `at`: `project/<uuid>/capture/<uuid>/`. `replace`: segments of our session that are not among these go. Metadata
    that are not among these stay: a person may have attached them.
    """
    _attach_metadata(api, f"v2/{at}metadata-relationship/", marks, progress)
    if marks.session is not None:
        _attach_segments(api, f"{at}label-relationship/", marks, progress, replace=replace)


def _attach_metadata(api: Api, path: str, marks: Marks, progress: Progress) -> None:
    there: dict[str, tuple[str, str]] = {}

    def keep(item: dict[str, Any]) -> None:
        there[str(item["label"])] = (str(item["label_value"]), str(item["uuid"]))

    if not marks.metadata:
        return
    api.each(path, keep, progress=progress)
    missing = [{"label": label, "label_value": value} for label, value in marks.metadata.items() if label not in there]
    if missing:
        answer, _ = api.ask("POST", path, missing, progress=progress)
        meaning(answer)
    for label, value in marks.metadata.items():
        if label in there and there[label][0] != value:
            # one at a time: of several, the server mixes up which is which
            changed = [{"uuid": there[label][1], "label": label, "label_value": value}]
            answer, _ = api.ask("PUT", path, changed, progress=progress)
            meaning(answer)


def _attach_segments(api: Api, path: str, marks: Marks, progress: Progress, *, replace: bool) -> None:
    there: dict[tuple[str, str, int, int], str] = {}

    def keep(item: dict[str, Any]) -> None:
        if item["segmenter"] == marks.session:
            ends = (int(item["capture_sample_sequence_start"]), int(item["capture_sample_sequence_end"]))
            there[(str(item["label"]), str(item["label_value"]), *ends)] = str(item["uuid"])

    api.each(path, keep, progress=progress)
    missing = [
        {
            "label": label,
            "label_value": value,
            "capture_sample_sequence_start": start,
            "capture_sample_sequence_end": end,
            "segmenter": marks.session,
        }
        for label, value, start, end in sorted(marks.segments - there.keys(), key=lambda segment: segment[2:])
    ]
    if missing:
        answer, _ = api.ask("POST", path, missing, progress=progress)
        meaning(answer)
    for segment in there.keys() - marks.segments if replace else ():
        answer, _ = api.ask("DELETE", f"{path}{there[segment]}/", progress=progress)
        if answer.status != 404:
            meaning(answer)


def _facts(capture: Capture, wanted: Iterable[str]) -> dict[str, Any]:
    document = capture.document
    known = {
        "device": document["device"]["name"],
        "device_id": document["device"]["id"],
        "recording": capture.recording,
        "uuid": capture.uuid,
        "started": document["start"]["wall_time"],
        "clock": document["start"]["clock"],
    }
    return {name: known[name] for name in wanted}


def _plain(said: Mapping[str, Any], left_out: list[str]) -> list[tuple[str, str]]:
    """Names and values as the server takes them; what becomes nothing, or like another, is left out, or is cut off."""
    pairs: dict[str, str] = {}
    for name, value in said.items():
        pair = plain_name(name), plain_value(value)
        if not all(pair) or pairs.setdefault(*pair) != pair[1]:
            left_out.append(f"{name} = {value}")
        elif len(name) > LONGEST or len(str(value)) > LONGEST:
            left_out.append(f"{name} = {value}, but for {LONGEST} characters")
    return list(pairs.items())


def _ends(sheet: Sheet, segment: Mapping[str, Any]) -> tuple[int, int]:
    """First and last sample, as the server counts, within the file."""
    if segment["first"] is None:
        return sheet.first, sheet.last
    first, last = int(segment["first"]), int(segment["first"]) + int(segment["samples"]) - 1
    return max(sheet.first, sheet.number(first)), min(sheet.last, sheet.number(last))
