"""Reload: a changed configuration restarts what differs and nothing else; a wrong one changes nothing and says why."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent import control
from agent.control import CommandError
from agent.formats import format_module
from tests.running import Running, done

MCU = """
[stream.mcu]
driver = "ssi"
port = "virtual"
virtual = { seed = 5, rate_hz = 1000 }
"""
IMU = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 200
"""
CONFIG = f"""{MCU}{IMU}
[recording.imu]
streams = ["imu"]
length_s = 0

[recording.mcu]
streams = ["mcu"]
length_s = 0
"""
OWING = f"""{CONFIG}
targets = ["archive"]

[target.archive]
kind = "directory"
path = "{{folder}}/archive"
"""


@pytest.fixture(autouse=True)
def archive(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "other").mkdir()


def recording(status: dict[str, Any]) -> bool:
    """Every recording has a capture in progress."""
    return all(one["capture"] for one in status["recordings"].values())


def edit(running: Running, old: str, new: str) -> None:
    text = running.config.read_text()
    assert old in text
    running.config.write_text(text.replace(old, new))


def sequence(running: Running, recording: str) -> np.ndarray:
    """The indexes of all samples of a recording, capture after capture."""
    found = []
    for capture in running.captures(recording):
        (payload,) = capture.payloads
        blocks = format_module("csv").Settings().open().read(capture.path(payload), capture)
        found += [np.arange(block.first, block.end) for block in blocks]
    return np.concatenate(found)


def test_a_changed_recording_goes_on_with_the_very_next_sample(tmp_path: Path) -> None:
    with Running(tmp_path, CONFIG) as running:
        running.until(lambda status: status["recordings"]["mcu"]["samples"] > 300)
        imu = running.until(recording)["recordings"]["imu"]["capture"]
        edit(running, 'streams = ["mcu"]', 'streams = ["mcu"]\nlabels = { round = 2 }')
        assert running.ask("reload") == "recording mcu restarted"
        running.until(lambda status: status["recordings"]["mcu"]["samples"] > 300)
        status = running.ask("status")
        assert status["recordings"]["imu"]["capture"] == imu, "who has not changed is not disturbed"
        assert status["configuration"] == {"path": str(running.config), "reloads": 1, "error": ""}
        running.finish()
        indexes = sequence(running, "mcu")
        captures = running.captures("mcu")
    assert [capture.document["labels"] for capture in captures] == [{}, {"round": 2}]
    assert np.array_equal(indexes, np.arange(indexes[0], indexes[0] + len(indexes))), "nothing twice, nothing missing"


def test_a_changed_stream_restarts_its_recordings_and_no_others(tmp_path: Path) -> None:
    with Running(tmp_path, CONFIG) as running:
        before = running.until(recording)
        edit(running, "rate_hz = 200", "rate_hz = 125")
        assert running.ask("reload") == "stream imu restarted; recording imu restarted"
        after = running.until(lambda status: status["recordings"]["imu"]["samples"] > 0)
        assert after["streams"]["imu"]["nominal_hz"] == 125
        assert after["recordings"]["mcu"]["capture"] == before["recordings"]["mcu"]["capture"]
        assert after["recordings"]["imu"]["capture"] != before["recordings"]["imu"]["capture"]
        running.finish()
        rates = [each.document["streams"][0]["rate_hz"]["nominal"] for each in running.captures("imu")]
    assert rates == [200, 125]


def test_what_is_new_starts_and_what_is_gone_stops_and_its_last_capture_is_still_delivered(tmp_path: Path) -> None:
    with Running(tmp_path, OWING) as running:
        running.until(lambda status: status["recordings"]["mcu"]["samples"] > 0)
        head, _, rest = running.config.read_text().partition("[recording.imu]")
        target = rest[rest.index("[target.archive]") :]
        added = '[recording.both]\nstreams = ["imu"]\ntargets = ["second"]\n'
        second = f'[target.second]\nkind = "directory"\npath = "{tmp_path}/other"\n'
        running.config.write_text(f"{head}{added}{target}{second}")
        said = running.ask("reload").split("; ")
        assert sorted(said) == [
            "recording both started",
            "recording imu stopped",
            "recording mcu stopped",
            "target second started",
        ]
        status = running.until(lambda status: status["recordings"]["both"]["samples"] > 0)
        assert set(status["recordings"]) == {"both"}
        assert set(status["targets"]) == {"archive", "second"}
        running.finish()
        assert list((tmp_path / "archive").rglob("*.mcu.*.csv")), "recorded while it was owed to the archive"
        assert list((tmp_path / "other").rglob("*.both.*.csv"))


def test_of_a_target_that_is_gone_nothing_is_asked_but_what_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "archive").rmdir()
    with Running(tmp_path, OWING) as running:
        running.until(lambda status: status["recordings"]["mcu"]["samples"] > 0)
        running.ask("stop", recording="mcu")
        running.until(lambda status: status["targets"]["archive"]["state"] == "unreachable")
        edit(running, 'targets = ["archive"]', "")
        edit(running, "[target.archive]", "[target.second]")
        assert running.ask("reload") == "recording mcu restarted; target archive stopped; target second started"
        status = running.until(lambda status: "archive" in status["targets"])
        assert status["targets"]["archive"]["state"] == "not configured"
        for command in ("sync", "pause", "resume", "retry"):
            with pytest.raises(CommandError, match="'archive' is not configured"):
                running.ask(command, target="archive")
        assert any("target archive is not configured, and 1 captures" in line for line in status["problems"])


def test_what_was_owed_to_a_target_goes_where_the_target_now_is(tmp_path: Path) -> None:
    (tmp_path / "archive").rmdir()
    with Running(tmp_path, OWING) as running:
        running.until(lambda status: status["recordings"]["mcu"]["samples"] > 0)
        running.ask("stop", recording="mcu")
        running.until(lambda status: status["targets"]["archive"]["state"] == "unreachable")
        edit(running, f"{tmp_path}/archive", f"{tmp_path}/other")
        assert running.ask("reload") == "target archive restarted"
        running.ask("stop", recording="imu")
        running.until(done)
    assert list((tmp_path / "other").rglob("*.mcu.*.csv"))


def test_a_wrong_configuration_changes_nothing_and_says_why_until_it_is_mended(tmp_path: Path) -> None:
    with Running(tmp_path, CONFIG) as running:
        before = running.until(recording)
        edit(running, "rate_hz = 200", "rate_hz = 1e9")
        with pytest.raises(CommandError, match=r"nothing was changed: stream\.imu\.rate_hz"):
            running.ask("reload")
        status = running.ask("status")
        for kind in ("streams", "recordings"):
            assert {name: (one["state"], one.get("capture")) for name, one in status[kind].items()} == {
                name: (one["state"], one.get("capture")) for name, one in before[kind].items()
            }
        assert "rate_hz" in status["configuration"]["error"]
        assert any("is refused, the one before runs on: stream.imu.rate_hz" in line for line in status["problems"])
        assert "the changed configuration is refused" in running.log()
        edit(running, "rate_hz = 1e9", "rate_hz = 200")
        assert running.ask("reload") == "nothing has changed"
        assert running.ask("status")["problems"] == []


def test_what_everything_shares_restarts_everything_in_the_same_process(tmp_path: Path) -> None:
    with Running(tmp_path, CONFIG) as running:
        running.until(lambda status: status["recordings"]["mcu"]["samples"] > 0)
        edit(running, "durable_every_s = 0.5", "durable_every_s = 1")
        asked_s = time.monotonic()
        assert running.ask("reload") == "everything is restarted"
        running.until(
            lambda status: (
                status["uptime_s"] < time.monotonic() - asked_s and status["recordings"]["mcu"]["samples"] > 0
            )
        )
        assert running.process is not None
        assert running.process.poll() is None
        running.finish()
        assert len(running.captures("mcu")) == 2
        code, _ = running.terminate()
    assert code == 0, running.log()


def standing(running: Running) -> tuple[str, str, str]:
    """What the recordings and the target do, once that is to be seen."""
    status = running.until(
        lambda status: all(one["state"] == "idle" or one["samples"] for one in status["recordings"].values())
    )
    one, other = (status["recordings"][name]["state"] for name in ("imu", "mcu"))
    return one, other, status["targets"]["archive"]["state"]


def test_started_stopped_and_paused_stay_so_over_a_reload_and_a_restart(tmp_path: Path) -> None:
    with Running(tmp_path, OWING.replace('streams = ["imu"]', 'streams = ["imu"]\nwhen = "command"')) as running:
        assert standing(running)[:2] == ("idle", "recording")
        running.ask("start", recording="imu")
        running.ask("stop", recording="mcu")
        running.ask("pause", target="archive")
        wanted = ("recording", "idle", "paused")
        edit(running, "length_s = 0", "length_s = 0\nlabels = { round = 2 }")
        edit(running, 'kind = "directory"', 'kind = "directory"\nlayout = "{file}"')
        said = running.ask("reload").split("; ")
        assert said == ["recording imu restarted", "recording mcu restarted", "target archive restarted"]
        assert standing(running) == wanted
        edit(running, "durable_every_s = 0.5", "durable_every_s = 1")
        assert running.ask("reload") == "everything is restarted"
        running.until(lambda status: status["uptime_s"] < 5)
        assert standing(running) == wanted
        for lost in ("", "agent.db*"):  # also with a database that is made anew
            assert running.process is not None
            running.process.kill()
            running.process.wait()
            for path in running.data.glob(lost) if lost else ():
                path.unlink()
            running.start()
            assert standing(running) == wanted
        log = running.log()
        assert "recording imu: was started by a command, and stays so" in log
        assert "recording mcu: was stopped by a command, and stays so" in log
        assert "archive: was paused by a command, and stays so" in log
        running.ask("resume")
        edit(running, 'streams = ["mcu"]', 'streams = ["mcu"]\nwhen = "command"')
        running.ask("reload")
        assert standing(running)[:2] == ("recording", "idle")
        edit(running, 'streams = ["mcu"]\nwhen = "command"', 'streams = ["mcu"]')
        running.ask("reload")
        assert standing(running)[:2] == ("recording", "recording"), "as it is configured now"
        assert running.ask("status")["targets"]["archive"]["state"] != "paused"


def test_what_was_recorded_under_another_name_is_owed_to_whom_it_was_for(tmp_path: Path) -> None:
    with Running(tmp_path, OWING) as running:
        running.until(lambda status: status["recordings"]["mcu"]["samples"] > 300)
        assert running.process is not None
        running.process.kill()
        running.process.wait()
        edit(running, "[recording.mcu]", "[recording.other]")
        running.start()
        running.until(lambda status: status["targets"]["archive"]["delivered"] > 0)
        (capture,) = running.captures("mcu")
    assert capture.document["targets"] == ["archive"]
    assert list((tmp_path / "archive").rglob("*.mcu.*.csv"))


def test_sighup_reloads_and_systemd_hears_when_it_begins_and_ends(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        with Running(tmp_path, CONFIG, NOTIFY_SOCKET=str(tmp_path / "notify")) as running:
            assert systemd.recv(100).startswith(b"READY=1")
            assert running.process is not None
            running.process.send_signal(signal.SIGHUP)
            first, second = systemd.recv(100).splitlines(), systemd.recv(100)
            assert first[0] == b"RELOADING=1"
            assert first[1].startswith(b"MONOTONIC_USEC=")
            assert second == b"READY=1"
            assert running.ask("status")["configuration"]["reloads"] == 1


def test_the_command_reloads_and_its_exit_code_tells(tmp_path: Path) -> None:
    def reload() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "agent.cli", "reload", "--config", str(running.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ)

    with Running(tmp_path, CONFIG) as running:
        edit(running, "rate_hz = 200", "rate_hz = 125")
        done = reload()
        assert (done.returncode, done.stdout) == (0, "stream imu restarted; recording imu restarted\n")
        edit(running, "rate_hz = 125", 'rate_hz = "fast"')
        refused = reload()
        assert refused.returncode == 1
        assert "nothing was changed: stream.imu.rate_hz" in refused.stderr


def test_the_services_daemon_is_found_whatever_its_configuration_says_by_now(tmp_path: Path) -> None:
    (runtime := tmp_path / "runtime").mkdir()
    environment = {**os.environ, "RUNTIME_DIRECTORY": str(runtime)}

    def asked(command: str) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-m", "agent.cli", command, "--config", str(running.config)]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False, env=environment)

    with Running(tmp_path, CONFIG, RUNTIME_DIRECTORY=str(runtime)) as running:
        edit(running, "[agent]", "[agent")
        refused = asked("reload")
        assert refused.returncode == 1 and "nothing was changed" in refused.stderr and "TOML" in refused.stderr
        edit(running, "[agent", "[agent]")
        edit(running, f'"{running.data}"', f'"{tmp_path}/elsewhere"')
        shown = asked("status")
        assert shown.returncode == 0 and f"on {running.data}," in shown.stdout
        assert asked("reload").stdout == "everything is restarted\n"
        running.data = tmp_path / "elsewhere"
        running.until(recording)
        assert control.serving(runtime) == running.data


def test_a_recording_is_armed_anew_when_the_stream_that_it_only_watches_restarts(tmp_path: Path) -> None:
    config = f"""{MCU}{IMU}
[recording.jolt]
streams = ["imu"]
when = "trigger"
trigger.kind = "level"
trigger.stream = "mcu"
trigger.channels = ["AccelerometerZ"]
trigger.threshold = 1e9
trigger.pre_s = 0.2
trigger.post_s = 0.2
"""
    with Running(tmp_path, config) as running:
        assert running.ask("status")["recordings"]["jolt"]["state"] == "armed"
        edit(running, "seed = 5", "seed = 6")
        said = running.ask("reload")
        assert "recording jolt restarted" in said
        running.until(lambda status: status["streams"]["mcu"]["samples"] > 300)
        edit(running, "threshold = 1e9", "threshold = 2e9")
        running.ask("reload")
        assert running.ask("trigger", recording="jolt").startswith("one capture: 0.2 s before it")
        running.until(lambda status: status["recordings"]["jolt"]["finished"] == 1)
        running.finish()
        (capture,) = running.captures("jolt")
    assert capture.document["streams"][0]["samples"] == 81, "out of the ring, which went on"
