"""Protobuf for tables: a message of floats of fixed length, its schema, and its layout as a numpy structure.

Of the wire format it takes tags, lengths and little-endian floats; a field of a schema is a tag with a number.
"""

import dataclasses
import re
from collections.abc import Sequence

from agent.protobuf import FIXED32, FIXED64, number, part, tag, text

_FLOAT, _DOUBLE = 2, 1
"""FieldDescriptorProto.Type."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One number of a message."""

    name: str
    double: bool = False


def identifiers(names: Sequence[str]) -> list[str]:
    """`names` as identifiers, none alike even in JSON, where protobuf drops underscores and some tools the case."""
    found: list[str] = []
    taken: set[str] = set()
    for name in names:
        identifier = re.sub(r"[^A-Za-z0-9_]", "_", name)
        if not identifier[:1].isalpha():
            identifier = f"n{identifier}"
        while (key := identifier.replace("_", "").lower()) in taken:
            identifier += "2"
        taken.add(key)
        found.append(identifier)
    return found


def schema(package: str, message: str, fields: Sequence[Field]) -> bytes:
    """A FileDescriptorSet with the one message `package.message`; its fields are numbered from 1."""
    body = text(1, message)
    for place, field in enumerate(fields, 1):
        kind = _DOUBLE if field.double else _FLOAT
        entry = text(1, field.name) + number(3, place) + number(4, 1) + number(5, kind) + text(10, field.name)
        body += part(2, entry)
    file = text(1, f"{message}.proto") + text(2, package) + part(4, body) + text(12, "proto3")
    return part(1, file)


def layout(fields: Sequence[Field]) -> list[tuple[str, str]]:
    """The message as numpy fields: `tag1`, `value1`, `tag2` ...; every field is there in every message."""
    places = []
    for place, field in enumerate(fields, 1):
        places.append((f"tag{place}", f"S{len(tag(place, _wire(field)))}"))
        places.append((f"value{place}", "<f8" if field.double else "<f4"))
    return places


def template(fields: Sequence[Field]) -> bytes:
    """One message with its tags, all values 0."""
    parts = [tag(place, _wire(field)) + bytes(8 if field.double else 4) for place, field in enumerate(fields, 1)]
    return b"".join(parts)


def _wire(field: Field) -> int:
    return FIXED64 if field.double else FIXED32
