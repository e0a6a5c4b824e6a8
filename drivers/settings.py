"""Options: the fields of a frozen Settings dataclass, each with its meaning and its bounds beside it."""

import dataclasses
from collections.abc import Sequence
from typing import Any


class SettingsError(ValueError):
    """What is wrong with one thing's settings: (option, value, what is allowed) for each mistake."""

    def __init__(self, *mistakes: tuple[str, object, str]) -> None:
        super().__init__("; ".join(f"{name} = {value!r}: {allowed}" for name, value, allowed in mistakes))
        self.mistakes = mistakes


_REQUIRED = dataclasses.MISSING


def option(
    doc: str,
    default: Any = _REQUIRED,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    choices: Sequence[object] = (),
    example: object = None,
    factory: Any = _REQUIRED,
) -> Any:
    """A dataclass field for one TOML option.

    `doc` is one line for people, with the unit; `example` is what config.example.toml shows where there is no default.
    Bounds are inclusive and are enforced by `check`.
    """
    metadata = {"doc": doc, "at_least": at_least, "at_most": at_most, "choices": tuple(choices), "example": example}
    if factory is not _REQUIRED:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    if default is _REQUIRED:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check(settings: Any, *more: tuple[str, object, str]) -> None:
    """Call in `__post_init__`: raises one SettingsError that names every option out of its bounds.

    `more` adds the mistakes that only the class itself can know, as (option, value, what is allowed).
    """
    mistakes = list(more)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        low, high = field.metadata.get("at_least"), field.metadata.get("at_most")
        choices = field.metadata.get("choices") or ()
        if choices and value not in choices:
            mistakes.append((field.name, value, "one of " + ", ".join(map(repr, choices))))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            # `not (a <= b)` also refuses NaN
            if low is not None and not (low <= value):
                mistakes.append((field.name, value, f"at least {low:g}"))
            elif high is not None and not (value <= high):
                mistakes.append((field.name, value, f"at most {high:g}"))
    if mistakes:
        raise SettingsError(*mistakes)
