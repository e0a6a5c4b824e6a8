"""EXIF: the layout that Sticky Pi reads, exactly, and a picture that stays what the camera gave."""

import base64
import hashlib
import io
import math
from typing import Any

import piexif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agent import exif
from agent.exif import Tags
from drivers.ports.jpeg import missing
from drivers.ports.virtual.picamera import render

V1 = (
    b"v,T,H,B,L,lat,lng,a,l,b\n"
    b"3.1.0,20.6,42.6,72,1.20,49.26142,-123.25088,97.3,1652813182,1"
)  # fmt: skip
V1_HEX = (
    "762c542c482c422c4c2c6c61742c6c6e672c612c6c2c620a332e312e302c32302e362c34322e362c37322c312e32302c34392e32363134322c"
    "2d3132332e32353038382c39372e332c313635323831333138322c31"
)
V1_TAGS: dict[str, Any] = {
    "version": "3.1.0",
    "temperature_c": 20.6,
    "humidity_percent": 42.6,
    "battery_percent": 72,
    "exposure_s": 10**-1.2,
    "latitude": 49.26142,
    "longitude": -123.25088,
    "altitude_m": 97.3,
    "synced_s": 1652813182,
    "button": True,
}
V2 = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/4QCaRXhpZgAATU0AKgAAAAgAAgEPAAIAAAAJAAAAJodpAAQAAAABAAAALwAAAABTdGlja3lQaQAAAZKGAAcA"
    "AABVAAAAPXYsVCxILEIsTCxsYXQsbG5nLGEsbCxiCjMuMS4wLDIwLjYsNDIuNiw3MiwxLjIwLDQ5LjI2MTQyLC0xMjMuMjUwODgsOTcuMywxNjUy"
    "ODEzMTgyLDH/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71////m8H////6/+b9//j/2wBDASst"
    "LTw1PHZBQXb4pYyl+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj/wAARCAAQABADASIAAhEBAxEB/8QA"
    "FQABAQAAAAAAAAAAAAAAAAAAAAT/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QAFQEBAQAAAAAAAAAAAAAAAAAAAgX/xAAUEQEAAAAAAAAAAAAAAAAA"
    "AAAA/9oADAMBAAIRAxEAPwCoBMN//9k="
)
TAKEN_NS = 1709618828_123456789
"""2024-03-05 06:07:08.123456789 UTC."""


@pytest.fixture(scope="module")
def picture() -> bytes:
    return render(seed=1, number=0, size=(640, 480), quality=85)


def test_v1_user_comment_is_exact() -> None:
    assert bytes.fromhex(V1_HEX) == V1
    assert exif.comment(Tags(TAKEN_NS, **V1_TAGS)) == V1


def test_v2_file_of_another_maker_is_read_back() -> None:
    assert hashlib.md5(V2).hexdigest() == "da70ba3e3cb37249df8737540540bfc2"
    found = exif.read(V2)
    assert found["make"] == "StickyPi"
    names, values = V1.decode().split("\n")
    assert found["comment"] == dict(zip(names.split(","), values.split(","), strict=True))
    assert exif.whole(V2, decode=True) == ""


def test_v3_what_is_not_known_is_left_out() -> None:
    assert exif.comment(Tags(TAKEN_NS, "3.1.0")) == b"v\n3.1.0"


def test_v4_configuration_and_capture_are_extra_columns() -> None:
    tags = Tags(TAKEN_NS, **V1_TAGS, configuration="3f9a1c22-8c1e-5d5b-9f3e-111111111111", capture="000123")
    names, values = V1.split(b"\n")
    assert exif.comment(tags) == names + b",cfg,cap\n" + values + b",3f9a1c22,000123"


@pytest.mark.parametrize(
    ("known", "line"),
    [
        ({"temperature_c": math.nan}, b"v\n1"),
        ({"humidity_percent": math.inf}, b"v\n1"),
        ({"battery_percent": 72.9}, b"v,B\n1,72"),
        ({"battery_percent": 1e6}, b"v\n1"),
        ({"latitude": 49.0}, b"v\n1"),
        ({"latitude": 91.0, "longitude": 0.0}, b"v\n1"),
        ({"latitude": 0.0, "longitude": 0.0}, b"v,lat,lng\n1,0.00000,0.00000"),
        ({"exposure_s": 0.0}, b"v\n1"),
        ({"exposure_s": 2.0}, b"v,L\n1,-0.30"),
        ({"button": False}, b"v,b\n1,0"),
        ({"altitude_m": -12.46}, b"v,a\n1,-12.5"),
    ],
)
def test_no_value_that_the_server_would_choke_on(known: dict[str, Any], line: bytes) -> None:
    assert exif.comment(Tags(TAKEN_NS, "1", **known)) == line


def test_the_version_fits_its_column() -> None:
    assert exif.comment(Tags(TAKEN_NS, "10.11.12rc1,\n")) == b"v\n10.11.12"


def test_tags_come_back(picture: bytes) -> None:
    tags = Tags(
        TAKEN_NS,
        **(V1_TAGS | {"exposure_s": 0.0125}),
        model="imx477",
        gain=2.5,
        configuration="3f9a1c22",
        capture="0a1b2c3d-0000-4000-8000-000000000000",
    )
    found = exif.read(exif.tag(picture, tags))
    assert found["make"] == "RaspberryPi"
    assert found["model"] == "imx477"
    assert found["software"] == "capture-agent 3.1.0"
    assert found["taken"] == "2024-03-05T06:07:08.123456+00:00"
    assert found["exposure_s"] == pytest.approx(0.0125)
    assert found["iso"] == 250
    assert found["latitude"] == pytest.approx(49.26142, abs=1e-7)
    assert found["longitude"] == pytest.approx(-123.25088, abs=1e-7)
    assert found["altitude_m"] == pytest.approx(97.3)
    assert found["comment"]["cap"] == "0a1b2c3d"


def test_the_comment_is_raw_bytes_of_undefined_type(picture: bytes) -> None:
    tagged = exif.tag(picture, Tags(TAKEN_NS, **V1_TAGS))
    place = tagged.index(V1)
    assert b"\x92\x86\x00\x07\x00\x00\x00\x55" in tagged[:place], "tag 0x9286, type 7, 85 bytes, big-endian"
    body = Image.open(io.BytesIO(tagged)).info["exif"]
    assert piexif.load(body)["Exif"][piexif.ExifIFD.UserComment] == V1


def test_only_the_tags_change(picture: bytes) -> None:
    tagged = exif.tag(picture, Tags(TAKEN_NS, "1"))
    again = exif.tag(tagged, Tags(TAKEN_NS, "2", exposure_s=1.0))
    assert exif.plain(tagged) == exif.plain(again) == exif.plain(picture) == picture
    assert exif.read(again)["comment"] == {"v": "2", "L": "0.00"}
    assert again.count(b"Exif\x00\x00") == 1


def test_exif_of_another_hand_is_replaced() -> None:
    tagged = exif.tag(V2, Tags(TAKEN_NS, "1"))
    assert exif.read(tagged)["make"] == "RaspberryPi"
    assert b"StickyPi" not in tagged
    assert exif.plain(tagged) == exif.plain(V2)


def test_pillow_reads_the_tagged_picture(picture: bytes) -> None:
    tagged = exif.tag(picture, Tags(TAKEN_NS, **V1_TAGS))
    with Image.open(io.BytesIO(tagged)) as ours, Image.open(io.BytesIO(picture)) as before:
        assert ours.getexif()[0x010F] == "RaspberryPi"
        assert ours.tobytes() == before.tobytes()


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_anywhere_is_never_whole(progressive: bool) -> None:
    jpeg = io.BytesIO()
    with Image.open(io.BytesIO(render(3, 3, (160, 120), 80))) as image:
        image.save(jpeg, "jpeg", quality=80, progressive=progressive)
    tagged = exif.tag(jpeg.getvalue(), Tags(TAKEN_NS, "1", model="\xff\xd9"))
    assert exif.whole(tagged, decode=True) == ""
    assert all(exif.whole(tagged[:size]) for size in range(len(tagged)))


def test_an_end_marker_inside_a_segment_does_not_deceive(picture: bytes) -> None:
    comment = b"\xff\xfe\x00\x06\xff\xd9\xff\xd9"
    jpeg = picture[:2] + comment + picture[2:]
    assert missing(jpeg) == ""
    assert all(missing(jpeg[:size]) for size in range(20))


def test_what_is_no_jpeg_says_why(picture: bytes) -> None:
    assert "begin" in exif.whole(b"")
    assert "begin" in exif.whole(b"\x89PNG\r\n")
    assert "does not end" in exif.whole(picture + b"\x00\x00")
    headless = picture.replace(b"\xff\xc0", b"\xff\xfe", 1)
    assert exif.whole(headless) == "", "its structure is right, but the frame's head has become a comment"
    assert "decoded" in exif.whole(headless, decode=True)
    with pytest.raises(ValueError, match="JPEG"):
        exif.tag(b"nonsense", Tags(TAKEN_NS, "1"))
    with pytest.raises(ValueError, match="no EXIF"):
        exif.read(picture)


numbers = st.floats() | st.floats(-200, 200)


@settings(max_examples=200, deadline=None)
@given(
    known=st.fixed_dictionaries(
        {},
        optional={
            "exposure_s": numbers,
            "gain": numbers,
            "temperature_c": numbers,
            "humidity_percent": numbers,
            "battery_percent": numbers,
            "latitude": numbers,
            "longitude": numbers,
            "altitude_m": numbers,
            "synced_s": st.integers(0, 2**33),
            "button": st.booleans(),
        },
    ),
    wall_ns=st.integers(0, 4_000_000_000 * 10**9),
)
def test_whatever_is_known_the_comment_has_two_lines_of_equal_length(known: dict[str, Any], wall_ns: int) -> None:
    tags = Tags(wall_ns, "0.1.0", **known)
    tagged = exif.tag(V2, tags)
    names, values = exif.comment(tags).decode("ascii").split("\n")
    assert names.count(",") == values.count(",")
    assert all(value and value not in ("nan", "inf", "-inf") for value in values.split(","))
    assert exif.whole(tagged) == ""
    exif.read(tagged)
