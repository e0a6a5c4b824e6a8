"""SensiML's ways in: tokens that rotate, kept before they are used, and API keys."""

import json
import logging
import stat
import threading
import traceback
from pathlib import Path

import pytest

from agent.targets import Failed, Home, Later, Refused, Unreachable
from tests.contracts.target import put
from tests.receiver import Fault
from tests.sensiml import Server, recorded, serving


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def capture(tmp_path):
    return recorded(tmp_path / "captures")


def kept(far: Server) -> Path:
    (path,) = far.home.secrets.glob("sensiml-*")
    return path


def logins(far: Server) -> int:
    return len(far.model.asked("POST", "oauth/token"))


def test_one_login_serves_all_and_the_next_start(far, tmp_path):
    target = far.open()
    for _ in range(3):
        put(target, recorded(tmp_path / "captures"))
    put(far.open(), recorded(tmp_path / "captures"))
    assert logins(far) == 1
    assert stat.S_IMODE(kept(far).stat().st_mode) == 0o600
    (access, refresh) = next(iter(far.model.access.items()))
    assert json.loads(kept(far).read_text()) == {"access": access, "refresh": refresh}


def test_tokens_are_on_the_disk_before_they_are_used(far, capture):
    seen, enter = [], far.model._enter

    def entered(request):
        seen.append(request.headers["authorization"] == f"Bearer {json.loads(kept(far).read_text())['access']}")
        enter(request)

    far.model._enter = entered
    put(far.open(), capture)
    far.model.access.clear()
    put(far.open(), recorded(capture.folder.parent))
    assert logins(far) == 2
    assert seen.count(False) == 0 and len(seen) > 4


def test_a_token_that_ended_is_renewed_by_its_refresh_token(far, tmp_path):
    target = far.open()
    put(target, recorded(tmp_path / "captures"))
    first = set(far.model.refresh)
    far.model.access.clear()
    (far.home.secrets / "password").unlink()  # it is not asked for
    put(target, recorded(tmp_path / "captures"))
    assert logins(far) == 2
    assert len(far.model.refresh) == 1 and not far.model.refresh & first, "it rotates"
    assert len(far.files()) == 2


def test_a_refresh_token_that_is_used_up_falls_back_to_the_password(far, tmp_path):
    target = far.open()
    put(target, recorded(tmp_path / "captures"))
    far.model.access.clear()
    far.model.refresh.clear()
    put(target, recorded(tmp_path / "captures"))
    assert logins(far) == 3


def test_an_answer_with_new_tokens_that_gets_lost(far, tmp_path):
    """The old tokens are dead then, and nobody has the new ones."""
    target = far.open()
    put(target, recorded(tmp_path / "captures"))
    far.model.access.clear()
    far.model.faults_at["token"].append(Fault(lose_answer=True))
    with pytest.raises(Failed):
        put(target, recorded(tmp_path / "captures"))
    put(target, recorded(tmp_path / "captures"))
    assert len(far.files()) == 2


def test_401_in_the_middle_of_an_upload(far, capture):
    far.model.faults.append(Fault(401, text='{"detail": "expired"}'))
    put(far.open(), capture)
    assert logins(far) == 2
    assert list(far.files()) == [capture.files[0].name]


def test_401_after_renewal_is_the_targets_fault(far, capture):
    far.model.faults += [Fault(401), Fault(401)]
    with pytest.raises(Unreachable, match="credentials"):
        put(far.open(), capture)


def test_many_that_are_refused_at_once_renew_once(far, tmp_path):
    target = far.open_patient()
    put(target, recorded(tmp_path / "captures"))
    far.model.access.clear()
    threads = [
        threading.Thread(target=put, args=(target, capture))
        for capture in [recorded(tmp_path / "captures") for _ in range(8)]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert logins(far) == 2
    assert len(far.files()) == 9


def test_what_another_process_renewed_is_taken_from_the_disk(far, tmp_path):
    daemon, command = far.open(), far.open()
    put(daemon, recorded(tmp_path / "captures"))
    far.model.access.clear()
    put(command, recorded(tmp_path / "captures"))
    put(daemon, recorded(tmp_path / "captures"))
    assert logins(far) == 2


def test_a_token_is_renewed_before_it_ends(far, tmp_path, monkeypatch):
    now = [5 * 10**9]
    monkeypatch.setattr("agent.targets._sensiml_tokens.boottime_ns", lambda: now[0])
    target = far.open()
    for later_s, expected in ((0, 1), (35900, 1), (50, 2)):
        now[0] += later_s * 10**9
        put(target, recorded(tmp_path / "captures"))
        assert logins(far) == expected
    assert not [r for r in far.model.requests if r.path.endswith("/capture/") and r.body_bytes == 0]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"access": "a\\nb", "refresh": "c"}', b'{"access": 1}'])
def test_a_file_of_tokens_that_is_none(far, capture, content):
    put(far.open(), capture)
    kept(far).write_bytes(content)
    put(far.open(), recorded(capture.folder.parent))
    assert logins(far) == 2


def test_tokens_that_cannot_be_kept_are_not_used(far, capture):
    far.home = Home("bay3", "0badcafe", far.home.secrets / "none", far.home.secrets)
    with pytest.raises(Unreachable, match=r"none/sensiml-.* cannot be written.* run as the daemon's user"):
        put(far.open(), capture)
    assert {request.path for request in far.model.requests} == {"/oauth/token/"}


def test_each_project_and_user_has_its_own_tokens(far, capture, tmp_path):
    put(far.open(), capture)
    put(far.open(project="another"), recorded(tmp_path / "captures"))
    assert len(list(far.home.secrets.glob("sensiml-*"))) == 2


def test_a_wrong_password_and_a_changed_one(far, capture):
    target = far.open()
    far.model.users["bay3"] = "another"
    with pytest.raises(Unreachable, match=r"does not let bay3 in .* credentials"):
        put(target, capture)
    (far.home.secrets / "password").write_text("another")
    put(target, capture)


def test_a_wrong_client(far, capture):
    (far.home.secrets / "client").write_text("wrong")
    with pytest.raises(Unreachable, match=r"401: .*invalid_client.* client_id and client_secret_file"):
        put(far.open(), capture)


def test_a_public_client_has_no_secret(far, capture):
    far.model.clients["agent"] = ""
    put(far.open(client_secret_file=""), capture)
    assert len(far.files()) == 1


@pytest.mark.parametrize("text", ["{}", "[]", "<html>", '{"access_token": "s3cret", "refresh_token": 1}'])
def test_a_login_without_tokens(far, capture, text):
    far.model.faults_at["token"].append(Fault(200, text=text))
    with pytest.raises(Failed, match="has no tokens") as failed:
        put(far.open(), capture)
    assert "s3cret" not in str(failed.value)


@pytest.mark.parametrize(("status", "meaning"), [(429, Later), (503, Failed), (404, Unreachable), (405, Unreachable)])
def test_a_login_that_is_answered_otherwise(far, capture, status, meaning):
    far.model.faults_at["token"].append(Fault(status, text="because"))
    with pytest.raises(meaning, match=f"{status}"):
        put(far.open(), capture)


def test_an_api_key_is_sent_as_it_is(far, capture):
    far.model.keys.add("web-ui-key-4711")
    put(far.open(username="", client_id="", secret_file="key"), capture)
    assert logins(far) == 0
    assert {r.headers["authorization"] for r in far.model.requests} == {"Bearer web-ui-key-4711"}
    assert list(far.home.secrets.glob("sensiml-*")) == []


def test_an_api_key_that_is_not_known_and_its_successor(far, capture):
    target = far.open(username="", client_id="", secret_file="key")
    with pytest.raises(Unreachable, match="credentials") as raised:
        put(target, capture)
    assert "web-ui-key" not in str(raised.value)
    far.model.keys.add("successor")
    (far.home.secrets / "key").write_text("successor")
    put(target, capture)


def test_no_secret_is_ever_told(far, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    target = far.open()
    put(target, recorded(tmp_path / "captures"))
    ((access, refresh),) = far.model.access.items()
    secrets = (far.secret, far.model.clients["agent"], access, refresh)
    told = []
    for status in (500, 400, 403, 413, 418):
        far.model.faults.append(Fault(status, text=f"{secrets}"))
        with pytest.raises((Failed, Refused, Unreachable)) as raised:
            put(target, recorded(tmp_path / "captures"))
        told += traceback.format_exception(raised.value)
    far.model.faults_at["token"].append(Fault(400, text=f"{secrets}"))
    far.model.access.clear()
    with pytest.raises(Unreachable) as raised:
        put(target, recorded(tmp_path / "captures"))
    told += traceback.format_exception(raised.value)
    assert "***" in "".join(told)
    assert [secret for secret in secrets if secret in "".join(told) + caplog.text] == []


def test_probing_logs_in_and_changes_nothing(far, capture):
    target = far.open()
    assert target.probe() == [f"{far.model.url}/ lets us in", "project 'bay vibration' comes with the first capture"]
    assert far.model.projects == {}
    put(target, capture)
    assert "is there" in far.open().probe()[1]
    far.deny()
    with pytest.raises(Unreachable, match="credentials") as raised:
        far.open().probe()
    assert far.secret not in str(raised.value)
