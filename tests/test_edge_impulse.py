import contextlib
import json
import threading
from pathlib import Path

import pytest

from agent.capture import Capture
from agent.targets import Failed, Home, Plan, Progress, Refused, Unreachable
from agent.targets.edge_impulse import EdgeImpulse as Target
from agent.targets.edge_impulse import Settings
from drivers.settings import SettingsError
from tests.captures import make_capture
from tests.contracts.target import CONTENT, NetworkContract, put
from tests.models.edge_impulse import HMAC_KEY, KEY, EdgeImpulse
from tests.receiver import Fault

WAV = ("wav", "audio/wav", ".wav")
JPEG = ("jpeg", "image/jpeg", ".jpg")


class Far:
    """The service, and the targets that lead to it."""

    secret = KEY

    def __init__(self, model: EdgeImpulse, folder: Path, stack: contextlib.ExitStack) -> None:
        self.model, self.stack = model, stack
        self.home = Home("bay3", "0badcafe", folder / "secrets")
        self.home.secrets.mkdir(exist_ok=True)
        (self.home.secrets / "key").write_text(KEY + "\n")
        (self.home.secrets / "hmac").write_text(HMAC_KEY)

    def open(self, **settings) -> Target:
        given = {
            "url": self.model.url,
            "studio_url": self.model.url + "/v1",
            "api_key_file": "key",
            "hmac_key_file": "hmac",
            "idle_timeout_s": 0.5,
        }
        target = Settings(**{**given, **settings}).open(self.home)
        self.stack.callback(target.close)
        return target

    def open_patient(self) -> Target:
        return self.open(idle_timeout_s=60)

    def open_elsewhere(self, host: str) -> Target:
        return self.open(url=f"http://{host}")

    def files(self) -> dict[str, bytes]:
        return {sample.name: sample.content for sample in self.model.samples.values()}

    def forget(self):
        self.model.keep = False

    def lose_answer(self):
        self.model.faults.append(Fault(lose_answer=True))

    def cut(self, after_bytes):
        self.model.faults.append(Fault(cut_after=after_bytes))

    def deny(self):
        self.model.faults.append(Fault(401, text=f'{{"success": false, "error": "Invalid API key {KEY}"}}'))

    def busy(self, status, retry_after):
        self.model.faults.append(Fault(status, (("Retry-After", retry_after),)))

    def slow(self):
        self.model.faults.append(Fault(pause_s=0.002))

    def answer_early(self):
        self.model.faults.append(Fault(413, text=f"too much of {KEY}", answer_after=1000))

    def truncate_answer(self):
        self.model.faults.append(Fault(truncate=True))

    def misanswer(self, text):
        self.model.faults.append(Fault(text=text or " "))

    def hang(self) -> threading.Event:
        self.model.faults.append(Fault(hang=True))
        return self.model.hanging


@pytest.fixture
def far(tmp_path):
    with EdgeImpulse() as model, contextlib.ExitStack() as stack:
        yield Far(model, tmp_path, stack)


@pytest.fixture
def sound(tmp_path):
    return make_capture(tmp_path / "captures", CONTENT, kind=WAV, labels={"activity": "walking"})


class TestEdgeImpulse(NetworkContract):
    amends = False  # the platform takes no other label or metadata later

    @pytest.fixture
    def far(self, far):
        return far

    def make(self, folder: Path, content: bytes) -> Capture:
        return make_capture(folder, content, kind=WAV)

    def expected(self, *captures: Capture) -> dict[str, bytes]:
        return {capture.files[0].name: capture.files[0].read_bytes() for capture in captures}


def test_a_file_with_label_and_metadata(far, sound):
    receipt = far.open(category="testing").put(sound, Progress())
    (sample,) = far.model.samples.values()
    assert (sample.category, sample.label, sample.name) == ("testing", "walking", sound.files[0].name)
    assert sample.metadata["capture"] == sound.uuid
    assert sample.metadata["activity"] == "walking"
    assert sample.metadata["device_id"] == "0badcafe"
    assert receipt == {
        "url": f"{far.model.url}/api/testing/files",
        "file": sound.files[0].name,
        "label": "walking",
        "left_out": [],
        "new": True,
        "sample": 1,
        "project": 4711,
        "final": True,
    }
    assert "x-add-date-id" not in far.model.requests[0].headers
    assert far.model.requests[0].headers["x-disallow-duplicates"] == "1"


def test_a_picture(far, tmp_path):
    capture = make_capture(tmp_path, b"\xff\xd8 picture \xff\xd9", kind=JPEG, labels={"subject": "moth"})
    put(far.open(date_id=True), capture)
    (sample,) = far.model.samples.values()
    assert (sample.label, sample.content) == ("moth", b"\xff\xd8 picture \xff\xd9")
    assert far.model.requests[0].headers["x-add-date-id"] == "1"


def test_there_already_is_a_delivery_with_the_id_of_what_is_there(far, sound):
    put(far.open(), sound)
    receipt = far.open().put(sound, Progress())
    assert (receipt["new"], receipt["sample"]) == (False, "1")
    far.model.faults.append(Fault(text='{"success":false,"error":"An item with this hash already exists"}'))
    put(far.open(), sound)


# Labels and metadata


LABELS = [
    ({"activity": "walking"}, {}, "", "walking"),
    ({"activity": "walking", "shoe": "left"}, {}, "shoe", "left"),
    ({"activity": "walking", "shoe": "left"}, {}, "", None),
    ({"activity": "walking"}, {"room": "hall 5"}, "room", "hall 5"),
    ({"activity": "walking"}, {}, "other", None),
    ({"activity": "Zähne, putzen\r\nx-evil: 1"}, {}, "", "Zähne, putzen\r\nx-evil: 1"),
    ({"count": 3}, {}, "", "3"),
    ({"fell": True}, {}, "", "true"),
    ({"activity": " "}, {}, "", None),
    ({}, {}, "", None),
]


def test_the_label(far, tmp_path):
    """None is none, and never made of the file's name."""
    for number, (labels, metadata, name, _) in enumerate(LABELS):
        put(far.open(label=name), make_capture(tmp_path, b"%d" % number, kind=WAV, labels=labels, metadata=metadata))
    assert [sample.label for sample in far.model.samples.values()] == [label for *_, label in LABELS]
    assert not [request for request in far.model.requests if "x-evil" in request.headers]


def test_a_label_that_no_header_holds(far, tmp_path):
    capture = make_capture(tmp_path, CONTENT, kind=WAV, labels={"activity": "ä" * 200})
    with pytest.raises(Refused, match="too long for a header"):
        put(far.open(), capture)
    assert far.model.requests == []


def test_metadata_that_no_header_holds_is_left_out_and_told(far, tmp_path):
    metadata = {"note": "ä" * 2000, "site": "roof", "ü": "\r\nx-evil: 1"}
    capture = make_capture(tmp_path, CONTENT, kind=WAV, metadata=metadata)
    receipt = far.open().put(capture, Progress())
    assert receipt["left_out"] == ["note"]
    (sample,) = far.model.samples.values()
    assert sample.metadata["site"] == "roof"
    assert sample.metadata["ü"] == "\r\nx-evil: 1"
    assert sum(map(len, far.model.requests[0].headers.values())) < 8000


def test_metadata_cannot_pose_as_ours(far, tmp_path):
    capture = make_capture(tmp_path, CONTENT, kind=WAV, metadata={"capture": "another"})
    put(far.open(), capture)
    (sample,) = far.model.samples.values()
    assert sample.metadata["capture"] == capture.uuid


# Answers


ANSWERS = [
    (Fault(400, text='{"success": false, "error": "because"}'), Refused, "400: because"),
    (
        Fault(401, text='{"success": false, "error": "Invalid API key"}'),
        Unreachable,
        "check the target's credentials",
    ),
    (Fault(404, text="Not found"), Unreachable, "check the target's url and category"),
    (Fault(413, text="because"), Refused, "413: because"),
    (Fault(421, text="because"), Refused, "421: because"),
    (Fault(500, text="because"), Failed, "500: because"),
    (Fault(200, text='{"success": false, "error": "because"}'), Refused, "says: because"),
    (Fault(200, text='{"success": true, "files": []}'), Failed, "does not say what became of"),
    (Fault(200, text='{"success": true}'), Failed, "does not say what became of"),
    (Fault(200, text="test.wav"), Failed, "does not say what became of"),
    (Fault(200, text="<html>sign in to this hotel's network</html>"), Failed, "does not say what became of"),
    (Fault(200, text="[" * 4000), Failed, "does not say what became of"),
]


def test_answers(far, sound):
    for fault, meaning, reason in ANSWERS:
        far.model.faults.append(fault)
        with pytest.raises(meaning, match=reason):
            put(far.open(), sound)


def test_200_for_a_file_that_was_not_taken(far, sound):
    far.model.says = "Invalid mimetype"
    with pytest.raises(Refused, match="Edge Impulse says: Invalid mimetype"):
        put(far.open(), sound)
    assert far.files() == {}


def test_a_file_beyond_what_is_taken(far, sound):
    payload = {**sound.document["payloads"][0], "size": 100 << 20}
    with pytest.raises(Refused, match=r"104857600 bytes and .*length_s"):
        put(far.open(), Capture(sound.folder, {**sound.document, "payloads": [payload]}))
    assert far.model.requests == []


def test_a_renewed_key(far, sound):
    target = far.open()
    far.model.key = "ei_next"
    with pytest.raises(Unreachable, match="Invalid API key"):
        put(target, sound)
    (far.home.secrets / "key").write_text("ei_next")
    put(target, sound)


def test_a_probe_names_the_project(far):
    assert far.open().probe() == [
        "the key is of project 'walks' (4711)",
        f"samples go to {far.model.url}/api/training/files",
    ]
    assert far.model.samples == {}
    for fault, reason in (
        (Fault(401, text=f"who is {KEY}?"), "credentials"),
        (Fault(200, text=json.dumps({"success": False, "error": f"Invalid API key {KEY}"})), "refuses the key"),
    ):
        far.model.faults.append(fault)
        with pytest.raises(Unreachable, match=reason) as told:
            far.open().probe()
        assert KEY not in str(told.value)
    far.model.faults.append(Fault(200, text="{}"))
    with pytest.raises(Failed, match="names no project"):
        far.open().probe()


# Settings


def test_mistakes_are_found_at_start():
    for settings, wrong in [
        ({"api_key_file": ""}, "api_key_file"),
        ({"url": "ingestion.edgeimpulse.com"}, "url"),
        ({"url": "https://me:pw@ingestion.edgeimpulse.com"}, "url"),
        ({"studio_url": "studio"}, "studio_url"),
        ({"category": "other"}, "category"),
        ({"encoding": "xml"}, "encoding"),
        ({"formats": ("mcap",)}, "formats"),
        ({"formats": ()}, "formats"),
        ({"proxy": "proxy:3128"}, "proxy"),
        ({"idle_timeout_s": 0}, "idle_timeout_s"),
    ]:
        with pytest.raises(SettingsError) as found:
            Settings(**{"api_key_file": "key", **settings})
        assert [name for name, _, _ in found.value.mistakes] == [wrong], settings
        assert "pw" not in str(found.value)


def test_recordings_without_a_rate_are_found_at_check():
    def mistakes(rates: tuple[float, ...], format: str = "csv", pictures: bool = False) -> list:
        plan = Plan("name", {format: None}, pictures, "", rates, {}, {})
        return [option for option, _, _ in Settings(api_key_file="key").mistakes(plan)]

    assert mistakes((0.0,)) == ["streams"]
    assert mistakes((0.0, 100.0)) == []
    assert mistakes((0.0,), "wav") == []
    assert mistakes((0.0,), "jpeg", pictures=True) == []
