"""Hardware that is pulled out and plugged in under a running daemon: it is said, counted and taken up again, and what
was not touched never notices."""

import contextlib
import os
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.running import Running

CONFIG = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 50

[stream.mcu]
driver = "text_lines"
port = "{folder}/by-id"
measure_s = 0.3

[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 1
width = 64
height = 48
virtual = { faults = ["2.5 unplug 1"] }

[recording.imu]
streams = ["imu"]
format = ["csv"]
length_s = 60

[recording.mcu]
streams = ["mcu"]
format = ["csv"]
length_s = 60

[recording.photos]
streams = ["cam"]
format = ["jpeg"]
"""


@contextlib.contextmanager
def plugged(link: Path, columns: int) -> Iterator[str]:
    """A board that prints so many numbers a line, 100 lines a second, behind a link as udev makes them; its real name.

    Leaving pulls the plug: the line hangs up, its name is gone, and then the link.
    """
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    name = os.ttyname(slave)
    link.symlink_to(name)
    stop = threading.Event()

    def run() -> None:
        number = 0
        while not stop.wait(0.01):
            with contextlib.suppress(BlockingIOError):
                os.write(master, b",".join(b"%d" % (number + at) for at in range(columns)) + b"\n")
            number += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield name
    finally:
        stop.set()
        thread.join()
        link.unlink()
        os.close(slave)
        os.close(master)


def lost(status: dict[str, Any]) -> bool:
    mcu = status["streams"]["mcu"]
    return bool(mcu["state"] == "lost" and any("stream mcu is lost" in problem for problem in status["problems"]))


def back(status: dict[str, Any]) -> bool:
    streams, recordings = status["streams"], status["recordings"]
    return bool(
        streams["mcu"]["state"] == "running"
        and streams["mcu"]["reopened"] == 1
        and recordings["mcu"]["samples"] >= 60
        and streams["cam"]["reopened"] == 1
        and streams["cam"]["state"] == "running"
        and recordings["photos"]["samples"] >= 4
    )


@pytest.mark.alone
def test_a_board_comes_back_under_another_name_and_different_a_camera_comes_back_and_the_imu_goes_on(
    tmp_path: Path,
) -> None:
    link = tmp_path / "by-id"
    with contextlib.ExitStack() as stack:
        board = contextlib.ExitStack()
        stack.callback(board.close)
        first = board.enter_context(plugged(link, 3))
        running = stack.enter_context(Running(tmp_path, CONFIG))
        running.until(lambda status: status["recordings"]["mcu"]["samples"] >= 60)
        begun = running.ask("status")["recordings"]["imu"]["capture"]
        board.close()
        running.until(lost)
        taken = stack.enter_context(_held(first))
        second = stack.enter_context(plugged(link, 2))
        assert second not in (first, *taken), "it has another name"
        status = running.until(back)
        assert status["recordings"]["imu"]["capture"] == begun, "who was not touched records on"
        assert status["streams"]["imu"]["reopened"] == 0
        running.finish()
        boards, imu = running.captures("mcu"), running.captures("imu")
        photos = running.captures("photos")
    assert [len(each.document["streams"][0]["channels"]) for each in boards] == [3, 2]
    assert len({each.document["configuration"]["uuid"] for each in boards}) == 2, "a new capture, a new configuration"
    earlier, later = (each.document["streams"][0] for each in boards)
    assert later["first"] > earlier["first"] + earlier["samples"], "indexes count on over what was missed"
    (whole,) = imu
    assert whole.document["streams"][0]["lost"]["samples"] == 0
    numbers = [photo.document["streams"][0]["first"] for photo in photos]
    assert len(set(numbers)) == len(numbers) >= 4


@contextlib.contextmanager
def _held(name: str) -> Iterator[list[str]]:
    """Takes pseudo-terminals until that name is in use again, so that a new one gets another; what they are called."""
    ends: list[int] = []
    names: list[str] = []
    try:
        while name not in names:
            ends += os.openpty()
            names.append(os.ttyname(ends[-1]))
            if len(names) > 64:
                break
        yield names
    finally:
        for end in ends:
            os.close(end)
