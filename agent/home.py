"""Home as commands know it that run beside the service: who this device is, and where its secrets are."""

import os
from pathlib import Path

from agent.config.loading import Config
from agent.device import identify
from agent.folder import DataFolder
from agent.targets import Home


def credentials(config_path: Path) -> Path:
    """The folder of secrets that a configuration names: $CREDENTIALS_DIRECTORY, which systemd sets for the service
    alone, else `secrets` beside the configuration, which the unit loads."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(given) if given else config_path.parent / "secrets"


def home_of(config: Config) -> Home:
    """What targets are told of this device, to be opened outside the service."""
    device = identify(config.agent.device, config.agent.device_id)
    return Home(device.name, device.id, DataFolder(config.agent.data_dir).secrets, credentials(config.path))
