"""Numbers that come from outside: those that a sidecar may say, because whoever reads it has room for them."""

from typing import TypeGuard

_LARGEST = 1.7976931348623157e308
"""Of a double."""


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a finite double or an integer of 64 bits; true and false are none. Never raises."""
    if isinstance(value, int):
        return not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63
    return isinstance(value, float) and abs(value) <= _LARGEST
