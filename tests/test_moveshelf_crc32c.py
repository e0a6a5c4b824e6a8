import base64
import random
import sys

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.targets._moveshelf_crc32c import Checksum, as_text

VECTORS = {
    b"": "AAAAAA==",
    b"123456789": "4waSgw==",
    b"hello world": "yZRlqg==",
    b"abc": "Nks/tw==",
    bytes(32): "ipE2qg==",
    b"\xff" * 32: "YqirQw==",
    bytes(range(32)): "Rt15Tg==",
}


@pytest.fixture(params=["google-crc32c", "numpy"])
def implementation(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setitem(sys.modules, "google_crc32c", None)  # as where it is not installed


def text_of(*chunks: bytes) -> str:
    checksum = Checksum()
    for chunk in chunks:
        checksum.update(memoryview(chunk))
    return checksum.text()


def test_vectors(implementation):
    for content, text in VECTORS.items():
        assert text_of(content) == text_of(content[:3], content[3:]) == text


def test_the_text_of_a_sidecar():
    assert as_text("e3069283") == "4waSgw=="


@given(st.integers(0, 300_000), st.lists(st.integers(1, 200_000), max_size=4), st.integers())
def test_any_length_in_any_pieces(size, cuts, seed):
    content = random.Random(seed).randbytes(size)
    pieces, rest = [], content
    for cut in cuts:
        pieces, rest = [*pieces, rest[:cut]], rest[cut:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "google_crc32c", None)
        found = text_of(*pieces, rest)
    assert found == base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
