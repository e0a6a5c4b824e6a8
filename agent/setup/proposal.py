"""The proposal: the text of a configuration, proved right before it becomes a file."""

import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.config.errors import Mistake, written
from agent.config.loading import AgentSettings, load
from agent.config.modules import TARGETS, configured_module
from agent.config.options import Described, described
from agent.config.reader import read
from agent.setup.candidates import Candidate

_LENGTH_S = 60
_LONGEST = 100_000
_SAMPLES, _PICTURES = "csv", "jpeg"


@dataclasses.dataclass(frozen=True)
class Proposal:
    """What a configuration is made of."""

    device: str = ""
    """Empty: the host's name."""
    data_dir: str = str(AgentSettings().data_dir)
    streams: Sequence[Candidate] = ()
    targets: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """What stands in each `[target.NAME]`, `kind` first."""
    remarks: Sequence[str] = ()

    def text(self) -> str:
        """The TOML file."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield "# Written by `capture-agent setup`. Every option there is: capture-agent check --example"
        yield "# After a change: capture-agent check, then systemctl reload capture-agent"
        yield "\n[agent]"
        if self.device:
            yield f"device = {_toml(self.device)}"
        yield f"data_dir = {_toml(self.data_dir)}"
        for remark in self.remarks:
            yield f"\n# Found, and not recorded: {_one_line(remark)}"
        for name, candidate in self.named().items():
            yield f"\n# {_one_line(candidate.what)}\n[stream.{name}]\ndriver = {_toml(candidate.driver)}"
            yield from (f"{key} = {_toml(value)}" for key, value in candidate.options.items())
        for name, candidate in self.named().items():
            format = _PICTURES if candidate.pictures else _SAMPLES
            takers = [target for target, table in self.targets.items() if takes(table, pictures=candidate.pictures)]
            yield f'\n[recording.{name}]\nstreams = ["{name}"]\nformat = ["{format}"]'
            if not candidate.pictures:
                yield f"length_s = {_LENGTH_S}"
            yield f"targets = {_toml(takers)}"
        for name, table in self.targets.items():
            yield f"\n[target.{name}]"
            yield from (f"{key} = {_toml(value)}" for key, value in table.items())

    def named(self) -> dict[str, Candidate]:
        """The streams by name: the driver's, with a number where there are several."""
        found: dict[str, Candidate] = {}
        for candidate in self.streams:
            name, number = candidate.driver, 2
            while name in found:
                name, number = f"{candidate.driver}_{number}", number + 1
            found[name] = candidate
        return found


def write(proposal: Proposal, path: Path) -> None:
    """Writes the file whole or not at all, once it has proved right; one that is there is kept as NAME.old.

    A new one is for its owner and its folder's group alone. ConfigError where it is not right, OSError.
    """
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        with open(descriptor, "w") as file:
            file.write(proposal.text())
            file.flush()
            like = path.stat() if path.exists() else path.parent.stat()
            os.fchown(file.fileno(), like.st_uid if path.exists() else -1, like.st_gid)
            os.fchmod(file.fileno(), like.st_mode & 0o777 if path.exists() else 0o640)
            os.fsync(file.fileno())
        load(part)
        if path.exists():
            shutil.copy2(path, path.with_name(f"{path.name}.old"))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def questions(kind: str) -> list[Described]:
    """What a target of this kind has to be told. LookupError where there is none."""
    return [option for option in described(_target(kind)) if option.required]


def mistakes(name: str, table: Mapping[str, Any]) -> list[Mistake]:
    """What is wrong in one target's table."""
    own = {key: value for key, value in table.items() if key != "kind"}
    return read(_target(str(table["kind"])), own, f"target.{name}")[1]


def takes(table: Mapping[str, Any], *, pictures: bool) -> bool:
    """Whether a target with this table takes what a recording is made into."""
    settings, _ = read(_target(str(table["kind"])), {key: table[key] for key in table if key != "kind"}, "")
    formats = getattr(settings, "formats", ())
    return not formats or (_PICTURES if pictures else _SAMPLES) in formats


def _target(kind: str) -> type[Any]:
    module, mistake = configured_module(TARGETS, kind, "kind")
    if module is None:
        raise LookupError(str(mistake))
    settings: type[Any] = module.Settings
    return settings


def _toml(value: object) -> str:
    return written(value, _LONGEST)


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
