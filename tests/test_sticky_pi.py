import base64
import contextlib
import datetime
import hashlib
import io
import itertools
import json
import logging
import threading
import traceback
import tracemalloc
import urllib.request
from pathlib import Path

import piexif
import pytest

from agent import exif
from agent.capture import Capture
from agent.targets import Failed, Home, Later, Refused, Unreachable
from agent.targets.sticky_pi import Settings
from agent.targets.sticky_pi import StickyPi as Target
from drivers.ports.jpeg import APP0, APP1, segments
from drivers.settings import SettingsError
from tests.captures import make_capture
from tests.contracts.target import NetworkContract, put
from tests.models.sticky_pi import StickyPi
from tests.pictures import PICTURE, House, block, write
from tests.receiver import Fault

UPLOAD, ASK, LOGIN = "/_put_new_images", "/get_images/metadata", "/get_token"

V1 = bytes.fromhex(
    "762c542c482c422c4c2c6c61742c6c6e672c612c6c2c620a332e312e302c32302e362c34322e362c37322c312e32302c34392e3236313432"
    "2c2d3132332e32353038382c39372e332c313635323831333138322c31"
)
V2 = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/4QCaRXhpZgAATU0AKgAAAAgAAgEPAAIAAAAJAAAAJodpAAQAAAABAAAALwAAAABTdGlja3lQaQAAAZKGAAcA"
    "AABVAAAAPXYsVCxILEIsTCxsYXQsbG5nLGEsbCxiCjMuMS4wLDIwLjYsNDIuNiw3MiwxLjIwLDQ5LjI2MTQyLC0xMjMuMjUwODgsOTcuMywxNjUy"
    "ODEzMTgyLDH/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71////m8H////6/+b9//j/2wBDASst"
    "LTw1PHZBQXb4pYyl+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj/wAARCAAQABADASIAAhEBAxEB/8QA"
    "FQABAQAAAAAAAAAAAAAAAAAAAAT/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QAFQEBAQAAAAAAAAAAAAAAAAAAAgX/xAAUEQEAAAAAAAAAAAAAAAAA"
    "AAAA/9oADAMBAAIRAxEAPwCoBMN//9k="
)
V2_NAME, V2_MD5 = "512858f4.2024-03-05_06-07-08", "da70ba3e3cb37249df8737540540bfc2"
V1_ROW = {"device_version": "3.1.0", "temp": 20.6, "hum": 42.6, "bat": 72.0, "lum": 1.2, "but": True}
V1_ROW |= {"lat": 49.26142, "lng": -123.25088, "alt": 97.3}
JPEG = ("jpeg", "image/jpeg", ".jpg")


def jpeg_around(content: bytes, jpeg: bytes = V2) -> bytes:
    """A picture with `content` in comment segments."""
    at = next(start for marker, start, _ in segments(jpeg) if marker not in (APP0, APP1))
    pieces = [content[n : n + 65000] for n in range(0, len(content), 65000)]
    comments = b"".join(b"\xff\xfe" + (len(piece) + 2).to_bytes(2, "big") + piece for piece in pieces)
    return jpeg[:at] + comments + jpeg[at:]


def with_exif(comment: bytes | None, make: bytes | None = b"StickyPi") -> bytes:
    zeroth = {} if make is None else {piexif.ImageIFD.Make: make}
    ifds = {"0th": zeroth, "Exif": {} if comment is None else {piexif.ExifIFD.UserComment: comment}}
    with io.BytesIO() as made:
        piexif.insert(piexif.dump(ifds), exif.plain(V2), made)
        return made.getvalue()


def picture(folder: Path, jpeg: bytes = V2, name: str = V2_NAME) -> Capture:
    return make_capture(folder, jpeg, name=name, kind=JPEG, recording="photos")


class Server:
    """The model, and the targets that lead to it."""

    def __init__(self, model: StickyPi, folder: Path, stack: contextlib.ExitStack) -> None:
        self.model, self.stack = model, stack
        self.secret = model.users["bay3"]
        self.home = Home("bay3", "512858f4", folder / "secrets")
        self.home.secrets.mkdir(exist_ok=True)
        (self.home.secrets / "password").write_text(self.secret + "\n")

    def open(self, **settings) -> Target:
        given = {"url": self.model.url, "username": "bay3", "password_file": "password", "idle_timeout_s": 0.5}
        target = Settings(**{**given, **settings}).open(self.home)
        self.stack.callback(target.close)
        return target

    def open_patient(self) -> Target:
        return self.open(idle_timeout_s=60)

    def open_elsewhere(self, host: str) -> Target:
        return self.open(url=f"http://{host}")

    def files(self) -> dict[str, bytes]:
        """What rows tell of, with the bytes that the bucket has."""
        found = {}
        for row in self.model.rows.values():
            name = f"{row['device']}.{row['datetime'][:10]}_{row['datetime'][11:19].replace(':', '-')}.jpg"
            found[name] = self.model.picture(name)
            assert hashlib.md5(found[name]).hexdigest() == row["md5"], "the bucket has what the row says"
        return found

    def forget(self):
        raise NotImplementedError

    def lose_answer(self):
        self.model.faults.append(Fault(lose_answer=True))

    def cut(self, after_bytes):
        self.model.faults.append(Fault(cut_after=after_bytes))

    def deny(self):
        for path in (ASK, LOGIN):  # the token, and the password for another one
            self.model.faults_at[path].append(Fault(401, text=f"Unauthorized Access with {self.secret}"))

    def busy(self, status, retry_after):
        self.model.faults.append(Fault(status, (("Retry-After", retry_after),)))

    def slow(self):
        self.model.faults.append(Fault(pause_s=0.002))

    def answer_early(self):
        self.model.faults.append(Fault(413, text=f"too much of {self.secret}", answer_after=1000))

    def truncate_answer(self):
        self.model.faults.append(Fault(truncate=True))

    def hang(self) -> threading.Event:
        self.model.faults.append(Fault(hang=True))
        return self.model.hanging


@pytest.fixture
def far(tmp_path):
    with StickyPi() as model, contextlib.ExitStack() as stack:
        yield Server(model, tmp_path, stack)


@pytest.fixture
def capture(tmp_path):
    return picture(tmp_path / "captures")


class TestStickyPi(NetworkContract):
    amends = False  # there is no place for a sidecar

    @pytest.fixture
    def far(self, far):
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


# The vectors of the protocol


def test_v1_what_the_camera_knew_is_in_the_row(far, tmp_path):
    assert len(V1) == 85
    put(far.open(), picture(tmp_path, with_exif(V1)))
    (row,) = far.model.rows.values()
    assert V1_ROW.items() <= row.items()


def test_v2_arrives_byte_for_byte(far, capture):
    assert hashlib.md5(V2).hexdigest() == V2_MD5 == capture.payloads[0].md5
    receipt = far.open().put(capture, progress())
    assert far.model.picture(V2_NAME + ".jpg") == V2
    (row,) = far.model.rows.values()
    assert V1_ROW.items() <= row.items()
    assert (row["md5"], row["width"], row["height"]) == (V2_MD5, 16, 16)
    where = {"url": far.model.url + "/", "device": "512858f4", "datetime": "2024-03-05T06:07:08Z", "md5": V2_MD5}
    assert receipt == {**where, "new": True}


def test_v3_what_is_not_known_is_null(far, tmp_path):
    put(far.open(), picture(tmp_path, with_exif(b"v\n3.1.0")))
    (row,) = far.model.rows.values()
    assert row["device_version"] == "3.1.0"
    assert {row[name] for name in V1_ROW if name != "device_version"} == {None}


def test_v4_our_own_columns_do_no_harm(far, tmp_path):
    names, values = V1.split(b"\n")
    put(far.open(), picture(tmp_path, with_exif(names + b",cfg,cap\n" + values + b",3f9a1c22,000123")))
    (row,) = far.model.rows.values()
    assert V1_ROW.items() <= row.items()


def test_v5_is_what_the_model_answers(far, capture):
    """So that the answers which the target is tested with are the server's."""
    far.model.faults.append(Fault())
    answer = json.loads(asked(far, UPLOAD, *form(V2_NAME + ".jpg", V2)))
    assert answer[0].pop("datetime_created").endswith("Z")
    v5 = {"id": None, "device": "512858f4", "datetime": "2024-03-05T06:07:08Z", "width": 16, "height": 16}
    v5 |= {"md5": V2_MD5, "api_version": "0.1.1", "api_user_id": 1}
    assert answer == [v5 | V1_ROW]
    put(target := far.open(), capture)
    assert far.model.asked(UPLOAD) == 1, "it is there already, whoever sent it"
    target.close()


def test_v6_is_asked_as_the_real_client_asks(far, capture):
    v6 = [{"device": "512858f4", "datetime": "2024-03-05T06:07:08Z", "md5": V2_MD5, "url": "/local/path.jpg"}]
    contents = kept(far.model)
    put(far.open(), capture)
    (query,) = [content for path, content in contents if path == ASK]
    assert json.loads(query) == [{name: v6[0][name] for name in ("device", "datetime")}], "the rest is ignored there"
    (row,) = json.loads(asked(far, ASK, "application/json", json.dumps(v6).encode()))
    assert (row["md5"], row["alt"], row["bat"], row["but"], row["url"]) == (V2_MD5, 97, 72, 1, "")


def test_the_form_is_that_of_the_real_client(far, capture):
    contents = kept(far.model)
    put(far.open(), capture)
    (upload,) = [content for path, content in contents if path == UPLOAD]
    (request,) = [request for request in far.model.requests if request.path == UPLOAD]
    boundary = request.headers["content-type"].partition("boundary=")[2]
    file = V2_NAME + ".jpg"
    assert upload == (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{file}"; filename="{file}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n".encode()
        + V2
        + f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="{file}.md5"\r\n\r\n{V2_MD5}'
        f"\r\n--{boundary}--\r\n".encode()
    )
    assert request.headers["content-length"] == str(len(upload))
    assert {request.method for request in far.model.requests} == {"POST"}


# Our own pictures


def test_pictures_of_this_agent_are_read(far, tmp_path):
    house = House(tmp_path)
    around = {"temperature_c": 20.61, "latitude": 49.26142, "longitude": -123.25088, "button": True}
    taken = [house.finish(write(house.writer(), block(n, 5.0 + n), surroundings=around)) for n in range(3)]
    target = far.open()
    for capture in taken:
        put(target, capture)
    assert far.files() == {capture.files[0].name: capture.files[0].read_bytes() for capture in taken}
    row = far.model.rows["512858f4", "2024-03-05T06:07:08Z"]
    assert (row["temp"], row["lat"], row["but"], row["hum"], row["lum"]) == (20.6, 49.26142, True, None, 1.9)
    assert far.model.log == []


def test_a_later_revision_of_the_sidecar_sends_nothing(far, capture):
    target = far.open()
    put(target, capture)
    later = capture.amended(labels={"species": "moth"})
    later.write_sidecar()
    assert target.put(later, progress())["new"] is False
    assert far.model.asked(UPLOAD) == 1


# What the server does to those who do not ask


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
    with pytest.raises(Refused, match="another picture"):
        put(far.open(), capture)


def test_a_500_without_a_row_is_an_attempt(far, tmp_path):
    target, capture = far.open(), picture(tmp_path, with_exif(b"v,T\n3.1.0,nan"))
    for tries in (1, 2):
        with pytest.raises(Failed, match=r"500: .* does not have 512858f4"):
            put(target, capture)
        assert far.model.asked(UPLOAD) == tries
        assert far.model.asked(ASK) == 2 * tries
    assert far.model.log == ["ValueError: DataError: out of range"] * 2


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


# What it would refuse, or would be the worse for


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bay3.photos.20240305T060708.123Z.1f0c3a77", 'set picture_name = "second"'),
        ("512858f4.2024-03-05_06-07-08.cfg1", "set picture_name"),
        ("512858F4.2024-03-05_06-07-08", "set picture_name"),
        ("0x12abcd.2024-03-05_06-07-08", "set picture_name"),
        ("512858f.2024-03-05_06-07-08", "set picture_name"),
        ("512858f4.2024-03-05T06:07:08Z", "set picture_name"),
        ("512858f4.2024-03-05_06-07-08.123", "set picture_name"),
        ("512858f4.2024-02-30_06-07-08", "no date that there is"),
        ("512858f4.2024-03-05_06-07-60", "no date that there is"),
        ("512858f4.1970-01-01_00-00-07", "from before 2019-11-01"),
        ("512858f4.2019-10-31_23-59-59", "from before 2019-11-01"),
    ],
)
def test_names_and_dates_that_it_would_not_take(far, tmp_path, name, reason):
    with pytest.raises(Refused, match=reason):
        put(far.open(), picture(tmp_path, name=name))
    assert far.model.requests == []


@pytest.mark.parametrize("name", ["512858f4.2019-11-01_00-00-00", "512858f4.2099-12-31_23-59-59"])
def test_dates_that_it_takes(far, tmp_path, name):
    put(far.open(), picture(tmp_path, name=name))
    assert list(far.files()) == [name + ".jpg"]


def test_only_pictures(far, tmp_path):
    with pytest.raises(Refused, match="takes jpeg and the capture has csv"):
        put(far.open(), make_capture(tmp_path))
    assert far.model.requests == []


@pytest.mark.parametrize("jpeg", [PICTURE, V2], ids=["a photo", "V2"])
def test_a_picture_cut_anywhere_is_never_sent(far, tmp_path, jpeg):
    jpeg = jpeg if jpeg is V2 else exif.tag(jpeg, exif.Tags(0, "0.1.0"))
    target = far.open()
    for at in range(0, len(jpeg), -(-len(jpeg) // 50)):
        with pytest.raises(Refused, match=r"JPEG|picture data"):
            put(target, picture(tmp_path, jpeg[:at]))
    with pytest.raises(Refused, match="JPEG"):
        put(target, picture(tmp_path, jpeg[:-1]))
    assert far.model.asked(UPLOAD) == 0


def test_a_picture_that_cannot_be_decoded_is_never_sent(far, tmp_path):
    tables = next((start, end) for marker, start, end in segments(V2) if marker == 0xDB)
    with pytest.raises(Refused, match="cannot be decoded"):
        put(far.open(), picture(tmp_path, V2[: tables[0]] + V2[tables[1] :]))
    assert far.model.asked(UPLOAD) == 0


@pytest.mark.parametrize(
    ("jpeg", "reason"),
    [
        (exif.plain(V2), "this picture has no EXIF"),
        (with_exif(V1, None), "Make has to be one word"),
        (with_exif(V1, b"Raspberry Pi"), "Make has to be one word"),
        (with_exif(None), "UserComment is missing"),
        (with_exif(b"v"), "1 lines instead of two"),
        (with_exif(V1 + b"\n"), "3 lines instead of two"),
        (with_exif(b"v\n\xff\xfe"), "no EXIF that Sticky Pi reads"),
    ],
)
def test_exif_that_its_parser_would_die_of(far, tmp_path, jpeg, reason):
    with pytest.raises(Refused, match=reason):
        put(far.open(), picture(tmp_path, jpeg))
    assert far.model.asked(UPLOAD) == 0
    asked(far, UPLOAD, *form(V2_NAME + ".jpg", jpeg), status=500)


# Tokens


def test_one_token_serves_all(far, tmp_path):
    target = far.open()
    for second in range(10, 15):
        put(target, picture(tmp_path, name=f"512858f4.2024-03-05_06-07-{second}"))
    assert far.model.asked(LOGIN) == 1
    logins = [request for request in far.model.requests if request.path == LOGIN]
    assert logins[0].headers["authorization"] == "Basic " + code(f"bay3:{far.secret}")
    (token,) = far.model.tokens
    rest = {request.headers["authorization"] for request in far.model.requests if request.path != LOGIN}
    assert rest == {"Basic " + code(f"{token}:")}


def test_a_token_that_ended_is_renewed_once(far, tmp_path):
    target = far.open()
    put(target, picture(tmp_path, name="512858f4.2024-03-05_06-07-10"))
    far.model.ahead_s = 86410.0
    put(target, picture(tmp_path, name="512858f4.2024-03-05_06-07-11"))
    assert far.model.asked(LOGIN) == 2
    assert far.model.asked(ASK) == 3, "401, and again"


def test_a_token_is_renewed_before_it_ends(far, tmp_path, monkeypatch):
    now = [5 * 10**9]
    monkeypatch.setattr("agent.targets.sticky_pi.boottime_ns", lambda: now[0])
    target = far.open()
    put(target, picture(tmp_path, name="512858f4.2024-03-05_06-07-10"))
    now[0] += 86300 * 10**9
    put(target, picture(tmp_path, name="512858f4.2024-03-05_06-07-11"))
    assert far.model.asked(LOGIN) == 1
    now[0] += 100 * 10**9
    put(target, picture(tmp_path, name="512858f4.2024-03-05_06-07-12"))
    assert far.model.asked(LOGIN) == 2
    assert far.model.asked(ASK) == 3, "no 401 was needed"


@pytest.mark.parametrize("ahead_s", [-50 * 365 * 86400.0, 86400.0])
def test_clocks_that_differ_do_no_harm(far, tmp_path, ahead_s):
    """A board in 1970, and one that thinks that every token is over."""
    far.model.ahead_s = ahead_s
    target = far.open()
    for second in (10, 11):
        put(target, picture(tmp_path, name=f"512858f4.2024-03-05_06-07-{second}"))
    assert far.model.asked(LOGIN) == 1


def test_401_in_the_middle_of_an_upload(far, capture):
    far.model.faults.append(Fault(401, text="Unauthorized Access"))
    put(far.open(), capture)
    assert far.model.asked(LOGIN) == far.model.asked(UPLOAD) == 2
    assert far.files() == {V2_NAME + ".jpg": V2}


def test_401_after_renewal_is_the_targets_fault(far, capture):
    far.model.faults_at[ASK] += [Fault(401), Fault(401)]
    with pytest.raises(Unreachable, match="credentials"):
        put(far.open(), capture)
    assert far.model.asked(LOGIN) == 2


def test_a_changed_password_is_picked_up(far, capture):
    target = far.open()
    far.model.users["bay3"] = "another"
    with pytest.raises(Unreachable, match="401: Unauthorized Access; check the target's credentials"):
        put(target, capture)
    (far.home.secrets / "password").write_text("another")
    put(target, capture)


def test_a_user_who_may_only_read(far, capture):
    far.model.readers.add("bay3")
    with pytest.raises(Unreachable, match=r"403: .* role has to allow writing"):
        put(far.open(), capture)
    assert far.model.objects == {}


@pytest.mark.parametrize("text", ["{}", "[]", "<html>", '{"token": ""}', '{"token": "tökn-secret"}', '{"token": 5}'])
def test_a_login_without_a_token(far, capture, text):
    far.model.faults_at[LOGIN].append(Fault(text=text))
    with pytest.raises(Failed, match="has no token") as failed:
        put(far.open(), capture)
    assert "secret" not in "".join(traceback.format_exception(failed.value))


def test_token_and_password_are_never_told(far, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    target = far.open()
    put(target, picture(tmp_path / "before", name="512858f4.2024-03-05_06-07-07"))
    (token,) = far.model.tokens
    secrets = (far.secret, token, code(f"{token}:"), code(f"bay3:{far.secret}"))
    told = []
    for fault in (Fault(500, text=f"who is {secrets}?"), Fault(text=f"{secrets}"), Fault(413, text=f"{secrets}")):
        for path in (ASK, UPLOAD):
            (far.model.faults if path == UPLOAD else far.model.faults_at[path]).append(fault)
            with pytest.raises((Failed, Refused)) as raised:
                put(target, picture(tmp_path / "after"))
            told += [str(raised.value), *traceback.format_exception(raised.value)]
            far.model.rows.clear()
    assert "***" in "".join(told)
    assert [secret for secret in secrets if secret in "".join(told) + caplog.text] == []
    assert sorted(path.name for path in far.home.secrets.iterdir()) == ["password"]


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


# The model, where the target never goes


def test_the_model_has_the_servers_other_traps(far):
    asked(far, ASK, "application/json", b"[]", status=500)
    asked(far, ASK, "", b"[{}]", status=415)
    asked(far, ASK, "application/json", b"nonsense", status=400)
    asked(far, "/get_images", "application/json", b"[]", status=404)
    asked(far, "/get_images/nonsense", "application/json", b'[{"device": "a", "datetime": "b"}]', status=500)
    asked(far, UPLOAD, *form(V2_NAME + ".jpg", V2, V2_MD5.upper()), status=500)
    asked(far, UPLOAD, *form("file", V2), status=500)
    assert far.model.objects == {}, "refused before anything was stored"
    asked(far, UPLOAD, *form(V2_NAME + ".jpg", with_exif(b"T\nnan")), status=500)
    assert len(far.model.objects) == 3, "orphans"
    asked(far, UPLOAD, *form(V2_NAME + ".jpg", V2))
    for date, rows in (("2024-03-05 06:07:08", 1), ("2024-03-05T06:07:08+00:00", 0), ("2024-03-05T06:07:08.0Z", 0)):
        query = json.dumps([{"device": "512858F4", "datetime": date}]).encode()
        assert len(json.loads(asked(far, ASK, "application/json", query))) == rows
    far.model.largest = 100
    asked(far, UPLOAD, *form(V2_NAME + ".jpg", V2), status=413)


def progress():
    from agent.targets import Progress

    return Progress()


def code(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def form(file: str, jpeg: bytes, md5: str = "") -> tuple[str, bytes]:
    body = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\n\r\n%s\r\n' % (file.encode(), jpeg)
    if md5:
        body += f'--b\r\nContent-Disposition: form-data; name="{file}.md5"\r\n\r\n{md5}\r\n'.encode()
    return "multipart/form-data; boundary=b", body + b"--b--\r\n"


def asked(far: Server, path: str, media_type: str, body: bytes, status: int = 200) -> bytes:
    """What any other client gets."""
    headers = {"Content-Type": media_type, "Authorization": "Basic " + code(f"bay3:{far.secret}")}
    try:
        with urllib.request.urlopen(urllib.request.Request(far.model.url + path, body, headers)) as answer:
            assert answer.status == status
            return answer.read()
    except urllib.error.HTTPError as error:
        with error:
            assert error.code == status
            return error.read()


def kept(model: StickyPi) -> list[tuple[str, bytes]]:
    """Path and content of each request from now on."""
    contents, take = [], model.take

    def also(request, content, fault):
        contents.append((request.path, content))
        return take(request, content, fault)

    model.take = also
    return contents


def hiding(model: StickyPi, times: int):
    """As `take`, but so many questions are answered as if nothing were there yet."""
    left, take = itertools.count(times, -1), model.take

    def hidden(request, content, fault):
        if request.path == ASK and next(left) > 0:
            return Fault(200, text="[]")
        return take(request, content, fault)

    return hidden
