"""Recordings that begin by themselves in the real daemon: exact at 1 and at 16 kHz while others are developed."""

import csv
import json
from pathlib import Path
from typing import Self

import jsonschema
import pytest

import agent
from agent.capture import Capture
from agent.formats import format_module
from drivers.ports.virtual.motion import COLUMNS
from tests.running import Running

BUSY = """
[recording.busy]
streams = ["s"]
format = ["csv", "mcap"]
length_s = 0.3
"""


def replay(folder: Path, rows: int, *spikes: int) -> Path:
    """Rest, and half a g of jolt in X at some rows."""
    path = folder / "motion.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([3 if row in spikes else 0, 0, 1, 0, 0, row % 1000] for row in range(rows))
    return path


class WithoutPictures(Running):
    """Waits for nothing: a camera on demand brings nothing by itself."""

    def __enter__(self) -> Self:
        self.start()
        return self


def indexes(capture: Capture) -> list[int]:
    (payload,) = capture.payloads
    reader = format_module(payload.format).Settings().open()
    return [at for block in reader.read(capture.path(payload), capture) for at in range(block.first, block.end)]


@pytest.mark.parametrize(("rate_hz", "packet"), [(1000, 10), pytest.param(16000, 64, marks=pytest.mark.alone)])
def test_a_trigger_at_a_known_sample_gives_exactly_what_is_around_it(tmp_path: Path, rate_hz: int, packet: int) -> None:
    first, again, alone = round(1.4 * rate_hz) + 7, round(1.6 * rate_hz) + 3, round(2.5 * rate_hz) + 1
    source = replay(tmp_path, 12 * rate_hz, first, again, alone)
    config = f"""{BUSY}
[stream.s]
driver = "ssi"
port = "virtual"
virtual = {{ replay = "{source}", rate_hz = {rate_hz}, samples_per_packet = {packet} }}

[recording.jolt]
streams = ["s"]
when = "trigger"
trigger.kind = "level"
trigger.channels = ["AccelerometerX"]
trigger.threshold = 5000
trigger.units = "raw"
trigger.pre_s = 1.25
trigger.post_s = 0.5
"""
    with Running(tmp_path, config) as running:
        running.until(lambda status: status["recordings"]["jolt"]["finished"] == 2)
        assert running.ask("trigger", recording="jolt").startswith("one capture: 1.25 s before it")
        running.until(lambda status: status["recordings"]["jolt"]["finished"] == 3)
        status = running.finish()
        found = running.captures("jolt")
        assert status["developer"]["developed"] > 5
    assert status["streams"]["s"]["lost"] == 0
    assert status["recordings"]["jolt"]["trigger"] == {"triggers": 3, "extended": 1, "missed": 0, "ignored": 0}
    pre, post = round(1.25 * rate_hz), round(0.5 * rate_hz)
    assert indexes(found[0]) == list(range(first - pre, again + post + 1))
    assert indexes(found[1]) == list(range(alone - pre, alone + post + 1))
    asked = indexes(found[2])
    assert (len(asked), asked[-1] - asked[0]) == (pre + post + 1, pre + post)
    said = [capture.document["trigger"] for capture in found]
    assert [trigger.get("sample") for trigger in said] == [first, alone, None]
    assert [trigger["extended"] for trigger in said] == [1, 0, 0]
    assert said[2]["lead"]["sample"] == asked[0] + pre
    schema = json.loads((Path(agent.__file__).parent / "capture.schema.json").read_text())
    for capture in found:
        jsonschema.validate(capture.document, schema)


def test_a_sensor_takes_pictures_and_a_schedule_is_shown(tmp_path: Path) -> None:
    source = replay(tmp_path, 30_000, 1000)
    config = f"""
[stream.s]
driver = "ssi"
port = "virtual"
virtual = {{ replay = "{source}", rate_hz = 1000 }}

[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 0
width = 320
height = 240

[recording.photo]
streams = ["cam"]
format = ["jpeg"]
picture_name = "full"
when = "trigger"
trigger = {{ kind = "level", stream = "s", channels = ["AccelerometerX"], threshold = 5000, units = "raw", post_s = 0 }}

[recording.never]
streams = ["s"]
schedule = {{ every_s = 604800, for_s = 0.001 }}
"""
    with WithoutPictures(tmp_path, config) as running:
        status = running.until(lambda status: status["recordings"]["photo"]["finished"] == 1)
        never = status["recordings"]["never"]
        assert (never["state"], never["samples"], never["schedule"]["on"]) == ("scheduled", 0, False)
        assert never["schedule"]["next_change"].endswith("T00:00:00.000000Z"), "a Thursday, as the first of 1970 was"
        running.finish()
        (picture,) = running.captures("photo")
    trigger = picture.document["trigger"]
    assert (trigger["kind"], trigger["stream"], trigger["sample"]) == ("level", "s", 1000)
    assert 0 <= picture.document["start"]["boot_time_ns"] - trigger["boot_time_ns"] < 5e9
    schema = json.loads((Path(agent.__file__).parent / "capture.schema.json").read_text())
    jsonschema.validate(picture.document, schema)
