"""Cameras in a real daemon: one that hangs is noticed though nobody asks it for a picture, and opened again."""

from pathlib import Path
from typing import Any

from tests.running import Running

CAMERA = """
[stream.cam]
driver = "picamera"
camera = "virtual"
width = 320
height = 240
"""
PHOTOS = """
[recording.photos]
streams = ["cam"]
format = ["jpeg"]
picture_name = "full"
"""


def hanging(status: dict[str, Any]) -> bool:
    camera = status["streams"]["cam"]
    return camera["state"] == "lost" and "the camera hangs: no frame for 2 s" in camera["error"]


def back(status: dict[str, Any]) -> bool:
    camera, photos = status["streams"]["cam"], status["recordings"]["photos"]
    return camera["state"] == "running" and camera["reopened"] == 1 and photos["samples"] == 2


def test_a_hung_camera_is_noticed_between_its_pictures_and_opened_again(tmp_path: Path) -> None:
    camera = f"""{CAMERA}
interval_s = 3600
hung_after_s = 2
virtual = {{ faults = ["2 stall 3.5"] }}
"""
    with Running(tmp_path, camera + PHOTOS) as running:
        status = running.until(hanging)
        assert any("stream cam is lost" in problem for problem in status["problems"])
        running.until(back)
        running.finish()
        photos = running.captures("photos")
    streams = [photo.document["streams"][0] for photo in photos]
    assert [stream["first"] for stream in streams] == [0, 1], "one each time that it was opened"
    assert len({stream["picture"]["frame"] for stream in streams}) == 1, "by another process, which counts anew"
