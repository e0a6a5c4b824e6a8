"""Samples as Viam's readings: what arrives, when it was taken, how much of it at a time, and once."""

import math

import numpy as np
import pytest

from agent.targets import Failed, Progress, Refused
from agent.targets import _viam_wire as wire
from agent.targets._viam_readings import batches, readable
from drivers import Block, Channel, Identity
from tests.captures import make_capture
from tests.contracts.format import IMU, MCU, START_NS, block, samples
from tests.contracts.target import put
from tests.models.viam import DENIED, INVALID, Fault
from tests.viam import awake, sampled, serving, taken, walk


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


def told(far) -> list[dict]:
    return [reading["struct"]["readings"] for _, reading in far.cloud.readings]


def indexes(count=3000) -> list[int]:
    return [n for n in range(100, 100 + count) if not (500 <= n < 520 or 900 <= n < 910)]


@pytest.mark.parametrize("kind", ["csv", "csv_gz", "wav", "flac", "parquet", "mcap"])
def test_every_sample_is_a_reading_in_physical_units(far, target, tmp_path, kind):
    put(target, walk(tmp_path / "captures", 3000, kind))
    readings = told(far)
    assert len(readings) == 2970
    expected = samples(IMU, 100, 3000)
    names = dict(zip(("Accelerometer X", "Gyroscope _z_", "Temperature"), IMU.channels, strict=True))
    for index, reading in zip(indexes(), readings, strict=True):
        for name, channel in names.items():
            physical = float(expected[channel.name][index - 100]) * channel.scale + channel.offset
            assert math.isclose(reading[name], physical, rel_tol=1e-12, abs_tol=1e-9)
    times = [taken(reading) for _, reading in far.cloud.readings]
    assert all(abs(time - (index - 100) / 1000) < 0.002 for time, index in zip(times, indexes(), strict=True)), (
        "gaps are gaps"
    )
    assert times == sorted(times)


def test_what_the_readings_are(far, tmp_path):
    target = far.open(samples="readings", tags=("bay",), dataset_ids=("d1",))
    capture = walk(tmp_path / "captures", 100, labels={"activity": "walking", "good": True, "kg": 2.5})
    receipt = target.put(capture, Progress())
    (metadata,) = {str(metadata): metadata for metadata, _ in far.cloud.readings}.values()
    tags = metadata.pop("tags")
    assert metadata == {
        "part_id": "11111111-2222-3333-4444-555555555555",
        "component_type": "rdk:component:sensor",
        "component_name": "walk",
        "method_name": "Readings",
        "type": "DATA_TYPE_TABULAR_SENSOR",
    }, "no data sets: they are for binary data"
    assert tags[:5] == ["bay", "activity:walking", "good:true", "kg:2.5", f"capture:{capture.uuid}"]
    assert tags[5].startswith("outbox:")
    assert len(tags) == 6
    (sidecar,) = far.cloud.stored
    assert far.files() == {capture.sidecar.name: capture.sidecar.read_bytes()}
    assert sidecar.metadata["dataset_ids"] == ["d1"]
    assert receipt["readings"] == len(far.cloud.readings) == 100
    assert receipt["files"] == {capture.sidecar.name: sidecar.id}


def test_component_and_labels_are_as_configured(far, tmp_path):
    more = {"component_name": "imu", "component_type": "rdk:component:movement_sensor", "label_tags": False}
    put(far.open(samples="readings", **more), walk(tmp_path / "captures", 10, labels={"subject": "Jo"}))
    metadata, _ = far.cloud.readings[0]
    assert metadata["component_name"] == "imu"
    assert metadata["component_type"] == "rdk:component:movement_sensor"
    assert not any("Jo" in tag for tag in metadata["tags"])


def test_dates_that_nobody_knew_are_marked(far, target, tmp_path):
    start = {"boot_time_ns": START_NS, "boot_id": "", "wall_time": "1970-01-01T00:00:00.000000Z"}
    put(target, walk(tmp_path / "captures", 10, start={**start, "clock": "unsynchronised"}))
    metadata, reading = far.cloud.readings[0]
    assert "clock:unsynchronised" in metadata["tags"]
    assert reading["metadata"]["time_received"].startswith("1970-01-01T00:00:00")


def test_requests_are_near_64_kb(far, target, tmp_path):
    put(target, walk(tmp_path / "captures"))
    assert len(far.cloud.sizes) >= 5
    assert all(63_000 < size < 65_536 for size in far.cloud.sizes[:-1])
    assert all(far.cloud.calls.count(method) < 2 for method in ("BinaryDataByFilter", "TabularDataByFilter"))


@pytest.mark.parametrize(("rate_hz", "step"), [(100.0, 10), (10.0, 100), (1e6, 1)])
def test_thinned_out(far, tmp_path, rate_hz, step):
    put(far.open(samples="readings", readings_hz=rate_hz), walk(tmp_path / "captures"))
    times = [taken(reading) for _, reading in far.cloud.readings]
    periods = [(round(time * 1e6) + 123_000) * int(rate_hz) // 1_000_000 for time in times]
    assert len(set(periods)) == len(times), "one in each period"
    assert abs(len(times) - 2970 // step) <= 4


def test_streams_of_one_row_and_streams_of_their_own(far, target, tmp_path):
    blocks = [(0, block(IMU, first, 50)) for first in range(0, 1000, 50)]
    blocks += [(1, block(MCU, first, 5)) for first in range(0, 100, 5)]
    rows = sampled(tmp_path / "rows", {"imu": IMU, "mcu": MCU}, blocks, "csv", fill="none")
    put(target, rows)
    keys = {tuple(sorted(reading)) for reading in told(far)}
    own = ("Accelerometer X", "Gyroscope _z_", "imu_Temperature")
    assert keys <= {own, tuple(sorted((*own, "mcu_Temperature", "Gr__e")))}
    assert len(told(far)) == 1000
    far.cloud.readings.clear()
    put(target, sampled(tmp_path / "own", {"imu": IMU, "mcu": MCU}, blocks, "mcap"))
    keys = [tuple(sorted(reading)) for reading in told(far)]
    assert (keys.count(own), keys.count(("Gr__e", "mcu_Temperature"))) == (1000, 100)
    slow = [taken(reading) for _, reading in far.cloud.readings if len(reading["struct"]["readings"]) == 2]
    assert np.allclose(np.diff(slow), 0.01, atol=0.001)


def test_no_number_is_left_out_and_long_integers_keep_their_digits(tmp_path):
    identity = Identity(
        "Counter", 10.0, (Channel("Count", "", "<i8"), Channel("Value", "V", "<f4"), Channel("Small", "", "<i2"))
    )
    values = np.zeros(6, identity.dtype)
    values["Count"] = [1, 1 << 53, (1 << 53) + 1, -(1 << 60) - 1, 5, 6]
    values["Value"] = [0.5, math.nan, math.inf, math.nan, 0.0, -math.inf]
    values["Small"] = range(6)
    values.flags.writeable = False
    capture = sampled(tmp_path, {"c": identity}, [(0, Block(0, values, START_NS, 5))], "parquet")
    source = readable(capture, capture.payloads)
    (batch,) = batches(capture, source, 0.0)
    told = [dict(_structure(content)) for content in batch.contents]
    assert told == [
        {"Count": 1.0, "Value": 0.5, "Small": 0.0},
        {"Count": float(1 << 53), "Small": 1.0},
        {"Count": str((1 << 53) + 1), "Small": 2.0},
        {"Count": str(-(1 << 60) - 1), "Small": 3.0},
        {"Count": 5.0, "Value": 0.0, "Small": 4.0},
        {"Count": 6.0, "Small": 5.0},
    ]


def _structure(content: bytes) -> dict:
    from tests.models.viam import plain
    from tests.models.viam_messages import classes

    return plain(classes()["SensorData"].FromString(content))["struct"]["readings"]


def test_a_reading_is_to_the_byte_what_the_messages_say(tmp_path):
    capture = walk(tmp_path, 20)
    (batch,) = batches(capture, readable(capture, capture.payloads), 0.0)
    for content in batch.contents:
        values = {name: float(value) for name, value in _structure(content).items()}
        assert content.endswith(wire.structure({"readings": values}))


def test_a_capture_without_samples_is_its_sidecar(far, target, tmp_path):
    capture = walk(tmp_path / "captures", 0)
    assert target.put(capture, Progress())["readings"] == 0
    assert list(far.files()) == [capture.sidecar.name]
    assert far.cloud.sizes == []


def test_both(far, tmp_path):
    capture = walk(tmp_path / "captures", 100, "csv", "wav")
    put(far.open(samples="both"), capture)
    assert len(far.cloud.readings) == 100
    assert far.files() == {path.name: path.read_bytes() for path in capture.files}


def test_the_first_format_that_is_named_is_read(far, tmp_path):
    capture = walk(tmp_path / "captures", 100, "csv", "wav")
    capture.files[0].write_bytes(b"")
    put(far.open(samples="readings", formats=("wav",)), capture)
    assert len(far.cloud.readings) == 100


@pytest.mark.parametrize("content", [b"sequence,Accelerometer X\nx,1\n", b"\xff\xfe"])
def test_what_cannot_be_read_back_is_refused(far, target, tmp_path, content):
    streams = walk(tmp_path / "other", 10).document["streams"]
    with pytest.raises(Refused, match="cannot be read back as samples"):
        put(target, make_capture(tmp_path / "captures", content, streams=streams))
    with pytest.raises(Refused, match='samples = "files" takes it'):
        put(target, make_capture(tmp_path / "captures", b"x", kind=("raw", "application/x-raw", ".raw")))
    assert far.cloud.readings == far.cloud.stored == []


def test_a_payload_that_is_not_the_sidecars_gives_no_readings(far, target, tmp_path):
    capture = walk(tmp_path / "captures", 100)
    path = capture.files[0]
    path.write_bytes(path.read_bytes().replace(b"1", b"2"))
    with pytest.raises(Refused, match="has changed"):
        put(target, capture)
    path.unlink()
    with pytest.raises(Refused, match="is gone"):
        put(target, capture)
    assert far.cloud.readings == []


def test_readings_that_are_not_taken(far, target, tmp_path):
    far.cloud.faults["DataCaptureUpload"].append(Fault(code=INVALID, text="what is this?"))
    with pytest.raises(Refused, match="what is this"):
        put(target, walk(tmp_path / "captures", 100))


def test_the_question_fails_and_is_asked_again(far, target, tmp_path):
    """Not to be allowed is one thing; a cloud in trouble another: then nothing is sent on the off chance."""
    capture = walk(tmp_path / "captures", 100)
    for code in (13, 2):
        far.cloud.faults["TabularDataByFilter"].append(Fault(code=code, text="trouble"))
        with pytest.raises(Failed, match="trouble"):
            put(target, capture)
    assert far.cloud.readings == []
    far.cloud.faults["TabularDataByFilter"].append(Fault(code=DENIED, text="no"))
    put(target, capture)
    assert len(far.cloud.readings) == 100
