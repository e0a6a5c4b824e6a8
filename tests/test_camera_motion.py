"""Motion before a camera: what counts as such, and pictures taken for it, up to their captures in a real daemon."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import numpy.typing as npt
import pytest

import agent
from drivers import SettingsError
from drivers.ports.camera_motion import Motion, MotionWatch
from drivers.ports.virtual.picamera import VirtualScene, scene
from tests.running import Running
from tests.test_camera import boottime_ns, read_blocks, started, virtual
from tests.test_camera_daemon import CAMERA, PHOTOS

SMALL = (320, 240)
SHARE = 0.0625 * 0.75
"""Of the scene: the square that moves."""
Frame = npt.NDArray[np.uint8]


class Watching:
    """Ten frames a second."""

    def __init__(self, **motion: Any) -> None:
        self.watch = MotionWatch(Motion(**{"area": 0.02, "min_interval_s": 1.0} | motion).wanted() or {})
        self.number = 0

    def see(self, *frames: Frame) -> list[float]:
        """When pictures are wanted, in seconds from the first frame."""
        found = []
        for frame in frames:
            if self.watch.feed(frame, self.number * 100_000_000) is not None:
                found.append(self.number / 10)
            self.number += 1
        return found

    def scene(self, frames: int, *, moving: bool = False) -> list[Frame]:
        first = self.number
        return [scene(5, SMALL, (first + at) / 10, moving=moving) for at in range(frames)]


def test_a_scene_in_which_nothing_moves_asks_for_no_picture() -> None:
    watching = Watching()
    assert watching.see(*watching.scene(150)) == [], "noise, and light that comes and goes"
    assert watching.watch.counts == {"examined": 150, "motions": 0}


def test_what_moves_is_seen_at_once_and_again_while_it_lasts() -> None:
    watching = Watching()
    assert watching.see(*watching.scene(30)) == []
    assert watching.see(*watching.scene(25, moving=True)) == [3.0, 4.0, 5.0]
    assert watching.see(*watching.scene(20)) == [], "it is over"
    assert watching.watch.begun == 1


def test_the_share_is_said() -> None:
    watching = Watching(area=0.01)
    watching.see(*watching.scene(5))
    share = watching.watch.feed(scene(5, SMALL, 0.5, moving=True), 500_000_000)
    assert share is not None
    assert SHARE * 0.6 < share < SHARE * 2.5


def test_less_than_the_area_or_the_difference_is_nothing() -> None:
    for wish in ({"area": 0.3}, {"difference": 100}):
        watching = Watching(**wish)
        assert watching.see(*watching.scene(20), *watching.scene(20, moving=True)) == []


def test_light_switched_on_everywhere_is_no_motion() -> None:
    watching = Watching()
    dark = watching.scene(20)
    assert watching.see(*dark, *[frame + np.uint8(60) for frame in dark]) == []


def flat(share: float) -> Frame:
    """Grey; this share of the patches, from above, is brighter."""
    frame = np.full((240, 320), 100, np.uint8)
    frame.reshape(15, 16, 320)[: round(15 * share)] += 50
    return frame


def test_the_hysteresis_joins_what_wavers_and_parts_what_does_not() -> None:
    wavering = [flat(0.4), flat(0.3), flat(0.4), flat(0.3), flat(0.4)]
    watching = Watching(area=0.35, hysteresis=0.5, background_s=86400)
    watching.see(flat(0), *wavering)
    assert watching.watch.begun == 1
    watching = Watching(area=0.35, hysteresis=0, background_s=86400)
    watching.see(flat(0), *wavering)
    assert watching.watch.begun == 3


def test_what_stays_becomes_what_was_there() -> None:
    watching = Watching(area=0.1, background_s=2)
    pictures = watching.see(flat(0), *[flat(0.2)] * 300)
    assert pictures[0] == 0.1
    assert 1 < pictures[-1] < 6, "and then it is no news"


def test_a_picture_of_another_size_is_another_scene() -> None:
    watching = Watching()
    assert watching.see(flat(0), np.zeros((120, 160), np.uint8), flat(0)) == []


@pytest.mark.parametrize(
    "wrong", [{"area": 1.1}, {"area": 0.1, "difference": 0}, {"background_s": 0}, {"min_interval_s": 0}]
)
def test_what_cannot_be_is_a_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Motion(**wrong)
    with pytest.raises(SettingsError, match="AT FOR"):
        VirtualScene(motion=("soon 3",))


def test_a_scheduled_picture_in_which_something_moves_says_so_and_is_the_only_one() -> None:
    settings = virtual(0, motion=("0 60",))
    settings = type(settings)(**{**vars(settings), "motion": Motion(area=0.01, min_interval_s=30)})
    with started(settings) as (driver, _):
        (moved,) = read_blocks(driver, 1)
        assert 0 < float(moved.metadata["motion"]) < 1
        driver.snap()
        (asked,) = read_blocks(driver, 1)
        assert "motion" not in asked.metadata, "it was told of before"
        until_ns = boottime_ns() + 500_000_000
        while boottime_ns() < until_ns:
            assert driver.read(0.1) is None
    assert [moved.first, asked.first] == [0, 1]


def test_motion_triggers_a_recording_of_a_sensor_and_of_pictures_before_it(tmp_path: Path) -> None:
    config = f"""{CAMERA}
interval_s = 0.25
motion = {{ area = 0.02, min_interval_s = 600 }}
virtual = {{ motion = ["3 1.5"] }}

[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 100

[recording.visit]
streams = ["imu"]
when = "trigger"
trigger = {{ kind = "motion", stream = "cam", pre_s = 1, post_s = 0.5 }}
{PHOTOS}
when = "trigger"
trigger = {{ kind = "motion", pre_s = 1, post_s = 0.3, snap = false }}
"""
    with Running(tmp_path, config) as running:
        running.until(lambda status: status["recordings"]["visit"]["finished"] == 1)
        status = running.finish()
        (visit,), photos = running.captures("visit"), running.captures("photos")
    for recording in ("visit", "photos"):
        assert status["recordings"][recording]["trigger"]["triggers"] == 1
    counters = status["streams"]["cam"]["counters"]
    assert counters["motions"] == 1
    assert counters["examined"] >= 5
    assert len({photo.document["configuration"]["uuid"] for photo in photos}) == 1
    (seen,) = (photo for photo in photos if "motion" in photo.document["streams"][0]["picture"])
    moment = seen.document["start"]["boot_time_ns"]
    share = seen.document["streams"][0]["picture"]["motion"]
    trigger = {"kind": "motion", "boot_time_ns": moment, "stream": "cam", "value": share, "extended": 0}
    assert seen.document["trigger"] == trigger
    assert {name: visit.document["trigger"][name] for name in trigger} == trigger
    starts = [photo.document["start"]["boot_time_ns"] for photo in photos]
    assert min(starts) < moment, "what was before it came out of the ring"
    assert all(-1_000_000_000 <= start - moment <= 300_000_000 for start in starts)
    assert visit.document["trigger"]["lead"]["pre"] == 100
    assert visit.document["start"]["boot_time_ns"] == pytest.approx(moment - 1_000_000_000, abs=300_000_000)
    schema = json.loads((Path(agent.__file__).parent / "capture.schema.json").read_text())
    for capture in (visit, seen):
        jsonschema.validate(capture.document, schema)
