import hashlib
import json

import pytest

from agent import exif
from agent.targets import Progress, Refused
from drivers.ports.jpeg import segments
from tests.captures import make_capture
from tests.contracts.target import put
from tests.pictures import PICTURE, House, block, write
from tests.receiver import Fault
from tests.sticky_pi import ASK, UPLOAD, V1, V1_ROW, V2, V2_MD5, V2_NAME, asked, form, kept, picture, serving, with_exif


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def capture(tmp_path):
    return picture(tmp_path / "captures")


# The vectors of the protocol


def test_v1_what_the_camera_knew_is_in_the_row(far, tmp_path):
    assert len(V1) == 85
    put(far.open(), picture(tmp_path, with_exif(V1)))
    (row,) = far.model.rows.values()
    assert V1_ROW.items() <= row.items()


def test_v2_arrives_byte_for_byte(far, capture):
    assert hashlib.md5(V2).hexdigest() == V2_MD5 == capture.payloads[0].md5
    receipt = far.open().put(capture, Progress())
    assert far.model.picture(V2_NAME + ".jpg") == V2
    (row,) = far.model.rows.values()
    assert V1_ROW.items() <= row.items()
    assert (row["md5"], row["width"], row["height"]) == (V2_MD5, 16, 16)
    where = {"url": far.model.url + "/", "device": "512858f4", "datetime": "2024-03-05T06:07:08Z", "md5": V2_MD5}
    assert receipt == {**where, "new": True, "final": True}


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
    assert target.put(later, Progress())["new"] is False
    assert far.model.asked(UPLOAD) == 1


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
