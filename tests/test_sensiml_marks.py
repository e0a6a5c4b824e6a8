"""What is said of a capture at SensiML: metadata and labels, made once, changed by a later revision."""

import json

import pytest

from agent.targets import Failed, Progress, Refused, Unreachable
from tests.contracts.target import put
from tests.receiver import Fault
from tests.sensiml import asked, posts, recorded, serving
from tests.test_sensiml_files import WAV, wav


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


def file(capture) -> str:
    return capture.files[0].name


def test_metadata_are_attached(far, tmp_path):
    capture = recorded(tmp_path, metadata={"subject": "A 7", "weight": 71.5, "outside": True, "laps": 3, "big": 1e16})
    put(far.open(), capture)
    assert far.metadata(file(capture)) == {
        "device": "bay3",
        "recording": "walk",
        "subject": "A 7",
        "weight": "71.5",
        "outside": "true",
        "laps": "3",
        "big": "1e16",
    }
    assert {name["type"] for name in far.project.names.values()} == {"string"}
    assert all(name["metadata"] for name in far.project.names.values())


def test_other_facts(far, tmp_path):
    capture = recorded(tmp_path)
    put(far.open(facts=("uuid", "started", "clock", "device_id")), capture)
    assert far.metadata(file(capture)) == {
        "uuid": capture.uuid,
        "started": "2026-11-21T10:15:00.123000Z",
        "clock": "synchronised",
        "device_id": "0badcafe",
    }
    plain = recorded(tmp_path)
    put(far.open(facts=()), plain)
    assert far.metadata(file(plain)) == {}


def test_tags_are_metadata(far, tmp_path):
    capture = recorded(tmp_path, tags=["keep", "bay 3"])
    put(far.open(facts=()), capture)
    assert far.metadata(file(capture)) == {"tags": "keep bay 3"}


def test_names_and_values_are_made_once(far, tmp_path):
    captures = [recorded(tmp_path, labels={"activity": "walking"}) for _ in range(3)]
    for capture in captures:
        put(far.open(), capture)
    for last in ("metadata", "label", "segmenter"):
        assert len(far.model.asked("POST", last)) == {"metadata": 2}.get(last, 1)
    assert len(far.model.asked("POST", "labelvalue")) == 3


def test_labels_are_segments_of_our_session(far, tmp_path):
    segments = [
        {"first": 7, "samples": 2, "labels": {"step": 1, "foot": "left"}},
        {"first": 8, "samples": 50, "labels": {"step": 2}},
        {"first": 9, "samples": 1, "labels": {"step": 3}},
    ]
    capture = recorded(tmp_path, labels={"activity": "walking"}, segments=segments)
    receipt = far.open().put(capture, Progress())
    assert far.segments(file(capture)) == {
        ("activity", "walking", 7, 9, "capture-agent"),
        ("step", "1", 7, 8, "capture-agent"),
        ("foot", "left", 7, 8, "capture-agent"),
        ("step", "2", 8, 9, "capture-agent"),
    }
    assert receipt["left_out"] == ["step = 3 of fewer than two samples"]
    json.dumps(receipt)


def test_in_a_wav_samples_count_from_0(far, tmp_path):
    segments = [{"first": 17, "samples": 5, "labels": {"step": 1}}]
    capture = recorded(tmp_path, wav(2), kind=WAV, labels={"activity": "walking"}, segments=segments)
    put(far.open(), capture)
    assert {segment[2:4] for segment in far.segments(file(capture))} == {(0, 99), (10, 14)}


def test_what_the_server_does_not_spell_is_spelt_otherwise_or_left_out(far, tmp_path):
    """It also strips blanks, after which a name would be looked for and made for ever."""
    metadata = {"a-b": "x/y", " c ": " d ", "empty": "", "!": "e", "a_b": "other", "long": "v" * 99}
    capture = recorded(tmp_path, metadata=metadata)
    receipt = far.open(facts=()).put(capture, Progress())
    assert far.metadata(file(capture)) == {"a_b": "x_y", "c": "d", "_": "e", "long": "v" * 64}
    assert receipt["left_out"] == ["empty = ", "a_b = other", f"long = {'v' * 99}, but for 64 characters"]


def test_a_name_of_the_other_kind_is_refused_before_anything_is_sent(far, tmp_path):
    put(far.open(), recorded(tmp_path, labels={"subject": "x"}))
    sent = posts(far)
    with pytest.raises(Refused, match="metadata 'subject': this project has a label of that name"):
        put(far.open(), recorded(tmp_path, metadata={"subject": "x"}))
    assert posts(far) == sent


@pytest.mark.parametrize("kind", ["metadata", "labels"])
def test_no_message_has_the_name_of_a_subject(far, tmp_path, kind):
    """Of a server that repeats what it was sent, at whichever step, as it is and as JSON or an address have it."""
    said = {"metadata": {"shoe": "old"}, "labels": {"activity": "walking"}}
    said[kind]["subject"] = "Jane Döe/17"
    forms = ("Jane Döe/17", "Jane D\\u00f6e/17", "Jane D_e_17", "Jane%20D%C3%B6e/17")
    told = []
    for path in ("metadata", "label", "labelvalue", "segmenter", "metadata-relationship", "label-relationship", "x"):
        for status in (400, 403, 500):
            queue = far.model.faults if path == "x" else far.model.faults_at[path]
            text = f"no: {', '.join(forms)}. "
            queue.append(Fault(status, text=text + "x" * (194 - len(text)) + " Jane Döe/17"))  # cut in the middle
            with pytest.raises((Failed, Refused, Unreachable)) as raised:
                put(far.open(), recorded(tmp_path, **said))
            told.append(str(raised.value))
    assert all("(subject)" in text for text in told)
    assert [form for form in (*forms, "Jane") if form in "".join(told)] == []


def test_a_name_or_value_that_another_device_makes_at_the_same_time(far, tmp_path):
    first = recorded(tmp_path, labels={"activity": "walking"})
    put(far.open(), first)
    for path in ("metadata", "label", "segmenter"):
        far.model.faults_at[path].append(Fault(200, text="[]"))  # before the other was done
    put(far.open(), recorded(tmp_path, labels={"activity": "walking"}))
    assert len(far.project.names) == 3 and len(far.project.segmenters) == 1
    assert all(len(name["label_values"]) == 1 for name in far.project.names.values())


@pytest.mark.parametrize("deleted", ["names", "values", "segmenters"])
def test_what_somebody_deleted_meanwhile_is_made_again(far, tmp_path, deleted):
    target = far.open()
    put(target, recorded(tmp_path, labels={"activity": "walking"}))
    if deleted == "values":
        for name in far.project.names.values():
            name["label_values"].clear()
    else:
        getattr(far.project, deleted).clear()
    capture = recorded(tmp_path, labels={"activity": "walking"})
    put(target, capture)
    assert posts(far) == 2
    assert far.segments(file(capture)) == {("activity", "walking", 7, 9, "capture-agent")}
    assert far.metadata(file(capture)) == {"device": "bay3", "recording": "walk"}


@pytest.mark.parametrize(
    "path", ["metadata", "labelvalue", "label", "segmenter", "metadata-relationship", "label-relationship"]
)
@pytest.mark.parametrize("fault", [{"lose_answer": True}, {"truncate": True}, {"cut_after": 0}])
def test_an_interruption_makes_nothing_twice(far, tmp_path, path, fault):
    capture = recorded(tmp_path, labels={"activity": "walking"}, metadata={"subject": "7"})
    far.model.faults_at[path] += [Fault(), Fault(**fault)]
    state: dict = {}
    with pytest.raises(Failed):
        put(far.open(), capture, state)
    put(far.open(), capture, state)
    assert posts(far) == 1
    assert far.metadata(file(capture)) == {"device": "bay3", "recording": "walk", "subject": "7"}
    assert far.segments(file(capture)) == {("activity", "walking", 7, 9, "capture-agent")}
    assert len(far.capture(file(capture))["label-relationship"]) == 1
    assert len(far.capture(file(capture))["metadata-relationship"]) == 3


def test_a_later_revision_changes_what_is_said(far, tmp_path):
    old = {"labels": {"activity": "walking"}, "metadata": {"subject": "7", "shoe": "old", "stays": "here"}}
    first = recorded(tmp_path, **old, segments=[{"first": 7, "samples": 2, "labels": {"step": 1}}])
    put(far.open(), first)
    later = first.amended(labels={"activity": "running"}, metadata={"subject": "8", "shoe": "new"}, segments=[])
    put(far.open(), later)
    assert posts(far) == 1, "found by its name, not sent again"
    assert far.segments(file(first)) == {("activity", "running", 7, 9, "capture-agent")}
    assert far.metadata(file(first)) == {
        "device": "bay3",
        "recording": "walk",
        "subject": "8",
        "shoe": "new",
        "stays": "here",
    }


def test_changed_metadata_go_one_by_one(far, tmp_path):
    """Of several in one PUT, the server takes one for another."""
    capture = recorded(tmp_path, metadata={"a": "1", "b": "2"})
    put(far.open(facts=()), capture)
    path = f"v2/project/{far.project.facts['uuid']}/capture/{far.capture(file(capture))['uuid']}/metadata-relationship/"
    there = list(far.capture(file(capture))["metadata-relationship"].values())
    assert asked(far, "PUT", path, there)[0] == 200
    mixed = {item["uuid"]: item["label"] for item in far.capture(file(capture))["metadata-relationship"].values()}
    assert mixed != {item["uuid"]: item["label"] for item in there}
    other = recorded(tmp_path, metadata={"a": "1", "b": "2"})
    put(far.open(facts=()), other)
    put(far.open(facts=()), other.amended(metadata={"a": "3", "b": "4"}))
    assert far.metadata(file(other)) == {"a": "3", "b": "4"}


def test_what_people_did_in_other_sessions_stays(far, tmp_path):
    capture = recorded(tmp_path, labels={"activity": "walking"})
    put(far.open(session="by hand"), capture)
    put(far.open(), capture.amended(labels={"activity": "running"}))
    put(far.open(), capture.amended(labels={}))
    assert far.segments(file(capture)) == {("activity", "walking", 7, 9, "by hand")}
