"""What `streams` shows of each stream: values, rate, jitter, loss, pictures; once, as JSON, live on a terminal."""

import contextlib
import dataclasses
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cli.streams import Course, sparkline
from agent.jitter import jitter_s
from drivers import Block, samples_dtype
from tests.recorded import run
from tests.running import Running
from tests.ttys import printing

CONFIG = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 100

[stream.slow]
driver = "mpu6050"
bus = "virtual"
rate_hz = 4
temperature = true

[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 0.2

[recording.walk]
streams = ["imu"]
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("streams"), CONFIG) as daemon:
        daemon.until(lambda status: all(s["jitter_s"] is not None for s in status["streams"].values()))
        yield daemon


def test_the_answer_tells_of_fast_and_slow_streams_and_of_pictures(running: Running) -> None:
    report = json.loads(run("streams", "--json", "--data", running.data).output)
    assert list(report) == ["imu", "slow", "cam"]
    imu, slow, cam = report.values()
    assert set(imu["channels"]) == {f"{s}{a}" for s in ("Accelerometer", "Gyroscope") for a in "XYZ"}
    assert imu["channels"]["AccelerometerZ"]["unit"] == "g"
    assert imu["channels"]["AccelerometerZ"]["value"] == pytest.approx(1.0, abs=0.5)
    assert imu["rate_hz"] == pytest.approx(100, rel=0.1) and imu["nominal_hz"] == 100
    assert 0 < imu["jitter_s"] < 1 and imu["lost"] == 0 and imu["lost_exact"]
    assert slow["channels"]["Temperature"]["unit"] == "Celsius"
    assert cam["channels"] == {} and cam["picture_bytes"] > 1000 and cam["last_s"] >= 0
    assert imu["picture_bytes"] is None


def test_it_is_shown_plainly_where_there_is_no_terminal(running: Running) -> None:
    output = run("streams", "--data", running.data).output
    assert re.search(
        r"^imu: MPU-6050, running, [\d.]+ of 100 Hz, jitter [\d.e-]+ ms, 0 lost, \d+ ms ago$", output, re.M
    )
    assert re.search(r"^  AccelerometerZ +[\d.]+ g$", output, re.M)
    assert re.search(r"^  newest picture +[\d.]+ kB$", output, re.M)
    assert "\x1b" not in output


def watching(running: Running, *more: str, terminal: bool) -> str:
    """What `streams --watch` says until it has told of imu three times; then it gets a Ctrl-C."""
    command = [sys.executable, "-m", "agent.cli", "streams", "--watch", "--every", "0.1", "--data", str(running.data)]
    ours, theirs = pty.openpty() if terminal else os.pipe()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "50"}
    with (
        contextlib.closing(os.fdopen(ours, "rb", buffering=0)) as far,
        subprocess.Popen([*command, *more], stdout=theirs, stderr=subprocess.PIPE, env=environment) as process,
    ):
        try:
            os.close(theirs)
            text = b""
            while text.count(b"imu") < 3:
                assert select.select([far], [], [], 30)[0], text
                text += far.read(1 << 16)
            process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + 30
            while select.select([far], [], [], 30)[0]:
                assert time.monotonic() < deadline, "it goes on"
                try:
                    chunk = far.read(1 << 16)
                except OSError:  # the other end of a terminal has gone
                    break
                if not chunk:
                    break
                text += chunk
            assert process.stderr is not None and process.stderr.read() == b""
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 0
    return text.decode()


def test_on_a_terminal_it_stays_in_place_and_draws_the_course(running: Running) -> None:
    text = watching(running, terminal=True)
    assert "\x1b[" in text
    assert re.search(r"AccelerometerX +[-\d.e]+ g  [▁▂▃▄▅▆▇█]{2}", text)


def test_into_a_pipe_it_goes_on_line_by_line(running: Running) -> None:
    text = watching(running, terminal=False)
    assert "\x1b" not in text and text.count("imu: MPU-6050") >= 3


def test_as_json_it_is_a_line_each_time(running: Running) -> None:
    lines = watching(running, "--json", terminal=False).splitlines()
    assert len(lines) >= 3 and all("imu" in json.loads(line) for line in lines)


def test_the_last_bad_line_of_a_device_that_prints_is_shown(tmp_path: Path) -> None:
    text = b"".join(b"%d,1\n" % n for n in range(20)) + b"20,\x1b[2J\n"
    with printing(text, 0.02) as path:
        device = f'[stream.mcu]\ndriver = "text_lines"\nport = "{path}"\nmeasure_s = 0.2\n'
        with Running(tmp_path, device) as daemon:
            status = daemon.until(lambda status: status["streams"]["mcu"]["counters"]["bad_lines"] > 0)
            notes = {"last_bad_line": repr("20,\x1b[2J")}
            assert status["streams"]["mcu"]["notes"] == notes
            assert daemon.ask("streams")["mcu"]["notes"] == notes
            assert "mcu: last bad line '20,\\x1b[2J'\n" in run("status", "--data", daemon.data).output
            assert re.search(r"^  last bad line +'20,\\x1b\[2J'$", run("streams", "--data", daemon.data).output, re.M)


def report(samples: int, value: float) -> dict[str, dict[str, Any]]:
    stream = {"driver": "bme280", "model": "", "state": "running", "error": "", "rate_hz": None, "nominal_hz": 0.1}
    stream |= {"jitter_s": None, "samples": samples, "lost": 3, "lost_exact": False, "last_s": None}
    return {"air": {**stream, "channels": {"Humidity": {"value": value, "unit": "%"}}, "picture_bytes": None}}


def test_a_value_that_has_not_come_anew_makes_no_course() -> None:
    course = Course()
    for samples, value in ((1, 40.0), (1, 40.0), (2, 41.0), (2, 41.0), (3, 42.0)):
        lines = list(course.lines(report(samples, value)))
    assert lines[0] == "air: bme280, running, 3 lost (estimated)"
    assert lines[1].split() == ["Humidity", "42", "%", "▁▅█"]


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([1.0], ""),
        ([1, 1, 1], "▁▁▁"),
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([0, np.nan, 1], "▁ █"),
        ([np.inf, np.nan], ""),
    ],
)
def test_a_sparkline_spans_least_to_greatest(values: list[float], drawn: str) -> None:
    assert sparkline(deque(values)) == drawn


def blocks(times_ms: list[float], segment: int = 0) -> list[Block]:
    samples = np.zeros(10, samples_dtype(()))
    return [Block(n * 10, samples, int(t * 1e6), newest=n * 10 + 9, segment=segment) for n, t in enumerate(times_ms)]


def test_jitter_is_none_of_an_even_beat_at_whatever_rate_and_what_deviates_of_others() -> None:
    assert jitter_s(blocks([0, 10, 20, 30, 40])) == pytest.approx(0, abs=1e-9)
    times = np.arange(0, 4000, 10.0)
    late = np.random.default_rng(1).normal(0, 2, len(times))
    assert jitter_s(blocks(list(times + late))) == pytest.approx(0.002, rel=0.1)


def test_jitter_begins_anew_after_a_gap() -> None:
    before, after = blocks([0, 10, 20, 30]), blocks([9000, 9010, 9020, 9030], segment=1)
    assert jitter_s([*before, *after]) == pytest.approx(0, abs=1e-9)
    assert jitter_s([*before, *after[:3]]) is None
    assert jitter_s([]) is None
    assert jitter_s([dataclasses.replace(block, newest=5) for block in before]) is None
