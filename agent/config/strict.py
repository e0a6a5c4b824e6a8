"""Strict types: a value from TOML is taken as it is written, and nothing is converted silently.

"5" is no number and true is no integer; only an integer may stand for a float, and one value for a list of one
(`format = "jpeg"`).
"""

import dataclasses
import functools
import math
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import cattrs
from cattrs.errors import BaseValidationError, IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn


class WrongTypeError(ValueError):
    """A value of another type; `allowed` says more than the type where there is more to say."""

    def __init__(self, allowed: str = "") -> None:
        super().__init__(allowed)
        self.allowed = allowed


@functools.cache
def strict_converter() -> cattrs.Converter:
    """The converter of the house; made once, since making it is slow. Raises WrongTypeError within cattrs' errors."""
    converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
    for kind in (str, int, float, bool, Path):
        converter.register_structure_hook(kind, _SCALARS[kind])
    converter.register_structure_hook_func(_is_tuple, functools.partial(_tuple, converter))
    converter.register_structure_hook_func(_is_mapping, functools.partial(_mapping, converter))
    converter.register_structure_hook_func(_is_union, functools.partial(_union, converter))
    converter.register_structure_hook_factory(dataclasses.is_dataclass, functools.partial(_table, converter))
    return converter


def _text(value: Any, _: object) -> str:
    if not isinstance(value, str):
        raise WrongTypeError
    if "\0" in value:
        raise WrongTypeError("text without NUL characters")
    return value


def _integer(value: Any, _: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongTypeError
    if abs(value) >= 1 << 63:
        raise WrongTypeError("a whole number of at most 64 bits")
    return value


def _number(value: Any, _: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise WrongTypeError
    if isinstance(value, int):
        value = float(_integer(value, int))
    if not math.isfinite(value):
        raise WrongTypeError("a finite number")
    return float(value)


def _switch(value: Any, _: object) -> bool:
    if not isinstance(value, bool):
        raise WrongTypeError
    return value


_SCALARS: dict[Any, Callable[[Any, Any], Any]] = {
    str: _text,
    int: _integer,
    float: _number,
    bool: _switch,
    Path: lambda value, hint: Path(_text(value, hint)),
}


def _tuple(converter: cattrs.Converter, value: Any, hint: Any) -> tuple[Any, ...]:
    kinds = get_args(hint)
    if kinds[1:] == (...,):
        if not isinstance(value, list | tuple):
            return (converter.structure(value, kinds[0]),)
        return tuple(_each(((index, item, kinds[0]) for index, item in enumerate(value)), converter).values())
    if not isinstance(value, list | tuple) or len(value) != len(kinds):
        raise WrongTypeError
    items = ((index, item, kind) for index, (item, kind) in enumerate(zip(value, kinds, strict=True)))
    return tuple(_each(items, converter).values())


def _mapping(converter: cattrs.Converter, value: Any, hint: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise WrongTypeError
    kind = (*get_args(hint), Any, Any)[1]
    return _each(((key, item, kind) for key, item in value.items()), converter)


def _each(items: Iterable[tuple[Any, Any, Any]], converter: cattrs.Converter) -> dict[Any, Any]:
    """Structures (index, item, kind) one by one; all that fail fail together."""
    whole, failed = {}, []
    for index, item, kind in items:
        try:
            whole[index] = item if kind is Any else converter.structure(item, kind)
        except Exception as error:
            error.add_note(IterableValidationNote(f"at {index}", index, kind))
            failed.append(error)
    if failed:
        raise IterableValidationError("in a list or table", failed, tuple)
    return whole


def _union(converter: cattrs.Converter, value: Any, hint: Any) -> Any:
    kinds = [kind for kind in get_args(hint) if kind is not types.NoneType]
    if len(kinds) == 1:
        return converter.structure(value, kinds[0])
    for kind in (*(k for k in kinds if k is type(value)), *kinds):
        try:
            return converter.structure(value, kind)
        except (WrongTypeError, BaseValidationError):
            continue  # it may be another of the kinds
    raise WrongTypeError


def _table(converter: cattrs.Converter, kind: type[Any]) -> Callable[[Any, Any], Any]:
    build = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True)

    def structure(value: Any, hint: Any) -> Any:
        if not isinstance(value, Mapping):
            raise WrongTypeError
        return build(value, hint)

    return structure


def _is_tuple(hint: Any) -> bool:
    origin: object = get_origin(hint)
    return origin is tuple


def _is_mapping(hint: Any) -> bool:
    origin = get_origin(hint) or hint
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def in_words(kind: Any) -> str:
    """A type, as people say it."""
    plain = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    if kind in plain:
        return plain[kind]
    arguments = [argument for argument in get_args(kind) if argument is not types.NoneType]
    if get_origin(kind) is tuple:
        if arguments[1:] == [...]:
            return f"a list of {in_words(arguments[0])}"
        return f"a list of {len(arguments)}: " + ", ".join(map(in_words, arguments))
    if _is_union(kind):
        kinds = [argument for argument in arguments if argument is not int or float not in arguments]
        *most, last = map(in_words, kinds)
        return f"{', '.join(most)} or {last}" if most else last
    if _is_mapping(kind) or dataclasses.is_dataclass(kind):
        return "a table"
    return "another value"
