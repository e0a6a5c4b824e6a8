"""The demo: three virtual sensors through the real daemon to a folder and an HTTP receiver that fails for a while."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent import control
from agent.demo.proof import Proof, prove
from agent.demo.receiver import Receiver

CONFIG = """\
[agent]
device = "demo"
device_id = "00c0ffee"
data_dir = "{folder}/data"
durable_every_s = 1.0
date_wait_s = 0
free_floor_bytes = 0
free_floor_percent = 0
log_level = "info"

[stream.imu]                        # an MPU-6050 at 1 kHz, read through its FIFO
driver = "mpu6050"
bus = "virtual"
rate_hz = 1000
accel_range_g = 8
gyro_range_dps = 2000
virtual = {{ seed = 11 }}

[stream.mcu]                        # a microcontroller that streams 6 x int16 at 500 Hz, SSI v2, over a pseudo-terminal
driver = "ssi"
port = "virtual"
virtual = {{ seed = 12, rate_hz = 500, samples_per_packet = 5 }}

[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 1
virtual = {{ seed = 13 }}

[recording.motion]                  # both in one capture, over the same period
streams = ["imu", "mcu"]
format = ["csv", "mcap"]
length_s = 4
labels = {{ activity = "walking" }}
targets = ["archive", "lab"]

[recording.imu]
streams = ["imu"]
format = ["csv"]
length_s = 3
targets = ["archive", "lab"]

[recording.mcu]
streams = ["mcu"]
format = ["wav", "mcap"]
length_samples = 1000
targets = ["archive", "lab"]

[recording.photos]
streams = ["cam"]
format = ["jpeg"]
targets = ["archive", "lab"]

[target.archive]
kind = "directory"
path = "{folder}/archive"

[target.lab]
kind = "http"
url = "http://127.0.0.1:{port}/{{name}}/{{file}}"
backoff_base_s = 0.5
"""

_OFF_S = (4.0, 8.0)
"""When the receiver is switched off and on again."""
_START_S, _DELIVER_S = 60.0, 20.0


class DemoFailed(Exception):
    """The daemon of the demo did not run; the message is its log."""


def main(folder: Path, seconds: float, say: Callable[[str], None]) -> Proof:
    """Runs the demo in `folder`, which is emptied first if it holds an earlier demo; about `seconds` + 4 s."""
    if (folder / "demo.toml").exists():
        shutil.rmtree(folder)
    for name in ("data", "archive", "received"):
        (folder / name).mkdir(parents=True)
    folder = folder.resolve()
    receiver = Receiver(folder / "received")
    receiver.switch_on()
    config = folder / "demo.toml"
    config.write_text(CONFIG.format(folder=folder, port=receiver.port))
    command = [sys.executable, "-m", "agent.cli", "run", "--config", str(config)]
    with (folder / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _begun(folder / "data", alive=lambda: daemon.poll() is None)
        say(f"capturing for {seconds:.0f} s: an IMU at 1 kHz, a microcontroller at 500 Hz, a camera at 1 picture/s")
        _run(folder / "data", receiver, seconds, say)
        status = _finish(folder / "data", say)
    finally:
        daemon.send_signal(signal.SIGTERM)
        code = daemon.wait(15)
        receiver.switch_off()
    return prove(folder, status, receiver, code)


def _begun(data: Path, *, alive: Callable[[], bool]) -> None:
    """Waits until every sensor is read, which takes a small board some seconds."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and alive():
        try:
            if {stream["state"] for stream in control.ask(data, "status")["streams"].values()} == {"running"}:
                return
        except control.NoDaemon:
            pass  # it is still starting
        time.sleep(0.1)
    log = (data.parent / "daemon.log").read_text()
    raise DemoFailed(f"the daemon {'does not begin' if alive() else 'ended at once'}; its log says:\n{log}")


def _run(data: Path, receiver: Receiver, seconds: float, say: Callable[[str], None]) -> None:
    begun = time.monotonic()
    switches = [(_OFF_S[0], receiver.switch_off, "off"), (_OFF_S[1], receiver.switch_on, "on again")]
    while (passed := time.monotonic() - begun) < seconds:
        if switches and passed >= switches[0][0]:
            _, switch, word = switches.pop(0)
            switch()
            say(f"  the HTTP receiver is switched {word}")
        time.sleep(0.5)
        say(_line(passed, control.ask(data, "status")))
    for _, switch, _ in switches:
        switch()


def _finish(data: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Ends all recordings and waits until everything is developed and delivered; the last status."""
    say("finishing, and delivering what is still owed")
    status: dict[str, Any] = control.ask(data, "status")
    for name in status["recordings"]:
        control.ask(data, "stop", recording=name)
    control.ask(data, "sync")
    deadline = time.monotonic() + _DELIVER_S
    while time.monotonic() < deadline:
        time.sleep(0.2)
        status = control.ask(data, "status")
        busy = [r["state"] == "recording" for r in status["recordings"].values()]
        left = status["developer"]["queued"] + status["disk"]["sync_queued"] + sum(busy)
        if not left and not any(target["owed"] for target in status["targets"].values()):
            break
    return status


def _line(passed: float, status: dict[str, Any]) -> str:
    streams = "  ".join(f"{name} {stream['samples']}" for name, stream in status["streams"].items())
    targets = "   ".join(
        f"{name} {target['delivered']} delivered, {target['owed']} owed"
        + (f", {target['state']}" if target["state"] in ("unreachable", "failing") else "")
        for name, target in status["targets"].items()
    )
    return f"  {passed:4.1f} s   {streams}   |   {targets}"
