"""Annotations: what a person says of a finished capture, as changes of its sidecar that make the next revision."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from agent.number import is_number

Document = Mapping[str, Any]
_CORNERS = ("x_min", "y_min", "x_max", "y_max")


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What is to be changed; what is left out stays. It is called with a sidecar's document, by `Catalogue.amend`.

    In mappings a value of None removes what has that name.
    """

    labels: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Of the capture; of the part alone where there is one."""
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tags: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Words without a value: true adds one, false or None removes it."""
    part: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """`first` and `samples`, counted as in the payload; or `begin_s` and `end_s` since the first sample. Without
    labels the segments that lie in it go."""
    box: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """`label`, four corners in parts of width and height, maybe `confidence`. The label alone: its boxes go."""
    classes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the picture shows as a whole: label: confidence (0 to 1), or true."""

    def __call__(self, document: Document) -> dict[str, Any]:
        """The parts of the document that are new. ValueError, which says what is wrong."""
        changes: dict[str, Any] = {}
        if self.part:
            changes["segments"] = _segments(document, self.part, self.labels)
        elif self.labels:
            changes["labels"] = _merged(document["labels"], self.labels)
        if self.metadata:
            changes["metadata"] = _merged(document["metadata"], self.metadata)
        if self.tags:
            changes["tags"] = _tags(document, self.tags)
        if self.box or self.classes:
            changes["annotations"] = _seen(document, self.box, self.classes)
        if not changes:
            raise ValueError("nothing to change is said")
        return changes


def lead(document: Document) -> Mapping[str, Any]:
    """The stream on whose samples the payload's rows are: the fastest, the first of equals. ValueError without one."""
    streams: Sequence[Mapping[str, Any]] = [
        stream for stream in document["streams"] if stream["samples"] and stream["channels"]
    ]
    if not streams:
        raise ValueError(f"{document['name']} has no samples that parts could be made of")
    return max(streams, key=lambda stream: stream["rate_hz"]["nominal"])


def extent(document: Document) -> tuple[int, int, float]:
    """(index of the first sample, index behind the last, samples a second) as the payload counts. ValueError."""
    stream = lead(document)
    return int(stream["first"]), end_of(stream), float(stream["rate_hz"]["measured"] or stream["rate_hz"]["nominal"])


def end_of(stream: Mapping[str, Any]) -> int:
    """The index behind the last of a sidecar's stream. What was lost before its first sample lies before that."""
    first = int(stream["first"])
    missing = sum(int(gap["samples"]) for gap in stream["gaps"] if int(gap["first"]) >= first)
    return first + int(stream["samples"]) + missing


def segment(document: Document, first: int, samples: int, labels: Mapping[str, Any]) -> dict[str, Any]:
    """A labelled part as the sidecar has it, seconds beside the indexes. ValueError where it is not in the capture."""
    begin, end, rate_hz = extent(document)
    if samples < 0 or first < begin or first + samples > end or first >= end:
        raise ValueError(
            f"samples {first} to {first + samples - 1} are not in {document['name']}: {begin} to {end - 1}"
        )
    begin_s = (first - begin) / rate_hz
    return {
        "first": first,
        "samples": samples,
        "begin_s": round(begin_s, 6),
        "end_s": round(begin_s + samples / rate_hz, 6),
        "labels": dict(labels),
    }


def _segments(document: Document, part: Mapping[str, Any], labels: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All segments with this part's labels changed, in the order of their beginning."""
    first, samples = _place(document, part)
    kept = [dict(segment) for segment in document.get("segments", ())]
    if not labels:
        left = [one for one in kept if not first <= one["first"] <= one["first"] + one["samples"] <= first + samples]
        if len(left) == len(kept):
            raise ValueError(f"{document['name']} has no segment within samples {first} to {first + samples - 1}")
        return left
    same = next((one for one in kept if (one["first"], one["samples"]) == (first, samples)), None)
    made = segment(document, first, samples, _merged(same["labels"] if same else {}, labels))
    kept = [one for one in kept if one is not same] + ([made] if made["labels"] else [])
    return sorted(kept, key=lambda one: (one["first"], one["samples"]))


def _place(document: Document, part: Mapping[str, Any]) -> tuple[int, int]:
    """(first, samples) of a part that is said in either way."""
    begin, end, rate_hz = extent(document)
    if part.keys() == {"first", "samples"} and all(_whole(part[key]) for key in part):
        return int(part["first"]), int(part["samples"])
    if part.keys() != {"begin_s", "end_s"} or not all(is_number(part[key]) for key in part):
        raise ValueError("a part has first and samples, or begin_s and end_s")
    if not 0 <= part["begin_s"] <= part["end_s"]:
        raise ValueError("a part's begin_s is 0 or more, and its end_s not before it")
    try:
        first, after = (begin + round(part[key] * rate_hz) for key in ("begin_s", "end_s"))
    except OverflowError:
        raise ValueError(f"{part['end_s']:g} s are not in {document['name']}") from None
    if after == end + 1:  # the duration is from the first sample to the last, and may be rounded up
        after = end
    return first, after - first


def _tags(document: Document, tags: Mapping[str, Any]) -> list[str]:
    known = dict.fromkeys(document.get("tags", ()))
    for tag, wanted in tags.items():
        if wanted:
            known[tag] = None
        else:
            known.pop(tag, None)
    return list(known)


def _seen(document: Document, box: Mapping[str, Any], classes: Mapping[str, Any]) -> dict[str, Any]:
    """The sidecar's annotations with this box and these classifications."""
    if not any(payload["media_type"].startswith("image/") for payload in document["payloads"]):
        raise ValueError(f"{document['name']} is no picture: there is nothing to be seen in it")
    known = document.get("annotations", {})
    boxes = [dict(one) for one in known.get("boxes", ())]
    if box:
        if not isinstance(box.get("label"), str) or not box["label"]:
            raise ValueError("a box has a label")
        if box.keys() == {"label"}:
            left = [one for one in boxes if one["label"] != box["label"]]
            if len(left) == len(boxes):
                raise ValueError(f"{document['name']} has no box {box['label']!r}")
            boxes = left
        else:
            boxes.append(_box(box))
    shown = {one["label"]: one for one in known.get("classifications", ())}
    for label, confidence in classes.items():
        if confidence is None or confidence is False:
            shown.pop(label, None)
        elif confidence is True:
            shown[label] = {"label": label}
        else:
            shown[label] = {"label": label, "confidence": _share(f"the confidence of {label}", confidence)}
    found = {"boxes": boxes, "classifications": list(shown.values())}
    return {name: said for name, said in found.items() if said}


def _box(box: Mapping[str, Any]) -> dict[str, Any]:
    if not {"label", *_CORNERS} <= box.keys() <= {"label", *_CORNERS, "confidence"}:
        raise ValueError(f"a box has label, {', '.join(_CORNERS)} and maybe confidence")
    made = {"label": box["label"], **{name: _share(name, box[name]) for name in box if name != "label"}}
    if made["x_min"] >= made["x_max"] or made["y_min"] >= made["y_max"]:
        raise ValueError("a box's x_max and y_max are greater than its x_min and y_min")
    return made


def _share(name: str, value: object) -> float:
    if not is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}, and has to be from 0 to 1")
    return value


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _merged(known: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**known, **said}.items() if value is not None}
