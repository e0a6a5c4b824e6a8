"""Viam's readings come once, as far as it can be asked: after lost answers, stops, and lost memories."""

import math

import pytest

from agent.targets import Failed, Progress, Stopped
from tests.contracts.target import put
from tests.models.viam import Fault
from tests.viam import awake, serving, taken, walk


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
    return far.open(samples="readings")


@pytest.mark.parametrize("method", ["DataCaptureUpload", "FileUpload"])
@pytest.mark.parametrize("skip", [0, 3])
def test_an_answer_that_got_lost_makes_no_reading_twice(far, target, tmp_path, method, skip):
    faults = [Fault()] * skip + [Fault(store=True, cut=True)]
    far.cloud.faults[method].extend(faults if method == "DataCaptureUpload" else faults[-1:])
    capture, state = walk(tmp_path / "captures"), {}
    with pytest.raises(Failed):
        put(target, capture, state)
    put(far.open(samples="readings"), capture, state)
    assert len(far.cloud.readings) == 2970
    assert list(far.files()) == [capture.sidecar.name]


@pytest.mark.parametrize("stored", [True, False])
def test_acknowledged_batches_are_not_sent_again(far, target, tmp_path, stored):
    far.cloud.faults["DataCaptureUpload"].extend([Fault()] * 3 + [Fault(store=stored, cut=True)])
    capture, state = walk(tmp_path / "captures"), {}
    with pytest.raises(Failed):
        put(target, capture, state)
    saved, sent = dict(state["readings"]), len(far.cloud.sizes)
    assert saved["samples"] > 800
    assert saved["count"] < 2970
    receipt = {}
    state = put(target, capture, state)
    assert len(far.cloud.readings) == 2970
    assert receipt == {}
    assert state["readings"]["count"] == 2970
    whole = math.ceil(2970 / (saved["count"] / 3))
    assert len(far.cloud.sizes) <= whole + 1
    assert sent == 3 + stored


def test_where_the_cloud_cannot_be_asked_what_was_under_way_comes_twice_and_no_more(far, target, tmp_path, caplog):
    far.cloud.may_read = False
    far.cloud.faults["DataCaptureUpload"].extend([Fault()] * 3 + [Fault(store=True, cut=True)])
    capture, state = walk(tmp_path / "captures"), {}
    with pytest.raises(Failed):
        put(target, capture, state)
    put(target, capture, state)
    times = [taken(reading) for _, reading in far.cloud.readings]
    assert len(set(times)) == 2970
    assert 300 < len(times) - 2970 < 600, "one batch of them"
    assert len(far.cloud.sizes) == math.ceil(2970 / 480) + 1
    said = [record for record in caplog.records if "sent again" in record.message]
    assert len(said) == 2, "one for each question, and no more"


def test_one_question_that_is_not_for_us_leaves_the_other(far, target, tmp_path, monkeypatch):
    """Counting readings is what the service may give up first."""
    now = [5 * 10**9]
    monkeypatch.setattr("agent.targets._viam_uploads.boottime_ns", lambda: now[0])
    far.cloud.faults["TabularDataByFilter"] += [Fault(code=12, text="deprecated")] * 2
    for _ in range(3):
        put(target, walk(tmp_path / "captures", 10))
    assert far.cloud.calls.count("BinaryDataByFilter") == 3
    assert len(far.cloud.faults["TabularDataByFilter"]) == 1, "asked once"
    now[0] += 3601 * 10**9
    put(target, walk(tmp_path / "captures", 10))
    assert len(far.cloud.faults["TabularDataByFilter"]) == 0, "and an hour later"


def test_all_that_is_known_is_lost_and_still_nothing_comes_twice(far, target, tmp_path):
    capture = walk(tmp_path / "captures")
    put(target, capture)
    put(far.open(samples="readings"), capture)
    assert len(far.cloud.readings) == 2970
    far.cloud.stored.clear()  # the sidecar, which says that all readings are there
    tags = [metadata["tags"] for metadata, _ in far.cloud.readings]
    there = tags.index(tags[1500])  # whole batches
    del far.cloud.readings[there:]
    far.cloud.calls.clear()
    put(far.open(samples="readings"), capture)
    assert len({taken(reading) for _, reading in far.cloud.readings}) == len(far.cloud.readings) == 2970
    batches_there = len({str(each) for each in tags[:there]})
    assert far.cloud.calls.count("TabularDataByFilter") == 1 + batches_there + 1, "up to the first that is not there"


def test_a_later_revision_is_one_more_sidecar_and_no_reading(far, target, tmp_path):
    capture = walk(tmp_path / "captures")
    put(target, capture)
    later = capture.amended(labels={"activity": "running"})
    later.write_sidecar()
    put(target, later)
    put(target, later)
    assert len(far.cloud.readings) == 2970
    assert far.cloud.calls.count("TabularDataByFilter") == 1, "the sidecar says that all are there"
    first, second = (each for each in far.cloud.stored)
    assert second.content == later.sidecar.read_bytes() != first.content
    assert "activity:running" in second.metadata["tags"]


def test_where_the_cloud_cannot_be_asked_a_later_revision_is_one_more_sidecar_all_the_same(far, target, tmp_path):
    far.cloud.may_read = False
    capture = walk(tmp_path / "captures")
    receipt = target.put(capture, Progress())
    count = len(far.cloud.readings)
    later = capture.amended(labels={"activity": "running"})
    later.write_sidecar()
    again = target.put(later, Progress(receipt=receipt))
    assert len(far.cloud.readings) == count == 2970
    assert len(far.cloud.stored) == 2
    assert again["readings"] == receipt["readings"]
    assert again["files"] != receipt["files"]


def test_stop_between_two_batches(far, target, tmp_path):
    capture, progress = walk(tmp_path / "captures"), Progress()
    sent = []
    progress.advance = lambda count: sent.append(count) or (sum(map(bool, sent)) > 1 and progress.stop.set())
    with pytest.raises(Stopped):
        target.put(capture, progress)
    assert len(far.cloud.sizes) == 1
    assert far.cloud.stored == []
    put(target, capture, progress.state)
    assert len(far.cloud.readings) == 2970
