"""The command line: every command has help, reads a data folder without a daemon, and says plainly what is wrong."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import __version__
from agent.cli.tree import COMMANDS, cli
from agent.control import CommandError, Control
from tests.recorded import make_data_folder, run


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return make_data_folder(tmp_path / "data")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    from agent.cli.tree import Tree

    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert isinstance(cli, Tree)
    assert COMMANDS[name][1]
    assert run(name, "--help").output.startswith("Usage: ")
    for inner in getattr(command, "commands", ()):
        assert "Usage: " in run(name, inner, "--help").output


def test_the_list_of_commands_is_whole_and_in_the_readme() -> None:
    output = run("--help").output
    documented = (Path(__file__).parents[1] / "README.md").read_text()
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", output, re.MULTILINE)
        assert re.search(rf"[`\s]{name}\b", documented), f"{name} is not in the README"
    for name in re.findall(r"capture-agent ([a-z]+)\b", documented):
        assert name in COMMANDS, f"the README tells of capture-agent {name}, which there is not"
    assert __version__ in run("--version").output
    run("fly", code=2)


def test_the_way_to_the_daemon_imports_no_command_line_library() -> None:
    code = (
        "import sys, agent.cli, agent.cli.run, agent.config.loading\n"
        "heavy = {'click', 'rich', 'matplotlib', 'PIL', 'sqlite_utils', 'urllib3', 'piexif', 'smbus2', 'serial'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_check_lists_mistakes_one_by_one(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[stream.imu]\ndriver = "mpu6050"\nrate_hzz = 3\naccel_range_g = 5\n[recording.x]\nstreams = ["i"]\n'
    )
    result = run("check", config, code=78)
    assert result.stdout == ""
    assert [line.split(" = ")[0] for line in result.stderr.splitlines()] == [
        "stream.imu.rate_hzz",
        "stream.imu.accel_range_g",
        "recording.x.streams[0]",
    ]
    document = json.loads(run("check", config, "--json", code=78).output)
    assert not document["good"]
    assert document["mistakes"][0]["nearest"] == "rate_hz"
    run("check", tmp_path / "none.toml", code=78)


def test_check_says_what_a_good_file_costs(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f"""
        [agent]
        data_dir = "{tmp_path}/data"
        [stream.imu]
        driver = "mpu6050"
        rate_hz = 1000
        [stream.cam]
        driver = "picamera"
        interval_s = 1
        [stream.mcu]
        driver = "ssi"
        port = "/dev/ttyACM0"
        [recording.walk]
        streams = ["imu"]
        format = "wav"
        [recording.photos]
        streams = ["cam"]
        format = "jpeg"
        [stream.eye]
        driver = "picamera"
        camera = 1
        interval_s = 0
        [recording.both]
        streams = ["imu", "mcu"]
        [recording.asked]
        streams = ["eye"]
        format = "jpeg"
        """
    )
    found = json.loads(run("check", config, "--json").output)
    wav = found["recordings"]["walk"]
    assert wav["bytes_per_day"] == 1000 * 12 * 86400
    assert wav["captures_per_hour"] == 60
    assert wav["syncs_per_hour"] == 1800 + 60
    assert found["recordings"]["photos"]["syncs_per_hour"] == 1800
    assert found["recordings"]["both"]["bytes_per_day"] > 1000 * (12 + 12) * 86400, "as much as its line can carry"
    assert found["unknown"] == ["asked"]
    assert found["disk"]["folder"] == str(tmp_path)
    assert found["disk"]["days"] > 0
    said = run("check", config).output
    assert "1,037" in said
    assert "imu and mcu in one capture" in " ".join(said.split())
    assert "rate_hz = 1000" in said
    assert all(len(line) <= 80 for line in said.splitlines())


def test_check_takes_the_usual_file_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("[agent]\n")
    monkeypatch.setattr("agent.cli.check.DEFAULT_CONFIG", str(tmp_path / "config.toml"))
    assert "at least one [stream.NAME]" in run("check", code=78).output
    monkeypatch.setattr("agent.cli.check.DEFAULT_CONFIG", str(tmp_path / "none" / "config.toml"))
    assert "which file? there is no" in run("check", code=2).output


def test_check_prints_the_example() -> None:
    assert run("check", "--example").output == (Path(__file__).parents[1] / "config.example.toml").read_text()
    run("check", code=2)


def test_drivers_and_targets_say_their_options() -> None:
    assert re.search(r"mpu6050\s+\S", run("drivers").output)
    assert re.search(r"directory\s+\S", run("targets").output)
    said = run("drivers", "mpu6050").output
    assert "accel_range_g = 8\n" in said
    assert "one of 2, 4, 8, 16" in said
    assert "virtual.seed = 1\n" in said
    options = {option["path"] for option in json.loads(run("targets", "http", "--json").output)["options"]}
    assert {"url", "connections"} <= options
    assert "did you mean mpu6050" in run("drivers", "mpu605", code=1).output


class Answering:
    """A daemon's end of the socket, which remembers what it was asked."""

    def __init__(self, data_dir: Path) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self._worker = Control(data_dir, self._answer).start(lambda name, error: None)

    def _answer(self, command: str, arguments: Any) -> Any:
        self.asked.append((command, dict(arguments)))
        if command == "stop":
            raise CommandError("no recording 'walk'; there is rest")
        return self.answers.get(command, f"{command} done")

    def close(self) -> None:
        self._worker.stop()


@pytest.fixture
def daemon(data_dir: Path) -> Iterator[Answering]:
    answering = Answering(data_dir)
    yield answering
    answering.close()


def test_commands_go_through_the_socket(data_dir: Path, daemon: Answering) -> None:
    assert "start done" in run("start", "walk", "--data", data_dir).output
    assert "trigger done" in run("trigger", "walk", "--data", data_dir).output
    assert "sync done" in run("sync", "--data", data_dir).output
    assert "pause done" in run("pause", "lab", "--data", data_dir).output
    assert "resume done" in run("resume", "--data", data_dir).output
    assert daemon.asked == [
        ("start", {"recording": "walk"}),
        ("trigger", {"recording": "walk"}),
        ("sync", {"target": None}),
        ("pause", {"target": "lab"}),
        ("resume", {"target": None}),
    ]
    assert "there is rest" in run("stop", "walk", "--data", data_dir, code=1).output
    daemon.answers["label"] = {"walk": {"labels": {"activity": "run"}, "metadata": {}}}
    assert "run" in run("label", "activity=run", "laps=3", "old=", "--metadata", "x=true", "--data", data_dir).output
    assert daemon.asked[-1] == (
        "label",
        {"labels": {"activity": "run", "laps": 3, "old": None}, "metadata": {"x": True}, "recording": None},
    )
    daemon.answers["snapshot"] = {"AccelerometerX": 0.98}
    assert re.search(r"AccelerometerX\s+0.98", run("snapshot", "imu", "--data", data_dir).output)
    daemon.answers["retry"] = 2
    assert "2 parcels" in run("outbox", "retry", "--data", data_dir).output
    run("label", "novalue", "--data", data_dir, code=2)
    daemon.answers["drop"] = 3
    assert "3 parcels" in run("outbox", "drop", "--target", "lab", "--yes", "--data", data_dir).output
    assert daemon.asked[-1] == ("drop", {"target": "lab", "capture": None, "refused_only": True})
    run("outbox", "drop", "--target", "lab", "--owed", "--yes", "--data", data_dir)
    assert daemon.asked[-1][1]["refused_only"] is False


def test_without_a_daemon_commands_say_so(data_dir: Path) -> None:
    assert "no daemon runs" in run("start", "walk", "--data", data_dir, code=1).output


def test_the_data_folder_is_found_in_the_configuration(data_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[agent]\ndata_dir = "{data_dir}"\nwrong = 1\n')
    assert "No daemon runs" in run("status", "--config", config).output
    assert "cannot be read" in run("status", "--config", tmp_path / "none.toml", code=78).output
    config.write_text("[agent\n")
    assert "is not TOML" in run("status", "--config", config, code=78).output


def test_reload_says_what_is_wrong_where_no_daemon_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = SimpleNamespace(data_dir=tmp_path)
    monkeypatch.setattr("agent.config.loading.AgentSettings", lambda: usual)
    config = tmp_path / "config.toml"
    config.write_text("[agent\n")
    assert "is not TOML" in run("reload", "--config", config, code=78).output
    answering = Answering(tmp_path)
    assert "reload done" in run("reload", "--config", config).output
    answering.close()


def test_the_service_is_found_with_the_usual_configuration(
    data_dir: Path, daemon: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[agent\n")
    (tmp_path / "served").symlink_to(data_dir)
    monkeypatch.setattr("agent.cli.place._RUNTIME", str(tmp_path))
    assert "is not TOML" in run("sync", "--config", config, code=78).output
    monkeypatch.setattr("agent.cli.place.DEFAULT_CONFIG", str(config))
    assert "sync done" in run("sync", "--config", config).output
    assert "no daemon" in run("sync", "--data", tmp_path / "other", code=1).output


def test_run_says_what_is_wrong_with_its_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[agent]\n")
    command = [sys.executable, "-c", "import agent.cli; agent.cli.main()", "run", "--config", str(config)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (78, "stream: at least one [stream.NAME] is needed\n")
