"""Captures as files and pictures at Viam, over a line that breaks."""

import json
from pathlib import Path

import jsonschema
import pytest

import agent
from agent.capture import Capture
from agent.targets import Failed, Later, Progress, Refused
from tests.captures import make_capture
from tests.contracts.target import CONTENT, NetworkContract, put
from tests.models.viam import PART
from tests.sticky_pi import V2
from tests.viam import awake, picture, serving


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


class TestViam(NetworkContract):
    amends = False  # nothing is ever replaced there

    @pytest.fixture
    def far(self, far):
        return far

    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_a_date(self, far, target, capture, status):
        """gRPC has no dates: what is no number of milliseconds says nothing."""
        far.busy(status, "soon, or ")
        with pytest.raises(Later) as raised:
            put(target, capture)
        assert raised.value.after_s == {429: 300, 503: 5}[status]


def test_a_file_is_streamed_with_what_is_known_of_it(far, capture):
    receipt = far.open(tags=("bay",), dataset_ids=("d1", "d2")).put(capture, Progress())
    payload, sidecar = far.cloud.stored
    assert payload.method == sidecar.method == "FileUpload"
    tags = payload.metadata.pop("tags")
    assert payload.metadata == {
        "part_id": PART,
        "type": "DATA_TYPE_FILE",
        "file_name": capture.files[0].name,
        "file_extension": ".csv",
        "dataset_ids": ["d1", "d2"],
        "mime_type": "text/csv",
        "file_create_time": "2026-11-21T10:15:00.123Z",
        "file_modify_time": "2026-11-21T10:15:02.623Z",
    }
    assert tags[:3] == ["bay", "activity:walking", f"capture:{capture.uuid}"]
    assert len({*tags, *sidecar.metadata["tags"]}) == 5, "one of its own each"
    assert payload.chunks == (65536, 65536, 65536, len(CONTENT) - 3 * 65536)
    assert receipt == {
        "part_id": PART,
        "files": {capture.files[0].name: payload.id, capture.sidecar.name: sidecar.id},
        "tags": {capture.files[0].name: tags[-1], capture.sidecar.name: sidecar.metadata["tags"][-1]},
    }
    json.dumps(receipt)


def test_a_picture_is_what_a_camera_gave(far, tmp_path):
    boxes = [{"label": "cat", "x_min": 0.1, "y_min": 0.0, "x_max": 0.3, "y_max": 1.0, "confidence": 0.9}]
    boxes.append({"label": "dog", "x_min": 0.5, "y_min": 0.5, "x_max": 0.75, "y_max": 0.6})
    said = {"boxes": boxes, "classifications": [{"label": "day"}, {"label": "rain", "confidence": 0.0}]}
    capture = picture(tmp_path, 200_000, recording="photos", annotations=said)
    put(far.open(samples="readings", dataset_ids=("d1",)), capture)
    stored, sidecar = far.cloud.stored
    assert stored.method == "StreamingDataCaptureUpload"
    assert set(stored.chunks[:-1]) == {65536}
    assert stored.content == capture.files[0].read_bytes()
    stored.metadata.pop("tags")
    assert stored.metadata == {
        "part_id": PART,
        "component_type": "rdk:component:camera",
        "component_name": "photos",
        "method_name": "GetImages",
        "type": "DATA_TYPE_BINARY_SENSOR",
        "file_extension": ".jpg",
        "dataset_ids": ["d1"],
        "mime_type": "image/jpeg",
    }
    assert stored.sensor == {
        "time_requested": "2026-11-21T10:15:00.123Z",
        "time_received": "2026-11-21T10:15:00.123Z",
        "annotations": {
            "bboxes": [
                {
                    "label": "cat",
                    "x_min_normalized": 0.1,
                    "x_max_normalized": 0.3,
                    "y_max_normalized": 1.0,
                    "confidence": 0.9,
                },
                {
                    "label": "dog",
                    "x_min_normalized": 0.5,
                    "y_min_normalized": 0.5,
                    "x_max_normalized": 0.75,
                    "y_max_normalized": 0.6,
                },
            ],
            "classifications": [{"label": "day"}, {"label": "rain", "confidence": 0.0}],
        },
    }
    assert sidecar.content == capture.sidecar.read_bytes()


def test_a_picture_of_one_chunk_is_one_message(far, target, tmp_path):
    capture = picture(tmp_path, annotations={"classifications": [{"label": "day"}]})
    put(target, capture)
    stored, _ = far.cloud.stored
    assert stored.method == "DataCaptureUpload"
    assert stored.content == V2
    assert stored.sensor["annotations"] == {"classifications": [{"label": "day"}]}


@pytest.mark.parametrize("corner", [-0.01, 1.01])
def test_a_box_beyond_the_picture_is_refused_before_it_is_sent(far, target, tmp_path, corner):
    box = {"label": "cat", "x_min": corner, "y_min": 0, "x_max": 0.3, "y_max": 0.4}
    capture = picture(tmp_path)
    capture = Capture(capture.folder, {**capture.document, "annotations": {"boxes": [box]}})
    with pytest.raises(Refused, match="'cat'"):
        put(target, capture)
    assert far.cloud.stored == []


@pytest.mark.parametrize("said", [{"boxes": [{"label": "cat"}]}, {"classifications": [{"name": "day"}]}])
def test_annotations_that_are_none_are_refused(far, target, tmp_path, said):
    with pytest.raises(Refused, match="annotations are not as"):
        put(target, picture(tmp_path, annotations=said))


def test_the_schema_of_sidecars_has_annotations():
    schema = json.loads((Path(agent.__file__).parent / "capture.schema.json").read_bytes())["properties"]["annotations"]
    box = {"label": "cat", "x_min": 0, "y_min": 0.5, "x_max": 1, "y_max": 1}
    jsonschema.validate({"boxes": [box, {**box, "confidence": 0.5}], "classifications": [{"label": "day"}]}, schema)
    for wrong in ({**box, "x_max": 1.01}, {**box, "label": ""}, {**box, "width": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"boxes": [wrong]}, schema)


@pytest.mark.parametrize("size", [0, 200_000])
def test_a_lost_answer_and_the_picture_is_there_once(far, target, tmp_path, size):
    far.lose_answer()
    capture, state = picture(tmp_path, size), {}
    with pytest.raises(Failed, match="broke off"):
        put(target, capture, state)
    put(target, capture, state)
    assert [each.metadata["type"] for each in far.cloud.stored] == ["DATA_TYPE_BINARY_SENSOR", "DATA_TYPE_FILE"]


def test_without_the_right_to_ask_a_lost_answer_is_a_second_copy_and_no_more(far, target, capture):
    far.cloud.may_read = False
    far.lose_answer()
    state = {}
    with pytest.raises(Failed):
        put(target, capture, state)
    far.fault()
    far.fault(code=13, text="internal")  # the sidecar's
    with pytest.raises(Failed, match="INTERNAL"):
        put(target, capture, state)
    put(target, capture, state)
    names = [each.metadata["file_name"] for each in far.cloud.stored]
    assert names == [capture.files[0].name] * 2 + [capture.sidecar.name], "what was acknowledged is not sent again"


def test_a_broken_stream_begins_again_at_the_first_byte(far, target, capture):
    far.cut(150_000)
    with pytest.raises(Failed):
        put(target, capture)
    put(target, capture)
    assert far.files()[capture.files[0].name] == CONTENT
    assert far.cloud.torn == 1


def test_one_question_a_capture_and_none_where_all_is_known(far, target, capture):
    state = put(target, capture)
    assert far.cloud.calls == ["Authenticate", "BinaryDataByFilter", "FileUpload", "FileUpload"]
    far.cloud.calls.clear()
    assert target.put(capture, Progress(state=state))["files"] == {
        name: saved["id"] for name, saved in state["files"].items()
    }
    assert far.cloud.calls == []


def test_another_part_is_another_place(far, capture):
    other = "22222222-2222-3333-4444-555555555555"
    far.cloud.parts.add(other)
    state = put(far.open(), capture)
    put(far.open(part_id=other), capture, state)
    assert [each.metadata["part_id"] for each in far.cloud.stored] == [PART, PART, other, other]
