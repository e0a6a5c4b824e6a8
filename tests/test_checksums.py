"""Checksums by name and COBS: the catalogue's checks, the standard library, the paper's examples."""

import binascii
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers._checksums import CRCS, NAMES, checksum_of, checksums
from drivers._struct_framing import unstuffed
from drivers.ports.virtual.struct_frames import stuffed


@pytest.mark.parametrize("name", CRCS)
def test_checks_of_the_catalogue(name: str) -> None:
    frames = np.frombuffer(b"123456789" * 3, np.uint8).reshape(3, 9)
    assert checksums(name, frames).tolist() == [CRCS[name].check] * 3


@given(st.binary(min_size=1, max_size=40))
def test_checksums_are_those_of_the_standard_library(data: bytes) -> None:
    frames = np.frombuffer(data, np.uint8).reshape(1, -1)
    assert checksums("crc32", frames)[0] == zlib.crc32(data)
    assert checksums("crc16-xmodem", frames)[0] == binascii.crc_hqx(data, 0)
    assert checksums("crc16-ccitt-false", frames)[0] == binascii.crc_hqx(data, 0xFFFF)
    assert checksums("sum8", frames)[0] == sum(data) % 256


@pytest.mark.parametrize(
    ("plain", "coded"),
    [
        ("00", "0101"),
        ("0000", "010101"),
        ("00110 0".replace(" ", ""), "01021101"),
        ("11220033", "0311220233"),
        ("11223344", "0511223344"),
        ("11000000", "0211010101"),
    ],
)
def test_cobs_vectors(plain: str, coded: str) -> None:
    body = bytes.fromhex(plain)
    assert stuffed(body) == bytes.fromhex(coded)
    frames, whole = unstuffed(np.frombuffer(bytes.fromhex(coded), np.uint8).reshape(1, -1), len(body))
    assert (frames.tobytes(), whole.tolist()) == (body, [True])


@given(st.binary(min_size=1, max_size=253))
def test_cobs_there_and_back(body: bytes) -> None:
    coded = stuffed(body)
    assert 0 not in coded
    frames, whole = unstuffed(np.frombuffer(coded, np.uint8).reshape(1, -1), len(body))
    assert (frames.tobytes(), whole.tolist()) == (body, [True])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
@given(st.binary(min_size=1, max_size=40))
def test_one_frame_has_the_checksum_that_it_has_among_many(name: str, data: bytes) -> None:
    frames = np.frombuffer(data, np.uint8).reshape(1, -1)
    assert checksum_of(name, data) == checksums(name, frames)[0]
