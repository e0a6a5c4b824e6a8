"""SSI version 1 as pure bytes: the vendor's vectors, any cuts, and how it finds out that it has lost its place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import Block, Samples
from drivers._ssi1 import TEXTS, Decoder
from tests.models.ssi import DTYPE

VECTORS = [
    ("0100ffffe803", 3, 1, [(1, -1, 1000)]),
    ("010002000300fffffefffdff", 3, 2, [(1, 2, 3), (-1, -2, -3)]),
    ("0080ff7f", 2, 1, [(-32768, 32767)]),
    ("0201020102010201", 1, 4, [(258,)] * 4),
]


def joined(blocks: list[Block]) -> Samples:
    return np.concatenate([block.samples for block in blocks])


@pytest.mark.parametrize(("text", "columns", "rows", "values"), VECTORS)
def test_vendor_vectors(text: str, columns: int, rows: int, values: list[tuple[int, ...]]) -> None:
    dtype = np.dtype([(f"c{n}", "<i2") for n in range(columns)])
    decoder, got = Decoder(dtype, rows, 100.0), []
    for at, byte in enumerate(bytes.fromhex(text) * 3):
        got += decoder.feed(bytes([byte]), at)
    assert joined(got).tolist() == values * 3
    assert [b.first for b in got] == [0, rows, 2 * rows]
    assert not decoder.pending


def test_a_packet_cut_by_a_pause_ends_the_alignment() -> None:
    decoder = Decoder(DTYPE, 1, 100.0)
    assert decoder.feed(bytes(12 + 5), 1)[0].count == 1
    decoder.settle()
    assert "5 bytes of a packet of 12" in decoder.misaligned
    assert decoder.feed(bytes(24), 2) == [], "nothing is believed until it is connected again"
    decoder.realign()
    (block,) = decoder.feed(bytes(12), 1_000_000_001)
    assert (block.first, block.lost, block.exact, block.segment) == (1 + 99, 99, False, 1)


@pytest.mark.parametrize("text", [b"\n\n\nOverrun!\n\n\n", b'{"version":1,"column_location":{"X":0}}\n'])
def test_text_in_the_stream_ends_the_alignment(text: bytes) -> None:
    line = bytes(range(36)) + text + bytes(24)
    for cut in range(len(line)):
        decoder = Decoder(DTYPE, 1, 100.0)
        blocks = decoder.feed(line[:cut], 1) + decoder.feed(line[cut:], 2)
        assert decoder.misaligned
        assert joined(blocks).tobytes()[:36] == line[:36]
        # a packet is shorter than a line of text: of text that comes in two parts, one may already have passed
        assert sum(b.count for b in blocks) <= 3 + len(text) // DTYPE.itemsize


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
def test_cuts_change_nothing(data: bytes, cuts: list[int]) -> None:
    if any(text in data for text in TEXTS):
        return
    once, pieces = Decoder(DTYPE, 2, 100.0), Decoder(DTYPE, 2, 100.0)
    whole = b"".join(b.samples.tobytes() for b in once.feed(data, 0))
    assert whole == data[: len(data) // 24 * 24]
    parts = [data[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True)]
    assert b"".join(b.samples.tobytes() for part in parts for b in pieces.feed(part, 0)) == whole
    assert len(pieces._rest) < 24
