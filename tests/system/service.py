"""What must hold of the captures of the I2C chip (i2c_chip.py): service.py FOLDER."""

import sys
from pathlib import Path

import i2c_chip
import numpy as np

from agent.capture import Capture
from agent.formats import format_module
from drivers.ports.virtual.motion import Motion

AXES = ("AccelerometerX", "AccelerometerY", "AccelerometerZ", "GyroscopeX", "GyroscopeY", "GyroscopeZ")
SENT = Motion(i2c_chip.SEED, 50.0).rows(0, 1 << 17)
"""What the chip measures from each of its starts on."""


def check(folder: Path) -> None:
    """Every capture is whole; its rows are those that the chip measured, but for gaps that it names."""
    captures = [Capture.load(sidecar) for sidecar in sorted(folder.rglob("*.json"))]
    for capture in captures:
        assert not capture.damage(), capture.damage()
    captures = [capture for capture in captures if capture.document["streams"][0]["driver"] == "mpu6050"]
    rows = sum(matched(capture) for capture in captures)
    ends = [str(capture.document["end"]["reason"]) for capture in captures]
    lost = sum(int(capture.document["streams"][0]["lost"]["samples"]) for capture in captures)
    print(f"{len(captures)} captures, {rows} rows as the chip measured them, {lost} lost; {sorted(set(ends))}")
    assert rows > 1000


def matched(capture: Capture) -> int:
    """How many rows there are, all of which are right."""
    (payload,) = capture.payloads
    count = 0
    begin = None
    for block in format_module(payload.format).Settings().open().read(capture.path(payload), capture):
        rows = np.stack([block.samples[name] for name in AXES], axis=1)
        if begin is None or capture.document["streams"][0]["lost"]["samples"]:
            if len(rows) < 2:
                continue
            (places,) = np.nonzero((SENT[:-1] == rows[0]).all(axis=1) & (SENT[1:] == rows[1]).all(axis=1))
            assert len(places) == 1, f"{capture.name}: sample {block.first} is nothing that the chip measured"
            begin = int(places[0]) - block.first
        at = begin + block.first
        assert np.array_equal(rows, SENT[at : at + len(rows)]), f"{capture.name}: from sample {block.first} on"
        count += len(rows)
    return count


if __name__ == "__main__":
    check(Path(sys.argv[1]))
