"""The options of a Settings described: what the reader checks, and what the example and the help say."""

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.config.strict import in_words


@dataclasses.dataclass(frozen=True)
class Described:
    """One option for people."""

    path: str
    """Its name; `virtual.seed` in a table within the table."""
    doc: str
    allowed: str
    """Type and bounds, or choices, in words."""
    bounds: str
    default: Any
    """As TOML has it; None where it is required or has none."""
    required: bool
    example: Any

    @property
    def shown(self) -> Any:
        """The value that an example shows: the default, or an example of what might stand there."""
        return self.example if self.default is None else self.default


def described(kind: type[Any], path: str = "") -> Iterator[Described]:
    """All options of a Settings; those of a Settings within it come last."""
    nested: list[tuple[str, type[Any]]] = []
    types = hints(kind)
    for name, field in options(kind).items():
        if dataclasses.is_dataclass(types[name]) and isinstance(types[name], type):
            nested.append((f"{path}{name}.", types[name]))
            continue
        doc, example = field.metadata.get("doc", ""), field.metadata.get("example")
        yield Described(
            f"{path}{name}",
            doc,
            allowed(types[name], field),
            bounds(field),
            _default(field),
            required(field),
            plain(example),
        )
    for prefix, inner in nested:
        yield from described(inner, prefix)


def options(kind: type[Any]) -> dict[str, "dataclasses.Field[Any]"]:
    """The options of a Settings by name, in order."""
    return {field.name: field for field in dataclasses.fields(kind) if field.init}


def hints(kind: type[Any]) -> dict[str, Any]:
    """The types of a Settings' options by name."""
    return typing.get_type_hints(kind)


def required(field: "dataclasses.Field[Any]") -> bool:
    """Whether an option has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def allowed(hint: object, field: "dataclasses.Field[Any] | None" = None) -> str:
    """What an option may hold, in words: its choices, or its type and bounds."""
    limits = "" if field is None else bounds(field)
    if limits.startswith("one of"):
        return limits
    return f"{in_words(hint)}, {limits}" if limits else in_words(hint)


def bounds(field: "dataclasses.Field[Any]") -> str:
    """Its choices, or its least and greatest value; empty where there are none."""
    if choices := field.metadata.get("choices"):
        return "one of " + ", ".join(map(repr, choices))
    low, high = field.metadata.get("at_least"), field.metadata.get("at_most")
    if low is not None and high is not None:
        return f"{low} to {high}"
    return "" if low is high else f"at least {low}" if high is None else f"at most {high}"


def plain(value: Any) -> Any:
    """A value as TOML has it."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default is not dataclasses.MISSING:
        return plain(field.default)
    return None if field.default_factory is dataclasses.MISSING else plain(field.default_factory())
