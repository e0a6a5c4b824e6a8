"""Whose a capture is: said by itself or by the settings, found at Moveshelf however its paths are written."""

import unicodedata

import pytest

from agent.targets import Refused
from tests.captures import make_capture
from tests.contracts.target import put
from tests.moveshelf import SUBJECT, of_subject, serving
from tests.test_config import mistakes
from tests.test_config_targets import with_target


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def capture(tmp_path):
    return of_subject(tmp_path / "captures")


def start(**changes) -> dict:
    was = {"boot_time_ns": 1, "boot_id": "", "wall_time": "2026-11-21T10:15:00.123000Z", "clock": "synchronised"}
    return {**was, **changes}


@pytest.mark.parametrize(
    ("said", "settings", "place"),
    [
        ({}, {"subject": "lab {device}"}, "/lab bay3/2026-11-21/walk/"),
        ({"labels": {"subject": "P1"}}, {"subject": "lab"}, "/P1/2026-11-21/walk/"),
        ({"labels": {"subject": "P1"}, "metadata": {"subject": " P2 "}}, {}, "/P2/2026-11-21/walk/"),
        ({"labels": {"subject": 17, "session": "visit 1", "condition": True}}, {}, "/17/visit 1/true/"),
        ({"labels": {"subject": ""}}, {"subject": "{device_id}", "session": "{recording}"}, "/0badcafe/walk/walk/"),
        ({}, {"subject": "x", "condition": "{uuid}", "trial": "{name}"}, "/x/2026-11-21/%s/"),
    ],
)
def test_names_are_the_captures_own_before_the_settings(far, tmp_path, said, settings, place):
    capture = make_capture(tmp_path, **said)
    put(far.open(**settings), capture)
    (trial,) = far.shelf.of_type("MocapClip")
    assert trial["projectPath"] == place.replace("%s", capture.uuid)


def test_a_capture_of_nobody_is_refused(far, tmp_path):
    with pytest.raises(Refused, match="does not say its subject: label the recording with subject="):
        put(far.open(), make_capture(tmp_path))
    assert far.api.operations == []


@pytest.mark.parametrize("name", ["Doe/Jane", "..", "Doe\nJane", "D" * 201])
def test_names_that_would_lead_elsewhere(far, tmp_path, name):
    with pytest.raises(Refused, match=r"its subject .*, which is no name at Moveshelf") as refused:
        put(far.open(), make_capture(tmp_path, metadata={"subject": name}))
    assert name not in str(refused.value)


@pytest.mark.parametrize(
    ("session", "clock", "date"),
    [
        ("2026-11-20", "unsynchronised", "2026-11-20"),
        ("visit 1", "redated", "2026-11-21"),
        ("visit 1", "unsynchronised", None),
        ("2026-13-40", "synchronised", "2026-11-21"),
    ],
)
def test_dates_and_time_codes_only_of_clocks_that_were_right(far, tmp_path, session, clock, date):
    put(far.open(), of_subject(tmp_path, labels={"session": session}, start=start(clock=clock)))
    assert far.shelf.of_type("Session")[0]["date"] == date
    assert ("startTimecode" in far.shelf.of_type("MocapClip")[0]) == (clock != "unsynchronised")


def test_a_revision_says_anew_what_the_trial_is(far, tmp_path):
    capture = of_subject(tmp_path, start=start(clock="unsynchronised"))
    put(far.open(), capture)
    (trial,) = far.shelf.of_type("MocapClip")
    trial["allowDownload"] = True  # by a person
    later = capture.amended(labels={"activity": "running"}, start=start(wall_time="2026-11-21T11:00:00.500000Z"))
    later.write_sidecar()
    put(far.open(), later)
    assert "activity = running" in trial["description"]
    assert trial["startTimecode"]["timecode"] == "11:00:00:500"
    assert (trial["title"], trial["allowDownload"]) == (capture.name, True)
    assert far.files() == {path.name: path.read_bytes() for path in later.files}
    put(far.open(), later)
    assert far.api.operations.count("updateClip") == 1


def test_a_trial_that_others_made_is_left_as_it_is(far, tmp_path):
    first, second = (of_subject(tmp_path, labels={"trial": "Trial-1"}) for _ in range(2))
    put(far.open(), first)
    (trial,) = far.shelf.of_type("MocapClip")
    before = trial["description"]
    later = second.amended(labels={"trial": "Trial-1", "activity": "running"})
    later.write_sidecar()
    for capture in (second, later):
        put(far.open(), capture)
    assert trial["description"] == before
    assert len(far.files()) == 4


@pytest.mark.parametrize("condition", ["walk", "walk/", "/walk/"])
def test_paths_are_compared_without_slashes(far, capture, condition):
    shelf, project = far.shelf, far.shelf.of_type("Project")[1]["id"]
    subject = shelf.createPatient(None, project, unicodedata.normalize("NFD", SUBJECT))["patient"]
    session = shelf.createSession(None, project, f"/{SUBJECT}/2026-11-21/", subject["id"])["session"]
    metadata = {"title": capture.name, "projectPath": session["projectPath"] + "walk/"}
    shelf.createClips(None, {"project": project, "clips": [{"clientId": "x", "metadata": metadata}]})
    (clip,) = shelf.of_type("MocapClip")
    for path in (f"/{SUBJECT}/2026-11-21", f"/{SUBJECT}/2026-11-21/", "/before marriage/2026-11-21/"):
        session["projectPath"] = path
        clip["projectPath"] = path.rstrip("/") + "/" + condition.lstrip("/")
        put(far.open(), capture)
        assert not {"createPatient", "createSession", "createClips"} & set(far.api.operations)
    assert [data["clip"]["id"] for data in shelf.of_type("AdditionalData")] == [clip["id"]] * 2


def test_the_same_trial_of_another_condition_is_another(far, tmp_path):
    target = far.open()
    captures = [
        of_subject(tmp_path, labels={"trial": "Trial-1", "condition": condition}) for condition in ("barefoot", "shoes")
    ]
    for capture in captures:
        put(target, capture)
    assert len(far.shelf.of_type("MocapClip")) == 2
    (session,) = far.shelf.of_type("Session")
    session["projectPath"] = "/elsewhere/2026-11-21/"  # the trials' paths do not begin with it any more
    put(target, of_subject(tmp_path, labels={"trial": "Trial-1", "condition": "shoes"}))
    assert len(far.shelf.of_type("MocapClip")) == 3


def test_two_subjects_of_that_name_are_a_persons_task(far, capture):
    project = far.shelf.of_type("Project")[1]["id"]
    ids = sorted(far.shelf.createPatient(None, project, SUBJECT)["patient"]["id"] for _ in range(2))
    with pytest.raises(Refused, match=", ".join(ids)) as refused:
        put(far.open(), capture)
    assert SUBJECT not in str(refused.value)


def test_a_recording_whose_names_cannot_be(tmp_path):
    text = with_target('kind = "moveshelf"\nproject = "clinic/gait"\nkey_file = "key"')
    text = text.replace('activity = "walking"', 'activity = "walking", subject = "Doe/Jane", trial = "ok"')
    said = mistakes(tmp_path, text)
    assert list(said) == ["recording.walk.labels.subject"]
    assert said["recording.walk.labels.subject"].endswith("a name for Moveshelf: this has a slash (target far)")
