"""Protobuf for tables: a message of floats of fixed length, its schema, and its layout as a numpy structure.

Of the wire format it takes tags, lengths and little-endian floats; a field of a schema is a tag with a number.
"""

import dataclasses
import re
from collections.abc import Sequence

_FLOAT, _DOUBLE = 2, 1
"""FieldDescriptorProto.Type."""
_FIXED32, _FIXED64, _BYTES, _VARINT = 5, 1, 2, 0
"""Wire types."""


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
    body = _text(1, message)
    for number, field in enumerate(fields, 1):
        kind = _DOUBLE if field.double else _FLOAT
        entry = _text(1, field.name) + _number(3, number) + _number(4, 1) + _number(5, kind) + _text(10, field.name)
        body += _part(2, entry)
    file = _text(1, f"{message}.proto") + _text(2, package) + _part(4, body) + _text(12, "proto3")
    return _part(1, file)


def layout(fields: Sequence[Field]) -> list[tuple[str, str]]:
    """The message as numpy fields: `tag1`, `value1`, `tag2` ...; every field is there in every message."""
    places = []
    for number, field in enumerate(fields, 1):
        places.append((f"tag{number}", f"S{len(_tag(number, _wire(field)))}"))
        places.append((f"value{number}", "<f8" if field.double else "<f4"))
    return places


def template(fields: Sequence[Field]) -> bytes:
    """One message with its tags, all values 0."""
    parts = [_tag(number, _wire(field)) + bytes(8 if field.double else 4) for number, field in enumerate(fields, 1)]
    return b"".join(parts)


def _wire(field: Field) -> int:
    return _FIXED64 if field.double else _FIXED32


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _number(field: int, value: int) -> bytes:
    return _tag(field, _VARINT) + _varint(value)


def _part(field: int, content: bytes) -> bytes:
    return _tag(field, _BYTES) + _varint(len(content)) + content


def _text(field: int, content: str) -> bytes:
    return _part(field, content.encode())
