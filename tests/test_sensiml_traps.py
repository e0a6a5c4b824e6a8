"""The traps of SensiML's server: shown to be there in the model, and walked around by the target."""

import http.client
import json
import urllib.parse

import pytest

from agent.targets import Failed, Refused
from tests.captures import make_capture
from tests.contracts.target import put
from tests.receiver import Fault
from tests.sensiml import CSV, asked, form, posts, recorded, serving, upload


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def capture(tmp_path):
    return recorded(tmp_path / "captures")


# requests


def test_paths_end_in_a_slash_bodies_have_a_length_and_nothing_is_put_on_a_capture(far, tmp_path):
    target = far.open()
    first = recorded(tmp_path, labels={"activity": "walking"}, metadata={"subject": "7"})
    put(target, first)
    put(target, first.amended(labels={"activity": "running"}, metadata={"subject": "8"}))
    assert all(request.path.endswith("/") for request in far.model.requests)
    assert all("transfer-encoding" not in request.headers for request in far.model.requests)
    assert all("content-encoding" not in request.headers for request in far.model.requests), "gzip looks empty, too"
    assert [r.path for r in far.model.requests if r.method in ("PUT", "PATCH") and "relationship" not in r.path] == []
    asked(far, "POST", "project", {"name": "lost"})  # redirected without its slash, it becomes a GET
    assert [project.facts["name"] for project in far.model.projects.values()] == ["bay vibration"]


def test_a_chunked_body_is_read_as_empty(far, capture):
    put(far.open(), capture)
    far.model.keys.add("k")
    body, headers = form("chunked.csv", CSV)
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(far.model.url).netloc, timeout=5)
    path = f"/project/{far.project.facts['uuid']}/capture/"
    chunks = iter([body])
    connection.request("POST", path, chunks, {**headers, "Authorization": "Bearer k"}, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 400
    assert set(json.loads(answer.read())["data"]) == {"name", "file"}
    connection.close()


def test_what_is_sent(far, capture):
    put(far.open(), capture)
    fields = far.capture(capture.files[0].name)["fields"]
    assert list(fields) == [
        "name",
        "asynchronous",
        "calculated_sample_rate",
        "set_sample_rate",
        "capture_configuration_uuid",
    ]
    assert fields["name"] == capture.files[0].name
    assert fields["asynchronous"] in ("True", "False"), "another text is no boolean there"
    assert (fields["calculated_sample_rate"], fields["set_sample_rate"]) == ("103.97", "104")
    assert fields["capture_configuration_uuid"] == capture.document["configuration"]["uuid"]


def test_a_rate_that_is_no_whole_number_is_not_set(far, tmp_path):
    capture = recorded(tmp_path)
    capture.document["streams"][0]["rate_hz"] |= {"nominal": 12.5, "measured": None}
    capture.write_sidecar()
    put(far.open(), capture)
    fields = far.capture(capture.files[0].name)["fields"]
    assert fields["calculated_sample_rate"] == "12.5" and "set_sample_rate" not in fields


def test_columns_that_a_locked_project_does_not_know_are_refused_with_its_words(far, capture, tmp_path):
    put(far.open(), capture)
    assert asked(far, "PATCH", f"project/{far.project.facts['uuid']}/", {"lock_schema": True})[0] == 200
    other = recorded(tmp_path / "captures", b"sequence,GyroscopeX\n0,1\n1,2\n")
    with pytest.raises(Refused, match="does not match project schema"):
        put(far.open(), other)
    assert list(far.files()) == [capture.files[0].name]


# projects and configurations


def test_the_project_is_found_among_others(far, capture):
    for name in ("a", "bay vibration", "z"):
        assert asked(far, "POST", "project/", {"name": name})[0] == 201
    put(far.open(), capture)
    assert [p.facts["name"] for p in far.model.projects.values() if p.captures] == ["bay vibration"]
    assert len(far.model.projects) == 3


def test_a_project_that_another_device_makes_at_the_same_time(far, capture):
    """Between our look and our POST."""
    assert asked(far, "POST", "project/", {"name": "bay vibration"})[0] == 201
    far.model.faults_at["project"].append(Fault(200, text="[]"))
    put(far.open(), capture)
    assert len(far.model.projects) == 1 and len(far.files()) == 1


def test_a_project_deleted_meanwhile_is_made_again(far, capture, tmp_path):
    target = far.open()
    put(target, capture)
    far.model.projects.clear()
    second = recorded(tmp_path / "captures")
    put(target, second)
    assert list(far.files()) == [second.files[0].name]
    assert list(far.project.configurations) == [second.document["configuration"]["uuid"]]


def test_a_project_that_is_gone_each_time_is_an_attempt(far, capture):
    text = json.dumps({"status": 400, "data": ["Project does not exist."]})
    far.model.faults += [Fault(400, text=text), Fault(400, text=text)]
    with pytest.raises(Failed, match="Project does not exist"):
        put(far.open(), capture)
    put(far.open(), capture)


def test_the_configuration_is_made_once_under_our_uuid(far, tmp_path):
    captures = [recorded(tmp_path) for _ in range(3)]
    for capture in captures:
        put(far.open(), capture)
    uuid = captures[0].document["configuration"]["uuid"]
    (there,) = far.project.configurations.values()
    assert there["uuid"] == uuid
    assert there["configuration"]["version"] == 3, "not 1, which the server rewrites"
    assert len(far.model.asked("POST", "captureconfiguration")) == 1
    assert {c["configuration"] for c in far.project.captures.values()} == {uuid}


def test_a_configuration_that_another_device_makes_at_the_same_time(far, capture, tmp_path):
    put(far.open(), capture)
    far.model.faults_at[capture.document["configuration"]["uuid"]].append(Fault(404, text='{"detail": "Not found."}'))
    put(far.open(), recorded(tmp_path / "captures"))
    assert len(far.project.configurations) == 1 and len(far.files()) == 2


def test_a_configuration_deleted_meanwhile_is_made_again(far, capture, tmp_path):
    target = far.open()
    put(target, capture)
    assert (
        asked(
            far,
            "DELETE",
            f"project/{far.project.facts['uuid']}/captureconfiguration/{capture.document['configuration']['uuid']}/",
        )[0]
        == 204
    )
    second = recorded(tmp_path / "captures")
    put(target, second)
    assert far.capture(second.files[0].name)["configuration"] == second.document["configuration"]["uuid"]
    assert far.capture(capture.files[0].name)["configuration"] is None


# the name is taken


def test_there_already_is_a_delivery(far, capture):
    put(far.open(), capture)
    state: dict = {}
    put(far.open(), capture, state)
    assert posts(far) == 2 and len(far.files()) == 1
    put(far.open(), capture, state)
    assert posts(far) == 2, "its uuid was kept"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (CSV + b"10,4\n", "of 41 bytes instead of 36"),
        (CSV.replace(b"7,1", b"7,9"), "with other content"),
        (CSV.replace(b"8,2\n9,3\n", b"8,2.999\n"), "with 2 samples instead of 3"),
    ],
)
def test_another_file_of_that_name_is_left_alone(far, capture, tmp_path, other, reason):
    target = far.open()
    put(target, recorded(tmp_path / "captures"))
    assert upload(far, capture.files[0].name, other)[0] == 201
    with pytest.raises(Refused, match=reason):
        put(target, capture)
    assert far.files()[capture.files[0].name] == other


def test_two_at_once_lose_by_500(far, capture):
    """Between check and insertion: the loser is told of a unique constraint, not of a name that is taken."""
    put(far.open(), capture)
    far.model.blind = 1
    status, said = upload(far, capture.files[0].name, CSV)
    assert status == 500 and "duplicate key value" in said["detail"]
    far.model.blind = 1
    put(far.open(), capture)
    assert len(far.files()) == 1


def test_a_lost_answer_is_looked_for_before_anything_is_sent_again(far, capture):
    state: dict = {}
    far.lose_answer()
    with pytest.raises(Failed):
        put(far.open(), capture, state)
    assert state == {"uncertain": True}
    put(far.open(), capture, state)
    assert posts(far) == 1 and len(far.files()) == 1


def test_504_after_it_was_stored(far, capture):
    state: dict = {}
    put(far.open(), capture)
    far.model.faults.append(Fault(504, text="<html>gateway timeout</html>"))
    with pytest.raises(Failed):
        put(far.open(), capture, state)
    put(far.open(), capture, state)
    assert posts(far) == 2


def test_a_file_whose_content_a_put_destroyed(far, capture):
    put(far.open(), capture)
    path = f"project/{far.project.facts['uuid']}/capture/{far.capture(capture.files[0].name)['uuid']}/"
    assert asked(far, "PUT", path, {"name": capture.files[0].name})[0] == 200
    assert asked(far, "GET", path + "file/")[0] == 404
    assert asked(far, "DELETE", path)[0] == 500
    assert asked(far, "DELETE", f"project/{far.project.facts['uuid']}/")[0] == 500
    with pytest.raises(Refused, match="has lost its content"):
        put(far.open(), capture)


def test_content_on_another_host_is_not_fetched(far, capture):
    """The hosted server's: a redirect, to which our token must not go."""
    put(far.open(), capture)
    far.model.faults_at["file"].append(Fault(302, (("Location", "https://bucket.invalid/x?Signature=1"),)))
    put(far.open(), capture)


def test_a_csv_without_sequence_is_rewritten_there(far, tmp_path):
    capture = make_capture(tmp_path, b"A,B\n1,2\n3,4\n")
    put(far.open(), capture)
    assert far.files()[capture.files[0].name] == b"sequence,A,B\n0,1,2\n1,3,4\n"
    put(far.open(), capture)
    assert len(far.files()) == 1


def test_the_one_among_thousands_is_found(far, capture, tmp_path):
    put(far.open(), capture)
    there = far.capture(capture.files[0].name)
    for n in range(3000):
        far.project.captures[f"u{n}"] = {**there, "uuid": f"u{n}", "name": f"ünïcode {n} ],[{{.csv"}
    put(far.open(), capture)
    assert all("limit" not in request.path for request in far.model.requests), "its pages have no order"
