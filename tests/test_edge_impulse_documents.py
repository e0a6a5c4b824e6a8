"""Samples as signed documents: the published vector, units, gaps, rates, and that each try sends the same bytes."""

import base64
import contextlib
import gzip
import tracemalloc
from typing import Any

import numpy as np
import pytest

from agent.capture import Capture
from agent.targets import Failed, Progress, Refused
from agent.targets._edge_impulse_document import CBOR, JSON, cbor, document
from tests.captures import make_capture
from tests.contracts.target import put
from tests.models.edge_impulse import HMAC_KEY, EdgeImpulse, decoded, parsed
from tests.test_edge_impulse import Far

PUBLISHED = base64.b64decode(
    "o2lwcm90ZWN0ZWSjY3ZlcmJ2MWNhbGdlSFMyNTZjaWF0Gl063T1pc2lnbmF0dXJleEBiMGVlMDU3MmExOTg0YjkzYjZiYzU2ZTY1NzZlMmNi"
    "YmQ2YmNjZDY1ZDBjMzU2ZTI2YjMxYmJjOWE0ODIxMGM2Z3BheWxvYWSla2RldmljZV9uYW1lcWFjOjg3OmEzOjBhOjJkOjFia2RldmljZV90"
    "eXBlc0RJU0NPLUw0NzVWRy1JT1QwMUFraW50ZXJ2YWxfbXMKZ3NlbnNvcnODomRuYW1lZGFjY1hldW5pdHNkbS9zMqJkbmFtZWRhY2NZZXVu"
    "aXRzZG0vczKiZG5hbWVkYWNjWmV1bml0c2RtL3MyZnZhbHVlc5+D+sEc9cP6PPXCj/o/muFIg/rBHUeu+j0j1wr6P6PXCoP6wRHrhfo89cKP"
    "+j+dcKSD+sESPXH6PCPXCvk9AP8="
)
"""The signed example of docs.edgeimpulse.com/tools/specifications/data-acquisition/json-cbor."""
SIGNATURE = "b0ee0572a1984b93b6bc56e6576e2cbbd6bccd65d0c356e26b31bbc9a48210c6"
PAYLOAD = {
    "device_name": "ac:87:a3:0a:2d:1b",
    "device_type": "DISCO-L475VG-IOT01A",
    "interval_ms": 10,
    "sensors": [{"name": name, "units": "m/s2"} for name in ("accX", "accY", "accZ")],
}
VALUES = np.array([[-9.81, 0.03, 1.21], [-9.83, 0.04, 1.28], [-9.12, 0.03, 1.23], [-9.14, 0.01, 1.25]], np.float32)
IAT = 1564138813
CSV = b"sequence,AccelerometerX,Temperature\n7,1000,21.5\n8,-1000,\n11,500,22\n"


def channel(name: str, unit: str, dtype: str = "<i2", scale: float = 1.0, offset: float = 0.0) -> dict[str, Any]:
    return {"name": name, "unit": unit, "dtype": dtype, "scale": scale, "offset": offset}


def stream(name: str, channels: list[dict], **more) -> dict[str, Any]:
    rate = {"nominal": 104.0, "measured": 103.9, "ppm": -961.0, "residual_s": 1e-5}
    known = {"driver": "mpu6050", "model": "MPU-6050", "serial": "", "first": 7, "samples": 3, "rate_hz": rate}
    return {"name": name, **known, "lost": {"samples": 2, "exact": True}, "gaps": [], "channels": channels, **more}


STREAMS = [
    stream("imu", [channel("AccelerometerX", "g", scale=1 / 1000)]),
    stream("room", [channel("Temperature", "Celsius", "<f4")], rate_hz={"nominal": 1.0, "measured": None}),
]


def recorded(folder, content: bytes = CSV, **more) -> Capture:
    return make_capture(folder, content, **{"streams": STREAMS, "labels": {"activity": "walking"}, **more})


@pytest.fixture
def far(tmp_path):
    with EdgeImpulse() as model, contextlib.ExitStack() as stack:
        yield Far(model, tmp_path, stack)


def sent(far: Far) -> dict:
    (sample,) = far.model.samples.values()
    return sample.document


# The format


def test_the_published_document_is_ours_byte_for_byte():
    """But for how long a float is: ours all have four bytes."""
    ours = document(CBOR, PAYLOAD, lambda: iter((VALUES,)), key=HMAC_KEY, iat=IAT)
    head = PUBLISHED[: PUBLISHED.index(b"values") + 7]
    signed = head.index(SIGNATURE.encode())
    assert ours.head[:signed] == head[:signed]
    assert ours.head[signed + 64 :] == head[signed + 64 :]
    assert decoded(b"".join(ours.pieces()), 0)[0]["payload"] == decoded(PUBLISHED, 0)[0]["payload"]


def test_the_published_signature_is_ours():
    """Over the published bytes, taken as rows and tail are."""
    encoding = type(CBOR)(
        "", "", CBOR.head, lambda table, first: PUBLISHED[PUBLISHED.index(b"values") + 7 : -1], b"\xff"
    )
    ours = document(encoding, PAYLOAD, lambda: iter((VALUES,)), key=HMAC_KEY, iat=IAT)
    assert SIGNATURE.encode() in ours.head
    assert b"".join(ours.pieces()) == PUBLISHED
    assert ours.size == len(PUBLISHED)


@pytest.mark.parametrize("encoding", [CBOR, JSON], ids=["cbor", "json"])
@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (1, 1), (1, 300), (3, 23), (3, 24), (5000, 3)])
def test_documents_are_read_by_another(encoding, columns, rows):
    table = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns) / np.float32(7)
    sensors = [{"name": f"axis {n}", "units": "N/A"} for n in range(columns)]
    payload = {"device_type": "t", "interval_ms": 9.615384615384615, "sensors": sensors}
    ours = document(encoding, payload, lambda: iter((table[: rows // 2], table[rows // 2 :])), key=HMAC_KEY, iat=None)
    content = b"".join(ours.pieces())
    assert (len(content), ours.count) == (ours.size, rows)
    found = parsed(content, encoding.media_type)
    assert found["protected"] == {"ver": "v1", "alg": "HS256"}
    assert found["payload"]["interval_ms"] == 9.615384615384615
    values = np.array(found["payload"]["values"], np.float32).reshape(rows, columns)
    assert np.allclose(values, table, rtol=1e-6)
    assert encoding is JSON or np.array_equal(values, table)


def test_cbor():
    for value in (0, 23, 24, 255, 256, 65535, 65536, 1 << 32, 1.5, "x" * 300, "", ["a", 1], {"a": {}}):
        content = cbor(value)
        assert decoded(content, 0) == (value, len(content))


def test_rows_that_are_others_than_were_signed_never_end_as_a_document():
    tables = [VALUES, VALUES * 2]
    ours = document(CBOR, PAYLOAD, lambda: iter((tables.pop(0),)), key=HMAC_KEY, iat=IAT)
    pieces = []
    with pytest.raises(ValueError, match="changed"):
        pieces.extend(ours.pieces())
    assert not b"".join(pieces).endswith(b"\xff")


# What is sent


def test_a_capture_becomes_a_document(far, tmp_path):
    """Gaps hold the row before them; a slow stream's cells hold its last value."""
    capture = recorded(tmp_path)
    put(far.open(), capture)
    found = sent(far)
    assert found["protected"] == {"ver": "v1", "alg": "HS256", "iat": 1795256100}
    payload = found["payload"]
    assert payload["device_name"] == "0badcafe"
    assert payload["device_type"] == "MPU-6050"
    assert payload["interval_ms"] == 1000 / 104
    units = [{"name": "AccelerometerX", "units": "m/s2"}, {"name": "Temperature", "units": "Cel"}]
    assert payload["sensors"] == units
    one = 9.80665
    expected = [[one, 21.5], [-one, 21.5], [-one, 21.5], [-one, 21.5], [one / 2, 22]]
    assert np.allclose(payload["values"], expected, rtol=1e-6)
    (sample,) = far.model.samples.values()
    assert (sample.name, sample.label) == (capture.name + ".cbor", "walking")
    assert sample.metadata["lost_samples"] == "4"


def test_units_as_recorded_in_json_and_not_signed(far, tmp_path):
    put(far.open(encoding="json", senml_units=False, hmac_key_file=""), recorded(tmp_path))
    found = sent(far)
    assert found["protected"]["alg"] == "none"
    assert found["signature"] == "0" * 64
    assert [sensor["units"] for sensor in found["payload"]["sensors"]] == ["g", "Celsius"]
    assert found["payload"]["values"][0] == [1, 21.5]


def test_each_try_sends_the_same_bytes_so_that_it_is_there_once(far, tmp_path):
    capture = recorded(tmp_path)
    far.lose_answer()
    with pytest.raises(Failed):
        put(far.open(), capture)
    put(far.open(), capture)
    later = capture.amended(labels={"activity": "running"})
    later.write_sidecar()
    put(far.open(), later)
    assert len(far.model.samples) == 1


def test_a_date_that_is_corrected_later_makes_no_twin(far, tmp_path):
    start = {"boot_time_ns": 1, "boot_id": "", "wall_time": "1970-01-01T00:00:10.000000Z", "clock": "unsynchronised"}
    capture = recorded(tmp_path, start=start)
    put(far.open(), capture)
    put(far.open(), capture.amended(start={**start, "wall_time": "2026-11-21T10:15:00.000000Z", "clock": "redated"}))
    assert len(far.model.samples) == 1
    assert "iat" not in sent(far)["protected"]


def test_rows_before_every_channel_has_a_value_are_left_out(far, tmp_path):
    capture = recorded(tmp_path, b"sequence,AccelerometerX,Temperature\n7,1,\n8,2,\n11,3,22\n12,4,\n")
    put(far.open(), capture)
    values = sent(far)["payload"]["values"]
    assert np.allclose(values, [[3 * 9.80665e-3, 22], [4 * 9.80665e-3, 22]], rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"sequence,AccelerometerX,Temperature\n", "no row in which each channel has a value"),
        (b"sequence,AccelerometerX,Temperature\n7,1,\n", "no row in which each channel has a value"),
        (b"sequence,AccelerometerX\n7,1\n", "it has no Temperature"),
        (b"sequence,AccelerometerX,Temperature\n7,one,2\n", "cannot be read back as samples"),
    ],
)
def test_payloads_that_are_no_samples(far, tmp_path, content, reason):
    with pytest.raises(Refused, match=reason):
        put(far.open(), recorded(tmp_path, content))
    assert far.model.requests == []


def test_no_constant_rate(far, tmp_path):
    streams = [stream("button", [channel("Pressed", "")], rate_hz={"nominal": 0.0, "measured": None})]
    with pytest.raises(Refused, match="constant rate"):
        put(far.open(), recorded(tmp_path, streams=streams))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(CSV[:-2] + b"3\n")])
def test_a_payload_that_is_not_the_sidecars(far, tmp_path, damage):
    capture = recorded(tmp_path)
    damage(capture.files[0])
    with pytest.raises(Refused, match=r"gone|changed"):
        put(far.open(), capture)
    assert far.model.requests == []


def test_another_format_and_the_first_that_is_there(far, tmp_path):
    kind = ("csv_gz", "application/gzip", ".csv.gz")
    put(far.open(), recorded(tmp_path, gzip.compress(CSV), kind=kind))
    assert len(sent(far)["payload"]["values"]) == 5


def test_a_long_recording_needs_little_memory(far, tmp_path):
    rows = b"".join(b"%d,%d,20.5\n" % (n, n % 1000) for n in range(100_000))
    capture = recorded(tmp_path, b"sequence,AccelerometerX,Temperature\n" + rows)
    target = far.open()
    put(target, recorded(tmp_path))  # what is made once
    far.model.keep = False
    tracemalloc.start()
    try:
        put(target, capture)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20, f"{peak} bytes at once"
    assert far.model.requests[-1].body_bytes > 100_000 * 11


# Labelled parts


def segment(first: int, samples: int, **labels) -> dict:
    return {"first": first, "samples": samples, "labels": labels}


@pytest.mark.parametrize(
    ("segments", "name", "expected"),
    [
        ([segment(8, 2, activity="fall")], "", [(0, 0, "walking"), (1, 2, "fall"), (3, 4, "walking")]),
        (
            [segment(9, 9, activity="rise"), segment(7, 2, activity="fall")],
            "activity",
            [(0, 1, "fall"), (2, 4, "rise")],
        ),
        ([segment(7, 3, activity="fall"), segment(8, 4, activity="x")], "", [(0, 2, "fall"), (3, 4, "x")]),
        ([segment(8, 1, shoe="left")], "activity", None),
        ([segment(8, 0, activity="x")], "", [(0, 0, "walking"), (1, 4, "walking")]),
        ([], "", None),
    ],
)
def test_segments_cover_the_sample_without_a_hole(far, tmp_path, segments, name, expected):
    put(far.open(segments=True, label=name), recorded(tmp_path, segments=segments))
    (sample,) = far.model.samples.values()
    found = sample.labels and [(part["startIndex"], part["endIndex"], part["label"]) for part in sample.labels]
    assert found == expected


def test_segments_stay_with_their_samples_where_rows_are_left_out(far, tmp_path):
    content = b"sequence,AccelerometerX,Temperature\n7,1,\n8,2,\n9,3,22\n10,4,\n11,5,\n"
    streams = [{**STREAMS[0], "samples": 5, "lost": {"samples": 0, "exact": True}}, STREAMS[1]]
    capture = recorded(tmp_path, content, streams=streams, segments=[segment(8, 3, activity="fall")])
    put(far.open(segments=True), capture)
    (sample,) = far.model.samples.values()
    assert [(part["startIndex"], part["endIndex"], part["label"]) for part in sample.labels] == [
        (0, 1, "fall"),
        (2, 2, "walking"),
    ]


def test_segments_are_only_sent_where_they_are_asked_for(far, tmp_path):
    put(far.open(), recorded(tmp_path, segments=[segment(8, 2, activity="fall")]))
    (sample,) = far.model.samples.values()
    assert sample.labels is None


def test_says_what_it_sent(far, tmp_path):
    counts: list[int] = []
    progress = Progress(advance=counts.append)
    far.open().put(recorded(tmp_path), progress)
    (sample,) = far.model.samples.values()
    assert progress.sent_bytes == sum(counts) == len(sample.content)
