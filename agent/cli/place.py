"""Where the data folder is, and asking the daemon that runs on it."""

import functools
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from agent.cli import DEFAULT_CONFIG
from agent.config.errors import ABSENT, ConfigError, Mistake

CONFIG_OPTION = click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="CAPTURE_AGENT_CONFIG",
    default=DEFAULT_CONFIG,
    show_default=True,
    help="Configuration file; also $CAPTURE_AGENT_CONFIG.",
)
_RUNTIME = "/run/capture-agent"
"""Where the unit has its runtime folder."""
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def with_data_dir(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command `--config` and `--data`, and calls it with the folder that they mean as `data_dir`."""

    @CONFIG_OPTION
    @click.option("--data", type=click.Path(path_type=Path), help="The data folder itself, instead of --config.")
    @functools.wraps(command)
    def placed(*, config: Path, data: Path | None, **more: Any) -> Any:
        return command(data_dir=data if data is not None else used_data_dir(config), **more)

    return placed


def used_data_dir(config: Path) -> Path:
    """The data folder of the service's daemon, whose configuration may have changed since; else the configured one.

    The service's is asked after by itself, and with the usual configuration. ConfigError.
    """
    from agent import control

    runtime = os.environ.get("RUNTIME_DIRECTORY", _RUNTIME if str(config) == DEFAULT_CONFIG else None)
    served = control.serving(Path(runtime)) if runtime else None
    return served or configured_data_dir(config)


def configured_data_dir(config: Path) -> Path:
    """The data folder in a configuration, which need not be right in everything else. ConfigError."""
    from agent.config.loading import AgentSettings

    try:
        agent = tomllib.loads(config.read_text()).get("agent", {})
    except OSError as error:
        allowed = f"cannot be read ({error.strerror}); name a configuration with --config or a folder with --data"
        if isinstance(error, PermissionError):
            allowed = "may be read by root and its group: sudo adduser YOU capture-agent, and log in again"
        raise ConfigError([Mistake(str(config), ABSENT, allowed)]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Mistake(str(config), ABSENT, f"is not TOML: {error}")]) from None
    given = agent.get("data_dir") if isinstance(agent, dict) else None
    return Path(given) if isinstance(given, str) else AgentSettings().data_dir


def existing(data_dir: Path) -> Path:
    """The data folder; a click error where there is none."""
    if not data_dir.is_dir():
        raise click.ClickException(f"there is no data folder {data_dir}")
    return data_dir


def ask(data_dir: Path, command: str, **arguments: Any) -> Any:
    """What the running daemon answers; a click error where it refuses or none runs."""
    from agent import control

    try:
        return control.ask(data_dir, command, **arguments)
    except (control.NoDaemon, control.CommandError, OSError) as error:
        raise click.ClickException(str(error)) from None


def ask_if_running(data_dir: Path, command: str, **arguments: Any) -> Any | None:
    """The same; None where no daemon runs."""
    from agent import control

    try:
        return control.ask(data_dir, command, **arguments)
    except control.NoDaemon:
        return None
    except (control.CommandError, OSError) as error:
        raise click.ClickException(str(error)) from None
