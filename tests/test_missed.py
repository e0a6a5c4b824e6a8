"""What a recording could not take is said once an occasion, and is a problem of the daemon."""

import logging
from pathlib import Path

import pytest

from agent.monitor import _problems
from tests.test_sample_writer import FAST
from tests.test_sample_writer import Bench as Samples
from tests.test_triggered_pictures import CAMERA
from tests.test_triggered_pictures import Bench as Pictures


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "could not be recorded" in record.getMessage()]


def test_samples_that_a_full_disk_did_not_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Samples(tmp_path, {"s": FAST})
    bench.run(1, "s")
    for full_s, missed in ((2, 2000), (3, 3000)):
        bench.full = "the disk is full"
        bench.run(full_s, "s")
        assert not any(f"{missed}" in line for line in said(caplog))
        bench.full = ""
        bench.run(7, "s")
        assert said(caplog)[-1] == f"recording test: {missed} samples could not be recorded"
    assert len(said(caplog)) == 2
    health = bench.writer.health()
    bench.takes.stop()
    disk = {"sync_error": "", "sync_failed": 0}
    problems = _problems({}, {"walk": health}, {}, disk, {"failed": 0, "error": ""})
    assert problems == ["recording walk could not take 5000 samples"]


def test_what_was_missed_to_the_end_is_said_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Samples(tmp_path, {"s": FAST})
    bench.run(1, "s")
    bench.full = "the disk is full"
    bench.run(2, "s")
    bench.takes.stop()
    assert said(caplog) == ["recording test: 2000 samples could not be recorded"]


def test_pictures_that_a_full_disk_did_not_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Pictures(tmp_path, CAMERA, 1 << 24)
    bench.run(3.2)
    bench.full = "the disk is full"
    bench.run(6.2)
    bench.full = ""
    bench.run(20.2)
    assert said(caplog) == ["recording photos: 3 samples could not be recorded"]
