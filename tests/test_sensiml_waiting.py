"""A SensiML server that answers slowly or not at all, and lists that never seem to end: the daemon sees who waits."""

import pytest

from agent.targets import Progress
from tests.beats import all_show_life, longest_silence
from tests.contracts.target import put
from tests.receiver import Fault
from tests.sensiml import recorded, serving


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def often(monkeypatch):
    """Whoever waits for a lock does not rest for a second between two signs of life."""
    monkeypatch.setattr("agent.targets._alone._BEAT_S", 0.01)


def eight(folder):
    return [recorded(folder / "captures", labels={"activity": "walking"}) for _ in range(8)]


def test_a_server_that_hangs_silences_nobody_who_waits_for_the_project(far, tmp_path, often):
    far.model.keys.add("web-ui-key-4711")
    target = far.open(username="", client_id="", secret_file="key", idle_timeout_s=60.0)
    far.model.fault = lambda path: Fault(hang=True)
    assert all_show_life(target, eight(tmp_path))


@pytest.mark.parametrize("path", ["captureconfiguration", "metadata", "label", "labelvalue", "segmenter", "token"])
def test_nor_for_whatever_is_found_once_for_all(far, tmp_path, often, path):
    target, fault = far.open_patient(), far.model.fault
    far.model.fault = lambda at: Fault(hang=True) if f"/{path}/" in at else fault(at)
    assert all_show_life(target, eight(tmp_path))


def test_nor_for_a_token_that_is_renewed(far, tmp_path, often):
    target = far.open_patient()
    put(target, recorded(tmp_path / "captures", labels={"activity": "walking"}))
    far.model.access.clear()
    far.model.faults_at["token"].append(Fault(hang=True))
    assert all_show_life(target, eight(tmp_path))


def test_between_any_two_requests_there_is_a_sign_of_life(far, tmp_path):
    capture = recorded(tmp_path, labels={"activity": "walking"}, metadata={"subject": "7"})
    assert longest_silence(far.open_patient(), capture, far.model) == 1
    far.model.access.clear()
    far.model.refresh.clear()
    later = capture.amended(labels={"activity": "running", "more": "1"}, metadata={"subject": "8"})
    assert longest_silence(far.open_patient(), later, far.model) == 1


def test_a_long_list_and_a_long_file_are_taken_with_signs_of_life(far, tmp_path):
    capture = recorded(tmp_path, b"sequence,A\n" + b"".join(b"%d,%d\n" % (n, n) for n in range(200_000)))
    capture.document["streams"][0]["samples"] = 200_000
    capture.write_sidecar()
    put(far.open_patient(), capture)
    there = far.capture(capture.files[0].name)
    for number in range(3000):
        far.project.captures[f"u{number}"] = {**there, "uuid": f"u{number}", "name": f"{number}.csv"}
    beats: list[int] = []
    far.open_patient().put(capture, Progress(advance=beats.append))
    pieces = (capture.payloads[0].size + 3000 * 300) // 65536
    assert beats.count(0) > pieces
