"""Annotations: what is said of a finished capture is its sidecar's next revision, and owed where it can be amended."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import agent
from agent.annotations import Annotation, extent, segment
from agent.capture import Capture
from agent.catalogue import Catalogue, Query
from agent.database import Database
from agent.folder import DataFolder
from agent.outbox import Outbox
from tests.captures import make_capture
from tests.recorded import make_data_folder, run
from tests.running import Running

PICTURE = ("jpeg", "image/jpeg", ".jpg")
GAP = {"first": 1020, "samples": 10, "exact": True}
SCHEMA = json.loads((Path(agent.__file__).parent / "capture.schema.json").read_text())


def stream(name: str, rate_hz: float, first: int, samples: int, **more: Any) -> dict[str, Any]:
    channel = {"name": f"{name}X", "unit": "g", "dtype": "<i2", "scale": 1, "offset": 0}
    return {
        "name": name,
        "driver": "ssi",
        "model": "a chip",
        "serial": "",
        "first": first,
        "samples": samples,
        "rate_hz": {"nominal": rate_hz, "measured": None, "ppm": None, "residual_s": None},
        "lost": {"samples": 0, "exact": True},
        "gaps": [],
        "channels": [channel],
        **more,
    }


@pytest.fixture
def walk(tmp_path: Path) -> Capture:
    """Samples 1000 to 1109 at 100 Hz, of which ten are missing, beside a slower stream."""
    streams = [stream("slow", 10.0, 7, 11), stream("imu", 100.0, 1000, 100, gaps=[GAP])]
    return make_capture(tmp_path / "captures", streams=streams, labels={"activity": "walking"}, duration_s=1.09)


@pytest.fixture
def picture(tmp_path: Path) -> Capture:
    one = stream("cam", 0.0, 3, 1, channels=[])
    return make_capture(tmp_path / "captures", kind=PICTURE, streams=[one], recording="photos", name="0badcafe.x")


def said(capture: Capture, **what: Any) -> Capture:
    """The capture with an annotation more, which its schema allows."""
    amended = capture.amended(**Annotation(**what)(capture.document))
    jsonschema.validate(amended.document, SCHEMA)
    return amended


def test_labels_metadata_and_tags_are_added_changed_and_removed(walk: Capture) -> None:
    first = said(walk, labels={"laps": 3}, metadata={"subject": "Ada"}, tags={"good": True, "odd": True})
    assert first.document["labels"] == {"activity": "walking", "laps": 3}
    assert (first.document["tags"], first.document["metadata"]) == (["good", "odd"], {"subject": "Ada"})
    second = said(first, labels={"activity": None}, tags={"good": False, "odd": True}, metadata={"subject": None})
    assert second.document["labels"] == {"laps": 3}
    assert (second.document["tags"], second.document["metadata"]) == (["odd"], {})
    assert second.revision == 3 and second.payloads == walk.payloads
    with pytest.raises(ValueError, match="nothing to change"):
        Annotation()(walk.document)


def test_a_part_is_counted_as_in_the_payload_on_the_fastest_stream(walk: Capture) -> None:
    by_index = said(walk, part={"first": 1010, "samples": 20}, labels={"activity": "turn"})
    by_second = said(walk, part={"begin_s": 0.1, "end_s": 0.3}, labels={"activity": "turn"})
    assert by_index.document["segments"] == by_second.document["segments"]
    assert by_index.document["segments"] == [
        {"first": 1010, "samples": 20, "begin_s": 0.1, "end_s": 0.3, "labels": {"activity": "turn"}}
    ]
    assert by_index.document["labels"] == {"activity": "walking"}, "those of the whole stay"
    whole = said(walk, part={"begin_s": 0, "end_s": 1.1}, labels={"all": True}).document["segments"][0]
    assert (whole["first"], whole["samples"]) == (1000, 110)


def test_what_was_lost_before_the_first_sample_moves_no_end(tmp_path: Path) -> None:
    before = {"first": 950, "samples": 50, "exact": True}
    imu = stream("imu", 100.0, 1000, 100, gaps=[before, GAP])
    walk = make_capture(tmp_path / "captures", streams=[imu], duration_s=1.09)
    assert extent(walk.document) == (1000, 1110, 100.0)
    with pytest.raises(ValueError, match="1000 to 1109"):
        segment(walk.document, 1100, 20, {"turn": "left"})


def test_segments_are_in_order_and_the_same_part_is_one_segment(walk: Capture) -> None:
    late = said(walk, part={"first": 1050, "samples": 5}, labels={"a": 1})
    early = said(late, part={"first": 1000, "samples": 5}, labels={"a": 2})
    more = said(early, part={"first": 1050, "samples": 5}, labels={"b": 3})
    assert [one["labels"] for one in more.document["segments"]] == [{"a": 2}, {"a": 1, "b": 3}]
    less = said(more, part={"first": 1050, "samples": 5}, labels={"a": None, "b": None})
    assert [one["first"] for one in less.document["segments"]] == [1000]
    assert said(more, part={"begin_s": 0.4, "end_s": 1.0}).document["segments"] == less.document["segments"]
    with pytest.raises(ValueError, match="no segment"):
        Annotation(part={"first": 1090, "samples": 5})(more.document)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"first": 999, "samples": 2}, "1000 to 1109"),
        ({"first": 1109, "samples": 2}, "1000 to 1109"),
        ({"first": 1110, "samples": 0}, "1000 to 1109"),
        ({"first": 1000, "samples": -1}, "1000 to 1109"),
        ({"first": 1000.0, "samples": 1}, "a part has"),
        ({"first": 1000}, "a part has"),
        ({"begin_s": 0.2, "end_s": 0.1}, "end_s"),
        ({"begin_s": -0.1, "end_s": 0.1}, "begin_s"),
        ({"begin_s": float("nan"), "end_s": 0.1}, "a part has"),
        ({"begin_s": 0, "end_s": 9}, "1000 to 1109"),
        ({"begin_s": 0, "end_s": 1e308}, "not in"),
        ({"begin_s": 0, "end_s": 10**400}, "a part has"),
    ],
)
def test_a_part_that_is_not_in_the_capture_is_refused(walk: Capture, part: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Annotation(part=part, labels={"a": 1})(walk.document)


def test_a_moment_is_a_part_of_no_samples(walk: Capture) -> None:
    moment = segment(walk.document, 1109, 0, {"mark": "jump"})
    assert (moment["begin_s"], moment["end_s"]) == (1.09, 1.09)


BOX = {"label": "moth", "x_min": 0.1, "y_min": 0, "x_max": 0.5, "y_max": 1, "confidence": 0.9}


def test_boxes_and_classifications_of_a_picture(picture: Capture) -> None:
    seen = said(picture, box=BOX, classes={"night": 0.75, "trap": True})
    assert seen.document["annotations"] == {
        "boxes": [BOX],
        "classifications": [{"label": "night", "confidence": 0.75}, {"label": "trap"}],
    }
    less = said(seen, box={"label": "moth"}, classes={"night": None, "trap": 0.5})
    assert less.document["annotations"] == {"classifications": [{"label": "trap", "confidence": 0.5}]}


@pytest.mark.parametrize(
    "what",
    [
        {"box": {**BOX, "x_max": 1.1}},
        {"box": {**BOX, "x_max": 0.1}},
        {"box": {**BOX, "y_min": True}},
        {"box": {**BOX, "label": ""}},
        {"box": {**BOX, "name": "x"}},
        {"box": {"label": "moth", "x_min": 0.1}},
        {"box": {"label": "unknown"}},
        {"classes": {"night": 2}},
        {"classes": {"night": "very"}},
        {"part": {"first": 3, "samples": 0}, "labels": {"a": 1}},
    ],
)
def test_what_no_picture_can_have_is_refused(picture: Capture, what: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Annotation(**what)(picture.document)


def test_only_pictures_have_boxes(walk: Capture) -> None:
    with pytest.raises(ValueError, match="no picture"):
        Annotation(box=BOX)(walk.document)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "agent.db", quarantine=tmp_path / "quarantine") as database:
        yield database


def test_an_annotation_is_owed_to_those_whose_receipt_is_not_final(
    database: Database, walk: Capture, tmp_path: Path
) -> None:
    catalogue = Catalogue(database, tmp_path / "captures")
    outbox = Outbox(database, boot_id="b", now=lambda: 1, jitter=random.Random(1))
    targets = ["archive", "final", "slow"]
    with database.transaction(durable=False) as connection:
        catalogue.add(connection, [walk])
        outbox.owe(connection, [(walk.uuid, walk.size, targets)])

    def claim(target: str) -> list[int]:
        claimed = outbox.claim(target, 9, lease_s=60)
        outbox.settle([parcel.delivered({"id": 1, "final": target == "final"}) for parcel in claimed])
        return [parcel.revision for parcel in claimed]

    def annotate(tag: str) -> None:
        catalogue.amend(
            walk.name,
            Annotation(tags={tag: True}),
            lambda connection, capture: outbox.amend(connection, capture.uuid, capture.revision, targets),
        )

    assert (claim("archive"), claim("final")) == ([1], [1])
    annotate("one")
    assert [claim(target) for target in targets] == [[2], [], [2]]
    assert [entry.uuid for entry in catalogue.find(Query(tags=["one"]))] == [walk.uuid]
    assert list(catalogue.find(Query(tags=["two"]))) == []


def test_what_is_on_its_way_to_a_final_place_is_not_owed_again(
    database: Database, walk: Capture, tmp_path: Path
) -> None:
    catalogue = Catalogue(database, tmp_path / "captures")
    outbox = Outbox(database, boot_id="b", now=lambda: 1, jitter=random.Random(1))
    with database.transaction(durable=False) as connection:
        catalogue.add(connection, [walk])
        outbox.owe(connection, [(walk.uuid, walk.size, ["final"])])
    (parcel,) = outbox.claim("final", 1, lease_s=60)
    with database.transaction(durable=False) as connection:
        outbox.amend(connection, walk.uuid, 2, ["final"])
    outbox.settle([parcel.delivered({"final": True})])
    assert outbox.counts()["final"].delivered == 1
    assert outbox.claim("final", 1, lease_s=60) == []


def test_on_the_command_line_without_a_daemon(tmp_path: Path) -> None:
    data = make_data_folder(tmp_path / "data")
    owed = json.loads(run("captures", "list", "--json", "--data", data).output)
    delivered = next(entry for entry in owed if entry["standing"] == "delivered")
    name = delivered["name"]
    where = ("--data", data)
    assert "revision 2" in run("annotate", name, "activity=", "laps=3", "--tag", "good", *where).output
    assert "revision 3" in run("annotate", name, "turn=left", "--seconds", "1", "2", *where).output
    document = json.loads(run("captures", "show", name, "--json", *where).output)
    assert (document["labels"], document["tags"], document["revision"]) == ({"laps": 3}, ["good"], 3)
    assert [one["labels"] for one in document["segments"]] == [{"turn": "left"}]
    shown = run("captures", "show", name, *where).output
    assert "turn left" in shown and "good" in shown
    found = json.loads(run("captures", "list", "--json", "--tag", "good", *where).output)
    assert [(entry["name"], entry["standing"]) for entry in found] == [(name, "owed")], "its revision is owed"
    assert "no picture" in run("annotate", name, "--box", "moth=0,0,1,1", *where, code=1).output
    run("annotate", name, "--box", "moth=0,0", *where, code=2)
    assert "no capture" in run("annotate", "nothing", "a=1", *where, code=1).output
    with DataFolder(data):
        assert "another capture-agent runs" in run("annotate", name, "a=1", *where, code=1).output


def test_a_running_daemon_delivers_the_next_revision(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    config = """
[stream.mcu]
driver = "ssi"
port = "virtual"
virtual = { seed = 5, rate_hz = 1000 }

[recording.walk]
streams = ["mcu"]
length_s = 0.5
targets = ["archive"]

[target.archive]
kind = "directory"
path = "{folder}/archive"
"""
    with Running(tmp_path, config) as running:
        archive = tmp_path / "archive"
        running.until(lambda status: any(archive.rglob("*.json")))
        sidecar = min(archive.rglob("*.json"))
        here = ("--data", running.data)
        said = run("annotate", sidecar.stem, "turn=left", "--seconds", "0.1", "0.2", "--tag", "good", *here)
        assert "revision 2" in said.output
        assert "are not in" in run("annotate", sidecar.stem, "a=1", "--seconds", "7", "8", *here, code=1).output
        running.until(lambda status: Capture.load(sidecar).revision == 2)
        there = Capture.load(sidecar)
        assert there.document == Capture.load(running.data / "captures" / sidecar.parent.name / sidecar.name).document
        assert (there.document["tags"], there.document["segments"][0]["samples"]) == (["good"], 100)
        assert not there.damage()
