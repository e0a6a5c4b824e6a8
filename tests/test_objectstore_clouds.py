"""Google's and Azure's stores, as their published protocols are; a peer proves that Azure's model is one."""

import contextlib
import hashlib
import json
import subprocess
import sys
import urllib.parse

import pytest

from agent.targets import Failed, Progress, Refused, Unreachable
from tests.captures import make_capture
from tests.contracts.target import CONTENT, NetworkContract, TargetContract, put
from tests.models.azure import ACCOUNT, KEY, SAS, Container
from tests.models.bucket import moto
from tests.models.google import GoogleBucket
from tests.objectstore import BucketFar, Far
from tests.receiver import Fault

PART = 5 << 20
LARGE = hashlib.shake_128(b"large").digest(2 * PART + 1000)


class GoogleFar(BucketFar):
    store: GoogleBucket

    def settings(self):
        known = super().settings()
        del known["region"]
        return {**known, "service": "gcs"}


class ContainerFar(Far):
    secret = KEY
    store: Container

    def settings(self):
        url = f"{self.store.url}/{self.store.name}"
        return {"service": "azure", "url": url, "access_key": ACCOUNT, "secret_file": "secret"}

    def objects(self):
        return {path.partition("/captures/")[2]: content for path, (content, _) in self.store.blobs.items()}

    def deny(self):
        self.store.faults_of_head.append(Fault(403))


@pytest.fixture(scope="module")
def server():
    with moto() as server:
        yield server


@pytest.fixture
def google(server, tmp_path):
    with GoogleBucket(server) as bucket, contextlib.ExitStack() as stack:
        yield GoogleFar(bucket, tmp_path, stack)


@pytest.fixture
def azure(tmp_path):
    with Container() as container, contextlib.ExitStack() as stack:
        yield ContainerFar(container, tmp_path, stack)


@pytest.fixture
def capture(tmp_path):
    return make_capture(tmp_path / "captures", CONTENT)


@pytest.fixture
def large(tmp_path):
    return make_capture(tmp_path / "captures", LARGE)


class TestAzure(NetworkContract):
    @pytest.fixture
    def far(self, azure):
        return azure

    def test_a_big_file_needs_no_memory(self, far, target, tmp_path):
        far.store.small = 4096  # the list of its blocks
        super().test_a_big_file_needs_no_memory(far, target, tmp_path)


# Google


class TestGoogle(TargetContract):
    """What a network does to it is the same code as for S3."""

    @pytest.fixture
    def far(self, google):
        return google

    def test_a_big_file_needs_no_memory(self, far, target, tmp_path):
        """Measured for S3: the same code, and here the model keeps what it gets."""


def test_google_takes_whole_objects_and_parts(google, capture, large):
    target = google.open(storage_class="STANDARD", metadata={"site": "roof"})
    for each in (capture, large, capture):
        put(target, each)
    assert google.files() == {path.name: path.read_bytes() for each in (capture, large) for path in each.files}
    first = google.store.asked("PUT")[0].headers
    assert first["x-goog-storage-class"] == "STANDARD"
    assert first["x-goog-meta-site"] == "roof"
    assert first["x-goog-if-generation-match"] == "0"
    assert google.store.uploads() == 0


def test_google_replaces_only_what_it_has_seen(google, capture):
    put(google.open(), capture)
    later = capture.amended(labels={"activity": "running"})
    put(google.open(), later)
    assert google.files()[capture.sidecar.name] == later.sidecar_bytes()
    key = f"bay%203/2026-11-21/{capture.files[0].name}"
    google.store.behind.ask("PUT", f"/{google.store.name}/{key}", b"another")
    google.store.faults_of_head.append(Fault(404))
    with pytest.raises(Refused, match="is not replaced"):
        put(google.open(), later)


def test_google_resumes(google, large):
    google.store.faults += [Fault(), Fault(), Fault(cut_after=100)]
    state: dict = {}
    with pytest.raises(Failed):
        put(google.open(), large, state)
    google.open().put(large, progress := Progress(state=state))
    assert progress.sent_bytes <= PART + 1000 + len(large.sidecar.read_bytes())
    assert google.files()[large.files[0].name] == LARGE


# Azure


def test_azure_keeps_what_stands_beside(azure, capture, large):
    beside = {"metadata": {"site": "{device}"}, "tags": {"recording": "{recording}"}, "storage_class": "Cool"}
    target = azure.open(key="{recording}/{file}", **beside)
    for each in (capture, large):
        put(target, each)
        content, headers = azure.store.blobs[f"/captures/walk/{each.files[0].name}"]
        assert headers["Content-Type"] == "text/csv"
        assert headers["Content-MD5"] != ""
        assert headers["x-ms-access-tier"] == "Cool"
        assert headers["x-ms-tags"] == "recording=walk"
        assert headers["x-ms-meta-site"] == "bay 3"
        assert headers["x-ms-meta-sha256"] == hashlib.sha256(content).hexdigest() == each.payloads[0].sha256


def test_azure_resumes_and_sends_at_most_one_block_again(azure, large):
    azure.store.faults += [Fault(), Fault(cut_after=100)]
    state: dict = {}
    with pytest.raises(Failed):
        put(azure.open(), large, state)
    azure.open().put(large, progress := Progress(state=state))
    assert progress.sent_bytes <= PART + 1000 + len(large.sidecar.read_bytes())
    assert azure.files()[large.files[0].name] == LARGE


def test_azure_has_forgotten_the_blocks(azure, large):
    azure.store.faults += [Fault(), Fault(), Fault(cut_after=100)]
    state: dict = {}
    with pytest.raises(Failed):
        put(azure.open(), large, state)
    azure.store.blocks.clear()
    with pytest.raises(Failed, match=r"InvalidBlockList.* begins anew"):
        put(azure.open(), large, state)
    put(azure.open(), large, state)
    assert azure.files()[large.files[0].name] == LARGE


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["whole", "parts"])
@pytest.mark.parametrize("race", [False, True])
def test_azure_never_replaces_another_blob(azure, tmp_path, content, race):
    capture = make_capture(tmp_path / "captures", content)
    path = f"/captures/bay%203/2026-11-21/{capture.files[0].name}"
    azure.store.blobs[path] = (b"another", {"ETag": '"1"', "Content-Length": "7"})
    if race:
        azure.store.faults_of_head.append(Fault(404, (("x-ms-error-code", "BlobNotFound"),)))
    with pytest.raises(Refused, match="is there already"):
        put(azure.open(), capture)
    assert azure.store.blobs[path][0] == b"another"


def test_azure_by_a_shared_access_signature(azure, capture, large):
    (azure.home.secrets / "secret").write_text("?" + SAS)
    target = azure.open(access_key="")
    for each in (capture, large):
        put(target, each)
    assert len(azure.files()) == 4
    signature = SAS.partition("sig=")[2]
    for part in (SAS, signature, urllib.parse.unquote(signature)):
        azure.store.faults_of_head.append(Fault(302, (("Location", f"http://elsewhere/x?{part}"),)))
        with pytest.raises(Unreachable, match="elsewhere") as told:
            put(target, make_capture(capture.folder.parent, b"next"))
        assert "s3cretSAS" not in str(told.value)
    (azure.home.secrets / "secret").unlink()
    with pytest.raises(Unreachable, match="is in none of"):
        put(azure.open(access_key=""), capture)


@pytest.mark.parametrize(("key", "reason"), [("wrong", "which is Base64"), ("d3Jvbmc=", "403")])
def test_azure_with_a_wrong_key(azure, capture, key, reason):
    (azure.home.secrets / "secret").write_text(key)
    with pytest.raises(Unreachable, match=reason):
        put(azure.open(), capture)


def test_azure_without_its_container(azure, capture):
    with pytest.raises(Unreachable, match=r"404.* check the target's"):
        put(azure.open(url=f"{azure.store.url}/elsewhere"), capture)


def test_a_peer_proves_the_model_and_reads_what_we_wrote(azure, capture, large):
    """obstore signs, puts in blocks and reads against the same model."""
    for each in (capture, large):
        put(azure.open(key="{file}"), each)
    script = f"""if True:
        import hashlib, json, obstore
        from obstore.store import AzureStore
        store = AzureStore(container_name="captures", account_name={ACCOUNT!r}, account_key={KEY!r},
                           endpoint={azure.store.url!r}, client_options={{"allow_http": True}})
        obstore.put(store, "one", b"whole", mode="create")
        obstore.put(store, "two", [b"x" * 1000] * 6000, chunk_size=5 << 20)
        print(json.dumps({{name: store.head(name)["size"] for name in {[path.name for path in large.files]!r}}}))"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {path.name: path.stat().st_size for path in large.files}
    assert azure.store.blobs["/captures/one"][0] == b"whole"
    assert azure.store.blobs["/captures/two"][0] == b"x" * 6_000_000


def test_a_probe_of_azure_leaves_nothing(azure):
    assert azure.open().probe()[-1] == "an upload could be begun, and was given up again"
    assert azure.files() == {}


def test_a_probe_of_google_leaves_nothing(google):
    assert google.open().probe()[-1] == "an upload could be begun, and was given up again"
    assert google.files() == {}
    assert google.store.uploads() == 0
