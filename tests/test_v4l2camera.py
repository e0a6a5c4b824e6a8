"""The webcam: the driver's contract on the virtual one, and unmodified linuxpy on a model of the kernel's side."""

import importlib.util
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image, ImageChops

from drivers import DriverError, Identity, SettingsError, boottime_ns
from drivers._camera import PictureTaker
from drivers.ports import v4l2
from drivers.ports.camera_motion import Motion
from drivers.ports.jpeg import DHT, SOS, missing, segments, standalone
from drivers.ports.virtual import Virtual
from drivers.ports.virtual.picamera import render
from drivers.v4l2camera import Settings
from tests.contracts.driver import DriverContract, children, read_blocks
from tests.models.webcam.sitecustomize import as_a_webcam_sends_it, picture

KERNEL = Path(__file__).parent / "models" / "webcam"
NODES = sorted(Path("/dev").glob("video*"))
Plug = Callable[..., str]


class TestContract(DriverContract):
    def settings(self, **options: Any) -> Settings:
        virtual = Virtual(seed=7, **options)
        return Settings(camera="virtual", interval_s=0.05, width=320, height=240, virtual=virtual)


@contextmanager
def started(path: str, **options: Any) -> Iterator[tuple[PictureTaker, Identity]]:
    options = {"interval_s": 0.1, "width": 320, "height": 240, "settle_s": 0.1} | options
    driver = Settings(camera=path, **options).open()
    try:
        yield driver, driver.start()
    finally:
        driver.close()


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plug:
    """Makes a webcam of some kind; its path."""
    if importlib.util.find_spec("linuxpy") is None:
        pytest.skip("linuxpy is not installed: pip install 'capture-agent[v4l2]'")
    path = tmp_path / "video0"
    os.mkfifo(path)
    monkeypatch.setenv("PYTHONPATH", str(KERNEL), prepend=os.pathsep)

    def plug(**options: Any) -> str:
        monkeypatch.setenv("MODEL_WEBCAM", json.dumps(options))
        return str(path)

    return plug


def test_what_a_webcam_sends_becomes_a_file_without_touching_its_picture() -> None:
    whole = render(1, 5, (320, 240), 80)
    frame = as_a_webcam_sends_it(whole)
    assert not any(marker == DHT for marker, _, _ in segments(frame))
    alone = standalone(frame)
    assert missing(alone) == ""
    assert missing(frame) == "does not end as a JPEG"
    assert scan(alone) == scan(whole)
    assert tables(alone) == tables(whole), "those of the standard, which Pillow writes too"
    with Image.open(io.BytesIO(alone)) as ours, Image.open(io.BytesIO(whole)) as theirs:
        assert ImageChops.difference(ours, theirs).getbbox() is None
    assert standalone(whole) == whole
    assert missing(standalone(frame[:4000])), "half a frame stays half a frame"
    assert standalone(b"") == b""


def tables(jpeg: bytes) -> bytes:
    return b"".join(jpeg[start + 4 : end] for marker, start, end in segments(jpeg) if marker == DHT)


def scan(jpeg: bytes) -> bytes:
    return next(jpeg[start:] for marker, start, _ in segments(jpeg) if marker == SOS)


def test_frames_are_passed_through_as_the_camera_compressed_them(plugged: Plug) -> None:
    before_ns = boottime_ns()
    with started(plugged(), frames_hz=20) as (driver, identity):
        blocks = read_blocks(driver, 3)
    assert identity.model == "Model Webcam"
    assert identity.rate_hz == pytest.approx(10)
    assert identity.setup == {"width": 320, "height": 240, "frames_hz": 20, "pixels": "MJPEG"}
    for block in blocks:
        assert missing(block.jpeg) == ""
        assert scan(block.jpeg) == scan(picture(int(block.metadata["frame"]), (320, 240)))
        assert block.metadata["timestamp_of"] == "exposure"
    times = [before_ns, *(block.observed_ns for block in blocks), boottime_ns()]
    assert times == sorted(times), "the driver's own time stamps, on our clock"
    frames = [int(block.metadata["frame"]) for block in blocks]
    assert len(set(frames)) == 3
    steps = [
        (b.observed_ns - a.observed_ns, end - begin)
        for (a, b), (begin, end) in zip(pairwise(blocks), pairwise(frames), strict=True)
    ]
    assert all(apart_ns >= frames_apart * 50_000_000 for apart_ns, frames_apart in steps), (
        "as far apart as their frames"
    )


def test_the_largest_size_is_taken_where_none_is_set_and_the_nearest_where_it_has_not(plugged: Plug) -> None:
    with started(plugged(), width=0, height=0) as (_, identity):
        assert (identity.setup["width"], identity.setup["height"]) == (640, 480)
    with started(plugged(), width=300, height=200) as (_, identity):
        assert (identity.setup["width"], identity.setup["height"]) == (320, 240)


def test_raw_pictures_are_compressed_and_damaged_frames_left_out(plugged: Plug) -> None:
    with started(plugged(pixels=["YUYV"], damaged=2, stamps="none"), interval_s=0) as (driver, identity):
        driver.snap()
        driver.snap()
        blocks = read_blocks(driver, 2)
        deadline = boottime_ns() + 10_000_000_000
        while not driver.counters.get("damaged"):
            assert driver.read(0.1) is None
            assert boottime_ns() < deadline
    assert identity.setup["pixels"] == "YUYV"
    assert identity.setup["quality"] == 90
    for block in blocks:
        assert int(block.metadata["frame"]) % 2 == 1
        assert block.metadata["timestamp_of"] == "arrival", "what the camera does not say is not claimed"
        with Image.open(io.BytesIO(block.jpeg)) as image:
            assert image.size == (320, 240)
            assert image.convert("L").getpixel((100, 100)) == pytest.approx(255, abs=2)
            assert image.convert("L").getpixel((101, 100)) == pytest.approx(0, abs=2)


def test_controls_are_set_in_order_and_say_what_they_are(plugged: Plug) -> None:
    controls = {"auto_exposure": "Manual Mode", "exposure_time_absolute": 200, "white_balance_automatic": False}
    with started(plugged(), controls=controls) as (_, identity):
        setup = dict(identity.setup)
    assert {name: setup[name] for name in controls} == {
        "auto_exposure": 1,
        "exposure_time_absolute": 200,
        "white_balance_automatic": 0,
    }


def test_a_time_stamp_is_converted_to_the_clock_that_counts_suspensions(monkeypatch: pytest.MonkeyPatch) -> None:
    device = pytest.importorskip("linuxpy.video.device", reason="linuxpy is not installed")
    suspended_ns = 3600 * 1_000_000_000
    monkeypatch.setattr(v4l2, "boottime_ns", lambda: time.monotonic_ns() + suspended_ns)
    webcam = v4l2.Webcam.__new__(v4l2.Webcam)
    webcam._v4l2 = device
    taken_ns = time.monotonic_ns() - 40_000_000
    stamp = SimpleNamespace(secs=taken_ns // 1_000_000_000, usecs=taken_ns % 1_000_000_000 // 1000)
    frame = SimpleNamespace(flags=device.BufferFlag.TIMESTAMP_MONOTONIC, buff=SimpleNamespace(timestamp=stamp))
    dated_ns, what = webcam._dated(frame)
    assert what == "end of frame"
    assert dated_ns == pytest.approx(taken_ns + suspended_ns, abs=60_000_000_000)


def test_a_frame_is_never_dated_after_its_arrival(plugged: Plug) -> None:
    with started(plugged(stamps="ahead")) as (driver, _):
        (block,) = read_blocks(driver, 1)
        assert block.observed_ns <= boottime_ns()


@pytest.mark.parametrize("pixels", ["MJPG", "YUYV"])
def test_a_picture_is_taken_when_something_moves(plugged: Plug, pixels: str) -> None:
    motion = Motion(area=0.05, min_interval_s=60)
    with started(plugged(pixels=[pixels], moves_from=12), interval_s=0, motion=motion) as (driver, identity):
        (block,) = read_blocks(driver, 1)
        driver.snap()
        (asked,) = read_blocks(driver, 1)
    assert identity.setup["motion_area"] == 0.05
    assert block.metadata["motion"] == pytest.approx(0.125, abs=0.04)
    assert int(block.metadata["frame"]) >= 12
    assert missing(block.jpeg) == missing(asked.jpeg) == ""
    assert "motion" not in asked.metadata


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({"britness": 1}, r"no control 'britness'; it has auto_exposure, brightness, exposure_time_absolute, white"),
        ({"brightness": 65}, "brightness = 65: -64 to 64"),
        ({"auto_exposure": "Manual"}, r"auto_exposure = 'Manual': one of 1 \(Manual Mode\), 3 \(Aperture"),
        ({"exposure_time_absolute": 200}, "cannot be set to 200.*such as auto_exposure, to be set before"),
    ],
)
def test_a_control_that_cannot_be_set_is_said(plugged: Plug, controls: dict[str, Any], message: str) -> None:
    with pytest.raises(DriverError, match=message), started(plugged(), controls=controls):
        pass


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"busy": True}, "in use by another program"),
        ({"pixels": ["H264"]}, "gives H264; MJPEG, JPEG or YUYV is needed"),
        ({"capabilities": 0x800000}, "video-index0"),
    ],
)
def test_a_camera_that_cannot_be_used_says_why(plugged: Plug, kind: dict[str, Any], message: str) -> None:
    with pytest.raises(DriverError, match=message), started(plugged(**kind)):
        pass


def test_a_camera_that_is_unplugged_is_noticed_though_nobody_wants_a_picture(plugged: Plug) -> None:
    before = children()
    with started(plugged(unplug_after=20), interval_s=0) as (driver, _):
        deadline = boottime_ns() + 10_000_000_000
        with pytest.raises(DriverError, match="has been unplugged"):
            while boottime_ns() < deadline:
                driver.read(0.1)
    assert children() <= before


def test_a_camera_that_is_not_there_is_said(plugged: Plug) -> None:
    with pytest.raises(DriverError, match="by-id"), started(plugged() + "9"):
        pass


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(camera="front", width=640, quality=0, interval_s=-1, frames_hz=0)
    assert sorted(name for name, _, _ in caught.value.mistakes) == [
        "camera",
        "frames_hz",
        "height",
        "interval_s",
        "quality",
    ]


@pytest.mark.skipif(not NODES, reason="no /dev/video*: this machine has no camera")
def test_a_real_camera_gives_pictures() -> None:
    for node in NODES:
        try:
            with started(str(node), interval_s=0.2) as (driver, identity):
                blocks = read_blocks(driver, 3)
        except DriverError as error:
            if "gives" in str(error):
                continue  # a node for something else
            raise
        assert identity.model
        assert all(missing(block.jpeg) == "" for block in blocks)
        return
    pytest.skip(f"none of {', '.join(map(str, NODES))} gives pictures")
