"""What is handed to systemd: accepted without a word, as tight as promised; secrets are found where it puts them."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agent.config.loading import load
from agent.targets import Home, Unreachable

SYSTEMD = Path(__file__).parents[1] / "systemd"
UNIT = SYSTEMD / "capture-agent.service"

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


@needs_analyze
def test_systemd_accepts_the_unit_and_its_drop_in_without_a_word(tmp_path: Path) -> None:
    # a command that is not installed is complained about: here any other stands for it
    unit = re.sub(r"(?m)^(Exec\w+=)capture-agent", rf"\1{sys.executable}", UNIT.read_text())
    (tmp_path / UNIT.name).write_text(unit)
    drop_ins = tmp_path / f"{UNIT.name}.d"
    drop_ins.mkdir()
    shutil.copy(SYSTEMD / "realtime.conf", drop_ins)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT.name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@needs_analyze
def test_the_sandbox_is_as_tight_as_promised() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_line_that_loosens_the_sandbox_has_its_reason() -> None:
    lines = UNIT.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("DeviceAllow", "ReadWritePaths", "RestrictAddressFamilies", "LoadCredential")):
            before = next(above for above in reversed(lines[:number]) if not above.startswith(line.split("=")[0]))
            assert before.startswith("#"), line


def test_the_unit_makes_what_the_defaults_of_the_program_need() -> None:
    from agent.cli import DEFAULT_CONFIG
    from agent.config.errors import EXIT_CONFIG
    from agent.config.loading import AgentSettings

    unit = UNIT.read_text()
    assert f"/var/lib/{re.search('(?m)^StateDirectory=(.*)$', unit)[1]}" == str(AgentSettings().data_dir)
    assert f"/etc/{re.search('(?m)^ConfigurationDirectory=(.*)$', unit)[1]}" == str(Path(DEFAULT_CONFIG).parent)
    assert f"RestartPreventExitStatus={EXIT_CONFIG}\n" in unit


@pytest.mark.parametrize("name", ["lab-token", "secrets_lab-token"])
def test_a_secret_is_found_as_a_credential_of_its_own_or_out_of_the_folder(tmp_path: Path, name: str) -> None:
    credentials, secrets = tmp_path / "credentials", tmp_path / "secrets"
    credentials.mkdir()
    secrets.mkdir()
    (credentials / name).write_text("sesame\n")
    (secrets / "lab-token").write_text("another\n")
    assert Home("bay3", "00000001", secrets, credentials).secret("lab-token") == "sesame"
    assert Home("bay3", "00000001", secrets).secret("lab-token") == "another"


def test_where_a_missing_secret_was_looked_for_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unreachable) as caught:
        Home("bay3", "00000001", tmp_path / "secrets", tmp_path / "credentials").secret("lab-token")
    for place in ("credentials/lab-token", "credentials/secrets_lab-token", "secrets/lab-token"):
        assert f"{tmp_path}/{place}" in str(caught.value)


def test_the_package_brings_along_or_depends_on_every_library() -> None:
    deb = SYSTEMD / "deb"
    wanted = tomllib.loads((SYSTEMD.parent / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = {line.partition("==")[0] for line in (deb / "vendored.txt").read_text().splitlines()}
    depends = (deb / "control").read_text()
    from_debian = {"numpy": "python3-numpy", "pillow": "python3-pil"}
    for requirement in wanted:
        name = re.match(r"[\w-]+", requirement)[0].lower()
        assert name in pinned or from_debian.get(name, "?") in depends, f"{name}: `make pins`"


def test_the_first_configuration_is_good_once_its_lines_are_uncommented(tmp_path: Path) -> None:
    lines = (SYSTEMD / "config.toml").read_text().splitlines()
    begun = [line.removeprefix("#") for line in lines if re.match(r"#(\[|\w+ =)", line)]
    (tmp_path / "config.toml").write_text("\n".join(begun))
    config = load(tmp_path / "config.toml")
    assert (list(config.streams), list(config.recordings), list(config.targets)) == (["imu"], ["motion"], ["archive"])
