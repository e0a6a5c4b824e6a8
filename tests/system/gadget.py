"""The far end of a gadget's serial port, and what must hold of the captures: `play RUN` and `check FOLDER`.

The device speaks SSI version 2: 200 rows a second of (run, low and high part of the row's number).
"""

import contextlib
import csv
import os
import sys
import time
import tty
from pathlib import Path

import numpy as np

from drivers.ports.virtual.ssi import frames

RATE_HZ, ROWS = 200, 4
ANNOUNCED = b'{"version":2,"sample_rate":%d,"samples_per_packet":%d,"column_location":{"Run":0,"Low":1,"High":2}}\n' % (
    RATE_HZ,
    ROWS,
)


def play(run: int) -> None:
    """Announces itself until it hears `connect`, then sends until the host has gone."""
    line = os.open("/dev/ttyGS0", os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    os.set_blocking(line, False)
    heard = b""
    while b"connect" not in heard.replace(b"disconnect", b""):
        try:
            heard += os.read(line, 64)
        except BlockingIOError:
            with contextlib.suppress(BlockingIOError):  # nobody has opened the other end for so long that it is full
                os.write(line, ANNOUNCED)
            time.sleep(0.3)
    os.set_blocking(line, True)
    begun = time.monotonic()
    for packet in range(1_000_000):
        number = np.arange(packet * ROWS, packet * ROWS + ROWS)
        rows = np.stack([np.full(ROWS, run), number & 0x7FFF, number >> 15], axis=1)
        os.write(line, frames(rows.astype(np.int16), ROWS, packet + 1).tobytes())
        time.sleep(max(0.0, begun + (packet + 1) * ROWS / RATE_HZ - time.monotonic()))


def check(folder: Path) -> None:
    """Both runs arrived, and within each row follows row; `sequence` counts on over the gap between them."""
    found: dict[int, list[tuple[int, int]]] = {}
    for file in sorted(folder.rglob("*.csv")):
        with file.open() as lines:
            for row in csv.DictReader(lines):
                number = int(row["Low"]) | int(row["High"]) << 15
                found.setdefault(int(row["Run"]), []).append((int(row["sequence"]), number))
    print({run: (len(rows), rows[0], rows[-1]) for run, rows in found.items()})
    assert sorted(found) == [1, 2], "both runs, and nothing else"
    assert found[1][-1][0] < found[2][0][0]
    for run, rows in found.items():
        assert len(rows) >= 3 * RATE_HZ, run
        (at, begin), count = rows[0], len(rows)
        assert rows == [(at + n, begin + n) for n in range(count)], f"run {run}: none missing, none twice"


if __name__ == "__main__":
    play(int(sys.argv[2])) if sys.argv[1] == "play" else check(Path(sys.argv[2]))
