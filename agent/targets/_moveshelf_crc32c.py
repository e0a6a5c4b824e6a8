"""CRC-32C as Moveshelf wants it: base64 text, made by google-crc32c where it is installed and with numpy where not."""

import base64
import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, reflected (RFC 3720, B.4)."""
_LANES, _LANE = 256, 256
_BLOCK = _LANES * _LANE


class Checksum:
    """Takes bytes that pass by; with numpy, whole blocks of 64 KiB are much faster than what is left over."""

    def __init__(self) -> None:
        self._checksum: Any
        try:
            self._checksum = importlib.import_module("google_crc32c").Checksum()
        except ImportError:  # an extra
            self._checksum = _Numpy()

    def update(self, chunk: bytes | memoryview) -> None:
        self._checksum.update(bytes(chunk))

    def text(self) -> str:
        """Of all bytes so far."""
        return as_text(self._checksum.digest().hex())


def as_text(hexadecimal: str) -> str:
    """The eight digits of a sidecar's `crc32c` as big-endian bytes in base64, as Google's stores have it."""
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


class _Numpy:
    """Each block lies as 256 lanes side by side, so that a step of all lanes is one operation of numpy; what comes out
    of two neighbours becomes one by moving the left one past the length of the right one, which is linear."""

    def __init__(self) -> None:
        self._tables = _tables()
        self._bytes = self._tables[0].tolist()
        self._moves: list[Words] = []
        self._crc = 0xFFFFFFFF

    def update(self, chunk: bytes) -> None:
        whole = len(chunk) // _BLOCK * _BLOCK
        for start in range(0, whole, _BLOCK):
            self._block(np.frombuffer(chunk, "<u4", _BLOCK // 4, start))
        crc, table = self._crc, self._bytes
        for byte in chunk[whole:]:
            crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
        self._crc = crc

    def digest(self) -> bytes:
        return (self._crc ^ 0xFFFFFFFF).to_bytes(4, "big")

    def _block(self, block: Words) -> None:
        words = block.reshape(_LANES, -1).T.astype(np.uint32)
        words[0, 0] ^= np.uint32(self._crc)
        lanes = np.zeros(_LANES, np.uint32)
        for word in words:
            lanes = _apply(self._tables, lanes ^ word)
        self._moves = self._moves or _moves(self._tables)
        for move in self._moves:
            lanes = _apply(move, lanes[0::2]) ^ lanes[1::2]
        self._crc = int(lanes[0])


def _tables() -> Words:
    """(4, 256): what each byte of a word becomes once the word has gone through; the first byte's table comes last."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(_POLYNOMIAL), table >> 1)
    tables = [table]
    for _ in range(3):
        tables.append(table[tables[-1] & 0xFF] ^ tables[-1] >> 8)
    return np.stack(tables)


def _apply(tables: Words, words: Words) -> Words:
    """What a linear map, given by its tables, makes of words."""
    result: Words = tables[3][words & 0xFF] ^ tables[2][words >> 8 & 0xFF]
    result ^= tables[1][words >> 16 & 0xFF] ^ tables[0][words >> 24]
    return result


def _moves(tables: Words) -> list[Words]:
    """Maps that move a CRC past one lane, two, four ... 128 lanes: the map of one word, squared again and again."""
    moves, length = [tables], 4
    while length < _BLOCK // 2:
        moves.append(_apply(moves[-1], moves[-1]))
        length *= 2
    return moves[-8:]
