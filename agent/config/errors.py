"""What is wrong in a configuration: every mistake at once, each with its path, its value and what would be allowed."""

import dataclasses
import json
from collections.abc import Collection, Iterator
from typing import Any

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h; systemd is told not to restart on it."""


class _Absent:
    """Stands for the value of an option that should be there and is not."""

    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()


@dataclasses.dataclass(frozen=True)
class Mistake:
    """One thing that a person has to change."""

    path: str
    """Where it stands in the TOML: `stream.imu.rate_hz`; for the file as a whole its name."""
    value: object
    """What stands there; ABSENT where something is missing."""
    allowed: str
    """What may stand there."""
    nearest: str = ""
    """The known name that was probably meant."""

    def __str__(self) -> str:
        shown = "" if self.value is ABSENT else f" = {written(self.value)}"
        meant = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.path}{shown}: {self.allowed}{meant}"


class ConfigError(Exception):
    """A configuration that cannot be used; `mistakes` holds everything that is wrong with it."""

    exit_code = EXIT_CONFIG

    def __init__(self, mistakes: Collection[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = tuple(mistakes)


def nearest(name: str, known: Collection[str]) -> str:
    """The known name most like `name`; empty where none is like it."""
    import difflib  # noqa: PLC0415  needed only where there is a mistake

    return next(iter(difflib.get_close_matches(name.lower(), list(known), 1, 0.5)), "")


def written(value: object, longest: int = 60) -> str:
    """`value` as TOML would have it, cut to `longest` characters."""
    text = _toml(value)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(_pairs(value)) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value)


def _pairs(table: dict[str, Any]) -> Iterator[str]:
    bare = str.maketrans("", "", "_-")
    for key, value in table.items():
        plain = key.isascii() and key.translate(bare).isalnum()
        yield f"{key if plain else json.dumps(key)} = {_toml(value)}"
