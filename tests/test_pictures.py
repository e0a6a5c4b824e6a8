"""Picture captures: names that are unique, a sidecar that holds, a picture that stays the camera's."""

import dataclasses
import hashlib
import json
import threading
import uuid
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent import exif
from agent.capture import Capture, CaptureConfiguration
from agent.clock import Clock
from agent.formats import jpeg as jpeg_format
from agent.pictures import PictureWriter
from drivers.picamera import Settings
from drivers.ports.virtual import Virtual
from drivers.ports.virtual.picamera import render
from tests.contracts.driver import read_blocks
from tests.pictures import CONFIGURATION, DEVICE, NAME, PICTURE, House, block, write

SCHEMA = json.loads((Path(exif.__file__).parent / "capture.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_picture_becomes_a_whole_capture(house: House) -> None:
    capture = write(
        house.writer(),
        block(41, 5.25, lost=2),
        labels={"bed": "north"},
        metadata={"rows": 3},
        surroundings={"temperature_c": 20.6, "latitude": 49.26142, "longitude": -123.25088, "unknown": 1},
    )
    assert capture.name == NAME + "8"
    assert capture.folder == house.recording
    assert house.names() == [NAME + "8.jpg", NAME + "8.json"]
    assert Capture.load(capture.sidecar).document == capture.document
    assert capture.damage() == ""
    (payload,) = capture.payloads
    jpeg = capture.path(payload).read_bytes()
    assert exif.plain(jpeg) == PICTURE, "the picture is the camera's, byte for byte"
    assert payload.md5 == hashlib.md5(jpeg).hexdigest()
    found = exif.read(jpeg)
    assert found["taken"] == "2024-03-05T06:07:08.250000+00:00"
    assert found["model"] == "imx477"
    assert found["comment"]["T"] == "20.6"
    assert found["comment"]["cfg"] == CONFIGURATION.uuid[:8]
    assert found["comment"]["cap"] == capture.uuid[:8]
    assert capture.document["start"] == {
        "boot_time_ns": 5_250_000_000,
        "boot_id": house.clock.boot_id,
        "wall_time": "2024-03-05T06:07:08.250000Z",
        "clock": "synchronised",
        "dated_by": "service",
    }
    stream = capture.document["streams"][0]
    assert (stream["first"], stream["lost"]) == (41, {"samples": 2, "exact": True})
    assert stream["picture"]["temperature_c"] == 20.6
    assert "unknown" not in stream["picture"]


def test_from_the_virtual_camera_to_the_capture(house: House) -> None:
    settings = Settings(camera="virtual", interval_s=0.05, width=320, height=240, virtual=Virtual(seed=3))
    writer = house.writer(clock=Clock())
    driver = settings.open()
    try:
        identity = driver.start()
        blocks = read_blocks(driver, 3)
    finally:
        driver.close()
    for what in blocks:
        configuration = CaptureConfiguration.of("photos", [(identity, [])])
        capture = writer.write(what, stream="cam", driver="picamera", identity=identity, configuration=configuration)
        VALIDATOR.validate(json.loads(capture.sidecar.read_bytes()))
        assert exif.plain(capture.files[0].read_bytes()) == render(3, int(what.metadata["frame"]), (320, 240), 90)
    assert len(list(house.recording.glob("*.jpg"))) == 3


def test_the_sidecar_follows_the_published_schema(house: House) -> None:
    VALIDATOR.check_schema(SCHEMA)
    capture = write(house.writer(), block(), labels={"a": True})
    document = json.loads(capture.sidecar.read_bytes())
    VALIDATOR.validate(document)
    broken: list[dict[str, Any]] = [
        {key: value for key, value in document.items() if key != "start"},
        document | {"revision": 0},
        document | {"extra": 1},
        document | {"payloads": [document["payloads"][0] | {"file": "../x.jpg"}]},
    ]
    assert not any(VALIDATOR.is_valid(one) for one in broken)


def test_what_is_not_a_number_does_not_spoil_the_sidecar(house: House) -> None:
    odd = {"lux": float("nan"), "gain": float("inf"), "exposure_s": 0.1, "temperature_c": "warm"}
    capture = write(house.writer(), dataclasses.replace(block(), metadata=odd))
    assert capture.document["streams"][0]["picture"] == {"exposure_s": 0.1, "temperature_c": "warm"}
    assert list(exif.read(capture.files[0].read_bytes())["comment"]) == ["v", "L", "cfg", "cap"]


def test_two_pictures_of_one_second_have_two_names(house: House) -> None:
    writer = house.writer()
    captures = [write(writer, block(n, at_s)) for n, at_s in enumerate((5.0001, 5.9995, 7.0002))]
    assert [capture.name[-1] for capture in captures] == ["8", "9", "0"]
    assert writer.counters == {"shifted": 1, "crowded": 0}
    times = [exif.read(capture.files[0].read_bytes())["taken"] for capture in captures]
    assert [time[17:26] for time in times] == ["08.000100", "08.999500", "10.000200"], "EXIF keeps the true time"


def test_when_the_seconds_around_are_taken_the_name_is_a_full_one(house: House) -> None:
    writer = house.writer()
    captures = [write(writer, block(n)) for n in range(8)]
    assert len({capture.name for capture in captures}) == 8
    assert captures[-1].name == f"bay3.photos.20240305T060708.000Z.{captures[-1].uuid[:8]}"
    assert writer.counters == {"shifted": 5, "crowded": 2}
    assert all(capture.damage() == "" for capture in captures)


def test_a_clock_that_goes_back_overwrites_nothing(house: House) -> None:
    writer = house.writer()
    before = house.finish(write(writer, block(0, 5.0)))
    kept = before.files[0].read_bytes()
    house.clock.offset_ns -= 3_000_000_000
    after = house.finish(write(writer, block(1, 8.0)))
    assert after.name != before.name
    assert before.files[0].read_bytes() == kept


def test_a_name_moved_past_midnight_is_not_given_again(house: House) -> None:
    writer = house.writer()
    midnight_s = 5 + (86400 - (6 * 3600 + 7 * 60 + 8))
    shifted = [house.finish(write(writer, block(n, midnight_s - 0.5))) for n in range(2)][1]
    assert shifted.name.endswith("2024-03-06_00-00-00")
    assert shifted.folder.name == "2024-03-05"
    assert write(writer, block(2, midnight_s + 0.5)).name.endswith("2024-03-06_00-00-01")


def test_many_writers_at_once_have_many_names(house: House) -> None:
    writers = [house.writer(recording=f"r{n}") for n in range(4)]
    captures: list[Capture] = []

    def work(writer: PictureWriter) -> None:
        for n in range(12):
            capture = write(writer, block(n, 5 + n // 3))
            captures.append(house.finish(capture) if n % 2 else capture)

    (house.captures / "2024-03-05").mkdir()
    threads = [threading.Thread(target=work, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(captures) == 48
    assert len({capture.name for capture in captures}) == 48
    assert all(capture.damage() == "" for capture in captures)


def test_full_names_say_device_recording_time_and_capture(house: House) -> None:
    identifier = uuid.UUID("0a1b2c3d-0000-4000-8000-000000000000")
    device = dataclasses.replace(DEVICE, name="bay.3/é")
    writer = house.writer(full_names=True, recording="photo walk", device=device, new_uuid=lambda: identifier)
    capture = write(writer, block(0, 5.1239))
    assert capture.name == "bay-3.photo-walk.20240305T060708.123Z.0a1b2c3d"
    assert Capture.load(capture.sidecar).damage() == ""


def test_a_picture_that_is_cut_is_refused_and_leaves_nothing(house: House) -> None:
    for size in (0, 1, 2, 100, len(PICTURE) // 2, len(PICTURE) - 1):
        with pytest.raises(ValueError, match="picture 7 of cam"):
            write(house.writer(), block(7, jpeg=PICTURE[:size]))
    assert house.names() == []


def test_the_format_reads_the_picture_back(house: House) -> None:
    capture = write(house.writer(), block(3, lost=1))
    (payload,) = capture.payloads
    form = jpeg_format.Settings().open()
    assert (form.suffix, form.media_type) == (capture.files[0].suffix, payload.media_type)
    (again,) = form.read(capture.path(payload), capture)
    assert (again.first, again.lost, again.count) == (3, 1, 1)
    assert exif.plain(again.jpeg) == PICTURE
    with pytest.raises(ValueError, match="csv"):
        form.develop(None, house.root / "x", lambda: None)  # type: ignore[arg-type]
