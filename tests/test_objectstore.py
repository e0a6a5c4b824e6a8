import contextlib
import hashlib
import json
import ssl
import subprocess
import sys

import pytest
import trustme

from agent.targets import Failed, Later, Progress, Refused, Stopped, Unreachable
from agent.targets.objectstore import Settings
from drivers.settings import SettingsError
from tests.captures import make_capture
from tests.contracts.target import CONTENT, NetworkContract, put
from tests.models.bucket import ACCESS_KEY, REGION, SECRET, Bucket, Moto, moto
from tests.objectstore import BucketFar
from tests.receiver import Fault

PART = 5 << 20
LARGE = hashlib.shake_128(b"large").digest(2 * PART + 1000)
UPLOAD, PARTS, WHOLE = "uploads", "partNumber=", "uploadId="


@pytest.fixture(scope="session")
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


class TestS3(NetworkContract):
    @pytest.fixture
    def far(self, far):
        return far

    def test_a_big_file_needs_no_memory(self, far, target, tmp_path):
        super().test_a_big_file_needs_no_memory(far, far.open_directly(), tmp_path)
        assert sorted(map(len, far.files().values()))[-1] == 64 << 20


def test_what_boto3_finds(far, server, capture, large):
    beside = {"metadata": {"site": "Köln {device}"}, "tags": {"recording": "{recording}", "a b": "1+1=2"}}
    target = far.open(key="{recording}/{date} {device}/{file}", storage_class="STANDARD_IA", **beside)
    put(target, capture)
    put(target, large)
    for each, content in ((capture, CONTENT), (large, LARGE)):
        found = boto3_finds(server.port, far.store.name, f"walk/2026-11-21 bay 3/{each.files[0].name}")
        sha256 = hashlib.sha256(content).hexdigest()
        assert found["sha256"] == sha256
        assert (found["StorageClass"], found["ContentType"]) == ("STANDARD_IA", "text/csv")
        ours = {"capture": each.uuid, "revision": "1", "sha256": sha256}
        assert found["Metadata"] == {"site": "K%C3%B6ln bay 3", **ours}
        assert found["tags"] == {"recording": "walk", "a b": "1+1=2"}
    assert [request.headers["x-amz-checksum-sha256"] for request in far.store.asked("PUT", PARTS)]


def boto3_finds(port: int, bucket: str, key: str) -> dict:
    """What Amazon's own client says of an object; in another process, because what it imports makes all tests slow."""
    script = f"""if True:
        import boto3, hashlib, json
        keys = dict(aws_access_key_id="{ACCESS_KEY}", aws_secret_access_key="{SECRET}", region_name="{REGION}")
        client = boto3.client("s3", endpoint_url="http://127.0.0.1:{port}", **keys)
        where = dict(Bucket={bucket!r}, Key={key!r})
        found = client.get_object(**where, ChecksumMode="ENABLED")
        found["sha256"] = hashlib.sha256(found["Body"].read()).hexdigest()
        found["tags"] = {{tag["Key"]: tag["Value"] for tag in client.get_object_tagging(**where)["TagSet"]}}
        print(json.dumps(found, default=str))"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_any_name_is_signed_right_and_no_path(far, capture):
    names = ["a b+c~d.e_f-g", "q?x=1&y#z%2F", "Höhe µ", "a//b", "100%", "'(*)!$,;:@\\|"]
    for name in names:
        put(far.open(key="x/{recording}/{file}"), renamed(capture, name))
    folders = {key.rpartition("/")[0] for key in far.objects()}
    assert folders == {"x/" + name.replace("/", "-") for name in names}


def test_names_that_are_no_key(far, capture):
    for name in ("..", ".", "", "a\nb"):
        with pytest.raises(Refused, match="no key"):
            put(far.open(key="x/{recording}/{file}"), renamed(capture, name))
    assert far.store.requests == []


def renamed(capture, recording: str):
    return type(capture)(capture.folder, {**capture.document, "recording": recording})


def test_a_key_beyond_1024_bytes(far, capture):
    with pytest.raises(Refused, match="longer than 1024 bytes"):
        put(far.open(key="{recording}/{file}"), renamed(capture, "ä" * 512))


# What is there already


def test_the_same_is_not_sent_again(far, capture):
    put(far.open(), capture)
    put(far.open(), capture)
    assert len(far.store.asked("PUT")) == 2


def test_what_was_accepted_is_not_even_asked_for_again(far, capture):
    far.store.faults += [Fault(), Fault(500)]
    state: dict = {}
    with pytest.raises(Failed, match="500"):
        put(far.open(), capture, state)
    put(far.open(), capture, state)
    assert len(far.store.asked("HEAD", ".csv")) == 1
    put(far.open(key="elsewhere/{file}"), capture, state)
    assert f"elsewhere/{capture.files[0].name}" in far.objects(), "under another key it is not there"


@pytest.mark.parametrize("race", [False, True], ids=["before", "between question and put"])
@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["whole", "parts"])
def test_another_object_is_never_replaced(far, tmp_path, race, content):
    capture = make_capture(tmp_path / "captures", content)
    key = f"bay%203/2026-11-21/{capture.files[0].name}"
    far.store.behind.ask("PUT", f"/{far.store.name}/{key}", b"another")
    if race:
        far.store.faults_of_head.append(Fault(404))
    with pytest.raises(Refused, match=r"is there already, (with other content: 7 bytes|and is not replaced)"):
        put(far.open(), capture)
    assert far.files() == {capture.files[0].name: b"another"}
    assert far.store.uploads() == 0


def test_another_captures_sidecar_is_never_replaced(far, capture, tmp_path):
    other = make_capture(tmp_path / "other", b"other", name=capture.name)
    put(far.open(key="{name}"), capture)
    put(far.open(key="{file}"), capture)
    with pytest.raises(Refused, match="other content"):
        put(far.open(key="{file}"), other)
    far.store.behind.ask("DELETE", f"/{far.store.name}/{other.files[0].name}")
    with pytest.raises(Refused, match="not this capture's sidecar"):
        put(far.open(key="{file}"), other)
    assert far.files()[capture.sidecar.name] == capture.sidecar.read_bytes()


def test_a_later_sidecar_stays(far, capture):
    later = capture.amended(labels={"activity": "running"})
    put(far.open(), later)
    put(far.open(), capture)
    assert far.files()[capture.sidecar.name] == later.sidecar_bytes()


def test_a_key_that_may_only_write(far, capture, large):
    target = far.open(look=False, key="{uuid}/{file}")
    for each in (capture, large, capture):
        put(target, each)
    assert far.store.asked("HEAD") == []
    assert len(far.files()) == 4


# Large files


def test_a_cut_sends_at_most_one_part_again(far, large):
    far.store.faults += [Fault(), Fault(), Fault(cut_after=3 << 20)]
    state: dict = {}
    with pytest.raises(Failed, match="broke off"):
        put(far.open(), large, state)
    progress = Progress(state=state)
    far.open().put(large, progress)
    assert far.files() == {path.name: path.read_bytes() for path in large.files}
    assert len(far.store.asked("POST", UPLOAD)) == 1
    assert progress.sent_bytes <= PART + 1000 + len(large.sidecar.read_bytes())
    assert progress.state["upload"] is None
    assert far.store.uploads() == 0


def test_a_lost_answer_to_the_last_step_sends_nothing_again(far, large):
    far.store.faults += [Fault()] * 4 + [Fault(lose_answer=True)]
    state: dict = {}
    with pytest.raises(Failed):
        put(far.open(), large, state)
    put(far.open(), large, state)
    assert len(far.store.asked("PUT", PARTS)) == 3
    assert far.files() == {path.name: path.read_bytes() for path in large.files}


def test_an_upload_that_the_store_has_forgotten_begins_anew(far, large):
    far.store.faults += [Fault(), Fault(), Fault(500)]
    state: dict = {}
    with pytest.raises(Failed, match="500"):
        put(far.open(), large, state)
    forgotten = "<Error><Code>NoSuchUpload</Code><Message>The specified upload does not exist.</Message></Error>"
    far.store.faults.append(Fault(404, text=forgotten))  # moto would say 500
    with pytest.raises(Failed, match=r"NoSuchUpload.* begins anew"):
        put(far.open(), large, state)
    put(far.open(), large, state)
    assert far.files() == {path.name: path.read_bytes() for path in large.files}


def test_a_200_that_tells_of_an_error_is_none(far, large):
    error = "<?xml version='1.0'?><Error><Code>InternalError</Code><Message>We encountered one</Message></Error>"
    take, lies = far.store.take, [error, "<CompleteMultipartUploadResult>", ""]

    def lying(request, content, fault):
        if lies and request.method == "POST" and WHOLE in request.path:
            return Fault(200, text=lies.pop(0))
        return take(request, content, fault)

    far.store.take = lying
    state: dict = {}
    for reason in ("InternalError: We encountered one", "does not say that the parts", "does not say"):
        with pytest.raises(Failed, match=reason):
            put(far.open(), large, state)
    put(far.open(), large, state)
    assert len(far.store.asked("PUT", PARTS)) == 3
    assert far.files() == {path.name: path.read_bytes() for path in large.files}


def test_a_large_file_that_changes_is_refused_and_its_parts_go(far, large):
    path, counts = large.files[0], []

    def spoil(count: int) -> None:
        counts.append(count)
        if len(counts) == 3:
            path.write_bytes(LARGE[:-1] + b"x")

    with pytest.raises(Refused, match="changed"):
        far.open().put(large, Progress(advance=spoil))
    assert far.files() == {}
    assert far.store.uploads() == 0


def test_a_part_that_changes_between_hash_and_wire_is_an_attempt(far, large):
    path, counts = large.files[0], []

    def spoil(count: int) -> None:
        counts.append(count)
        if len(counts) == 3:
            path.write_bytes(LARGE[: 4 << 20] + b"x" + LARGE[(4 << 20) + 1 :])

    with pytest.raises((Failed, Refused, Unreachable), match=r"XAmzContentSHA256Mismatch|changed"):
        far.open().put(large, Progress(advance=spoil))
    assert far.files() == {}


def test_a_huge_file_has_larger_parts():
    from agent.targets._objectstore_delivery import part_size

    assert part_size(PART, 4 << 30) == PART
    assert part_size(PART, 100 << 30) * 1000 >= 100 << 30


def test_without_the_stores_own_checksums(far, large):
    put(far.open(checksums=False), large)
    assert far.files() == {path.name: path.read_bytes() for path in large.files}
    assert not [request for request in far.store.requests if "x-amz-checksum-sha256" in request.headers]


# Who asks, and what is answered


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
