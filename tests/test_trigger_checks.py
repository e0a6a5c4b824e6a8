"""Triggers and schedules in a configuration: what cannot work is refused with the arithmetic, what can is told."""

from pathlib import Path

import pytest

from agent.cli.estimate import of_recording, shares_on
from agent.config.loading import load
from agent.schedule import ScheduleSettings
from tests.recorded import run
from tests.test_config import mistakes

STREAMS = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 1000
temperature = false

[stream.mcu]
driver = "ssi"
port = "virtual"

[stream.cam]
driver = "picamera"
camera = "virtual"
width = 4056
height = 3040
interval_s = 1

"""
LEVEL = 'kind = "level", channels = ["AccelerometerX"], threshold = 2'


def recording(streams: str, trigger: str, more: str = "") -> str:
    return f'{STREAMS}[recording.r]\nstreams = {streams}\nwhen = "trigger"\ntrigger = {{ {trigger} }}\n{more}\n'


@pytest.mark.parametrize(
    ("streams", "trigger", "path", "said"),
    [
        ('"imu"', f'{LEVEL}, stream = "imo"', "trigger.stream", "there is imu, mcu; did you mean imu?"),
        ('["imu", "mcu"]', LEVEL, "trigger.stream", "the stream to watch, since it records several"),
        ('"cam"\nformat = "jpeg"', LEVEL, "trigger.stream", "since it records pictures"),
        ('"imu"', f'{LEVEL}, stream = "cam"', "trigger.stream", "it is a camera's"),
        (
            '"imu"',
            f"{LEVEL}, pre_s = 9.5",
            "trigger.pre_s",
            "9.5 s and 1 s until a trigger is known are more than its 10 s",
        ),
        ('"imu"', f"{LEVEL}, pre_samples = 9500", "trigger.pre_samples", "9500 samples at 1000 Hz are 9.5 s and 1 s"),
        ('"cam"\nformat = "jpeg"', "pre_s = 8", "trigger.pre_s", "more than its 16000000"),
        ('"cam"\nformat = "jpeg"', "pre_samples = 8", "trigger.pre_samples", "only for samples; pre_s is for pictures"),
        ('"imu"', 'kind = "level"', "trigger.channels", "at least one channel"),
        ('"imu"', 'kind = "motion"', "trigger.stream", "the name of a camera; there is cam"),
        ('"imu"', 'kind = "motion", stream = "mcu"', "trigger.stream", "the name of a camera; there is cam"),
        ('"imu"', 'kind = "motion", stream = "cam"', "trigger.stream", "set stream.cam.motion.area"),
        ('"imu"', f"{LEVEL}, hysteresis = -1", "trigger.hysteresis", "at least 0"),
    ],
)
def test_what_cannot_work_is_said_with_its_arithmetic(
    tmp_path: Path, streams: str, trigger: str, path: str, said: str
) -> None:
    found = mistakes(tmp_path, recording(streams, trigger))
    assert list(found) == [f"recording.r.{path}"]
    assert said in found[f"recording.r.{path}"]


def test_bytes_are_counted_as_well_as_seconds(tmp_path: Path) -> None:
    text = recording('"imu"', f"{LEVEL}, pre_s = 59", "[agent]\nring_s = 60\nring_bytes = 100_000")
    assert mistakes(tmp_path, text) == {
        "recording.r.trigger.pre_s": "recording.r.trigger.pre_s = 59.0: less, or a larger agent.ring_bytes: 59 s and"
        " 1 s until a trigger is known, times 1000 Hz and 12 bytes of imu, are 720000 bytes, more than its 100000"
    }


def test_tables_that_would_do_nothing_are_mistakes(tmp_path: Path) -> None:
    text = recording('"imu"', LEVEL).replace('when = "trigger"', 'when = "continuous"')
    assert "since there is a trigger table" in mistakes(tmp_path, text)["recording.r.when"]
    text = f'{STREAMS}[recording.r]\nstreams = "imu"\nwhen = "command"\nschedule.every_s = 60\nschedule.for_s = 6\n'
    assert "since there is a schedule" in mistakes(tmp_path, text)["recording.r.when"]


def test_a_good_file_is_told_in_words_and_costs_what_its_schedule_leaves(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    often = '[recording.often]\nstreams = "imu"\nschedule = { every_s = 900, for_s = 90, times = ["00:00-12:00"] }\n'
    always = '[recording.always]\nstreams = "imu"\n'
    path.write_text(recording('["imu", "mcu"]', f'{LEVEL}, stream = "mcu", pre_s = 2', often + always))
    config = load(path)
    assert of_recording(config, "r").bytes_per_day is None
    cost, full = of_recording(config, "often"), of_recording(config, "always")
    assert cost.bytes_per_day is not None
    assert full.bytes_per_day is not None
    assert cost.bytes_per_day == pytest.approx(full.bytes_per_day * 0.05, rel=0.02)
    assert cost.captures_per_hour == pytest.approx(3, rel=0.05)
    said = " ".join(run("check", path).output.split())
    assert "at each trigger (level of AccelerometerX of mcu above 2) 2 s before it and 5 s after" in said
    assert "on for 1.5 min every 15 min and 00:00-12:00" in said


def test_the_share_of_a_week_counts_days() -> None:
    now = 1_795_256_100_000_000_000
    times, intervals = shares_on(ScheduleSettings(times=("sat-sun 00:00-24:00",), every_s=100.0, for_s=10.0), now)
    assert (times, intervals) == (pytest.approx(2 / 7, abs=0.01), 0.1)
    assert shares_on(ScheduleSettings(), now) == (1.0, 1.0)
