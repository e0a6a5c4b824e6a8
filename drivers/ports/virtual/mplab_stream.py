"""A virtual microcontroller that sends MPLAB Data Visualizer's data stream from power-up on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers._fields import wire_type
from drivers.ports.virtual import Wire
from drivers.ports.virtual._rows import Rows, RowSender
from drivers.ports.virtual.uart import serve_line

AUTO_CONFIGURATION = bytes.fromhex("5fb400864ac0ffeec0ffeec0ffeec0ffee78a0")
"""The vendor's printed example (DS40001903), which follows the end of a frame that nobody heard the start of."""


def variables(rows: Rows, types: Sequence[str], order: str = "little") -> npt.NDArray[np.void]:
    """Rows of motion as variables of these types: variable n is column n % 6, wrapped to its size."""
    dtype = np.dtype([(f"{n}", wire_type(kind, order)) for n, kind in enumerate(types)])
    made = np.empty(len(rows), dtype)
    for n in range(len(types)):
        made[f"{n}"] = rows[:, n % 6].astype(dtype[n])
    return made


def frames(rows: npt.NDArray[np.void], start: int) -> list[bytes]:
    """A frame for each row of packed variables."""
    return [bytes((start,)) + row.tobytes() + bytes((start ^ 0xFF,)) for row in rows]


def main(wire: Wire, document: Mapping[str, Any]) -> None:
    start, types = document["start_byte"], document["types"]
    hello = bytes((0x11, start ^ 0xFF)) + AUTO_CONFIGURATION
    device = RowSender(document, lambda _, rows: frames(variables(rows, types), start), hello=hello)
    serve_line(wire, document, "usb-Virtual_MPLAB-if00", device, reset_by_opening=True)
