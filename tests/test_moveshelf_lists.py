"""Lists at Moveshelf that grow with each capture: taken as they come, with signs of life, and never too long."""

import pytest

from agent.targets import Progress
from tests.contracts.target import put
from tests.moveshelf import SUBJECT, of_subject, serving


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


def many(row: dict, field: str) -> list[dict]:
    """Some 6 MB, in which what was there stands last."""
    text = "x" * 5000
    return [{**row, "id": f"other{number}", field: f"{text}{number}"} for number in range(1200)]


def test_a_session_with_thousands_of_trials(far, tmp_path):
    target = far.open()
    put(target, of_subject(tmp_path / "captures"))
    (session,), (trial,) = far.shelf.of_type("Session"), far.shelf.of_type("MocapClip")
    there = session["clips"]
    others = many(trial, "title")
    session["clips"] = lambda info: [*others, *there(info)]
    beats: list[int] = []
    same = of_subject(tmp_path / "captures", labels={"trial": trial["title"]})
    assert target.put(same, Progress(advance=beats.append))["trial"] == trial["id"]
    assert beats.count(0) > 6_000_000 >> 16
    put(far.open(), of_subject(tmp_path / "captures"))
    assert len(far.shelf.of_type("MocapClip")) == 2, "each was found among the others, or made"


def test_a_subject_with_thousands_of_sessions(far, tmp_path):
    put(far.open(), of_subject(tmp_path / "captures"))
    (subject,), (session,) = far.shelf.of_type("Patient"), far.shelf.of_type("Session")
    there = subject["sessions"]
    others = many(session, "projectPath")
    subject["sessions"] = lambda info: [*others, *there(info)]
    put(far.open(), of_subject(tmp_path / "captures"))
    assert len(far.shelf.of_type("Session")) == 1


def test_a_project_with_thousands_of_subjects(far, tmp_path):
    put(far.open(), of_subject(tmp_path / "captures"))
    (subject,), project = far.shelf.of_type("Patient"), far.shelf.of_type("Project")[1]
    there = project["patientsList"]
    others = many(subject, "name")
    project["patientsList"] = lambda info: [*others, *there(info)]
    put(far.open(), of_subject(tmp_path / "captures"))
    assert [row["name"] for row in far.shelf.of_type("Patient")] == [SUBJECT]
    assert far.open().probe()[1].endswith("subjects: 1201")


def test_a_trial_with_thousands_of_files(far, tmp_path):
    put(far.open(), of_subject(tmp_path / "captures", labels={"trial": "Trial-1"}))
    trial, record = far.shelf.of_type("MocapClip")[0], far.shelf.of_type("AdditionalData")[0]
    there = trial["additionalData"]
    others = many(record, "originalFileName")
    trial["additionalData"] = lambda info, **more: [*others, *there(info, **more)]
    target, capture = far.open(), of_subject(tmp_path / "captures", labels={"trial": "Trial-1"})
    receipt = target.put(capture, Progress())
    held = {held.file: held for held in target.inventory([(capture, receipt)])}
    assert len(held) == 1204
    pieces: list[bytes] = []
    target.fetch(held[capture.files[0].name], pieces.append)
    assert b"".join(pieces) == capture.files[0].read_bytes()
    assert target.remove(capture.uuid, receipt)[0] == "its trial, in which there are files of others"
    assert len(far.records()) == 2
