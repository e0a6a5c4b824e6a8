"""The daemon as a process: exact data from the sensor to the file, clean ends, few syncs, one per folder."""

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import agent
from agent.config.loading import load
from agent.control import ask
from agent.daemon import Daemon
from agent.formats import format_module
from agent.main_thread import MainThread
from agent.negative import NegativeWriter, identity_as_json
from drivers import Block, Channel, Identity, boottime_ns
from drivers.ports.virtual.motion import Motion
from tests.flight import FLIGHT
from tests.running import Running, done

IMU = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 1000
temperature = false
"""
AXES = ("AccelerometerX", "AccelerometerY", "AccelerometerZ", "GyroscopeX", "GyroscopeY", "GyroscopeZ")


def table(running: Running, recording: str, kind: str = "csv") -> dict[str, np.ndarray]:
    """All columns of all captures of a recording, one after the other, with `sequence`."""
    parts: dict[str, list[np.ndarray]] = {}
    for capture in running.captures(recording):
        (payload,) = [payload for payload in capture.payloads if payload.format == kind]
        for block in format_module(kind).Settings().open().read(capture.path(payload), capture):
            parts.setdefault("sequence", []).append(np.arange(block.first, block.end))
            for name in block.samples.dtype.names:
                parts.setdefault(name, []).append(block.samples[name])
    return {name: np.concatenate(part) for name, part in parts.items()}


@pytest.mark.parametrize("source", ["synthetic motion", "real flight"])
def test_what_an_mcu_sends_at_full_speed_is_in_the_csv_row_for_row(tmp_path: Path, source: str) -> None:
    replay = ""
    if source == "real flight":
        if not FLIGHT.is_file():
            pytest.skip(f"{FLIGHT.name} does not stand beside the checkout")
        replay = f'replay = "{FLIGHT}", replay_accel_scale = 0.75,'
    config = f"""
[stream.mcu]
driver = "ssi"
port = "virtual"
virtual = {{ {replay} rate_hz = 1000, samples_per_packet = 32, flat_out = true, packets = 2000, seed = 5 }}

[recording.mcu]
streams = ["mcu"]
length_samples = 20000
"""
    with Running(tmp_path, config) as running:
        running.until(lambda status: status["recordings"]["mcu"]["samples"] == 64000)
        running.finish()
        columns = table(running, "mcu")
    motion = Motion(5, 1000.0, replay=str(FLIGHT) if replay else "", replay_accel_scale=0.75)
    assert np.array_equal(columns["sequence"], np.arange(64000))
    assert np.array_equal(np.stack([columns[name] for name in AXES], axis=1), motion.rows(0, 64000))


@pytest.mark.alone
@pytest.mark.parametrize("source", ["synthetic motion", "real flight"])
def test_what_an_imu_measures_is_in_the_csv_row_for_row(tmp_path: Path, source: str) -> None:
    replay, count = "", 1500
    if source == "real flight":
        if not FLIGHT.is_file():
            pytest.skip(f"{FLIGHT.name} does not stand beside the checkout")
        replay, count = f'replay = "{FLIGHT}", replay_accel_scale = 0.75,', 7646
    config = f"""
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 1000
accel_range_g = 16
gyro_range_dps = 2000
temperature = false
virtual = {{ {replay} seed = 5 }}

[recording.imu]
streams = ["imu"]
length_samples = 1000
"""
    with Running(tmp_path, config) as running:
        running.until(lambda status: status["recordings"]["imu"]["samples"] >= count)
        running.finish()
        columns = table(running, "imu")
    motion = Motion(5, 1000.0, replay=str(FLIGHT) if replay else "", replay_accel_scale=0.75, lsb=(2048.0, 16.4))
    assert np.array_equal(columns["sequence"], np.arange(len(columns["sequence"])))
    assert np.array_equal(np.stack([columns[name] for name in AXES], axis=1)[:count], motion.rows(0, count))


def test_every_sidecar_is_as_the_published_schema_says(tmp_path: Path) -> None:
    config = f"""{IMU}
[stream.mcu]
driver = "ssi"
port = "virtual"

[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 0.5
width = 320
height = 240

[recording.both]
streams = ["imu", "mcu"]
format = ["csv", "mcap"]
length_s = 0.5
labels = {{ activity = "walking", round = 3 }}

[recording.sound]
streams = ["mcu"]
format = ["wav"]
length_s = 0.5

[recording.photos]
streams = ["cam"]
format = ["jpeg"]
picture_name = "full"
"""
    with Running(tmp_path, config) as running:
        running.until(lambda status: all(one["finished"] > 1 for one in status["recordings"].values()))
        running.finish()
        captures = running.captures()
    schema = json.loads((Path(agent.__file__).parent / "capture.schema.json").read_text())
    for capture in captures:
        jsonschema.validate(capture.document, schema)
        assert not capture.damage()
    assert {capture.recording for capture in captures} == {"both", "sound", "photos"}


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []
        stop = threading.Event()

        def take() -> None:
            server.settimeout(0.1)
            while not stop.is_set():
                try:
                    held.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=take)
        thread.start()
        yield server.getsockname()[1]
        stop.set()
        thread.join()
        for connection in held:
            connection.close()


def test_it_ends_within_ten_seconds_though_uploads_hang(tmp_path: Path, black_hole: int) -> None:
    config = f"""{IMU}
[recording.imu]
streams = ["imu"]
length_s = 0.5
targets = ["hole"]

[target.hole]
kind = "http"
url = "http://127.0.0.1:{black_hole}/{{name}}/{{file}}"
"""
    with Running(tmp_path, config) as running:
        running.until(lambda status: status["targets"]["hole"]["state"] == "sending")
        code, seconds = running.terminate()
        assert (code, seconds < 10) == (0, True), running.log()
        # nothing is forgotten: all of it is still owed at the next start
        before = len(running.captures())
        assert before > 0
    with Running(tmp_path, config) as running:
        status = running.until(lambda status: status["developer"]["queued"] == 0)
        assert status["targets"]["hole"]["owed"] >= before


def test_systemd_hears_that_it_is_ready_alive_and_stopping(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        with Running(tmp_path, IMU, **environment) as running:
            assert b"READY=1" in systemd.recv(100).splitlines()
            assert [systemd.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            running.terminate()
            heard = [systemd.recv(100)]
            while heard[-1] == b"WATCHDOG=1":
                heard.append(systemd.recv(100))
    assert heard[-1] == b"STOPPING=1"


def test_a_second_daemon_on_one_folder_refuses(tmp_path: Path) -> None:
    with Running(tmp_path, IMU) as running:
        command = [sys.executable, "-m", "agent.cli", "run", "--config", str(running.config)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert second.returncode == 75
        assert "another capture-agent runs on" in second.stderr
        assert running.ask("status")["streams"]["imu"]["state"] == "running"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_finishing_a_capture_costs_at_most_four_syncs(tmp_path: Path) -> None:
    config = f"""{IMU}
[recording.imu]
streams = ["imu"]
format = ["csv", "mcap"]
length_s = 0.5
targets = ["archive"]

[target.archive]
kind = "directory"
path = "{{folder}}/archive"
"""
    (tmp_path / "archive").mkdir()
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,syncfs,sync,sync_file_range,msync"
    strace = ("strace", "-D", "-f", "-y", "-e", calls, "-o", str(trace))
    with Running(tmp_path, config, prefix=strace) as running:
        running.until(lambda status: status["targets"]["archive"]["delivered"] >= 6)
        running.finish()
        captures = len(running.captures())
    ours = _syncs(trace)
    assert captures >= 6
    assert len(ours) <= 4 * captures + 4, "\n".join(ours)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_pictures_at_one_a_second_cost_at_most_one_sync_each(tmp_path: Path) -> None:
    config = """
[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 1
width = 320
height = 240

[recording.photos]
streams = ["cam"]
format = ["jpeg"]
targets = ["archive"]

[target.archive]
kind = "directory"
path = "{folder}/archive"
"""
    (tmp_path / "archive").mkdir()
    trace = tmp_path / "trace"
    strace = ("strace", "-D", "-f", "-y", "-e", "trace=fsync,fdatasync,syncfs,sync", "-o", str(trace))
    running = Running(tmp_path, config, prefix=strace)
    text = running.config.read_text().replace("durable_every_s = 0.5", "durable_every_s = 2")
    running.config.write_text(text)
    with running:
        running.until(lambda status: status["streams"]["cam"]["samples"] >= 2)
        begun = len(_syncs(trace))
        first = running.ask("status")["streams"]["cam"]["samples"]
        running.until(lambda status: status["streams"]["cam"]["samples"] >= first + 12)
        cost = len(_syncs(trace)) - begun
    assert cost <= 12, "3,600 an hour"


def _syncs(trace: Path) -> list[str]:
    """Calls to sync anything, but for the folder target's own and the periodic ones of negatives."""
    lines = [line for line in trace.read_text().splitlines() if re.search(r"\b(fsync|fdatasync|syncfs|sync)\(", line)]
    return [line for line in lines if "/archive" not in line and ".negative" not in line]


@pytest.mark.alone
def test_an_hour_is_developed_while_the_imu_runs_on(tmp_path: Path) -> None:
    identity = Identity("Hour", 1000.0, tuple(Channel(name) for name in AXES))
    folder = tmp_path / "data" / "recording"
    folder.mkdir(parents=True)
    name = "test.hour.20261121T000000.000Z.00000000"
    settings = {"streams": ["hour"], "format": ["csv"], "fill": "hold"}
    started = {"boot_time_ns": 1, "boot_id": "x", "wall_ns": 1_800_000_000_000_000_000, "clock": "unsynchronised"}
    head = {
        "uuid": "00000000-0000-4000-8000-000000000000",
        "name": name,
        "recording": "hour",
        "settings": settings,
        "configuration": {"uuid": "0", "name": "hour", "document": {}},
        "device": {"name": "test", "id": "00000001", "model": ""},
        "software": {"name": "capture-agent", "version": "0"},
        "started": {**started, "wall_time": "2027-01-15T08:00:00.000000Z"},
        "labels": {},
        "metadata": {},
        "streams": [{"name": "hour", "driver": "test", "identity": identity_as_json(identity)}],
    }
    negative = NegativeWriter(folder / f"{name}.negative.part", head)
    rows = Motion(1, 1000.0).rows(0, 40)
    samples = np.ascontiguousarray(rows).view([(axis, "<i2") for axis in AXES]).reshape(-1)
    for first in range(0, 3_600_000, 40):
        negative.write(0, Block(first, samples, 1 + (first + 39) * 1_000_000, first + 39))
        if first % 4000 == 0:
            negative.flush()
    negative.flush()
    negative.close()
    config = f"""{IMU}
[recording.imu]
streams = ["imu"]
length_s = 2
"""
    with Running(tmp_path, config) as running:
        status = running.until(lambda status: status["developer"]["developed"] >= 1, seconds=90)
        assert status["streams"]["imu"]["counters"]["overflows"] == 0
        assert status["streams"]["imu"]["lost"] == 0
        running.until(lambda status: len(running.captures("hour")) == 1, seconds=90)
        status = running.finish()
        assert status["streams"]["imu"]["counters"]["overflows"] == 0
        (hour,) = running.captures("hour")
        assert hour.document["streams"][0]["samples"] == 3_600_000
        assert hour.document["end"]["reason"] == "cut off"
        assert done(status)


def test_a_daemon_that_has_run_for_long_still_gives_each_read_its_time_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Reads of a second, of which hardly two end in the tenth of one that is left where all time is used up."""
    monkeypatch.setattr("agent.stream.READ_S", 1.0)
    path = tmp_path / "config.toml"
    slow = '[stream.{0}]\ndriver = "veml7700"\nbus = "virtual"\nrate_hz = 0.1\n[recording.{0}]\nstreams = ["{0}"]\n'
    path.write_text(f'[agent]\ndata_dir = "{tmp_path}/data"\n' + slow.format("light") + slow.format("dark"))
    with Daemon(load(path), MainThread()):
        while {stream["state"] for stream in ask(tmp_path / "data", "status")["streams"].values()} != {"running"}:
            pass
        monkeypatch.setattr("agent.daemon.boottime_ns", lambda: boottime_ns() + 3600 * 10**9)
    assert "left behind" not in caplog.text
