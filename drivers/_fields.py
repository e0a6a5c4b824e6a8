"""The variables of a binary frame as TOML lists them, each with its type, and what channels they become."""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from drivers import Channel, check, option

TYPES = {
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "int64": "i8",
    "uint64": "u8",
    "float32": "f4",
    "float64": "f8",
}
_NAME = re.compile(r"[A-Za-z0-9_ -]+")


@dataclasses.dataclass(frozen=True)
class Field:
    """One variable: an entry of `fields`."""

    name: str = option("name of the channel, such as AccelerometerX", example="Value")
    type: str = option("how it is sent", choices=tuple(TYPES), example="int16")
    unit: str = option('unit of the physical value, such as "g"', "")
    scale: float = option("physical value = raw * scale + offset", 1.0)
    offset: float = option("physical value = raw * scale + offset", 0.0)

    def __post_init__(self) -> None:
        check(self, *name_mistakes(self.name))

    def channel(self) -> Channel:
        """The channel in which it is recorded: always little endian."""
        return Channel(self.name, self.unit, wire_type(self.type, "little"), self.scale, self.offset)


def wire_type(kind: str, order: str) -> str:
    """The numpy type of a variable as it is sent; `order` is little or big."""
    return np_order(TYPES[kind], order)


def np_order(code: str, order: str) -> str:
    """`i2` as `<i2` or `>i2`; a single byte has no order."""
    return "|" + code if code.endswith("1") else ("<" if order == "little" else ">") + code


def name_mistakes(name: str) -> list[tuple[str, object, str]]:
    """What is wrong with the name of a channel, for `check`."""
    return [] if _NAME.fullmatch(name) else [("name", name, "letters, digits, spaces, _ and -")]


def fields_mistakes(names: Iterable[str], fields: Any) -> list[tuple[str, object, str]]:
    """What is wrong with the names of all fields together, for `check`."""
    listed = list(names)
    if not listed:
        return [("fields", fields, "at least one that is recorded")]
    twice = sorted({name for name in listed if listed.count(name) > 1})
    return [("fields", ", ".join(twice), "each name once")] if twice else []
