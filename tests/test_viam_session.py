"""Who we are to Viam: keys, tokens that end, clocks that are wrong, certificates, and settings that are mistakes."""

import base64
import contextlib
import json
import threading

import pytest
import trustme

from agent.targets import Unreachable
from agent.targets.viam import Settings
from drivers.settings import SettingsError
from tests.captures import make_capture
from tests.contracts.target import put
from tests.models.viam import DENIED, INVALID, KEY, KEY_ID, PART, UNAUTHENTICATED, Fault
from tests.models.viam_grpc import GrpcCloud, Proxy
from tests.viam import awake, serving


@pytest.fixture(scope="module", autouse=True)
def grpc_is_awake():
    with awake():
        yield


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def more(tmp_path):
    return lambda: make_capture(tmp_path / "captures", b"content")


def test_one_token_serves_all(far, more):
    target = far.open()
    for _ in range(3):
        put(target, more())
    assert far.cloud.calls.count("Authenticate") == 1
    (token,) = far.cloud.tokens
    said = [metadata.get("authorization") for metadata in far.cloud.metadata]
    assert said == [None, *[f"Bearer {token}"] * (len(said) - 1)], "asked for without one, or it would be refused"


@pytest.mark.parametrize("life_s", [None, 3600.0])
def test_a_token_that_is_not_known_any_more_is_renewed_once(far, more, life_s):
    far.cloud.life_s = life_s
    target = far.open()
    put(target, more())
    far.cloud.forgets_tokens = True
    put(target, more())
    assert far.cloud.calls.count("Authenticate") == 2
    assert len(far.files()) == 4


def test_it_ends_in_the_middle_of_a_capture(far, more):
    far.fault(code=UNAUTHENTICATED, text="unauthenticated: expired")
    put(far.open(), more())
    assert far.cloud.calls.count("Authenticate") == 2
    assert len(far.files()) == 2


def test_it_ends_for_many_and_is_renewed_once(far, more):
    target = far.open_patient()
    put(target, more())
    far.cloud.forgets_tokens = True
    threads = [threading.Thread(target=put, args=(target, more())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert far.cloud.calls.count("Authenticate") == 2
    assert len(far.files()) == 18


def test_not_known_after_renewal_is_the_targets_fault(far, more):
    for _ in range(2):
        far.fault(code=UNAUTHENTICATED, text="invalid audience")
    with pytest.raises(Unreachable, match=r"UNAUTHENTICATED: invalid audience; check the target's credentials"):
        put(far.open(), more())
    assert far.cloud.calls.count("Authenticate") == 2


@pytest.mark.parametrize(
    ("life_s", "early_s", "ahead_s"), [(3600, 60, 0), (100, 50, 0), (3600, 60, 1e7), (3600, 60, -1e7)]
)
def test_a_token_is_renewed_before_it_ends(far, more, monkeypatch, life_s, early_s, ahead_s):
    """Whatever the two clocks say."""
    far.cloud.ahead_s = ahead_s
    now = [5 * 10**9]
    monkeypatch.setattr("agent.targets._viam_session.boottime_ns", lambda: now[0])
    far.cloud.life_s = life_s
    target = far.open()
    put(target, more())
    now[0] += (life_s - early_s - 1) * 10**9
    put(target, more())
    assert far.cloud.calls.count("Authenticate") == 1
    now[0] += 2 * 10**9
    put(target, more())
    assert far.cloud.calls.count("Authenticate") == 2


@pytest.mark.parametrize("ahead_s", [-50 * 365 * 86400.0, 50 * 365 * 86400.0])
def test_clocks_that_differ_do_no_harm(far, more, ahead_s):
    """A board in 1970, and one that thinks that every token is over."""
    far.cloud.life_s, far.cloud.ahead_s = 3600.0, ahead_s
    target = far.open()
    put(target, more())
    put(target, more())
    assert far.cloud.calls.count("Authenticate") == 1


@pytest.mark.parametrize(
    "claims", [{"exp": 5}, {"exp": "soon"}, {"exp": None}, [], {"exp": 5, "iat": 10}, {"exp": 1e999}]
)
def test_a_token_with_odd_claims_is_a_token(far, more, claims):
    token = "e30." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode() + ".x"
    far.cloud.tokens[token] = None
    answer = b"\x0a" + bytes([len(token)]) + token.encode()
    far.cloud.faults["Authenticate"].append(Fault(answer=answer))
    target = far.open()
    put(target, more())
    put(target, more())
    assert len(far.files()) == 4


@pytest.mark.parametrize("answer", [b"", b"\x0a\x00", b"\x0a\x09", b"<html>", "\x0a\x04tök".encode()])
def test_an_answer_without_a_token(far, more, answer):
    far.cloud.faults["Authenticate"].append(Fault(answer=answer))
    with pytest.raises(Unreachable, match="has no token"):
        put(far.open(), more())


@pytest.mark.parametrize(
    ("code", "text"), [(DENIED, "failed to authenticate"), (INVALID, "no credentials"), (UNAUTHENTICATED, "who?")]
)
def test_a_key_that_is_not_taken_concerns_everybody(far, more, code, text):
    far.cloud.faults["Authenticate"].append(Fault(code=code, text=text))
    with pytest.raises(Unreachable, match="check the target's credentials"):
        put(far.open(), more())
    assert "FileUpload" not in far.cloud.calls


def test_a_changed_key_is_picked_up(far, more):
    target = far.open()
    far.cloud.keys[KEY_ID] = "another"
    with pytest.raises(Unreachable, match=r"failed to authenticate: \*\*\* is not the key"):
        put(target, more())
    (far.home.secrets / "viam-key").write_text("another")
    put(target, more())


def test_a_key_that_is_not_there(far, more):
    (far.home.secrets / "viam-key").unlink()
    with pytest.raises(Unreachable, match="viam-key"):
        put(far.open(), more())
    assert far.cloud.calls == []


def test_tls_is_verified(tmp_path, more):
    authority, stranger = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    pem = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    with serving(tmp_path, GrpcCloud((certificate.private_key_pem.bytes(), pem))) as far:
        capture = more()
        known = {"insecure": False, "connect_timeout_s": 5.0, "idle_timeout_s": 5.0}
        for ca_file in ("", str(tmp_path / "stranger.pem")):
            with pytest.raises(Unreachable, match=r"(?i)certificate.?verify.?failed"):
                put(far.open(**known, ca_file=ca_file), capture)
        with pytest.raises(Unreachable, match=r"gone\.pem"):
            put(far.open(**known, ca_file=str(tmp_path / "gone.pem")), capture)
        with pytest.raises(Unreachable):  # another name than the certificate's
            host = far.cloud.address.replace("localhost", "127.0.0.1")
            put(far.open(**known, ca_file=str(tmp_path / "ca.pem"), host=host), capture)
        with pytest.raises(Unreachable):  # no TLS where the server speaks it
            put(far.open(), capture)
        assert far.cloud.calls == []
        put(far.open(**known, ca_file=str(tmp_path / "ca.pem")), capture)
        assert len(far.files()) == 2


def test_through_a_proxy(tmp_path, more):
    authority = trustme.CA()
    certificate = authority.issue_cert("viam.invalid")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pem = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    with (
        serving(tmp_path, GrpcCloud((certificate.private_key_pem.bytes(), pem))) as far,
        contextlib.closing(Proxy(far.cloud.line.port)) as proxy,
    ):
        known = {"insecure": False, "connect_timeout_s": 5.0, "idle_timeout_s": 5.0, "host": "viam.invalid"}
        put(far.open(**known, ca_file=str(tmp_path / "ca.pem"), proxy=f"http://127.0.0.1:{proxy.port}"), more())
        assert proxy.asked == ["viam.invalid:443"], "whose name nobody here can resolve"
        assert len(far.files()) == 2


def test_probe(far):
    found = far.open().probe()
    assert found == [
        f"{far.cloud.address} knows the API key {KEY_ID}",
        "the key may read data: what is there already will be recognised",
    ]
    far.cloud.may_read = False
    assert far.open().probe()[1].startswith("the key may not read data")
    far.cloud.keys.clear()
    with pytest.raises(Unreachable, match="credentials"):
        far.open().probe()
    assert far.cloud.stored == far.cloud.readings == []


GOOD = {"part_id": PART, "key_id": KEY_ID, "key_file": "viam-key"}


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"part_id": "main"}, "part_id"),
        ({"part_id": PART.replace("-", "")}, "part_id"),
        ({"key_id": KEY}, "key_id"),
        ({"key_file": ""}, "key_file"),
        ({"component_type": "movement_sensor"}, "component_type"),
        ({"camera_type": "rdk:component"}, "camera_type"),
        ({"samples": "all"}, "samples"),
        ({"readings_hz": -1.0}, "readings_hz"),
        ({"host": "https://app.viam.com"}, "host"),
        ({"host": "app.viam.com:0"}, "host"),
        ({"host": "app.viam.com:99999"}, "host"),
        ({"host": "user@app.viam.com"}, "host"),
        ({"host": ""}, "host"),
        ({"insecure": True}, "insecure"),
        ({"insecure": True, "host": "10.0.0.1"}, "insecure"),
        ({"proxy": "socks5://there"}, "proxy"),
        ({"idle_timeout_s": 0.0}, "idle_timeout_s"),
    ],
)
def test_settings_that_are_mistakes(options, wrong):
    with pytest.raises(SettingsError) as error:
        Settings(**GOOD | options)
    assert [name for name, _, _ in error.value.mistakes] == [wrong]


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080", "[::1]"])
def test_without_tls_only_on_this_machine(host):
    Settings(**GOOD, insecure=True, host=host)


def test_what_is_missing_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "grpc", None)
    with pytest.raises(SettingsError) as error:
        Settings(**GOOD)
    ((_, _, allowed),) = error.value.mistakes
    assert "pip install 'capture-agent[viam]'" in allowed
