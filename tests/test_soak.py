"""An hour of the daemon under its usual load: memory, threads and descriptors stay where they are, nothing is lost.

`make soak-load`; SOAK_MINUTES shortens it. A virtual machine whose host takes its processors away for longer than a
FIFO lasts loses samples that no program can save: such a loss is excused where a watcher at real-time priority on each
processor saw the very same pause.
"""

import os
import time
from pathlib import Path

import pytest

from tests.pauses import Pauses
from tests.receiver import Receiver
from tests.running import Running

LOAD = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 1000

[stream.mcu]
driver = "ssi"
port = "virtual"
virtual = { rate_hz = 500, samples_per_packet = 5 }

[recording.imu]
streams = ["imu"]
length_s = 10
targets = ["lab"]

[recording.both]
streams = ["imu", "mcu"]
format = ["csv", "mcap"]
length_s = 15
targets = ["lab"]

[target.lab]
kind = "http"
url = "URL/{name}/{file}"
"""


def state(pid: int) -> tuple[float, int, int]:
    """(RSS in MiB, threads, open descriptors) of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), descriptors


def losses(running: Running) -> list[tuple[int, int]]:
    """(when, samples) of each gap in the captures of the IMU."""
    found = []
    for capture in running.captures("imu"):
        (stream,) = capture.document["streams"]
        begin_ns, rate_hz = capture.document["start"]["boot_time_ns"], stream["rate_hz"]["nominal"]
        found += [
            (begin_ns + int((gap["first"] - stream["first"]) / rate_hz * 1e9), gap["samples"]) for gap in stream["gaps"]
        ]
    return found


@pytest.mark.soak
def test_an_hour_is_flat(tmp_path: Path) -> None:
    minutes = float(os.environ.get("SOAK_MINUTES", "60"))
    with (
        Pauses() as pauses,
        Receiver(keep=False) as receiver,
        Running(tmp_path, LOAD.replace("URL", receiver.url)) as running,
    ):
        assert running.process is not None
        begun = time.monotonic()
        seen = []
        while (passed := time.monotonic() - begun) < minutes * 60:
            time.sleep(min(60.0, minutes * 60 - passed))
            seen.append(state(running.process.pid))
            print(
                f"{(time.monotonic() - begun) / 60:5.1f} min  %.1f MiB  %d threads  %d descriptors" % seen[-1],
                flush=True,
            )
        status = running.finish()
        code, seconds = running.terminate()
    print({name: (s["samples"], s["lost"], s["counters"]) for name, s in status["streams"].items()})
    assert (code, seconds < 10) == (0, True)
    settled = [rss for rss, _, _ in seen[min(5, len(seen) - 1) :]]
    assert max(settled) <= 60
    assert settled[-1] <= 1.03 * settled[0] + 0.5
    assert seen[-1][1] == seen[0][1]
    assert abs(seen[-1][2] - seen[0][2]) <= 8, "uploads under way come and go"
    print(f"the machine stood still {pauses}")
    excused = 0
    for moment_ns, samples in losses(running):
        assert pauses.near(moment_ns, 0.25), f"{samples} samples lost while the machine ran"
        excused += samples
    assert status["streams"]["mcu"]["lost"] == 0
    assert status["streams"]["imu"]["lost"] == excused
    assert status["targets"]["lab"]["owed"] == 0
