"""Loads: a real daemon, virtual devices in processes of their own, HTTP servers and a broker."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent import control
from bench._process import Look, cpu_s_of, rss_mib_of

_ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT, QUALITY = 4056, 3040, 100
"""Of pictures: the virtual camera's are smooth, and smaller than a real one's even so."""
LOAD, SMALL_LOAD = "the reference load", "a small load"
_HEAD = """\
[agent]
device = "bench"
device_id = "00c0ffee"
data_dir = "{folder}/data"
free_floor_bytes = 0
free_floor_percent = 0
date_wait_s = 0

[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 1000
filter_hz = 188

[target.lab]
kind = "http"
url = "http://127.0.0.1:{lab}/{{name}}/{{file}}"
backoff_cap_s = 10

"""
_REFERENCE = """\
[stream.mcu]
driver = "struct_frames"
port = "virtual"
rate_hz = 16000
rows = 160
checksum = "crc16-ccitt-false"
fields = [{{ name = "Sequence", type = "uint16", use = "sequence" }}, {{ name = "Audio", type = "int16" }}]
virtual = {{ rate_hz = 16000 }}

[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 1
width = {width}
height = {height}
quality = {quality}

[recording.imu]
streams = ["imu"]
length_s = 10
targets = ["lab", "archive"]

[recording.sound]
streams = ["mcu"]
format = ["wav"]
length_s = 10
targets = ["lab", "archive"]

[recording.photos]
streams = ["cam"]
format = ["jpeg"]
targets = ["lab", "archive"]

[target.archive]
kind = "http"
url = "http://127.0.0.1:{archive}/{{name}}/{{file}}"
backoff_cap_s = 10
{mqtt}
"""
_SMALL = """\
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
"""
MQTT = """
[mqtt]
host = "localhost"
port = {port}
tls = false
"""


_NAMED = """
import runpy, sys, threading
run = threading.Thread.run
def named(thread):
    with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as file:
        file.write(thread.name[:15])
    run(thread)
threading.Thread.run = named
sys.argv[0] = "capture-agent"
runpy.run_module("agent.cli", run_name="__main__")
"""
"""The same program, whose threads the kernel knows by name: so it can be said which of them needs the processor."""


class Daemon:
    """Entering starts it on a configuration; leaving stops it, or kills what does not stop."""

    def __init__(self, folder: Path, config: str, *, named: bool = False) -> None:
        self._program = ["-c", _NAMED] if named else ["-m", "agent.cli"]
        self.folder, self.data = folder, folder / "data"
        self.data.mkdir(exist_ok=True)
        self._config = folder / "config.toml"
        self._config.write_text(config)
        self._process: subprocess.Popen[bytes] | None = None
        self._begun_s = 0.0

    def __enter__(self) -> Self:
        command = [sys.executable, *self._program, "run", "--config", str(self._config)]
        self._begun_s = time.monotonic()
        with (self.folder / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> float:
        """Seconds from SIGTERM to its end."""
        begun = time.monotonic()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)
        return time.monotonic() - begun

    def status(self) -> dict[str, Any]:
        """RuntimeError with its log where it has ended."""
        try:
            answer: dict[str, Any] = control.ask(self.data, "status")
        except (control.NoDaemon, OSError):
            if self._process is None or self._process.poll() is not None:
                log = (self.folder / "daemon.log").read_text()[-3000:]
                raise RuntimeError(f"the daemon ended\n{log}") from None
            return {}
        return answer

    def answers_s(self) -> float:
        """Seconds from the start of its process to its first answer."""
        while not self.status():
            time.sleep(0.005)
        return time.monotonic() - self._begun_s

    def samples_s(self, stream: str) -> float:
        """Seconds from the start of its process to the first sample of a stream, as the daemon dates it."""
        while True:
            found = self.status().get("streams", {}).get(stream, {})
            if found.get("samples"):
                return time.monotonic() - self._begun_s - max(0.0, found["samples"] / found["nominal_hz"])
            time.sleep(0.005)

    def watch(self, done: Callable[[float], bool], every_s: float = 1.0) -> list[Look]:
        """A look every so often until `done` says so of the seconds that have passed."""
        begun, used = time.monotonic(), cpu_s_of(self.pid)
        looks: list[Look] = []
        while not done(passed := time.monotonic() - begun):
            looks.append(Look(passed, cpu_s_of(self.pid) - used, rss_mib_of(self.pid)))
            time.sleep(every_s)
        looks.append(Look(time.monotonic() - begun, cpu_s_of(self.pid) - used, rss_mib_of(self.pid)))
        return looks


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[str]:
    """The [mqtt] table for a mosquitto of our own; empty where none is installed."""
    from bench._servers import free_port, listening

    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        yield ""
        return
    port = free_port()
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    command = [program, "-c", str(folder / "mosquitto.conf")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        listening(port)
        yield MQTT.format(port=port)
    finally:
        process.terminate()
        process.wait(10)


def reference(folder: Path, mqtt: str, lab: int, archive: int) -> str:
    """The configuration of the reference load."""
    text = _HEAD + _REFERENCE
    return text.format(folder=folder, mqtt=mqtt, lab=lab, archive=archive, width=WIDTH, height=HEIGHT, quality=QUALITY)


def small(folder: Path, lab: int) -> str:
    """The configuration of a small one."""
    return (_HEAD + _SMALL).format(folder=folder, lab=lab)


def bare() -> tuple[float, float]:
    """(MiB, seconds to start) of a Python that has imported numpy and does nothing: the floor of both."""
    program = "import json, numpy; print(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])"
    times, sizes = [], []
    for _ in range(5):
        begun = time.monotonic()
        said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
        times.append(time.monotonic() - begun)
        sizes.append(json.loads(said) / 1024)
    return sorted(sizes)[2], sorted(times)[2]
