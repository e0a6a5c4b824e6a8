import contextlib
import datetime
import itertools
import json
import threading
import tracemalloc
from pathlib import Path

import pytest

from agent.capture import Capture
from agent.targets import Failed, Later, Progress, Refused, Stopped, Unreachable
from agent.targets.sticky_pi import Settings
from agent.targets.sticky_pi import StickyPi as Target
from drivers.settings import SettingsError
from tests.contracts.target import NetworkContract, put
from tests.receiver import Fault
from tests.sticky_pi import (
    ASK,
    LOGIN,
    UPLOAD,
    V2,
    V2_MD5,
    V2_NAME,
    asked,
    form,
    hiding,
    jpeg_around,
    picture,
    serving,
    with_exif,
)


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def capture(tmp_path):
    return picture(tmp_path / "captures")


class TestStickyPi(NetworkContract):
    amends = False  # there is no place for a sidecar

    @pytest.fixture
    def far(self, far):
        far.model.admins.add("bay3")
        return far

    @pytest.fixture(autouse=True)
    def seconds(self):
        self.second = itertools.count()

    def make(self, folder: Path, content: bytes) -> Capture:
        taken = datetime.datetime(2026, 11, 21, 10, 15) + datetime.timedelta(seconds=next(self.second))
        return picture(folder, jpeg_around(content), f"512858f4.{taken:%Y-%m-%d_%H-%M-%S}")

    def expected(self, *captures: Capture) -> dict[str, bytes]:
        return {capture.files[0].name: capture.files[0].read_bytes() for capture in captures}

    def test_an_empty_payload_arrives(self, far, target, tmp_path):
        """An empty picture is none: it must not."""
        with pytest.raises(Refused, match="does not begin as a JPEG"):
            put(target, picture(tmp_path / "captures", b""))
        assert far.model.asked(UPLOAD) == 0

    @pytest.mark.alone  # the server, which holds what it gets, is in this process too
    def test_a_big_file_needs_no_memory(self, far, target, capture):
        """A picture is decoded whole before it is sent, but never two at once; and beyond 100 MB none is taken."""
        size = 6 << 20
        captures = [self.make(capture.folder.parent, bytes([n]) * size) for n in range(6)]
        put(target, capture)  # what is made once
        far.model.keep = False
        threads = [threading.Thread(target=self.sent, args=(target, each)) for each in captures]
        tracemalloc.start()
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 2.5 * size, f"{peak} bytes at once"
        assert far.model.asked(UPLOAD) == 7

    def sent(self, target: Target, capture: Capture) -> None:
        with contextlib.suppress(Failed):  # the model cannot know what it has not kept
            put(target, capture)

    def test_a_picture_beyond_what_the_server_takes(self, far, target, capture):
        path = capture.files[0]
        with path.open("r+b") as file:
            file.truncate((100 << 20) + 1)
        payload = {**capture.document["payloads"][0], "size": (100 << 20) + 1}
        with pytest.raises(Refused, match="104857601 bytes"):
            put(target, Capture(capture.folder, {**capture.document, "payloads": [payload]}))
        assert far.model.requests == []


def test_another_picture_of_that_second_is_never_overwritten(far, tmp_path):
    first, second = picture(tmp_path / "one"), picture(tmp_path / "two", jpeg_around(b"another"))
    put(far.open(), first)
    with pytest.raises(Refused, match=f"another picture .* {V2_MD5}"):
        put(far.open(), second)
    assert far.files() == {V2_NAME + ".jpg": V2}
    assert far.model.asked(UPLOAD) == 1
    asked(far, UPLOAD, *form(V2_NAME + ".jpg", second.files[0].read_bytes()), status=500)
    assert far.model.picture(V2_NAME + ".jpg") != V2, "which it would have been: the model has the trap"


def test_there_in_upper_case_is_there(far, capture):
    asked(far, UPLOAD, *form(V2_NAME.upper() + ".jpg", V2))
    put(far.open(), capture)
    assert far.model.asked(UPLOAD) == 1


def test_a_500_for_what_another_try_has_stored_is_a_delivery(far, capture):
    """An earlier try was still under way there when this one asked."""
    far.model.faults_at[ASK].append(Fault(201))
    asked(far, UPLOAD, *form(V2_NAME + ".jpg", V2))
    far.model.take = hiding(far.model, 1)
    put(far.open(), capture)
    assert far.model.asked(UPLOAD) == 2
    assert far.model.log == ["LookupError: IntegrityError: duplicate ('512858f4', '2024-03-05T06:07:08Z')"]


def test_a_500_for_what_another_device_has_stored_is_a_conflict(far, capture):
    asked(far, UPLOAD, *form(V2_NAME + ".jpg", jpeg_around(b"other")))
    far.model.take = hiding(far.model, 1)
    with pytest.raises(Refused, match=r"another picture .* may have replaced"):
        put(far.open(), capture)


def test_a_500_without_a_row_is_an_attempt(far, tmp_path):
    target, capture = far.open(), picture(tmp_path, with_exif(b"v,T\n3.1.0,nan"))
    for tries in (1, 2):
        with pytest.raises(Failed, match=r"500: .* does not have 512858f4"):
            put(target, capture)
        assert far.model.asked(UPLOAD) == tries
        assert far.model.asked(ASK) == 2 * tries
    assert far.model.log == ["ValueError: DataError: out of range"] * 2


def test_a_picture_that_500_never_ends_for_is_set_aside(far, tmp_path):
    """Each try sends all of it, and only the server's own log could say why it is in vain."""
    capture, state = picture(tmp_path, with_exif(b"v,T\n3.1.0,nan")), {}
    for _ in range(7):
        with pytest.raises(Failed, match=r"500: .* does not have 512858f4"):
            put(far.open(), capture, state)
    with pytest.raises(Refused, match=r"500: .* does not have 512858f4.* 8 times"):
        put(far.open(), capture, state)
    assert far.model.asked(UPLOAD) == 8


def test_other_failures_do_not_set_a_picture_aside(far, capture):
    state = {}
    for _ in range(10):
        far.model.faults.append(Fault(502))
        far.model.faults_at[ASK] += [Fault(), Fault(500)]
        for _ in range(2):
            with pytest.raises(Failed):
                put(far.open(), capture, state)
    put(far.open(), capture, state)


def test_a_200_that_stored_something_else_is_not_believed(far, capture):
    row = {"device": "512858f4", "datetime": "2024-03-05T06:07:08Z", "md5": "0" * 32}
    far.model.faults += [Fault(text=json.dumps([row])), Fault(text="[]")]
    with pytest.raises(Failed, match="stored md5 0000"):
        put(far.open(), capture)
    far.model.rows.clear()
    with pytest.raises(Failed, match="md5 of nothing"):
        put(far.open(), capture)


@pytest.mark.parametrize(
    "text",
    [
        "<html>sign in to this hotel's network</html>",
        '{"device": "512858f4"}',
        '[{"device": "512858f4", "datetime": "2024-03-05T06:07:08Z"}]',
        '[{"device": "512858f4", "datetime": "2024-03-05T06:07:08Z", "md5": null}]',
        '[{"device": "512858f4", "datetime": "2024-03-05_06-07-08", "md5": "0"}]',
        '[{"device": "00000000", "datetime": "2024-03-05T06:07:08Z", "md5": "0"}]',
        "[[[]]]",
        "[" * 4000,
        "null",
    ],
)
def test_nothing_is_sent_on_an_answer_of_the_wrong_shape(far, capture, text):
    far.model.faults_at[ASK].append(Fault(text=text))
    with pytest.raises(Failed, match="is no row of 512858f4"):
        put(far.open(), capture)
    assert far.model.asked(UPLOAD) == 0
    far.model.faults.append(Fault(text=text))
    with pytest.raises(Failed, match="is no row of 512858f4"):
        put(far.open(), capture)


def test_a_stopped_daemon_does_not_even_ask(far, capture):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        far.open().put(capture, Progress(stop=stop))
    assert far.model.requests == []


def test_what_breaks_while_the_daemon_stops_is_no_fault(far, capture):
    stop = threading.Event()
    far.model.faults_at[ASK].append(Fault(500))
    fault, far.model.fault = far.model.fault, lambda path: (stop.set(), fault(path))[1]
    with pytest.raises(Stopped):
        far.open().put(capture, Progress(stop=stop))


# Answers


@pytest.mark.parametrize("path", [LOGIN, ASK, UPLOAD])
@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (302, Unreachable),
        (400, Failed),
        (403, Unreachable),
        (404, Unreachable),
        (405, Unreachable),
        (413, Refused),
        (415, Failed),
        (429, Later),
        (500, Failed),
        (502, Failed),
        (504, Failed),
    ],
)
def test_answers(far, capture, path, status, meaning):
    if path != UPLOAD and meaning is Refused:
        meaning = Failed  # it was no picture that was too large
    (far.model.faults if path == UPLOAD else far.model.faults_at[path]).append(Fault(status, text="because"))
    target = far.open()
    with pytest.raises(meaning, match=f"{status}: because"):
        put(target, capture)
    put(target, capture)


def test_lost_answers_to_a_question(far, capture):
    for path in (LOGIN, ASK):
        target = far.open()
        for fault in (Fault(lose_answer=True), Fault(truncate=True), Fault(cut_after=0)):
            far.model.faults_at[path].append(fault)
            with pytest.raises(Failed):
                put(target, capture)
    assert far.model.asked(UPLOAD) == 0


def test_behind_a_path(far, capture):
    with pytest.raises(Unreachable, match=r"404: .* check the target's url"):
        put(far.open(url=far.model.url + "/api/"), capture)
    assert far.model.requests[0].path == "/api/get_token"


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"url": "api.sticky-pi.com"}, "url"),
        ({"url": "https://me:pw@api.sticky-pi.com"}, "url"),
        ({"url": "https://api.sticky-pi.com/?a=b"}, "url"),
        ({"username": ""}, "username"),
        ({"username": "a:b"}, "username"),
        ({"password_file": ""}, "password_file"),
        ({"proxy": "proxy:3128"}, "proxy"),
        ({"idle_timeout_s": 0}, "idle_timeout_s"),
    ],
)
def test_mistakes_are_found_at_start(settings, wrong):
    given = {"url": "https://api.sticky-pi.com", "username": "me", "password_file": "password"}
    with pytest.raises(SettingsError) as error:
        Settings(**{**given, **settings})
    assert [name for name, _, _ in error.value.mistakes] == [wrong]
    assert "pw" not in str(error.value)
