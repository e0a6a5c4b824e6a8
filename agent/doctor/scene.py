"""The scene: where the doctor looks, and how it asks; a test puts another machine in its place."""

import dataclasses
import os
import pwd
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Self

from agent.clock import Clock
from agent.config.errors import ConfigError, Mistake
from agent.config.loading import AgentSettings, Config, load
from agent.device import identify
from agent.folder import DataFolder
from agent.home import credentials
from agent.targets import Home
from drivers.ports.i2c_scan import Bus, RealBus

SERVICE = "capture-agent"
"""Of the unit, and of its user."""
_LONGEST_S = 15.0


@dataclasses.dataclass(frozen=True)
class Account:
    """Who runs the daemon."""

    name: str
    uid: int
    groups: frozenset[int]

    @classmethod
    def of_service(cls) -> Self:
        """The service's user; where there is none, whoever asks."""
        try:
            found = pwd.getpwnam(SERVICE)
        except KeyError:
            found = pwd.getpwuid(os.getuid())
        return cls(found.pw_name, found.pw_uid, frozenset(os.getgrouplist(found.pw_name, found.pw_gid)))

    def may(self, path: Path, mode: int = 0o6) -> bool:
        """Whether the permissions of a file let it in; `mode` as three bits, 4 read, 2 write, 1 search."""
        seen = path.stat()
        if self.uid == 0:
            return True
        bits = stat.S_IMODE(seen.st_mode)
        shift = 6 if seen.st_uid == self.uid else 3 if seen.st_gid in self.groups else 0
        return bits >> shift & mode == mode


def ran(command: Sequence[str]) -> str | None:
    """What a program prints; None where there is no such program, or it takes too long."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, timeout=_LONGEST_S, errors="replace", check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout + done.stderr


def _data_dir(config_path: Path) -> Path:
    """Of a configuration that is wrong somewhere; the usual one where even that cannot be read."""
    try:
        return Path(tomllib.loads(config_path.read_text())["agent"]["data_dir"])
    except (OSError, ValueError, KeyError, TypeError):
        return AgentSettings().data_dir


@dataclasses.dataclass(frozen=True)
class Scene:
    """One machine with one configuration."""

    config_path: Path
    config: Config | None
    """None where it is wrong, or missing."""
    mistakes: tuple[Mistake, ...]
    data_dir: Path
    clock: Clock
    account: Account
    root: Path = Path("/")
    buses: tuple[int, ...] = ()
    """I2C buses that are looked at besides the usual ones."""
    credentials: Path | None = None
    """Folder of secrets that systemd gives to the service."""
    run: Callable[[Sequence[str]], str | None] = ran
    open_bus: Callable[[Path], Bus] = RealBus.open
    sync: Callable[[int], None] = os.fsync

    @classmethod
    def here(cls, config_path: Path, buses: Collection[int] = ()) -> Self:
        """This machine."""
        config: Config | None = None
        mistakes: tuple[Mistake, ...] = ()
        try:
            config = load(config_path)
        except ConfigError as error:
            mistakes = error.mistakes
        return cls(
            config_path,
            config,
            mistakes,
            config.agent.data_dir if config else _data_dir(config_path),
            Clock(),
            Account.of_service(),
            buses=tuple(buses),
            credentials=credentials(config_path),
        )

    @property
    def home(self) -> Home:
        """What targets and the broker are told of this device."""
        agent = self.config.agent if self.config else AgentSettings()
        device = identify(agent.device, agent.device_id, self.root)
        return Home(device.name, device.id, DataFolder(self.data_dir).secrets, self.credentials)

    @property
    def is_pi(self) -> bool:
        return (self.text("proc/device-tree/model") or "").startswith("Raspberry Pi")

    def shut(self, folder: Path) -> Path | None:
        """The first folder on the way to one that the daemon's user may not go through; None where it gets there.

        One with an access list is passed over: that says more than the mode does.
        """
        above = [parent for parent in reversed(folder.resolve().parents) if parent.is_relative_to(self.root)]
        for parent in above:
            try:
                if not self.account.may(parent, 0o1) and "system.posix_acl_access" not in os.listxattr(parent):
                    return parent
            except OSError:  # it is not there, or whoever asks may not look that far
                return None
        return None

    def path(self, name: str) -> Path:
        return self.root / name

    def text(self, name: str) -> str | None:
        """What a small file says, stripped; None where it is not there or not ours to read."""
        try:
            return self.path(name).read_text(errors="replace").strip("\0 \n")
        except OSError:
            return None

    def glob(self, pattern: str) -> list[Path]:
        return sorted(self.root.glob(pattern))

    def boot_text(self, name: str) -> str | None:
        """A file of the boot partition, `config.txt` for instance, where Raspberry Pi OS has it now, or had it."""
        return next(
            (t for folder in ("boot/firmware", "boot") if (t := self.text(f"{folder}/{name}")) is not None), None
        )
