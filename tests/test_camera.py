"""The camera: the driver's contract on the virtual one, its schedule, its faults, and picamera2 as a model."""

import dataclasses
import importlib.util
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drivers import Block, DriverError, Identity, SettingsError, Snapper, boottime_ns
from drivers._camera import PictureTaker
from drivers.picamera import Settings
from drivers.ports.camera import Camera, open_camera
from drivers.ports.camera_motion import Motion
from drivers.ports.jpeg import missing
from drivers.ports.libcamera import Still
from drivers.ports.virtual import Wire
from drivers.ports.virtual.picamera import VirtualScene as Virtual
from drivers.ports.virtual.picamera import render
from tests.contracts.driver import DriverContract, children, read_blocks

SIZE = (320, 240)
WANTED = {"width": SIZE[0], "height": SIZE[1]}
MODEL = Path(__file__).parent / "models"
"""Modules `picamera2` and `libcamera` that behave as the real ones on a Pi, as far as they are used here."""


def virtual(interval_s: float = 0.05, **options: Any) -> Settings:
    return Settings(
        camera="virtual", interval_s=interval_s, width=SIZE[0], height=SIZE[1], virtual=Virtual(seed=7, **options)
    )


@contextmanager
def started(settings: Settings) -> Iterator[tuple[PictureTaker, Identity]]:
    driver = settings.open()
    try:
        yield driver, driver.start()
    finally:
        driver.close()


def until_error(driver: PictureTaker) -> str:
    """Reads until the driver gives up; what it says."""
    deadline = boottime_ns() + 10_000_000_000
    with pytest.raises(DriverError) as caught:
        while boottime_ns() < deadline:
            driver.read(0.1)
    return str(caught.value)


class TestContract(DriverContract):
    def settings(self, **options: Any) -> Settings:
        return virtual(**options)


def test_pictures_are_those_that_the_camera_rendered() -> None:
    with started(virtual()) as (driver, identity):
        blocks = read_blocks(driver, 3)
    assert identity.rate_hz == pytest.approx(20)
    assert identity.setup["width"] == 320
    assert identity.channels == ()
    for block in blocks:
        assert block.jpeg == render(7, int(block.metadata["frame"]), SIZE, 90)
    assert len({block.jpeg for block in blocks}) == 3


def test_the_schedule_is_kept_without_drift() -> None:
    before_ns = boottime_ns()
    with started(virtual(0.04)) as (driver, _):
        after_ns = boottime_ns()
        blocks = read_blocks(driver, 12)
    for block in blocks:
        assert block.observed_ns >= before_ns + block.first * 40_000_000, "never before its turn"
        assert block.newest == block.first
    # each turn is taken, or counted as missed: so a number says the time, however slow the machine is
    assert blocks[-1].observed_ns < after_ns + (blocks[-1].first + 1) * 40_000_000 + 1_000_000_000
    assert blocks[-1].first + 1 == len(blocks) + driver.counters["missed"]


def test_missed_turns_are_counted_exactly() -> None:
    with started(virtual(0.02)) as (driver, _):
        (first,) = read_blocks(driver, 1)
        threading.Event().wait(0.2)
        (after,) = read_blocks(driver, 1)
    assert after.lost == after.first - first.first - 1 >= 8
    assert after.exact
    assert driver.counters == {"missed": after.first - 1, "incomplete": 0}


def test_a_picture_on_demand_comes_from_any_thread() -> None:
    with started(virtual(0)) as (driver, identity):
        assert identity.rate_hz == 0
        assert isinstance(driver, Snapper)
        assert driver.read(0.05) is None
        asking = threading.Timer(0.05, driver.snap)
        asking.start()
        blocks = read_blocks(driver, 1)
        asking.join()
        driver.snap()
        driver.snap()
        blocks += read_blocks(driver, 2)
        assert driver.read(0.05) is None, "as many as were asked for"
    assert [block.first for block in blocks] == [0, 1, 2]
    assert not any(block.lost for block in blocks)


def test_a_picture_on_demand_does_not_move_the_schedule() -> None:
    with started(virtual(60)) as (driver, _):
        first = read_blocks(driver, 1)
        driver.snap()
        asked = read_blocks(driver, 1)
        assert driver.read(0.05) is None
    assert [block.first for block in first + asked] == [0, 1]
    assert driver.counters["missed"] == 0


def test_an_incomplete_picture_is_lost_and_never_passed_on() -> None:
    with started(virtual(0.03)) as (driver, _):
        (before,) = read_blocks(driver, 1)
        driver.camera.inject("garble", 0.3)
        blocks = []
        while not any(block.lost for block in blocks):
            blocks += read_blocks(driver, 1)
    assert all(missing(block.jpeg) == "" for block in blocks)
    counted = driver.counters["incomplete"] + driver.counters["missed"]
    assert driver.counters["incomplete"] > 0
    assert sum(block.lost for block in blocks) == counted
    assert blocks[-1].first == before.first + len(blocks) + counted


def test_an_unplugged_camera_is_an_error_and_comes_back() -> None:
    with started(virtual()) as (driver, _):
        read_blocks(driver, 1)
        driver.camera.inject("unplug", 60)
        assert "unplugged" in until_error(driver)
    with started(virtual()) as (again, _):
        assert read_blocks(again, 1)


def test_a_camera_that_hangs_is_given_up_and_ended() -> None:
    before = children()
    camera = open_camera("picamera", Virtual().document(), patience_s=0.3)
    driver = PictureTaker(camera, wanted=WANTED, setup={}, interval_s=0.05)
    try:
        driver.start()
        camera.inject("stall", 600)
        assert "0.3 s" in until_error(driver)
    finally:
        driver.close()
    assert children() <= before


def test_a_camera_of_which_nobody_wants_a_picture_lives() -> None:
    camera = open_camera("picamera", Virtual().document(), patience_s=1.2)
    driver = PictureTaker(camera, wanted=WANTED, setup={}, interval_s=0)
    try:
        driver.start()
        until_ns = boottime_ns() + 2_000_000_000
        while boottime_ns() < until_ns:
            assert driver.read(0.1) is None
    finally:
        driver.close()


@pytest.mark.parametrize(("dies", "said"), [(True, "has ended"), (False, "camera hangs")])
def test_a_camera_process_that_dies_or_hangs_amid_a_picture_is_an_error(dies: bool, said: str) -> None:
    ours, theirs = socket.socketpair()
    child = SimpleNamespace(wire=Wire(ours), close=ours.close)
    with theirs, ours:
        Wire(theirs).send(json.dumps({"payload": "jpeg", "timestamp_ns": 1, "metadata": {}}).encode())
        if dies:
            theirs.send((1000).to_bytes(4, "little") + b"\xff\xd8")
            theirs.shutdown(socket.SHUT_RDWR)
        with pytest.raises(DriverError, match=said):
            Camera(child, patience_s=0.2).picture(1)  # type: ignore[arg-type]


def test_a_camera_process_that_dies_is_an_error() -> None:
    before = children()
    with started(virtual()) as (driver, _):
        read_blocks(driver, 1)
        (child,) = children() - before
        os.kill(child, signal.SIGKILL)
        assert "ended" in until_error(driver)


def test_the_full_size_is_the_sensor_s_own() -> None:
    settings = Settings(camera="virtual", interval_s=60)
    with started(settings) as (driver, identity):
        (block,) = read_blocks(driver, 1)
    assert (identity.setup["width"], identity.setup["height"]) == (1920, 1080)
    assert block.jpeg == render(1, 0, (1920, 1080), 90)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(camera="front", width=641, quality=0, rotation=90, awb="manual", interval_s=-1)
    names = [name for name, _, _ in caught.value.mistakes]
    assert sorted(names) == ["awb", "camera", "height", "interval_s", "quality", "rotation", "width"]


@pytest.mark.skipif(importlib.util.find_spec("picamera2") is not None, reason="picamera2 is installed here")
def test_without_picamera2_the_message_says_what_to_install() -> None:
    driver = Settings().open()
    try:
        with pytest.raises(DriverError, match=r"apt install python3-picamera2.*--system-site-packages"):
            driver.start()
    finally:
        driver.close()


@pytest.fixture
def pi(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine where picamera2 can be imported."""
    monkeypatch.setenv("PYTHONPATH", str(MODEL), prepend=os.pathsep)
    return monkeypatch


def picture_of_pi(settings: Settings) -> tuple[Identity, Block]:
    with started(settings) as (driver, identity):
        return identity, read_blocks(driver, 1)[0]


def test_picamera2_gives_pictures_with_what_the_sensor_said(pi: pytest.MonkeyPatch) -> None:
    before_ns = boottime_ns()
    identity, block = picture_of_pi(
        Settings(
            width=322,
            height=240,
            exposure_us=20000,
            gain=2,
            awb="daylight",
            focus="manual",
            lens_position=1.5,
            settle_s=0.2,
        )
    )
    assert identity.model == "imx708"
    assert identity.setup["width"] == 320, "as the hardware aligned it"
    assert missing(block.jpeg) == ""
    assert before_ns < block.observed_ns < boottime_ns(), "the sensor's own time stamp"
    said = dict(block.metadata)
    assert said["exposure_s"] == 0.02
    assert said["gain"] == pytest.approx(2.2)
    assert said["lens_position"] == 1.5
    assert said["colour_temperature_k"] == 5500
    assert (said["red_gain"], said["blue_gain"]) == (1.5, 2.0)


def test_picamera2_shows_motion_in_its_small_stream(pi: pytest.MonkeyPatch) -> None:
    motion = Motion(area=0.1, min_interval_s=60)
    with started(Settings(interval_s=0, settle_s=0, motion=motion)) as (driver, identity):
        begun_ns = boottime_ns()
        (block,) = read_blocks(driver, 1)
        assert driver.read(0.3) is None
        while not driver.counters.get("motions"):
            assert driver.read(0.2) is None, "one picture a minute, while it lasts"
    assert identity.setup["motion_area"] == 0.1
    assert block.metadata["motion"] == pytest.approx(0.25, abs=0.05)
    assert block.metadata["exposure_s"] == 0.01, "of the very frame in which it was seen"
    assert block.observed_ns > begun_ns
    assert missing(block.jpeg) == ""
    assert driver.counters["motions"] == 1
    assert driver.counters["examined"] > 5


@pytest.mark.parametrize(
    ("trouble", "settings", "message"),
    [
        ("none", {"camera": 3}, "camera 3 cannot be opened.*list-cameras"),
        ("fixed", {"focus": "manual"}, "has no AfMode, LensPosition"),
        ("upright", {"rotation": 180}, "cannot turn.*rotation"),
        ("unfit", {}, "cannot be imported.*no attribute.*apt install"),
        ("configure", {}, "cannot be started.*Invalid camera configuration"),
        ("abort", {}, "process has ended"),
    ],
)
def test_trouble_of_picamera2_is_a_driver_error(
    pi: pytest.MonkeyPatch, trouble: str, settings: dict[str, Any], message: str
) -> None:
    pi.setenv("MODEL_TROUBLE", trouble)
    with pytest.raises(DriverError, match=message):
        picture_of_pi(Settings(**settings))


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "idle"])
def test_a_frontend_that_times_out_is_given_up_and_ended(pi: pytest.MonkeyPatch, asked: bool) -> None:
    before = children()
    pi.setenv("MODEL_TROUBLE", "hang")
    camera = open_camera("drivers.ports.libcamera", {"camera": 0}, patience_s=1.5)
    try:
        camera.start({**dataclasses.asdict(Still()), "settle_s": 0.1, "motion": None, "clip": None})
        if asked:
            camera.ask()
        deadline = boottime_ns() + 10_000_000_000
        with pytest.raises(DriverError, match="ribbon cable"):
            while boottime_ns() < deadline:
                camera.picture(0.1)
    finally:
        camera.close()
    assert children() <= before
