"""Edge Impulse's data acquisition format: sensors, interval and values as CBOR or JSON, signed with an HMAC.

docs.edgeimpulse.com/tools/specifications/data-acquisition/json-cbor: the signature is an HMAC-SHA256 over the whole
document with 64 zeros in the place where its hexadecimal digits then stand.
"""

import dataclasses
import hashlib
import hmac
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from agent.targets._edge_impulse_samples import Table

UNSIGNED = "0" * 64
_ROWS = 2048
"""Rows in one piece."""


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How a document is written: before the rows, each of them, and after them."""

    suffix: str
    media_type: str
    head: Callable[[Mapping[str, Any]], bytes]
    """Of a document whose innermost and last part is an empty list of values."""
    rows: Callable[[Table, bool], bytes]
    """`first` tells whether any rows came before."""
    tail: bytes


@dataclasses.dataclass(frozen=True)
class Document:
    """One signed document, whose rows are made anew each time they are asked for."""

    encoding: Encoding
    head: bytes
    """With the signature."""
    rows: Callable[[], Iterator[Table]]
    size: int
    count: int
    """Rows."""
    mac: str

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the document. ValueError before the last of them where the rows are not what was signed."""
        again = _Mac("")
        yield self.head
        for piece in _pieces(self.encoding, self.rows()):
            again.update(piece)
            yield piece
        if again.digest != self.mac:
            raise ValueError("it has changed while it was sent")
        yield self.encoding.tail


def document(
    encoding: Encoding, payload: Mapping[str, Any], rows: Callable[[], Iterator[Table]], *, key: str, iat: int | None
) -> Document:
    """A document of `payload` (without values) and rows, signed with `key`; empty: not signed. Reads all rows once.

    `iat`: Unix seconds, the same at each try, or the platform does not recognise what it has already; None: unknown.
    """
    protected: dict[str, Any] = {"ver": "v1", "alg": "HS256" if key else "none"}
    if iat is not None:
        protected["iat"] = iat
    head = encoding.head({"protected": protected, "signature": UNSIGNED, "payload": {**payload, "values": []}})
    signature, content = _Mac(key), _Mac("")
    signature.update(head)
    size, count = len(head) + len(encoding.tail), 0

    def counted() -> Iterator[Table]:
        nonlocal count
        for table in rows():
            count += len(table)
            yield table

    for piece in _pieces(encoding, counted()):
        signature.update(piece)
        content.update(piece)
        size += len(piece)
    signature.update(encoding.tail)
    if key:
        head = head.replace(UNSIGNED.encode(), signature.digest.encode(), 1)
    return Document(encoding, head, rows, size, count, content.digest)


class _Mac:
    def __init__(self, key: str) -> None:
        self._mac = hmac.new(key.encode(), digestmod=hashlib.sha256)

    def update(self, piece: bytes) -> None:
        self._mac.update(piece)

    @property
    def digest(self) -> str:
        return self._mac.hexdigest()


def _pieces(encoding: Encoding, tables: Iterator[Table]) -> Iterator[bytes]:
    first = True
    for table in tables:
        for at in range(0, len(table), _ROWS):
            yield encoding.rows(table[at : at + _ROWS], first)
            first = False


def _json_head(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()[: -len("]}}")]


def _json_rows(table: Table, first: bool) -> bytes:
    text = ",".join("[" + ",".join(f"{value:.7g}" for value in row) + "]" for row in table.tolist())
    return (text if first else "," + text).encode()


def _cbor_head(value: Mapping[str, Any]) -> bytes:
    return cbor(value)[:-1] + b"\x9f"  # the values are an array without a length, which CBOR ends with 0xff


def _cbor_rows(table: Table, first: bool) -> bytes:
    array = _cbor_number(0x80, table.shape[1])
    cell = np.dtype([("kind", "u1"), ("value", ">f4")])
    rows = np.empty(len(table), np.dtype([("array", f"V{len(array)}"), ("cells", cell, (table.shape[1],))]))
    rows["array"] = np.void(array)
    rows["cells"]["kind"] = 0xFA
    rows["cells"]["value"] = table
    return rows.tobytes()


def cbor(value: Any) -> bytes:
    """RFC 8949, of what a document's head has: maps, lists, texts, whole numbers and floats."""
    if isinstance(value, str):
        text = value.encode()
        return _cbor_number(0x60, len(text)) + text
    if isinstance(value, Mapping):
        return _cbor_number(0xA0, len(value)) + b"".join(cbor(key) + cbor(item) for key, item in value.items())
    if isinstance(value, list):
        return _cbor_number(0x80, len(value)) + b"".join(map(cbor, value))
    if isinstance(value, int):
        return _cbor_number(0x00, value)
    return b"\xfb" + struct.pack(">d", value)


def _cbor_number(kind: int, value: int) -> bytes:
    if value < 24:
        return bytes([kind | value])
    size = next(size for size in (1, 2, 4, 8) if value < 1 << (8 * size))
    return bytes([kind | (23 + size.bit_length())]) + value.to_bytes(size, "big")


CBOR = Encoding(".cbor", "application/cbor", _cbor_head, _cbor_rows, b"\xff")
JSON = Encoding(".json", "application/json", _json_head, _json_rows, b"]}}")
