"""Who asks an object store, what it answers, and what its settings must be."""

import contextlib
import ssl

import pytest
import trustme

from agent.targets import Failed, Later, Progress, Refused, Stopped, Unreachable
from agent.targets.objectstore import Settings
from drivers.settings import SettingsError
from tests.captures import make_capture
from tests.contracts.target import CONTENT, put
from tests.models.bucket import Bucket, Moto, moto
from tests.objectstore import BucketFar
from tests.receiver import Fault

LARGE = bytes(range(256)) * (6 << 12)


@pytest.fixture(scope="module")
def server():
    with moto() as server:
        yield server


@pytest.fixture
def far(server: Moto, tmp_path):
    with Bucket(server) as bucket, contextlib.ExitStack() as stack:
        yield BucketFar(bucket, tmp_path, stack)


@pytest.fixture
def capture(tmp_path):
    return make_capture(tmp_path / "captures", CONTENT)


@pytest.fixture
def large(tmp_path):
    return make_capture(tmp_path / "captures", LARGE)


def error(code: str, status: int = 400, headers: tuple = ()) -> Fault:
    return Fault(status, headers, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>because</Message></Error>")


ANSWERS = [
    (error("AccessDenied", 403), Unreachable),
    (error("SignatureDoesNotMatch", 403), Unreachable),
    (error("NoSuchBucket", 404), Unreachable),
    (Fault(404, text="because"), Unreachable),
    (error("PermanentRedirect", 301), Unreachable),
    (error("AuthorizationHeaderMalformed"), Unreachable),
    (error("ExpiredToken"), Unreachable),
    (error("InvalidStorageClass"), Unreachable),
    (error("NotImplemented", 501), Unreachable),
    (error("EntityTooLarge"), Refused),
    (error("PreconditionFailed", 412), Refused),
    (error("ConditionalRequestConflict", 409), Failed),
    (error("OperationAborted", 409), Failed),
    (error("RequestTimeout"), Failed),
    (error("BadDigest"), Failed),
    (error("IncompleteBody"), Failed),
    (error("WhateverElse", 418), Failed),
    (error("InternalError", 500), Failed),
    (error("SlowDown", 503), Later),
    (error("SlowDown", 429), Later),
    (Fault(507, text="because"), Later),
]


def test_answers(far, capture):
    for fault, meaning in ANSWERS:
        far.store.faults.append(fault)
        with pytest.raises(meaning, match=f"{fault.status}.*: because"):
            put(far.open(), capture)
    assert far.files() == {}


def test_answers_to_the_question_what_is_there(far, capture):
    for status, meaning in ((400, Unreachable), (403, Unreachable), (301, Unreachable), (500, Failed)):
        far.store.faults_of_head.append(Fault(status))
        with pytest.raises(meaning, match=str(status)):
            put(far.open(), capture)
    assert far.store.asked("PUT") == []


@pytest.mark.parametrize("ahead_s", [-86400.0, 3600.0])
def test_a_clock_that_is_wrong(far, capture, large, ahead_s):
    far.store.ahead_s = ahead_s
    target = far.open()
    put(target, capture)
    assert len(far.store.asked("HEAD")) == 3, "refused, and again with the store's time"
    put(target, large)
    assert len(far.files()) == 4


def test_keys_that_are_renewed(far, tmp_path):
    (far.home.secrets / "token").write_text("first")
    far.store.token = "first"
    target = far.open(session_token_file="token")
    put(target, make_capture(tmp_path, b"1"))
    far.store.token = "second"
    with pytest.raises(Unreachable, match=r"403 .* credentials"):
        put(target, make_capture(tmp_path, b"2"))
    (far.home.secrets / "token").write_text("second")
    put(target, make_capture(tmp_path, b"3"))
    assert len(far.files()) == 4


def test_a_wrong_secret(far, capture):
    (far.home.secrets / "secret").write_text("wrong")
    with pytest.raises(Unreachable, match="credentials"):
        put(far.open(look=False, key="{uuid}/{file}"), capture)
    assert far.files() == {}


def test_a_secret_that_is_missing(far, capture):
    (far.home.secrets / "secret").unlink()
    with pytest.raises(Unreachable, match="secret 'secret' is in none of"):
        put(far.open(), capture)


def test_nothing_comes_from_the_environment(far, capture, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "of the environment")
    put(far.open(), capture)
    assert "of the environment" not in repr(far.store.requests)


def test_an_own_ca(server, capture, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with Bucket(server, tls=context) as bucket, contextlib.ExitStack() as stack:
        far = BucketFar(bucket, tmp_path, stack)
        put(far.open(ca_file=str(tmp_path / "ca.pem")), capture)
        assert far.files() == {path.name: path.read_bytes() for path in capture.files}
        with pytest.raises(Unreachable, match="certificate verify failed"):
            put(far.open(), capture)


def test_stopped_while_it_answers(far, capture):
    progress = Progress()
    take = far.store.take
    far.store.take = lambda *of: (progress.stop.set(), take(*of))[1]
    with pytest.raises(Stopped):
        far.open().put(capture, progress)


MISTAKES = [
    ({"url": "captures.s3.amazonaws.com"}, "url"),
    ({"url": "https://me:pw@s3.example/b"}, "url"),
    ({"url": "https://s3.example/b?X=pw"}, "url"),
    ({"url": "https://s3.example/{device}"}, "url"),
    ({"key": "{date}"}, "key"),
    ({"key": "/{file}"}, "key"),
    ({"key": "a//{file}"}, "key"),
    ({"key": "{day}/{file}"}, "key"),
    ({"look": False}, "key"),
    ({"access_key": ""}, "access_key"),
    ({"secret_file": ""}, "secret_file"),
    ({"metadata": {"Subject": "x"}}, "metadata"),
    ({"metadata": {"sha256": "x"}}, "metadata"),
    ({"metadata": {"day": "{day}"}}, "metadata"),
    ({"tags": {str(n): "x" for n in range(11)}}, "tags"),
    ({"service": "gcs", "tags": {"a": "b"}}, "tags"),
    ({"service": "gcs", "session_token_file": "a"}, "session_token_file"),
    ({"service": "azure", "secret_file": ""}, "secret_file"),
    ({"service": "presigned"}, "access_key"),
    ({"service": "presigned", "access_key": "", "storage_class": "COLD"}, "storage_class"),
    ({"service": "gopher"}, "service"),
    ({"part_mib": 4}, "part_mib"),
    ({"proxy": "proxy:3128"}, "proxy"),
    ({"idle_timeout_s": 0}, "idle_timeout_s"),
]


def test_mistakes_are_found_at_start():
    for settings, wrong in MISTAKES:
        given = {"url": "https://captures.s3.example", "access_key": "A", "secret_file": "s", **settings}
        with pytest.raises(SettingsError) as found:
            Settings(**given)
        assert [name for name, _, _ in found.value.mistakes] == [wrong], settings
        assert "pw" not in str(found.value)


def test_a_probe_leaves_nothing(far, capture):
    found = far.open(key="bays/{file}").probe()
    assert found == ["what is there may be asked for", "an upload could be begun, and was given up again"]
    assert {request.path.partition("?")[0].rpartition("/bays/")[2] for request in far.store.requests} == {
        "0badcafe.probe"
    }
    assert far.objects() == {}
    assert far.store.uploads() == 0
    far.store.faults.append(error("AccessDenied", 403))
    with pytest.raises(Unreachable, match="AccessDenied"):
        far.open().probe()
    (far.home.secrets / "secret").write_text("wrong")
    with pytest.raises(Unreachable, match="credentials"):
        far.open().probe()
