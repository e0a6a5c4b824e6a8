import contextlib
import json

import pytest

from agent.targets import Failed, Progress, Refused, Unreachable
from tests.captures import make_capture
from tests.contracts.target import CONTENT, NetworkContract, put
from tests.models.endpoint import Endpoint
from tests.objectstore import Far
from tests.receiver import Fault


class EndpointFar(Far):
    secret = "s3cret-token-0123456789"
    store: Endpoint

    def settings(self):
        return {"service": "presigned", "url": f"{self.store.url}/address", "access_key": "", "secret_file": "secret"}

    def objects(self):
        return self.store.objects

    def deny(self):
        self.store.faults_of_question.append(Fault(401, text=f"your token {self.secret} is no good"))


@pytest.fixture
def far(tmp_path):
    with Endpoint(EndpointFar.secret) as endpoint, contextlib.ExitStack() as stack:
        yield EndpointFar(endpoint, tmp_path, stack)


@pytest.fixture
def capture(tmp_path):
    return make_capture(tmp_path / "captures", CONTENT)


class TestPresigned(NetworkContract):
    tells = removes = False

    @pytest.fixture
    def far(self, far):
        return far


def test_what_the_endpoint_is_asked(far, capture):
    put(far.open(metadata={"site": "{device}"}), capture)
    question, sidecar = far.store.questions
    payload = capture.payloads[0]
    assert question == {
        "device": "bay 3",
        "device_id": "0badcafe",
        "key": f"bay 3/2026-11-21/{payload.file}",
        "size": len(CONTENT),
        "sha256": payload.sha256,
        "md5": payload.md5,
        "media_type": "text/csv",
        "metadata": {"site": "bay 3", "capture": capture.uuid, "revision": "1", "sha256": payload.sha256},
    }
    assert sidecar["key"] == f"bay 3/2026-11-21/{capture.sidecar.name}"


def test_the_headers_that_were_signed_go_along(far, capture):
    far.store.headers = {"Content-Type": "application/octet-stream", "x-ms-blob-type": "BlockBlob"}
    put(far.open(), capture)
    sent = [request for request in far.store.requests if request.method == "PUT"]
    assert [request.headers["content-type"] for request in sent] == ["application/octet-stream"] * 2


def test_what_is_there_is_not_sent_again(far, capture):
    put(far.open(), capture)
    put(far.open(), capture)
    assert sum(request.method == "PUT" for request in far.store.requests) == 2


def test_a_later_revision_is_its_sidecar_alone(far, capture):
    receipt = far.open().put(capture, Progress())
    later = capture.amended(labels={"activity": "running"})
    later.write_sidecar()
    far.open().put(later, Progress(receipt=receipt))
    assert [question["media_type"] for question in far.store.questions] == ["text/csv", *["application/json"] * 2]


def test_another_object_is_never_replaced(far, capture):
    key = f"bay 3/2026-11-21/{capture.files[0].name}"
    far.store.objects[key] = b"another"
    with pytest.raises(Refused, match="409: another object has this key"):
        put(far.open(), capture)
    far.store.objects.clear()
    far.store.faults.append(Fault(412, text="<Error><Code>PreconditionFailed</Code></Error>"))
    with pytest.raises(Refused, match="something else is there already"):
        put(far.open(), capture)


def test_an_address_that_has_ended_is_asked_for_anew(far, capture):
    target = far.open()
    ended = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    far.store.faults.append(Fault(403, text=ended))
    with pytest.raises(Unreachable, match="Request has expired"):
        put(target, capture)
    put(target, capture)
    assert far.files() == {path.name: path.read_bytes() for path in capture.files}


@pytest.mark.parametrize("text", ["", "<html>", "{}", "[]", '{"url": 5}', '{"url": "u", "headers": []}', "[" * 4000])
def test_an_answer_of_the_wrong_shape(far, capture, text):
    far.store.faults_of_question.append(Fault(text=text or " "))
    with pytest.raises(Failed, match="neither url nor there"):
        put(far.open(), capture)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "https://", "x"])
def test_an_address_that_leads_nowhere(far, capture, url):
    far.store.faults_of_question.append(Fault(text=json.dumps({"url": url})))
    with pytest.raises(Unreachable, match="gives an address that is not"):
        put(far.open(), capture)


def test_the_signature_of_an_address_is_never_told(far, capture):
    target = far.open()
    far.store.headers = {"x-amz-acl": "private"}
    take, far.store.take = (
        far.store.take,
        lambda request, content, fault: (
            Fault(403, text=f"who signed {request.path}?") if request.method == "PUT" else take(request, content, fault)
        ),
    )
    with pytest.raises(Unreachable, match="403: who signed") as told:
        put(target, capture)
    (signature,) = far.store.keys
    assert signature not in str(told.value)
    far.store.take = take
    receipt = target.put(capture, Progress())
    assert not [signature for signature in far.store.keys if signature in json.dumps(receipt)]


def test_no_token_is_needed(far, capture):
    far.store.token = None
    put(far.open(secret_file=""), capture)


def test_a_wrong_address_of_the_endpoint(far, capture):
    far.store.faults_of_question.append(Fault(404, text="no such page"))
    with pytest.raises(Unreachable, match=r"404: no such page; check the target's url"):
        put(far.open(), capture)


def test_a_probe_only_asks(far, capture):
    assert far.open().probe() == ["the endpoint gives addresses of 127.0.0.1; none was used"]
    assert far.files() == {}
    far.deny()
    with pytest.raises(Unreachable, match="credentials"):
        far.open().probe()
