"""Lines of text as tests read them."""

from collections.abc import Iterable

import numpy as np

from drivers import Block
from drivers._text_lines import Decoder


def dtype(width: int = 6) -> np.dtype[np.void]:
    return np.dtype([(f"Value{n + 1}", "<f8") for n in range(width)])


def decode(data: bytes, decoder: Decoder, cuts: Iterable[int] = ()) -> list[Block]:
    blocks, at = [], 0
    for time, cut in enumerate([*sorted(cuts), len(data)]):
        blocks += decoder.feed(data[at:cut], time)
        at = cut
    return blocks


def flat(blocks: Iterable[Block]) -> list[tuple[int, bytes]]:
    return [(b.first + n, b.samples[n].tobytes()) for b in blocks for n in range(b.count)]


def rows_of(blocks: list[Block]) -> list[tuple[float, ...]]:
    return [row for block in blocks for row in block.samples.tolist()]
