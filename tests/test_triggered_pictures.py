"""Pictures that begin by themselves: those around each trigger, one asked for at it, each in one capture alone."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.capture import Capture
from agent.device import Device
from agent.gate import Gate
from agent.picture_captures import PictureCaptures
from agent.picture_writer import PictureRecorder
from agent.pictures import PictureWriter
from agent.recording import Orders, RecordingSettings
from agent.ring import Ring
from agent.schedule import Schedule, ScheduleSettings
from agent.stream import Stream
from agent.trigger import TriggerSettings
from agent.trigger_source import TriggerSource
from agent.triggered_pictures import TriggeredPictures
from drivers import Block, Identity, samples_dtype
from tests.pictures import PICTURE
from tests.test_sample_writer import StillClock

NS = 1_000_000_000
CAMERA = Identity("Camera", 1.0)
ON_DEMAND = Identity("Camera", 0.0)


class Snapping:
    """A driver that remembers what it was asked for."""

    counters: dict[str, int] = {}  # noqa: RUF012  never changed

    def __init__(self) -> None:
        self.asked = 0

    def snap(self) -> None:
        self.asked += 1


class Bench:
    """A recording of pictures whose camera is the test; time passes in seconds from 0."""

    def __init__(self, folder: Path, identity: Identity, ring_bytes: int, **settings: Any) -> None:
        self.clock = StillClock()
        self.zero_ns = self.clock.now_ns
        self.camera = Snapping()
        self.stream = Stream(
            "cam",
            "test",
            None,
            ring=Ring(600, ring_bytes),
            clock=self.clock,
            jitter=random.Random(1),  # type: ignore[arg-type]
        )
        self.stream._begin(identity)
        self.stream._open_driver = self.camera  # type: ignore[assignment]
        recipe = RecordingSettings(streams=("cam",), format=("jpeg",), **settings)
        self.orders = Orders("photos", recipe)
        self.taken: list[Capture] = []
        self.full = ""
        recording, captures = folder / "recording", folder / "captures"
        recording.mkdir()
        captures.mkdir()
        device = Device("bay3", "00000001")
        pictures = PictureWriter(
            recording, captures, recording="photos", device=device, clock=self.clock, full_names=True
        )
        writing = PictureCaptures(
            self.orders,
            recipe,
            pictures=pictures,
            finished=lambda capture, redate: self.taken.append(capture),
            room=lambda: self.full,
        )
        gate = Gate(None if recipe.schedule.always else Schedule(recipe.schedule), self.clock)
        self.source = TriggerSource(recipe.trigger, None)
        self.writer: TriggeredPictures | PictureRecorder = (
            TriggeredPictures([self.stream], writing, self.source, clock=self.clock, gate=gate)
            if recipe.when == "trigger"
            else PictureRecorder([self.stream], writing, clock=self.clock, gate=gate)
        )
        self.number = 0

    def run(self, until_s: float, *, picture_every_s: float = 1.0, fire_s: tuple[float, ...] = ()) -> None:
        """Rounds of 0.1 s; pictures come half a second after they were taken."""
        while (now_s := (self.clock.now_ns - self.zero_ns) / NS) < until_s - 0.05:
            now_s = round(now_s + 0.1, 1)
            self.clock.now_ns = self.zero_ns + round(now_s * NS)
            if picture_every_s and round(now_s - 0.5, 1) % picture_every_s == 0 and now_s > 0.5:
                self.shoot(now_s - 0.5)
            if now_s in fire_s:
                self.writer.trigger()
            self.writer.step()

    def shoot(self, taken_s: float) -> None:
        block = Block(
            self.number, np.empty(0, samples_dtype(())), self.zero_ns + round(taken_s * NS), self.number, jpeg=PICTURE
        )
        self.number += 1
        self.stream._take(block)

    @property
    def times(self) -> list[float]:
        """When the pictures of captures were taken."""
        starts = [capture.document["start"]["boot_time_ns"] for capture in self.taken]
        return [round((start - self.zero_ns) / NS, 1) for start in starts]


Make = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path) -> Make:
    def make(identity: Identity = CAMERA, *, ring_bytes: int = 1 << 24, **settings: Any) -> Bench:
        return Bench(tmp_path, identity, ring_bytes, **settings)

    return make


def command(**options: Any) -> dict[str, Any]:
    return {"when": "trigger", "trigger": TriggerSettings(**{"snap": False, **options})}


def test_pictures_around_a_trigger_are_kept_and_no_others(bench: Make) -> None:
    b = bench(**command(pre_s=3, post_s=2))
    b.run(20, fire_s=(9.3,))
    assert b.times == [7, 8, 9, 10, 11]
    assert {capture.document["trigger"]["kind"] for capture in b.taken} == {"command"}
    assert b.taken[0].document["trigger"]["boot_time_ns"] == b.zero_ns + round(9.3 * NS)


def test_a_trigger_within_extends_and_each_picture_is_in_one_capture(bench: Make) -> None:
    b = bench(**command(pre_s=3, post_s=2))
    b.run(40, fire_s=(9.3, 10.8, 14.2, 25.0))
    assert b.times == [7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 22, 23, 24, 25, 26, 27]
    assert b.writer.health()["trigger"] == {"triggers": 3, "extended": 1, "missed": 0, "ignored": 0}
    assert b.writer.health()["state"] == "armed"


def test_a_camera_on_demand_is_asked_and_its_next_picture_belongs_to_the_trigger(bench: Make) -> None:
    b = bench(ON_DEMAND, **command(snap=True, post_s=0))
    b.run(5, picture_every_s=0, fire_s=(4.0,))
    assert (b.camera.asked, b.times) == (1, [])
    assert b.writer.health()["state"] == "recording"
    b.shoot(4.4)
    b.run(6, picture_every_s=0)
    b.shoot(5.5)
    b.run(20, picture_every_s=0)
    assert b.times == [4.4]


def test_what_the_ring_no_longer_has_is_counted(bench: Make) -> None:
    b = bench(ring_bytes=3 * len(PICTURE) + 100, **command(pre_s=6, post_s=1))
    b.run(14, fire_s=(10.6,))
    assert b.times == [8, 9, 10, 11]
    assert b.writer.health()["dropped"] == 3, "5, 6 and 7"


def test_it_is_armed_only_while_wanted_and_a_lost_camera_misses_triggers(bench: Make) -> None:
    b = bench(**command(post_s=1))
    b.orders.end()
    b.run(5, fire_s=(3.0,))
    b.orders.begin()
    b.stream.state = "lost"
    b.run(9, fire_s=(7.0,))
    assert b.times == []
    assert b.writer.health()["trigger"] == {"triggers": 0, "extended": 0, "missed": 1, "ignored": 0}


def test_a_timelapse_follows_its_schedule(bench: Make) -> None:
    b = bench(schedule=ScheduleSettings(every_s=20, for_s=5))
    assert b.clock.wall_ns() % (20 * NS) == 0
    b.run(50)
    # what came while it was on; pictures come half a second after they were taken
    assert b.times == [1, 2, 3, 4, 20, 21, 22, 23, 24, 40, 41, 42, 43, 44]
    assert b.writer.health()["state"] == "scheduled"
    b.writer.trigger()
    b.shoot(50.2)
    b.writer.step()
    assert b.times[-1] == 50.2, "a person may always ask for one"


def test_a_timelapse_is_taken_while_there_is_light(bench: Make) -> None:
    """At Greenwich, where the sun rises at about 8:00 and sets at about 16:20 then; a picture each ten minutes."""
    sun = ScheduleSettings(times=("sunrise-0:30 - sunset+0:30",), latitude=51.48, longitude=0.001, wait_for_clock=False)
    b = bench(schedule=sun)
    for taken_s in range(400, 2 * 86400, 600):
        b.clock.now_ns = b.zero_ns + taken_s * NS
        b.shoot(taken_s)
        b.writer.step()
    taken = [datetime.fromtimestamp(b.clock.wall_ns(b.zero_ns) / NS + each, UTC) for each in b.times]
    by_day = {day: [f"{each:%H:%M}" for each in taken if each.day == day] for day in (15, 16, 17)}
    assert [(times[0], times[-1], len(times)) for times in by_day.values()] == [
        ("08:23", "16:43", 51),
        ("07:33", "16:43", 56),
        ("07:33", "08:13", 5),
    ]
    assert b.writer.health()["state"] == "recording"
