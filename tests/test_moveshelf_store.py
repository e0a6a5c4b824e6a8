"""What a store has been given is there when Moveshelf says so, and not before."""

import json

import pytest

from agent.targets import Failed, Later, Progress, Refused
from tests.contracts.target import CONTENT, put
from tests.moveshelf import of_subject, serving
from tests.receiver import Fault


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def capture(tmp_path):
    return of_subject(tmp_path / "captures")


def test_stored_before_it_was_accepted(far, capture):
    """The store says 200 to what it has spoilt, and Moveshelf flags it later."""
    far.store.spoils, far.store.tells = True, False
    state: dict = {}
    with pytest.raises(Failed, match=r"does not complete .*\.csv \(Failed\), .*json \(Failed\), which"):
        put(far.open(), capture, state)
    far.store.spoils = False
    put(far.open(), capture, state)
    far.all_there_once(capture)


def test_the_stores_own_checksum_is_believed(far, capture):
    far.store.spoils = True
    state: dict = {}
    with pytest.raises(Failed, match="the store has CRC-32C"):
        put(far.open(), capture, state)
    assert far.records() == []
    far.store.spoils = False
    put(far.open(), capture, state)
    far.all_there_once(capture)


def test_while_it_is_processed_nobody_waits(far, capture):
    far.shelf.slow_looks = 3
    target, state, rests = far.open(), {}, []
    for _ in range(3):
        with pytest.raises(Later, match=r"csv \(Processing\), .*json \(Processing\)") as later:
            put(target, capture, state)
        rests.append(later.value.after_s)
        assert later.value.pending, "it is no trouble of the server's"
    put(target, capture, state)
    assert rests == [5, 10, 20]
    assert len(far.store.requests) == 2, "each file was sent once"
    far.all_there_once(capture)


def test_what_is_processed_for_ever_is_sent_again(far, capture):
    far.shelf.slow_looks = 10**9
    target, state, rests = far.open(), {}, []
    while len(far.store.requests) < 3:
        try:
            put(target, capture, state)
        except Later as later:
            rests.append(later.after_s)
        except Failed as failed:
            far.shelf.slow_looks = 0
            assert "does not complete" in str(failed)
    assert (len(rests), max(rests)) == (100, 300)
    far.all_there_once(capture)


def test_a_status_that_says_no(far, tmp_path):
    captures = []
    for status in ("Rejected", "Upload failed", "ERROR"):
        captures.append(of_subject(tmp_path / "captures"))
        state: dict = {}
        far.shelf.slow_looks = 1
        with pytest.raises(Later):
            put(far.open(), captures[-1], state)
        for row in far.shelf.of_type("AdditionalData")[-2:]:
            row["arrived"] = status
        with pytest.raises(Failed, match=status):
            put(far.open(), captures[-1], state)
        far.shelf.slow_looks = 0
        put(far.open(), captures[-1], state)
        far.all_there_once(*captures)


def test_after_a_cut_the_same_address_is_used(far, capture):
    far.cut(10)
    state: dict = {}
    with pytest.raises(Failed):
        put(far.open(), capture, state)
    put(far.open(), capture, state)
    assert far.api.operations.count("createAdditionalData") == 2
    far.all_there_once(capture)


def test_an_address_that_is_over_is_replaced_with_its_record(far, capture):
    far.cut(10)
    state: dict = {}
    with pytest.raises(Failed):
        put(far.open(), capture, state)
    far.store.addresses.clear()
    put(far.open(), capture, state)
    assert far.api.operations.count("deleteAdditionalData") == 1
    far.all_there_once(capture)


def test_an_address_that_never_was_good(far, capture):
    for status in (400, 403, 404):
        far.store.faults.append(Fault(status, text="<Error/>"))
        with pytest.raises(Failed, match="address that Moveshelf has just given"):
            put(far.open(), capture)
        assert far.records() == []


def test_a_record_that_cannot_be_deleted_is_not_doubled(far, capture):
    far.cut(10)
    with pytest.raises(Failed):
        put(far.open(), capture)
    far.shelf.deleteAdditionalData = lambda info, id: {"ok": False}
    with pytest.raises(Failed, match="does not delete"):
        put(far.open(), capture)
    assert len(far.records()) == 1


def test_addresses_that_are_none(far, capture):
    urls = (
        "http://",
        "ftp://127.0.0.1/x",
        "https://me:pw@127.0.0.1/x",
        "http://127.0.0.1/\r\nX: y",
        "//x",
        "http://[/",
        5,
    )
    for url in urls:
        made = {"createAdditionalData": {"uploadUrl": url, "data": {"id": "x"}}}
        far.api.faults_at["createAdditionalData"].append(Fault(text=json.dumps({"data": made})))
        with pytest.raises(Failed, match=r"address that is none|no createAdditionalData\.uploadUrl"):
            put(far.open(), capture)


def test_the_store_is_not_told_the_key(far, capture):
    put(far.open(), capture)
    for request in far.store.requests:
        assert "authorization" not in request.headers
        assert request.headers["content-type"] == "application/octet-stream"
        assert int(request.headers["content-length"]) == request.body_bytes


def test_another_file_of_that_name_is_not_taken_for_ours_and_stays(far, capture):
    put(far.open(), capture)
    payload, sidecar = capture.files
    record = next(row["id"] for row in far.shelf.of_type("AdditionalData") if row["originalFileName"] == payload.name)
    for other in (b"x" * len(payload.read_bytes()), payload.read_bytes()[:-1], payload.read_bytes() + b"x"):
        far.store.contents[record] = other
        with pytest.raises(Refused, match=f"another file of that name .{record}., with other content"):
            put(far.open(), capture)
        assert far.files() == {payload.name: other, sidecar.name: sidecar.read_bytes()}
    far.store.contents[record] = payload.read_bytes()
    assert "unread" not in far.open().put(capture, Progress())
    far.all_there_once(capture)


def test_what_is_too_large_to_be_compared_is_told_of(far, tmp_path, monkeypatch):
    capture = of_subject(tmp_path / "captures", CONTENT)
    monkeypatch.setattr("agent.targets._moveshelf_contents._COMPARED_BYTES", capture.payloads[0].size - 1)
    put(far.open(), capture)
    asked = len(far.store.requests)
    later = capture.amended(labels={"activity": "running"})
    later.write_sidecar()
    far.cut(10)
    state: dict = {}
    with pytest.raises(Failed):
        put(far.open(), later, state)
    receipt = far.open().put(later, Progress(state=state))
    assert receipt["unread"] == [capture.files[0].name], "also where that was found out in an earlier try"
    sidecar = far.store.requests[asked:]
    assert [request.method for request in sidecar] == ["GET", "PUT", "PUT"], "of the sidecar alone"
    far.all_there_once(later)


def test_what_the_store_does_not_give_back_is_told_of(far, capture):
    put(far.open(), capture)
    take = far.store.take
    far.store.take = lambda *given: Fault(403) if given[0].method == "GET" else take(*given)
    receipt = far.open().put(capture, Progress())
    assert receipt["unread"] == [capture.files[0].name], "the sidecar was sent again"
    far.all_there_once(capture)


def test_a_store_in_trouble_is_asked_again(far, capture):
    put(far.open(), capture)
    take, far.store.take = far.store.take, lambda *given: Fault(503)
    with pytest.raises(Failed, match="503"):
        put(far.open(), capture)
    far.store.take = take
    put(far.open(), capture)
    far.all_there_once(capture)


def test_a_damaged_file_leaves_no_record(far, tmp_path):
    capture = of_subject(tmp_path / "captures", CONTENT)
    path = capture.files[0]
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(Refused, match="changed"):
        put(far.open(), capture)
    assert far.records() == []
    path.unlink()
    far.api.operations.clear()
    with pytest.raises(Refused, match="gone"):
        put(far.open(), capture)
    assert far.api.operations == [], "nothing is made for what is not there"
