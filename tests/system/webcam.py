"""In the guest: a webcam that the kernel makes up takes pictures, shows motion, is refused, unplugged and back."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from drivers import Block, DriverError, Identity, boottime_ns
from drivers._camera import PictureTaker
from drivers.ports.camera_motion import Motion
from drivers.ports.jpeg import missing
from drivers.v4l2camera import Settings

NODE = Path("/dev/v4l/by-path/platform-vivid.0-video-index0")
DRIVER = Path("/sys/bus/platform/drivers/vivid")
PLAIN = {"osd_text_mode": "None"}
PATIENCE_S = 300


def step(*what: object) -> None:
    print(f"[{time.monotonic():.0f} s]", *what, flush=True)


@contextmanager
def started(**options: Any) -> Iterator[tuple[PictureTaker, Identity]]:
    options = {"interval_s": 0.5, "width": 320, "height": 180, "settle_s": 0.2, "hung_after_s": 60} | options
    driver = Settings(camera=str(NODE), **options).open()
    try:
        yield driver, driver.start()
    finally:
        driver.close()


def pictures(driver: PictureTaker, count: int) -> list[Block]:
    found: list[Block] = []
    until_s = time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < until_s, f"only {len(found)} of {count} pictures came"
        block = driver.read(0.2)
        if block is not None:
            found.append(block)
    return found


def refused(**options: Any) -> str:
    try:
        with started(**options):
            raise AssertionError(f"{options} should have been refused")
    except DriverError as error:
        step("refused:", str(error)[:120])
        return str(error)


def takes_pictures() -> None:
    begun_ns = boottime_ns()
    with started(controls={"brightness": 100, "test_pattern": "100% White", **PLAIN}) as (driver, identity):
        step(identity)
        assert (identity.model, identity.setup["brightness"], identity.setup["pixels"]) == ("vivid", 100, "YUYV")
        size = identity.setup["width"], identity.setup["height"]
        blocks = pictures(driver, 4)
        assert "in use by another program" in refused()
        blocks += pictures(driver, 1)
    times = [begun_ns, *(block.observed_ns for block in blocks), boottime_ns()]
    assert times == sorted(times), times
    frames = [int(block.metadata["frame"]) for block in blocks]
    assert frames == sorted(set(frames)), frames
    for block in blocks:
        assert missing(block.jpeg) == "" and block.metadata["timestamp_of"] == "end of frame"
        with Image.open(io.BytesIO(block.jpeg)) as image:
            assert image.size == size
            white = image.convert("RGB").getpixel((size[0] // 2, size[1] * 3 // 4))
            assert min(white) > 150 and max(white) - min(white) < 12, white
    step(len(blocks), "pictures, frames", frames)


def shows_motion() -> None:
    motion = Motion(area=0.1, min_interval_s=0.5)
    still = {"test_pattern": "75% Colorbar", "horizontal_movement": "No Movement", **PLAIN}
    with started(interval_s=0, motion=motion, controls=still) as (driver, _):
        until_s = time.monotonic() + 3
        while time.monotonic() < until_s:
            assert driver.read(0.2) is None, "nothing moves"
        step("nothing moves", driver.counters)
        assert driver.counters["examined"] > 3
    moving = {**still, "horizontal_movement": "Move Right Fast"}
    with started(interval_s=0, motion=motion, controls=moving) as (driver, _):
        (block,) = pictures(driver, 1)
        assert float(block.metadata["motion"]) >= 0.1
        step("it moves", dict(block.metadata))


def is_unplugged() -> None:
    with started() as (driver, _):
        pictures(driver, 1)
        (DRIVER / "unbind").write_text("vivid.0")
        until_s = time.monotonic() + PATIENCE_S
        try:
            while time.monotonic() < until_s:
                driver.read(0.2)
            raise AssertionError("it was not noticed")
        except DriverError as error:
            assert "has been unplugged" in str(error), error
    assert "is not there" in refused()
    (DRIVER / "bind").write_text("vivid.0")
    until_s = time.monotonic() + PATIENCE_S
    while not NODE.exists():
        assert time.monotonic() < until_s, "udev does not name it"
        time.sleep(0.2)
    time.sleep(1)  # until udev has set its permissions
    with started() as (driver, _):
        pictures(driver, 2)
    step("unplugged, and back")


if __name__ == "__main__":
    takes_pictures()
    assert "brightness = 999: 0 to 255" in refused(controls={"brightness": 999})
    assert "no control 'exposure'" in refused(controls={"exposure": 1})
    assert "one of 0 (75% Colorbar)" in refused(controls={"test_pattern": "Plaid"})
    shows_motion()
    is_unplugged()
    step("all of it held")
