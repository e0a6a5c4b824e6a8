import logging
import threading
import traceback

import pytest

from agent.targets import Failed, Refused, Unreachable
from tests.contracts.target import put
from tests.receiver import Fault
from tests.sticky_pi import ASK, LOGIN, UPLOAD, V2, V2_NAME, code, picture, serving


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def capture(tmp_path):
    return picture(tmp_path / "captures")


def test_one_token_serves_all(far, tmp_path):
    target = far.open()
    for second in range(10, 15):
        put(target, picture(tmp_path, name=f"512858f4.2024-03-05_06-07-{second}"))
    assert far.model.asked(LOGIN) == 1
    logins = [request for request in far.model.requests if request.path == LOGIN]
    assert logins[0].headers["authorization"] == "Basic " + code(f"bay3:{far.secret}")
    (token,) = far.model.tokens
    rest = {request.headers["authorization"] for request in far.model.requests if request.path != LOGIN}
    assert rest == {"Basic " + code(f"{token}:")}


def test_a_token_that_ended_is_renewed_once(far, tmp_path):
    target = far.open()
    put(target, picture(tmp_path, name="512858f4.2024-03-05_06-07-10"))
    far.model.ahead_s = 86410.0
    put(target, picture(tmp_path, name="512858f4.2024-03-05_06-07-11"))
    assert far.model.asked(LOGIN) == 2
    assert far.model.asked(ASK) == 3, "401, and again"


def test_a_token_that_ended_for_many_is_renewed_once(far, tmp_path):
    target = far.open_patient()
    put(target, picture(tmp_path, name="512858f4.2024-03-05_06-07-07"))
    far.model.ahead_s = 86410.0
    taken = [picture(tmp_path, name=f"512858f4.2024-03-05_06-07-{second}") for second in range(10, 18)]
    threads = [threading.Thread(target=put, args=(target, capture)) for capture in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert far.model.asked(LOGIN) == 2
    assert len(far.files()) == 9


def test_a_token_is_renewed_before_it_ends(far, tmp_path, monkeypatch):
    now = [5 * 10**9]
    monkeypatch.setattr("agent.targets._sticky_pi_token.boottime_ns", lambda: now[0])
    target = far.open()
    put(target, picture(tmp_path, name="512858f4.2024-03-05_06-07-10"))
    now[0] += 86300 * 10**9
    put(target, picture(tmp_path, name="512858f4.2024-03-05_06-07-11"))
    assert far.model.asked(LOGIN) == 1
    now[0] += 100 * 10**9
    put(target, picture(tmp_path, name="512858f4.2024-03-05_06-07-12"))
    assert far.model.asked(LOGIN) == 2
    assert far.model.asked(ASK) == 3, "no 401 was needed"


@pytest.mark.parametrize("ahead_s", [-50 * 365 * 86400.0, 86400.0])
def test_clocks_that_differ_do_no_harm(far, tmp_path, ahead_s):
    """A board in 1970, and one that thinks that every token is over."""
    far.model.ahead_s = ahead_s
    target = far.open()
    for second in (10, 11):
        put(target, picture(tmp_path, name=f"512858f4.2024-03-05_06-07-{second}"))
    assert far.model.asked(LOGIN) == 1


def test_401_in_the_middle_of_an_upload(far, capture):
    far.model.faults.append(Fault(401, text="Unauthorized Access"))
    put(far.open(), capture)
    assert far.model.asked(LOGIN) == far.model.asked(UPLOAD) == 2
    assert far.files() == {V2_NAME + ".jpg": V2}


def test_401_after_renewal_is_the_targets_fault(far, capture):
    far.model.faults_at[ASK] += [Fault(401), Fault(401)]
    with pytest.raises(Unreachable, match="credentials"):
        put(far.open(), capture)
    assert far.model.asked(LOGIN) == 2


def test_a_changed_password_is_picked_up(far, capture):
    target = far.open()
    far.model.users["bay3"] = "another"
    with pytest.raises(Unreachable, match="401: Unauthorized Access; check the target's credentials"):
        put(target, capture)
    (far.home.secrets / "password").write_text("another")
    put(target, capture)


def test_a_user_who_may_only_read(far, capture):
    far.model.readers.add("bay3")
    with pytest.raises(Unreachable, match=r"403: .* role has to allow writing"):
        put(far.open(), capture)
    assert far.model.objects == {}


@pytest.mark.parametrize("text", ["{}", "[]", "<html>", '{"token": ""}', '{"token": "tökn-secret"}', '{"token": 5}'])
def test_a_login_without_a_token(far, capture, text):
    far.model.faults_at[LOGIN].append(Fault(text=text))
    with pytest.raises(Failed, match="has no token") as failed:
        put(far.open(), capture)
    assert "secret" not in "".join(traceback.format_exception(failed.value))


def test_token_and_password_are_never_told(far, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    target = far.open()
    put(target, picture(tmp_path / "before", name="512858f4.2024-03-05_06-07-07"))
    (token,) = far.model.tokens
    secrets = (far.secret, token, code(f"{token}:"), code(f"bay3:{far.secret}"))
    told = []
    for fault in (Fault(500, text=f"who is {secrets}?"), Fault(text=f"{secrets}"), Fault(413, text=f"{secrets}")):
        for path in (ASK, UPLOAD):
            (far.model.faults if path == UPLOAD else far.model.faults_at[path]).append(fault)
            with pytest.raises((Failed, Refused)) as raised:
                put(target, picture(tmp_path / "after"))
            told += [str(raised.value), *traceback.format_exception(raised.value)]
            far.model.rows.clear()
    assert "***" in "".join(told)
    assert [secret for secret in secrets if secret in "".join(told) + caplog.text] == []
    assert sorted(path.name for path in far.home.secrets.iterdir()) == ["password"]
