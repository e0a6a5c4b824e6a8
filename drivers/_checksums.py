"""Checksums by name: of many frames at once, or of one.

The parameters are those of the catalogue of parametrised CRC algorithms (reveng.sourceforge.io). Each CRC's
`check`, its value over "123456789", is the catalogue's; the tests hold every one to it.
"""

import binascii
import functools
import operator
import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Values = npt.NDArray[np.uint32]


class Crc(NamedTuple):
    """width, polynomial, first value, whether bits go in and out reflected, what is added at the end, check."""

    width: int
    polynomial: int
    first: int
    reflected: bool
    last: int
    check: int


CRCS = {
    "crc8": Crc(8, 0x07, 0x00, False, 0x00, 0xF4),
    "crc8-maxim": Crc(8, 0x31, 0x00, True, 0x00, 0xA1),
    "crc8-nrsc-5": Crc(8, 0x31, 0xFF, False, 0x00, 0xF7),
    "crc8-j1850": Crc(8, 0x1D, 0xFF, False, 0xFF, 0x4B),
    "crc16-arc": Crc(16, 0x8005, 0x0000, True, 0x0000, 0xBB3D),
    "crc16-modbus": Crc(16, 0x8005, 0xFFFF, True, 0x0000, 0x4B37),
    "crc16-usb": Crc(16, 0x8005, 0xFFFF, True, 0xFFFF, 0xB4C8),
    "crc16-ccitt-false": Crc(16, 0x1021, 0xFFFF, False, 0x0000, 0x29B1),
    "crc16-xmodem": Crc(16, 0x1021, 0x0000, False, 0x0000, 0x31C3),
    "crc16-kermit": Crc(16, 0x1021, 0x0000, True, 0x0000, 0x2189),
    "crc16-x25": Crc(16, 0x1021, 0xFFFF, True, 0xFFFF, 0x906E),
    "crc32": Crc(32, 0x04C11DB7, 0xFFFFFFFF, True, 0xFFFFFFFF, 0xCBF43926),
    "crc32c": Crc(32, 0x1EDC6F41, 0xFFFFFFFF, True, 0xFFFFFFFF, 0xE3069283),
    "crc32-mpeg2": Crc(32, 0x04C11DB7, 0xFFFFFFFF, False, 0x00000000, 0x0376E6E7),
}
NAMES = ("none", "xor8", "sum8", *CRCS)
_AT_ONCE = 1024
"""Frames of one pass: what it holds meanwhile stays near the processor."""


def width_of(name: str) -> int:
    """Bits of a checksum; 0 for none."""
    return CRCS[name].width if name in CRCS else 0 if name == "none" else 8


def checksums(name: str, frames: Bytes) -> Values:
    """The checksum of each line of `frames`, shape (frames, bytes); `name` is one of NAMES but none."""
    if name == "xor8":
        xor: Values = np.bitwise_xor.reduce(frames, axis=1).astype(np.uint32)
        return xor
    if name == "sum8":
        total: Values = frames.sum(axis=1, dtype=np.uint32) & np.uint32(0xFF)
        return total
    changes, constant = _positions(name, frames.shape[1])
    value: Values = np.full(len(frames), constant, np.uint32)
    for begin in range(0, len(frames), _AT_ONCE):
        rows = frames[begin : begin + _AT_ONCE]
        value[begin : begin + _AT_ONCE] ^= np.bitwise_xor.reduce(changes[_index(rows.shape[1]), rows.T], axis=0)
    return value


def checksum_of(name: str, data: bytes) -> int:
    """The same of one frame: soonest so where others are not there to share numpy's effort."""
    if name == "xor8":
        return functools.reduce(operator.xor, data, 0)
    if name == "sum8":
        return sum(data) & 0xFF
    if name == "crc32":
        return zlib.crc32(data)
    crc, table = CRCS[name], _values(name)
    if (crc.polynomial, crc.reflected) == (0x1021, False):
        return binascii.crc_hqx(data, crc.first) ^ crc.last
    value = crc.first  # each of a reflected one reads the same from both ends
    if crc.reflected:
        for byte in data:
            value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    else:
        left, mask = crc.width - 8, (1 << crc.width) - 1
        for byte in data:
            value = table[(value >> left) ^ byte] ^ (value << 8 & mask)
    return value ^ crc.last


@functools.lru_cache(maxsize=16)
def _values(name: str) -> list[int]:
    """What each of the 256 bytes does to a CRC, as wide as it is."""
    crc = CRCS[name]
    values: list[int] = (_table(name) >> np.uint32(0 if crc.reflected else 32 - crc.width)).tolist()
    return values


@functools.lru_cache(maxsize=16)
def _positions(name: str, size: int) -> tuple[Values, int]:
    """What each byte does to the checksum of a frame of `size` bytes, by its place, and that of a frame of zeros.

    A CRC is linear: what the bytes do by themselves and what the first value does only have to be added up.
    """
    crc, table = CRCS[name], _table(name)
    # one dtype for all widths; not reflected ones stand at the top of it
    up = 0 if crc.reflected else 32 - crc.width
    first = int(f"{crc.first:0{crc.width}b}"[::-1], 2) if crc.reflected else crc.first << up
    changes = np.zeros((size, 256), np.uint32)
    value = np.array([first], np.uint32)
    for place in range(size - 1, -1, -1):
        changes[place] = table if place == size - 1 else _zero_after(changes[place + 1], table, crc)
        value = _zero_after(value, table, crc)
    return changes >> np.uint32(up), (int(value[0]) >> up) ^ crc.last


def _zero_after(values: Values, table: Values, crc: Crc) -> Values:
    """CRCs after one more byte, which is zero."""
    after: Values
    if crc.reflected:
        after = table[values & np.uint32(0xFF)] ^ (values >> np.uint32(8))
    else:
        after = table[values >> np.uint32(24)] ^ (values << np.uint32(8))
    return after


@functools.lru_cache(maxsize=16)
def _index(size: int) -> npt.NDArray[np.intp]:
    return np.arange(size)[:, np.newaxis]


@functools.cache
def _table(name: str) -> Values:
    """What each of the 256 bytes does to a CRC."""
    crc = CRCS[name]
    values = np.arange(256, dtype=np.uint32)
    if crc.reflected:
        polynomial = np.uint32(int(f"{crc.polynomial:0{crc.width}b}"[::-1], 2))
        for _ in range(8):
            values = np.where(values & np.uint32(1), (values >> np.uint32(1)) ^ polynomial, values >> np.uint32(1))
        return values
    values <<= np.uint32(24)
    polynomial = np.uint32(crc.polynomial << (32 - crc.width))
    top = np.uint32(1 << 31)
    for _ in range(8):
        values = np.where(values & top, (values << np.uint32(1)) ^ polynomial, values << np.uint32(1))
    return values
