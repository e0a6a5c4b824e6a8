"""Setup: what is attached becomes a configuration that is right, and that a real daemon runs."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.config.loading import load
from agent.config.modules import TARGETS
from agent.doctor.scene import Scene
from agent.setup.candidates import Candidate, attached, virtual
from agent.setup.proposal import Proposal, mistakes, questions, takes, write
from tests.machine import Chips, changed, machine, programs
from tests.recorded import run
from tests.running import Running, sampling
from tests.test_doctor_hardware import LISTED, MPLAB, PI, plugged, talking


@pytest.fixture
def new(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc" / "config.toml"


def answering(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is looked at is that machine, and not this one."""
    monkeypatch.setattr(Scene, "here", lambda config, buses: scene)


def test_chips_a_board_and_a_camera_become_streams(tmp_path: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.doctor.cameras.has_library", lambda: True)
    bus = Chips(others=[0x20], mpu6050=0x69, bme280=0x76, ads1115=0x48)
    with talking(b"x:1 y:2\n" * 4) as end:
        scene = machine(tmp_path, files=PI, open_bus=bus.opened, run=programs(rpicam_hello=LISTED))
        port = plugged(scene, end.path)
        answering(changed(scene, config=None), monkeypatch)
        said = run("setup", "--yes", "--output", new, "--device", "bay3", "--data", tmp_path / "data").output
    assert "0x20 a chip that no driver here knows" in said
    document = tomllib.loads(new.read_text())
    assert document["agent"] == {"device": "bay3", "data_dir": str(tmp_path / "data")}
    assert document["stream"] == {
        "ads1115": {"driver": "ads1115", "bus": 1},
        "mpu6050": {"driver": "mpu6050", "bus": 1, "address": 0x69},
        "bme280": {"driver": "bme280", "bus": 1},
        "text_lines": {"driver": "text_lines", "port": port},
        "picamera": {"driver": "picamera"},
    }
    assert document["recording"]["picamera"] == {"streams": ["picamera"], "format": ["jpeg"], "targets": []}
    assert document["recording"]["bme280"]["format"] == ["csv"]
    assert "# perhaps ADS1115 at 0x48 of I2C bus 1\n[stream.ads1115]" in new.read_text()
    run("check", new)


def test_what_cannot_be_recorded_just_so_is_said_and_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.doctor.cameras.has_library", lambda: False)
    scene = machine(tmp_path, files=PI, open_bus=Chips(hung=110).opened, run=programs(rpicam_hello=LISTED))
    with talking(MPLAB) as end:
        plugged(scene, end.path)
        found = attached(scene)
    assert found.candidates == ()
    bus, line, camera = found.remarks
    assert "I2C bus 1 could not be looked at" in bus
    assert "driver mplab_stream also needs fields" in line
    assert "python3-picamera2" in camera
    text = Proposal(streams=virtual().candidates, remarks=("one\nline = 1",)).text()
    assert "# Found, and not recorded: one line = 1\n" in text


@pytest.mark.parametrize("installed", [True, False])
def test_a_webcam_becomes_a_stream_where_its_library_is(
    tmp_path: Path, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.doctor.cameras.reads_webcams", lambda: installed)
    files = {f"dev/v4l/by-id/usb-046d_C920-video-index{index}": "" for index in (0, 1)}
    found = attached(machine(tmp_path, files={**PI, **files}, open_bus=Chips().opened, run=programs()))
    path = "/dev/v4l/by-id/usb-046d_C920-video-index0"
    if installed:
        (webcam,) = found.candidates
        assert (webcam.driver, webcam.options, webcam.pictures) == ("v4l2camera", {"camera": path}, True)
    else:
        assert any(f"webcam {path} needs linuxpy" in remark for remark in found.remarks)


def test_a_real_daemon_runs_what_was_written(tmp_path: Path, new: Path) -> None:
    run("setup", "--yes", "--virtual", "--output", new, "--data", tmp_path / "data")
    assert set(load(new).streams) == {"mpu6050", "ssi", "picamera"}
    running = Running(tmp_path, "")
    running.config = new
    running.start()
    try:
        status = running.until(sampling)
        assert set(status["recordings"]) == {"mpu6050", "ssi", "picamera"} and not status["problems"]
    finally:
        running.terminate()


def test_a_folder_that_the_service_may_not_write_is_said(
    tmp_path: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = "LoadState=loaded\nProtectSystem=strict\nReadWritePaths=-/mnt\n"
    scene = machine(tmp_path, files={"run/systemd/system/.here": ""}, run=programs(systemctl=unit))
    answering(scene, monkeypatch)
    said = run("setup", "--yes", "--virtual", "--output", new, "--data", scene.data_dir).output
    assert f"does not let the daemon write in {scene.data_dir}" in said
    assert f"ReadWritePaths=-{scene.data_dir}," in said


def test_two_of_a_kind_get_two_names() -> None:
    chips = [Candidate(f"at {address}", "mpu6050", {"address": address}) for address in (0x68, 0x69)]
    assert [(name, c.options["address"]) for name, c in Proposal(streams=chips).named().items()] == [
        ("mpu6050", 0x68),
        ("mpu6050_2", 0x69),
    ]


def asked(output: Path, answers: str, code: int = 0, *more: str) -> Any:
    """The command with these answers typed."""
    from click.testing import CliRunner

    from agent.cli.tree import cli

    result = CliRunner().invoke(cli, ["setup", "--virtual", "--output", str(output), *more], input=answers)
    assert result.exit_code == code, result.output
    return result


def test_questions_and_answers(tmp_path: Path, new: Path) -> None:
    (tmp_path / "nas").mkdir()
    answers = ["y", "n", "y", "bay9", f"{tmp_path}/data", "directory", "nas", "none"]
    answers[-1:] = [f"{tmp_path}/nas", "sticky_pi", "https://sticky.example", "bob", "sticky-password", "none"]
    result = asked(new, "\n".join(answers) + "\n")
    assert "an absolute path" in result.output  # `nas` was asked for again
    document = tomllib.loads(new.read_text())
    assert document["agent"] == {"device": "bay9", "data_dir": f"{tmp_path}/data"}
    assert list(document["stream"]) == ["mpu6050", "picamera"]
    assert document["target"]["directory"] == {"kind": "directory", "path": f"{tmp_path}/nas"}
    assert document["recording"]["mpu6050"]["targets"] == ["directory"]  # the other takes pictures alone
    assert document["recording"]["picamera"]["targets"] == ["directory", "sticky_pi"]


def test_a_file_that_is_there_is_only_replaced_where_one_says_so(tmp_path: Path, new: Path) -> None:
    new.write_text("# mine\n")
    new.chmod(0o600)
    assert "leave --yes away" in run("setup", "--yes", "--virtual", "--output", new, code=1).output
    asked(new, "n\n", code=1)
    assert new.read_text() == "# mine\n" and [path.name for path in new.parent.iterdir()] == ["config.toml"]
    asked(new, "y\ny\ny\ny\nbay3\n\nnone\n")
    assert "[stream.ssi]" in new.read_text()
    assert new.with_name("config.toml.old").read_text() == "# mine\n"
    assert new.stat().st_mode & 0o777 == 0o600


def test_what_an_installation_leaves_is_no_configuration(new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = (Path(__file__).parent.parent / "systemd" / "config.toml").read_text()
    new.write_text(shipped)
    monkeypatch.setattr("agent.cli.setup.DEFAULT_CONFIG", str(new))
    run("setup", "--yes", "--virtual", "--output", new)
    assert "[stream.ssi]" in new.read_text()
    assert new.with_name("config.toml.old").read_text() == shipped
    assert "leave --yes away" in run("setup", "--yes", "--virtual", "--output", new, code=1).output


def test_what_is_not_right_is_not_written(new: Path) -> None:
    from agent.config.errors import ConfigError

    wrong = [Candidate("a chip", "mpu6050", {"address": 0x42})]
    with pytest.raises(ConfigError, match=r"stream\.mpu6050\.address"):
        write(Proposal(streams=wrong), new)
    assert list(new.parent.iterdir()) == []


def test_nothing_to_record_nowhere_to_write(tmp_path: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(machine(tmp_path), monkeypatch)
    said = run("setup", "--yes", "--output", new, code=1).output
    assert "no sensor is left" in said and "capture-agent doctor" in said
    assert "there is no folder" in run("setup", "--yes", "--output", tmp_path / "no" / "c.toml", code=1).output
    assert not new.exists()
    monkeypatch.setattr("agent.cli.setup.os.access", lambda folder, mode: False)
    assert "try sudo" in run("setup", "--yes", "--output", new, code=1).output


@pytest.mark.parametrize("kind", TARGETS.names)
def test_every_kind_of_target_can_be_answered(kind: str, new: Path, tmp_path: Path) -> None:
    table = {"kind": kind} | {option.path: option.example for option in questions(kind)}
    assert mistakes(kind, table) == []
    assert takes(table, pictures=True) or takes(table, pictures=False)
    write(Proposal("bay3", str(tmp_path), virtual().candidates, {kind: table}), new)
    assert load(new).targets[kind].kind == kind


def test_a_device_that_comes_with_odd_text_cannot_write_toml(new: Path) -> None:
    odd = [Candidate('x"\n[target.evil]\nkind = "directory"', "mpu6050", {"bus": "virtual"})]
    write(Proposal('bay"\n3', streams=odd), new)
    document = tomllib.loads(new.read_text())
    assert document["agent"]["device"] == 'bay"\n3' and "target" not in document
