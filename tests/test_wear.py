"""Wear: what status says of bytes written and syncs is what the kernel saw."""

import re
import shutil
from pathlib import Path

import pytest

from agent.wear import Wear
from tests.running import Running

HOUR_NS = 3_600_000_000_000


class House:
    def __init__(self, io: Path) -> None:
        self.io, self.now_ns, self.syncs = io, 5, 0
        io.write_text("wchar: 1\nwrite_bytes: 1000\ncancelled_write_bytes: 0\n")
        self.wear = Wear(lambda: self.syncs, lambda: self.now_ns, io)


def test_it_counts_from_the_start_and_by_the_hour(tmp_path: Path) -> None:
    house = House(tmp_path / "io")
    assert house.wear.health() == {
        "written_bytes": 0,
        "written_bytes_per_hour": None,
        "syncs": 0,
        "syncs_per_hour": None,
    }
    house.io.write_text("wchar: 1\nwrite_bytes: 7000\ncancelled_write_bytes: 0\n")
    house.syncs, house.now_ns = 900, house.now_ns + HOUR_NS // 2
    assert house.wear.health() == {
        "written_bytes": 6000,
        "written_bytes_per_hour": 12000,
        "syncs": 900,
        "syncs_per_hour": 1800,
    }


def test_a_kernel_that_does_not_count_bytes_leaves_them_open(tmp_path: Path) -> None:
    house = House(tmp_path / "io")
    house.io.unlink()
    house.now_ns += HOUR_NS
    assert house.wear.health() == {
        "written_bytes": None,
        "written_bytes_per_hour": None,
        "syncs": 0,
        "syncs_per_hour": 0,
    }


CONFIG = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 200

[recording.imu]
streams = ["imu"]
length_s = 0.5
"""


@pytest.mark.alone  # captures that come late together share their syncs
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_syncs_of_a_running_daemon_are_counted_as_the_kernel_sees_them(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,syncfs,sync"
    strace = ("strace", "-D", "-f", "-e", calls, "-o", str(trace))
    with Running(tmp_path, CONFIG, prefix=strace) as running:

        def seen() -> int:
            return len(re.findall(r"\b(?:fsync|fdatasync|syncfs|sync)\(", trace.read_text()))

        first, before = running.until(lambda status: status["recordings"]["imu"]["finished"] >= 1)["disk"], seen()
        last = running.until(lambda status: status["recordings"]["imu"]["finished"] >= 7)["disk"]
        counted, saw = last["syncs"] - first["syncs"], seen() - before
    assert counted >= 12
    assert abs(counted - saw) <= 2, "one may be under way at either end"
    assert last["written_bytes"] > 0
