"""The daemon killed at random moments: nothing read more than half a second before is missing, nothing is there twice.

One data folder lives through all the kills. The virtual IMU numbers its samples from each start, so what a kill may
have cost is seen in the files: each run's captures follow on one another without a gap and end near its kill.
"""

import json
import random
import time
from collections import defaultdict
from pathlib import Path

import pytest

from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.database import Database
from agent.outbox import Outbox
from drivers import boottime_ns
from tests.running import Running, sampling

pytestmark = pytest.mark.alone

CONFIG = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 1000

[stream.mcu]
driver = "ssi"
port = "virtual"
virtual = { rate_hz = 500, samples_per_packet = 5 }

[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 0.5
width = 640
height = 480

[recording.imu]
streams = ["imu"]
length_s = 0.7
targets = ["archive", "second"]

[recording.both]
streams = ["imu", "mcu"]
length_s = 1.1
targets = ["archive"]

[recording.photos]
streams = ["cam"]
format = ["jpeg"]
picture_name = "full"
targets = ["archive", "second"]

[target.archive]
kind = "directory"
path = "{folder}/archive"

[target.second]
kind = "directory"
path = "{folder}/second"
"""

PICTURE_NS = 500_000_000
"""From one picture to the next; taking one costs up to 300 ms more on a busy machine."""

SLOW_DISK = """\
import os, time
_fsync, _fdatasync = os.fsync, os.fdatasync
def slow(real):
    def call(fd):
        time.sleep(3)
        real(fd)
    return call
os.fsync, os.fdatasync = slow(_fsync), slow(_fdatasync)
"""


class Pipeline(Running):
    """One data folder and the daemon that is killed on it."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        super().__init__(folder, config)
        for name in ("archive", "second"):
            (folder / name).mkdir()
        self.kills: list[tuple[int, int]] = []
        """(when all streams had samples, when it was killed), boot time."""

    def round(self, after_s: float) -> None:
        """Starts it, waits for samples and that much more, and kills it."""
        self.start()
        self.until(sampling)
        assert self.process is not None
        begun = boottime_ns()
        time.sleep(after_s)
        killed = boottime_ns()
        self.process.kill()
        self.process.wait()
        self.kills.append((begun, killed))


@pytest.fixture
def pipeline(tmp_path: Path) -> "Pipeline":
    return Pipeline(tmp_path)


def prove(pipeline: Pipeline) -> None:
    """Everything is readable, catalogued once, delivered once to each target, and nothing old enough is missing."""
    data = pipeline.data
    captures = pipeline.captures()
    assert not [capture.damage() for capture in captures if capture.damage()]
    assert list((data / "recording").iterdir()) == []
    # a picture that was being written when the kill came cannot be whole, and nothing else may lie there
    quarantined = [folder.name for folder in (data / "quarantine").iterdir() if not folder.name.endswith(".jpg.part")]
    reasons = [path.read_text() for path in (data / "quarantine").rglob("reason.txt")]
    assert quarantined == [], reasons
    assert len(reasons) <= 2 + len(pipeline.kills) / 20, reasons

    with Database(data / "agent.db") as database:
        known = [entry.uuid for entry in Catalogue(database, data / "captures").find()]
        assert sorted(known) == sorted(capture.uuid for capture in captures)
        counts = Outbox(database, boot_id="x", now=boottime_ns, jitter=random.Random(1)).counts()
    two = [capture for capture in captures if capture.recording != "both"]
    assert counts["archive"].delivered == len(captures)
    assert counts["second"].delivered == len(two)
    for name, expected in (("archive", captures), ("second", two)):
        there = [json.loads(path.read_text())["uuid"] for path in (pipeline.folder / name).rglob("*.json")]
        assert sorted(there) == sorted(capture.uuid for capture in expected)

    by_run: dict[int, dict[str, list[Capture]]] = defaultdict(lambda: defaultdict(list))
    for capture in captures:
        at = int(capture.document["start"]["boot_time_ns"])
        run = sum(at > killed for _, killed in pipeline.kills)
        by_run[run][capture.recording].append(capture)
    for run, (begun, killed) in enumerate(pipeline.kills):
        photos = sorted(by_run[run]["photos"], key=lambda capture: capture.document["streams"][0]["first"])
        numbers = [capture.document["streams"][0]["first"] for capture in photos]
        assert numbers == list(range(len(numbers)))
        if not photos and killed - begun < 500_000_000:
            continue  # killed before half a second of samples was there
        assert photos, f"run {run} left no picture\n{pipeline.log()}"
        assert killed - photos[-1].document["start"]["boot_time_ns"] < 500_000_000 + PICTURE_NS + 300_000_000
        for recording in ("imu", "both"):
            of_run = sorted(by_run[run][recording], key=lambda capture: capture.document["start"]["boot_time_ns"])
            if not of_run and killed - begun < 500_000_000:
                continue  # as above
            assert of_run, f"run {run} left nothing of {recording}\n{pipeline.log()}"
            nearest_ns = 0
            for capture in of_run:
                end_ns = capture.document["start"]["boot_time_ns"] + capture.document["duration_s"] * 1e9
                nearest_ns = max(nearest_ns, int(end_ns))
            assert killed - nearest_ns < 500_000_000, (
                f"run {run}: {recording} ends {(killed - nearest_ns) / 1e6} ms early"
            )
            if recording == "imu":
                due = 0
                for stream in (capture.document["streams"][0] for capture in of_run):
                    # a busy machine may let the FIFO run over, which is counted; a kill may not take anything out
                    gaps = stream["gaps"]
                    assert not any(gap["exact"] for gap in gaps), "only a FIFO that ran over is estimated: this is ours"
                    assert stream["first"] == due + sum(
                        gap["samples"] for gap in gaps if gap["first"] < stream["first"]
                    )
                    inside = sum(gap["samples"] for gap in gaps if gap["first"] > stream["first"])
                    due = stream["first"] + stream["samples"] + inside


def rounds(pipeline: Pipeline, kills: int, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    try:
        for _ in range(kills):
            pipeline.round(chance.uniform(0.05, 1.2))
        pipeline.start()
        pipeline.until(sampling)
        pipeline.finish()
        code, _ = pipeline.terminate()
        assert code == 0, pipeline.log()
    finally:
        pipeline.__exit__(None, None, None)
    prove(pipeline)


@pytest.mark.timeout(300)
def test_twenty_kills(pipeline: Pipeline) -> None:
    rounds(pipeline, 20, seed=random.SystemRandom().randrange(1 << 30))


@pytest.mark.timeout(120)
def test_kills_while_the_disk_stalls_for_seconds(tmp_path: Path) -> None:
    # each upload waits for its disk three times, so many at once are soon over
    pipeline = Pipeline(tmp_path, CONFIG.replace('kind = "directory"', 'kind = "directory"\nconnections = 32'))
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SLOW_DISK)
    pipeline.environment["PYTHONPATH"] = str(site)
    rounds(pipeline, 3, seed=random.SystemRandom().randrange(1 << 30))


@pytest.mark.soak
def test_two_hundred_kills(pipeline: Pipeline) -> None:
    rounds(pipeline, 200, seed=random.SystemRandom().randrange(1 << 30))
