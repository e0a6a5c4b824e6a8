"""Protobuf's wire format: fields as bytes, and bytes as fields; what a field means is its message's affair.

https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""


def varint(value: int) -> bytes:
    """An integer; a negative one as the int64 that it is, in ten bytes."""
    value &= (1 << 64) - 1
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def tag(field: int, wire: int) -> bytes:
    """What stands before a field's value."""
    return varint(field << 3 | wire)


def number(field: int, value: int) -> bytes:
    """An integer, a bool or an enum."""
    return tag(field, VARINT) + varint(value)


def part(field: int, content: bytes) -> bytes:
    """Bytes, or a message within the message."""
    return tag(field, BYTES) + varint(len(content)) + content


def text(field: int, content: str) -> bytes:
    """A string."""
    return part(field, content.encode())


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in their order: integers as such (unsigned), all others as their bytes.

    ValueError where it is no message, or has groups.
    """
    at = 0
    while at < len(message):
        key, at = _varint_at(message, at)
        field, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint_at(message, at)
            yield field, value
            continue
        if wire == BYTES:
            size, at = _varint_at(message, at)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"field {field} has wire type {wire}")
        if at + size > len(message):
            raise ValueError(f"field {field} is cut off")
        yield field, message[at : at + size]
        at += size


def _varint_at(message: bytes, at: int) -> tuple[int, int]:
    """The integer at a place, and the place after it."""
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << 64) - 1), at
        shift += 7
    raise ValueError("an integer is cut off")
