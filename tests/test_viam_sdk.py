"""The target against the classes of Viam's own SDK, which know nothing of ours."""

import base64

import pytest

from agent.targets import Failed, Progress, Refused, Unreachable
from tests.captures import make_capture
from tests.contracts.format import IMU, block
from tests.contracts.target import CONTENT, TargetContract, put
from tests.models.viam import DENIED, INVALID, KEY_ID
from tests.viam import awake, picture, sampled
from tests.viam_peer import serving


@pytest.fixture(scope="module", autouse=True)
def grpc_is_awake():
    with awake():
        yield


@pytest.fixture(scope="module")
def peer():
    with serving() as running:
        yield running


@pytest.fixture
def far(peer, tmp_path):
    with peer.anew(tmp_path) as empty:
        yield empty


class TestFiles(TargetContract):
    amends = False  # nothing is ever replaced there

    @pytest.fixture
    def far(self, far):
        return far


def test_readings(far, tmp_path):
    blocks = [(0, block(IMU, first, 50)) for first in range(0, 1000, 50)]
    capture, state = sampled(tmp_path / "captures", {"imu": IMU}, blocks), {}
    far.ask(fault=["DataCaptureUpload", {"code": 13, "text": "once"}])
    with pytest.raises(Failed, match="once"):
        put(far.open(samples="readings"), capture, state)
    put(far.open(samples="readings"), capture, state)
    put(far.open(samples="readings"), capture)
    readings = far.get("readings")
    assert len(readings) == 1000
    metadata, first = readings[0]
    assert metadata["method_name"] == "Readings"
    assert first["metadata"]["time_received"] == "2026-11-21T10:15:00.123Z"
    assert set(first["struct"]["readings"]) == {"Accelerometer X", "Gyroscope _z_", "Temperature"}


def test_what_is_taken_back_of_readings_is_this_captures(far, tmp_path):
    blocks = [(0, block(IMU, first, 50)) for first in range(0, 500, 50)]
    one, other = (sampled(tmp_path / each, {"imu": IMU}, blocks) for each in ("one", "two"))
    target = far.open(samples="both", delete_readings=True)
    receipt = target.put(one, Progress())
    put(target, other)
    assert target.remove(one.uuid, receipt) == []
    left = far.get("readings")
    assert len(left) == 500 and all(f"capture:{other.uuid}" in metadata["tags"] for metadata, _ in left)
    assert all(f"capture:{other.uuid}" in each["metadata"]["tags"] for each in far.get("stored"))


@pytest.mark.parametrize(("size", "method"), [(0, "DataCaptureUpload"), (200_000, "StreamingDataCaptureUpload")])
def test_pictures(far, tmp_path, size, method):
    box = {"label": "cat", "x_min": 0.1, "y_min": 0.2, "x_max": 0.3, "y_max": 0.4, "confidence": 0.9}
    capture = picture(tmp_path, size, annotations={"boxes": [box], "classifications": [{"label": "day"}]})
    put(far.open(), capture)
    put(far.open(), capture)
    stored, _ = far.get("stored")
    assert stored["method"] == method
    assert base64.b64decode(stored["content"]) == capture.files[0].read_bytes()
    assert stored["sensor"]["annotations"]["bboxes"][0]["y_max_normalized"] == 0.4
    assert stored["sensor"]["annotations"]["classifications"] == [{"label": "day"}]


def test_a_token_ends_and_is_renewed(far, tmp_path):
    far.ask(set={"life_s": 3600.0})
    target = far.open()
    put(target, make_capture(tmp_path / "captures", b"one"))
    far.ask(set={"forgets_tokens": True})
    put(target, make_capture(tmp_path / "captures", b"two"))
    assert far.get("calls").count("Authenticate") == 2
    assert len(far.files()) == 4


def test_a_key_that_is_not_known(far, tmp_path):
    far.ask(set={"keys": {KEY_ID: "another"}})
    with pytest.raises(Unreachable, match=r"failed to authenticate: \*\*\* is not the key; check the target's cred"):
        put(far.open(), make_capture(tmp_path / "captures", b"one"))


def test_no_before_it_has_read_everything(far, tmp_path):
    far.ask(fault=["FileUpload", {"code": INVALID, "text": "not this", "after": 70_000}])
    capture = make_capture(tmp_path / "captures", CONTENT * 20)
    with pytest.raises(Refused, match="not this"):
        put(far.open(), capture)
    put(far.open(), capture)
    assert set(far.files()) == {path.name for path in capture.files}


def test_probe(far):
    assert len(far.open().probe()) == 2
    far.ask(fault=["BinaryDataByFilter", {"code": DENIED, "text": "not you"}])
    assert "may not read data" in far.open().probe()[1]
    assert far.get("stored") == far.get("readings") == []
