"""The README's example driver is complete: laid beside ours, without touching anything, it passes the contract."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def example(name: str) -> str:
    """The Python block that the README gives for a file."""
    text = (ROOT / "README.md").read_text()
    found = re.search(rf"`{re.escape(name)}`.*?```python\n(.*?)```", text, re.DOTALL)
    assert found, f"the README shows no {name}"
    return found[1]


def test_the_example_driver_passes_the_contract_in_a_copy_of_the_tree(tmp_path: Path) -> None:
    for name in (
        "agent",
        "drivers",
        "tests/contracts",
        "tests/conftest.py",
        "tests/pauses.py",
        "tests/__init__.py",
        "pyproject.toml",
    ):
        source, place = ROOT / name, tmp_path / name
        place.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place)
    for name in ("drivers/tmp102.py", "drivers/ports/virtual/tmp102.py", "tests/test_tmp102.py"):
        (tmp_path / name).write_text(example(name))
    command = [sys.executable, "-m", "pytest", "tests/test_tmp102.py", "--timeout", "60"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout


def test_every_documented_command_exists_and_every_command_is_documented() -> None:
    from agent.cli.tree import COMMANDS

    text = (ROOT / "README.md").read_text()
    table = text[text.index("## Command line") : text.index("## How to add a driver")]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    cells = [re.split(r"(?<!\\)\|", row)[1] for row in rows]
    documented = {word for cell in cells for word in re.findall(r"`([a-z]+)", cell)}
    assert documented == set(COMMANDS)


def test_the_example_configuration_of_the_readme_is_right(tmp_path: Path) -> None:
    from agent.config.loading import load

    text = (ROOT / "README.md").read_text()
    found = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert found
    config = tmp_path / "config.toml"
    config.write_text(found[1])
    assert set(load(config).recordings) == {"walk", "photos"}


def test_the_broker_of_the_readme_announces_switches_and_buttons(tmp_path: Path) -> None:
    from agent.config.loading import load
    from agent.device import Device
    from agent.mqtt.discovery import discovery
    from agent.mqtt.topics import Topics

    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (broker,) = [block for block in blocks if block.startswith("[mqtt]")]
    config = tmp_path / "config.toml"
    config.write_text(blocks[0] + broker)
    settings = load(config).mqtt
    assert settings is not None and settings.home_assistant
    status = {"streams": {}, "recordings": {"walk": {}}, "targets": {}}
    message = discovery(Topics("x", "ha"), Device("x", "0"), status, commands=settings.commands, picture=False)
    assert {"recording-walk", "recording-walk-trigger", "sync"} <= message["components"].keys()


def test_what_the_readme_says_of_recordings_and_buttons_can_be_configured(tmp_path: Path) -> None:
    from agent.config.loading import load

    first, second, third, *_ = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    config = tmp_path / "config.toml"
    config.write_text(first + second + third)
    assert load(config).recordings.keys() >= {"bump", "garden", "sample", "gait"}
