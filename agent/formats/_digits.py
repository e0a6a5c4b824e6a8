"""Numbers as text, a whole column at once: byte matrices whose unused bytes are zero and are dropped at the end.

Four digits at a time are looked up in a table, as one 32-bit word; int16 values whole, as one 64-bit word.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
"""Shape (rows, width): the text of each row, with zero bytes anywhere; contiguous, `width` a multiple of eight."""

DECIMALS = 16
"""The most decimals that `fixed` renders."""
_SLICE = 512
"""Values that numpy renders at a time: it keeps the interpreter to itself while it does."""


@functools.cache
def _int16_words() -> npt.NDArray[np.uint64]:
    """By the value's bits: a comma and up to six characters, with zero bytes behind."""
    longest = fixed(np.arange(1 << 16, dtype=np.uint16).view(np.int16))  # 4 bytes, then two words of four digits
    text = np.zeros((1 << 16, 8), np.uint8)
    text[:, :2] = longest[:, :2]
    text[:, 2:7] = longest[:, 7:12]
    return text.view(np.uint64).ravel()


@functools.cache
def _four_digits() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """(in front, last): entry g is g as the first digits of a number, entry 10000 + g is g behind others.

    They differ in entry 0: in front, zero is no digits at all; the last four digits are at least "0".
    """
    place = np.array([1000, 100, 10, 1])
    digits = (np.arange(10_000)[:, None] // place % 10 + ord("0")).astype(np.uint8)
    bare = np.where(np.arange(10_000)[:, None] < place, 0, digits).astype(np.uint8)
    last = bare.copy()
    last[0, 3] = ord("0")
    front, end = (np.concatenate([first, digits]).view(np.uint32).ravel() for first in (bare, last))
    return front, end


def int16(values: npt.NDArray[np.int16]) -> Bytes:
    """Each value behind a comma; width 8."""
    return _int16_words().take(values.view(np.uint16)).view(np.uint8).reshape(-1, 8)


def fixed(values: npt.NDArray[Any], decimals: int = 0) -> Bytes:
    """Integers behind a comma, divided by 10 ** decimals (at most DECIMALS) and written with all those decimals."""
    wide = values if values.dtype == np.uint64 else values.astype(np.int64)
    negative = wide < 0
    # in uint64 the magnitude of the least int64 is right, too
    magnitude = np.where(negative, -wide, wide).astype(np.uint64)
    whole, part = _divide(magnitude, 10**decimals)
    groups = (len(str(int(whole.max(initial=0)))) + 3) // 4
    behind = 4 * ((decimals + 3) // 4)
    text = np.zeros((len(values), _whole_words(4 + 4 * groups + (4 + behind if decimals else 0))), np.uint8)
    text[:, 0] = ord(",")
    text[:, 1] = np.where(negative, ord("-"), 0)
    words = text.view(np.uint32)
    front, last = _four_digits()
    for place in range(groups, 0, -1):
        whole, four = _divide(whole, 10_000)
        words[:, place] = (last if place == groups else front).take(four + 10_000 * (whole > 0))
    if decimals:
        text[:, 4 + 4 * groups] = ord(".")
        digits = part.view(np.uint64) * np.uint64(10 ** (behind - decimals))
        end = groups + 2 + behind // 4
        for place in range(end - 1, groups + 1, -1):
            digits, four = _divide(digits, 10_000)
            words[:, place] = front.take(four + 10_000)
        text[:, 4 * end - behind + decimals : 4 * end] = 0
    return text


def _whole_words(width: int) -> int:
    return (width + 7) // 8 * 8


def _divide(values: npt.NDArray[np.uint64], by: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    # a quotient by a constant is fast in numpy, divmod is not
    quotient = values // np.uint64(by)
    return quotient, (values - quotient * np.uint64(by)).view(np.int64)


def shortest(values: npt.NDArray[Any]) -> Bytes:
    """Floats behind a comma, each as short as reads back the same; NaN is nothing."""
    text = np.zeros((len(values), _whole_words(33)), np.uint8)
    text[:, 0] = ord(",")
    for start in range(0, len(values), _SLICE):
        some = values[start : start + _SLICE]
        text[start : start + _SLICE, 1:33] = some.astype("S32").view(np.uint8).reshape(-1, 32)
    text[np.isnan(values), 1:] = 0
    return text


def joined(columns: Sequence[Bytes]) -> bytes:
    """The text of all rows, columns side by side."""
    words = [column.view(np.uint64) for column in columns]
    # whole words: copying columns byte by byte would take longer than making them
    table = np.empty((len(words[0]), sum(word.shape[1] for word in words)), np.uint64)
    at = 0
    for word in words:
        table[:, at : at + word.shape[1]] = word
        at += word.shape[1]
    return table.tobytes().translate(None, b"\0")
