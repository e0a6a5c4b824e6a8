"""A virtual microcontroller that prints six numbers a line, with or without labels, after a banner and a header."""

from collections.abc import Mapping
from typing import Any

from drivers.ports.virtual import Wire
from drivers.ports.virtual._rows import Rows, RowSender
from drivers.ports.virtual.uart import serve_line

LABELS = ("ax", "ay", "az", "gx", "gy", "gz")
HELLO = b"e=42 ok\r\nStarted\r\n" + ",".join(LABELS).encode() + b"\r\n"
"""Of its first line only the end is heard, as by a host that opens the port in the middle of it."""


def lines(rows: Rows, labelled: bool) -> list[bytes]:
    """A line for each row: raw integers, as `Serial.println` ends them."""
    form = ",".join(f"{label}:%d" if labelled else "%d" for label in LABELS) + "\r\n"
    return [(form % tuple(row)).encode() for row in rows.tolist()]


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    device = RowSender(document, lambda _, rows: lines(rows, document["labelled"]), hello=HELLO)
    serve_line(wire, document, "usb-Virtual_text-if00", device, reset_by_opening=True)
