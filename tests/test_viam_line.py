"""What Viam's statuses mean, lines that break, what is said in logs, and how much memory it all needs."""

import hashlib
import logging
import threading
import time

import pytest

from agent.targets import Failed, Later, Refused, Unreachable
from tests.captures import make_capture
from tests.contracts.target import CONTENT, put
from tests.flat import large, more_kb
from tests.models.viam import DENIED, EXHAUSTED, INVALID, KEY, KEY_ID, NOT_FOUND, PART, UNAVAILABLE, UNKNOWN, Fault
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
def target(far):
    return far.open()


@pytest.fixture
def capture(tmp_path):
    return make_capture(tmp_path / "captures", CONTENT, labels={"activity": "walking"}, duration_s=2.5)


STATUSES = [
    (INVALID, "bad metadata", Refused, "bad metadata"),
    (11, "out of range", Refused, "OUT_OF_RANGE"),
    (UNKNOWN, "no robot part found", Unreachable, "part_id"),
    (UNKNOWN, "whatever", Failed, "whatever"),
    (DENIED, "not authorized", Unreachable, "API key may do"),
    (NOT_FOUND, "no such dataset", Unreachable, "datasets"),
    (12, "unknown method", Unreachable, "is it Viam's"),
    (EXHAUSTED, "grpc: received message larger than max (34603018 vs. 33554432)", Refused, "larger than max"),
    (EXHAUSTED, "quota", Later, "quota"),
    (UNAVAILABLE, "going away", Later, "UNAVAILABLE: going away"),
    (UNAVAILABLE, "", Later, "UNAVAILABLE"),
    (UNAVAILABLE, "recvmsg:Connection reset by peer", Failed, "broke off: recvmsg"),
    (UNAVAILABLE, "Stream removed (Socket closed)", Failed, "broke off: Stream removed"),
    (UNAVAILABLE, "GOAWAY received; Error code: 2", Failed, "broke off: GOAWAY"),
    (UNAVAILABLE, "keepalive watchdog timeout", Failed, "broke off: keepalive"),
    (4, "too late", Failed, "fell silent"),
    (1, "cancelled there", Failed, "CANCELLED"),
    (6, "exists", Failed, "ALREADY_EXISTS"),
    (9, "precondition", Failed, "FAILED_PRECONDITION"),
    (10, "aborted", Failed, "ABORTED"),
    (13, "internal", Failed, "INTERNAL"),
    (15, "lost", Failed, "DATA_LOSS"),
]


@pytest.mark.parametrize(("code", "text", "kind", "said"), STATUSES)
def test_what_a_status_means(far, target, capture, code, text, kind, said):
    far.fault(code=code, text=text)
    with pytest.raises(kind, match=said) as raised:
        put(target, capture)
    assert type(raised.value) is kind
    if kind is Later:
        assert raised.value.after_s == (5 if code == UNAVAILABLE else 300)


@pytest.mark.parametrize("code", [UNAVAILABLE, 4])
def test_before_anything_was_sent_it_is_the_targets_affair(far, target, capture, code):
    far.cloud.faults["BinaryDataByFilter"] += [Fault(code=code, text="away")] * 2
    with pytest.raises(Unreachable, match=far.cloud.address):
        put(target, capture)
    assert far.cloud.calls == ["Authenticate"]


def test_a_connection_that_broke_while_nobody_used_it_is_no_trouble(far, target, tmp_path):
    put(target, make_capture(tmp_path, b"one"))
    far.cloud.faults["BinaryDataByFilter"].append(Fault(code=UNAVAILABLE, text="Socket closed"))
    put(target, make_capture(tmp_path, b"two"))
    far.cloud.line.cut()
    put(target, make_capture(tmp_path, b"three"))
    assert len(far.files()) == 6


def test_a_part_that_is_not_known(far, capture):
    target = far.open(part_id="22222222-2222-3333-4444-555555555555")
    with pytest.raises(Unreachable, match="no robot part found"):
        put(target, capture)


def test_yes_before_everything_was_there_is_not_believed(far, target, tmp_path):
    far.fault(early=True, after=1000)
    capture = make_capture(tmp_path, bytes(8 << 20))  # more than is on the way at once
    with pytest.raises(Failed, match="before it had taken everything"):
        put(target, capture)


@pytest.mark.parametrize("answer", [b"", b"\x0a", b"\xff\xff\xff", b"\x0a\x02\xff\xfe", b'{"file_id": "f1"}'])
def test_an_answer_of_the_wrong_shape(far, target, capture, answer):
    far.fault(answer=answer)
    state = {}
    with pytest.raises(Failed, match="is it Viam's"):
        put(target, capture, state)
    put(target, capture, state)
    assert far.files().keys() == {path.name for path in capture.files}, "it was there, whatever it said"


def test_nothing_is_compressed_and_no_stranger_is_told_who_we_are(far, target, capture):
    put(target, capture)
    for method, metadata in zip(far.cloud.calls, far.cloud.metadata, strict=True):
        assert "grpc-encoding" not in metadata
        assert metadata["user-agent"].startswith("capture-agent")
        assert metadata.get("authorization", "Bearer ").startswith("Bearer "), method


def test_close_aborts_a_question_that_hangs(far, capture):
    """Within a second, though time-outs are a minute."""
    patient = far.open_patient()
    far.cloud.line.pause_s = 30.0
    raised: list[BaseException] = []

    def upload() -> None:
        try:
            put(patient, capture)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=upload)
    thread.start()
    while not far.cloud.line.accepted:
        time.sleep(0.005)
    patient.close()
    thread.join(1)
    assert not thread.is_alive()
    assert [type(error).__name__ for error in raised] == ["Stopped"]


def test_a_host_that_is_away_is_not_called_in_the_background(far, capture):
    """Nobody but the parcel that probes; and when it is back, the next one gets through at once."""
    target = far.open()
    put(target, make_capture(capture.folder.parent, b"before"))
    with pytest.raises(Unreachable, match="no connection to"):
        put(far.open(host="127.0.0.1:1"), capture)
    far.cloud.line.refuse()
    with pytest.raises((Unreachable, Failed)):
        put(target, capture)
    for _ in range(3):
        before = far.cloud.line.refused
        with pytest.raises(Unreachable):
            put(target, capture)
        assert far.cloud.line.refused == before + 1
    time.sleep(0.5)  # longer than the first rests of gRPC's own
    assert far.cloud.line.refused == before + 1
    far.cloud.line.refusing = False
    put(target, capture)
    assert len(far.files()) == 4


def test_nothing_of_it_is_in_a_log(far, target, capture, caplog):
    caplog.set_level(logging.DEBUG)
    far.cut(1000)
    with pytest.raises(Failed):
        put(target, capture)
    far.fault(code=INVALID, text=f"{KEY} and {list(far.cloud.tokens)}")
    with pytest.raises(Refused) as refused:
        put(target, capture)
    (token,) = far.cloud.tokens
    assert "***" in str(refused.value)
    assert not any(secret in str(refused.value) + caplog.text for secret in (KEY, token))


def test_a_file_that_another_program_made_is_taken_too(far, tmp_path):
    content = hashlib.sha256(b"x").digest() * 10
    capture = make_capture(tmp_path, content, kind=("raw", "application/x-raw", ".raw"))
    put(far.open(samples="both"), capture)
    assert far.files()[capture.files[0].name] == content


@pytest.mark.parametrize("size", [64 << 20, pytest.param(1 << 30, marks=pytest.mark.soak)])
def test_memory_stays_flat(far, capture, size):
    """In a process of its own, of which gRPC's share is seen, too."""
    far.forget()
    options = {"part_id": PART, "key_id": KEY_ID, "key_file": "viam-key", "host": far.cloud.address, "samples": "files"}
    assert more_kb("viam", {**options, "insecure": True}, (capture, large(capture, size)), far.home) <= 8192
