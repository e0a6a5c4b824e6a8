"""Reads a TOML table into a frozen Settings, or says everything that is wrong with it."""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)

from agent.config.errors import ABSENT, Mistake, nearest
from agent.config.options import allowed, options, required
from agent.config.strict import WrongTypeError, strict_converter
from drivers.settings import SettingsError

T = TypeVar("T")
Keys = tuple[str | int, ...]


def read(kind: type[T], table: Mapping[str, Any], path: str) -> tuple[T | None, list[Mistake]]:
    """The settings in `table` and everything that is wrong with it; `path` is where it stands in the TOML.

    What is wrong is put aside (or replaced by its example where there must be a value) and the rest is read again, so
    that one mistake does not hide another. With mistakes, the settings are such stand-ins, for further checks; None
    where there is no making them.
    """
    document: dict[str, Any] = copy.deepcopy(dict(table))
    aside: set[Keys] = set()
    mistakes: list[Mistake] = []
    while True:
        try:
            return strict_converter().structure(document, kind), mistakes
        except BaseValidationError as error:
            found = [one for one in _wrong(error, _Place(kind), document) if one.option not in aside]
        mistakes += [Mistake(_join(path, one.keys), one.value, one.allowed, one.nearest) for one in found]
        aside |= {one.option for one in found}
        if not any([_put_aside(document, one) for one in found]):  # noqa: C419  all of them, not until the first
            return None, mistakes


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where in cattrs' tree of errors we are: the class, the keys so far, and those that lead to its option."""

    kind: type[Any]
    keys: Keys = ()
    option: Keys = ()
    hint: object = None


@dataclasses.dataclass(frozen=True)
class _Wrong:
    """One mistake, and the option (of `kind`) that is to be put aside for it."""

    kind: type[Any]
    keys: Keys
    option: Keys
    value: object
    allowed: str
    nearest: str = ""


def _wrong(error: BaseException, place: _Place, document: Mapping[str, Any]) -> Iterator[_Wrong]:
    """Every leaf of cattrs' tree of errors as something that a person can mend."""
    keys, kind = place.keys, place.kind
    value = _at(document, keys)
    field = options(kind).get(str(place.option[-1])) if place.option else None
    if isinstance(error, BaseValidationError):
        within = place if isinstance(error, IterableValidationError) else _Place(error.cl, keys)
        for inner in error.exceptions:
            yield from _wrong(inner, _deeper(inner, within), document)
    elif isinstance(error, ForbiddenExtraKeysError):
        for name in sorted(error.extra_fields):
            here = (*keys, name)
            yield _Wrong(kind, here, here, value[name], "there is no such option", nearest(name, options(kind)))
    elif isinstance(error, SettingsError):
        for name, wrong, may_be in error.mistakes:
            here = (*keys, name)
            stands = _at(document, here)
            yield _Wrong(kind, here, here, stands if stands == wrong else wrong, may_be)
    elif value is ABSENT and isinstance(error, KeyError) and field is not None:
        doc = field.metadata.get("doc") or allowed(place.hint, field)
        yield _Wrong(kind, keys, place.option, ABSENT, f"is required: {doc}")
    elif isinstance(error, WrongTypeError):
        may_be = error.allowed or allowed(place.hint, field if keys == place.option else None)
        yield _Wrong(kind, keys, place.option, value, may_be)
    else:
        yield _Wrong(kind, keys, place.option, value, str(error) or type(error).__name__)


def _deeper(error: BaseException, place: _Place) -> _Place:
    """The place of an inner error, from the note that cattrs left on it."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            keys = (*place.keys, note.name)
            return _Place(place.kind, keys, keys, note.type)
        if isinstance(note, IterableValidationNote):
            return _Place(place.kind, (*place.keys, note.index), place.option, note.type)
    return place


def _put_aside(document: dict[str, Any], wrong: _Wrong) -> bool:
    """Takes a wrong option out of the document, for its example if it must be there; True where that changes it."""
    table = _at(document, wrong.option[:-1])
    if not wrong.option or not isinstance(table, dict):
        return False
    name = str(wrong.option[-1])
    changed = table.pop(name, ABSENT) is not ABSENT
    field = options(wrong.kind).get(name)
    if field is not None and required(field) and field.metadata.get("example") is not None:
        table[name] = copy.deepcopy(field.metadata["example"])
        return True
    return changed


def _at(document: Any, keys: Keys) -> Any:
    """The value at these keys; ABSENT where a table has no such key, and the value itself where it is no list."""
    for key in keys:
        if isinstance(document, dict):
            document = document.get(str(key), ABSENT)
        elif isinstance(document, list) and isinstance(key, int) and key < len(document):
            document = document[key]
    return document


def _join(path: str, keys: Keys) -> str:
    for key in keys:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else key
    return path
