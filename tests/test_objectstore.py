import contextlib
import hashlib
import json
import subprocess
import sys

import pytest

from agent.targets import Failed, Progress, Refused, Unreachable
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


def test_a_later_revision_is_its_sidecar_alone(far, capture, large):
    target = far.open(look=False, key="{uuid}/{file}")
    for each in (capture, large):
        receipt = target.put(each, Progress())
        later = each.amended(labels={"activity": "running"})
        later.write_sidecar()
        again = target.put(later, progress := Progress(receipt=receipt))
        assert progress.sent_bytes == len(later.sidecar_bytes())
        assert again["files"][each.files[0].name] == receipt["files"][each.files[0].name]
    target.put(later.amended(labels={}), progress := Progress(receipt={"files": ["another", "kind's"]}))
    assert progress.sent_bytes > large.size, "nobody knows where it is"


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["whole", "parts"])
def test_what_another_bucket_has_is_not_there(far, server, tmp_path, content):
    capture = make_capture(tmp_path / "captures", content)
    state: dict = {}
    far.store.faults += [Fault(), *([Fault()] * 4 if content is LARGE else []), Fault(500)]
    with pytest.raises(Failed, match="500"):
        put(far.open(), capture, state)
    assert list(far.files()) == [capture.files[0].name]
    with Bucket(server) as other:
        receipt = far.open(url=f"{other.url}/{other.name}").put(capture, Progress(state=dict(state)))
        assert len(other.objects()) == 2, "payload and sidecar are in the same bucket"
        with pytest.raises(Refused, match="was put elsewhere"):
            far.open().remove(capture.uuid, receipt)
        assert len(other.objects()) == 2


def test_parts_in_another_bucket_are_no_parts(far, server, large):
    state: dict = {}
    far.store.faults += [Fault(), Fault(), Fault(500)]
    with pytest.raises(Failed, match="500"):
        put(far.open(), large, state)
    with Bucket(server) as other:
        put(far.open(url=f"{other.url}/{other.name}"), large, state)
        assert len(other.asked("POST", UPLOAD)) == 1
        assert len(other.objects()) == 2


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


def test_of_a_part_no_more_goes_out_at_once_than_is_asked_for(far, large):
    counts: list[int] = []
    far.open().put(large, Progress(advance=counts.append, piece_bytes=60_000))
    assert max(counts) == 60_000


def test_a_huge_file_has_larger_parts():
    from agent.targets._objectstore_delivery import part_size

    assert part_size(PART, 4 << 30) == PART
    assert part_size(PART, 100 << 30) * 1000 >= 100 << 30


def test_without_the_stores_own_checksums(far, large):
    put(far.open(checksums=False), large)
    assert far.files() == {path.name: path.read_bytes() for path in large.files}
    assert not [request for request in far.store.requests if "x-amz-checksum-sha256" in request.headers]
