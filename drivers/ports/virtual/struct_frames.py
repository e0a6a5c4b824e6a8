"""A virtual microcontroller that sends a user's own binary frames, as the driver is told to expect them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from drivers._checksums import checksums, width_of
from drivers._fields import wire_type
from drivers.ports.virtual import Wire
from drivers.ports.virtual._rows import Rows, RowSender
from drivers.ports.virtual.uart import serve_line

Document = Mapping[str, Any]


def encoded(frame: Document, first: int, rows: Rows) -> list[bytes]:
    """The frames of these rows of motion, the first of which has the number `first`.

    Recorded variable n is column n % 6, wrapped to its size; what is skipped is 0xEE, or what it has to equal.
    """
    fields, together, order = frame["fields"], frame["rows"], frame["byte_order"]
    recorded = [field for field in fields if field["use"] == "record"]
    frames = []
    for number in range(len(rows) // together):
        ours, body, done = rows[number * together : (number + 1) * together], b"", False
        for field in fields:
            kind = np.dtype(wire_type(field["type"], order))
            if field["use"] == "record":
                if not done:
                    body += b"".join(_row(row, recorded, order) for row in ours) if together > 1 else b""
                    done = True
                if together == 1:
                    body += np.array(ours[0, recorded.index(field) % 6]).astype(kind).tobytes()
            elif field["equals"] is not None:
                body += np.array(field["equals"]).astype(kind).tobytes()
            elif field["use"] == "sequence":
                body += np.array(first // together + number).astype(kind).tobytes()
            else:
                body += b"\xee" * kind.itemsize
        frames.append(framed(frame, body))
    return frames


def framed(frame: Document, body: bytes) -> bytes:
    """A frame around its variables: sync bytes, checksum, COBS."""
    sync = bytes.fromhex(frame["sync"]) if frame["framing"] == "sync" else b""
    if bits := width_of(frame["checksum"]):
        covered = (sync if frame["checksum_covers"] == "frame" else b"") + body
        value = int(checksums(frame["checksum"], np.frombuffer(covered, np.uint8).reshape(1, -1))[0])
        body += value.to_bytes(bits // 8, frame["checksum_order"])
    return sync + body if sync else stuffed(body) + b"\0"


def stuffed(body: bytes) -> bytes:
    """COBS of at most 253 bytes: each zero, and a byte in front, says how far it is to the next zero or the end."""
    return b"".join(bytes((len(part) + 1,)) + part for part in body.split(b"\0"))


def _row(row: "np.typing.NDArray[np.int16]", recorded: list[Document], order: str) -> bytes:
    kinds = [np.dtype(wire_type(field["type"], order)) for field in recorded]
    return b"".join(np.array(row[n % 6]).astype(kind).tobytes() for n, kind in enumerate(kinds))


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    frame = document["frame"]
    hello = b"Booting\r\n\0" if frame["framing"] == "cobs" else b"Booting\r\n"
    device = RowSender(document, lambda first, rows: encoded(frame, first, rows), hello=hello, together=frame["rows"])
    serve_line(wire, document, "usb-Virtual_frames-if00", device, reset_by_opening=True)
