"""The whole daemon: memory and processor time under a real load, and how soon the first sample is there."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agent import control
from agent.demo.receiver import Receiver
from bench import Measure

CONFIG = """\
[agent]
device = "bench"
data_dir = "{folder}/data"
free_floor_bytes = 0
free_floor_percent = 0

[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 1000

[stream.mcu]
driver = "ssi"
port = "virtual"
virtual = {{ rate_hz = 500, samples_per_packet = 5 }}

[recording.imu]
streams = ["imu"]
length_s = 10
targets = ["lab"]

[recording.both]
streams = ["imu", "mcu"]
length_s = 15
targets = ["lab"]

[target.lab]
kind = "http"
url = "http://127.0.0.1:{port}/{{name}}/{{file}}"
"""
_LOAD_S = 60


def measure() -> list[Measure]:
    with tempfile.TemporaryDirectory() as name:
        return _measure(Path(name))


def _measure(folder: Path) -> list[Measure]:
    for part in ("data", "received"):
        (folder / part).mkdir()
    receiver = Receiver(folder / "received")
    receiver.switch_on()
    config = folder / "config.toml"
    config.write_text(CONFIG.format(folder=folder, port=receiver.port))
    begun = time.monotonic()
    command = [sys.executable, "-m", "agent.cli", "run", "--config", str(config)]
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        first_s = _first_sample(folder / "data", begun)
        before = _cpu_s(daemon.pid)
        time.sleep(_LOAD_S)
        cpu_percent = 100 * (_cpu_s(daemon.pid) - before) / _LOAD_S
        status = control.ask(folder / "data", "status")
        rss_mib = _rss_mib(daemon.pid)
    finally:
        daemon.send_signal(signal.SIGTERM)
        stopping = time.monotonic()
        daemon.wait(20)
        stop_s = time.monotonic() - stopping
        receiver.switch_off()
    lost = sum(stream["lost"] for stream in status["streams"].values())
    load = "IMU 1 kHz, MCU 500 Hz, two recordings, HTTP"
    return [
        Measure(
            f"memory after {_LOAD_S} s: {load}",
            rss_mib,
            "MiB RSS",
            "the aim",
            rss_mib / 60,
            "at most 60",
            rss_mib <= 60,
        ),
        Measure(
            f"processor: {load}", cpu_percent, "% of a core", "the aim", cpu_percent / 8, "at most 8", cpu_percent <= 8
        ),
        Measure("cold start to the first sample", first_s, "s", "the aim", first_s / 1.0, "under 1", first_s < 1),
        Measure("stop", stop_s, "s", "the aim", stop_s / 10, "at most 10", stop_s <= 10),
        Measure("samples lost under load", float(lost), "samples", "none", float(lost), "none", lost == 0),
    ]


def _first_sample(data: Path, begun: float) -> float:
    """Seconds from the start of the process to the IMU's first sample, as the daemon dates it."""
    while True:
        try:
            imu = control.ask(data, "status")["streams"]["imu"]
        except (control.NoDaemon, OSError):
            imu = {"samples": 0}
        if imu["samples"]:
            return time.monotonic() - begun - max(0.0, imu["samples"] / imu["nominal_hz"])
        time.sleep(0.005)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
