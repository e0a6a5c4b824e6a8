"""What must hold of the captures of QEMU's magnetometer: pi_check.py FOLDER."""

import sys
from pathlib import Path

import numpy as np

from agent.capture import Capture
from agent.formats import format_module

AXES = ("MagnetometerX", "MagnetometerY", "MagnetometerZ")
FIELDS = ((25, 40, 30), (45, 20, 35))
"""In uT, one after the other."""
LSB = np.array([1100, 1100, 980]) / 100
"""A uT, in the range of 1.3 gauss."""
BEFORE, AFTER = 20, 30


def check(folder: Path) -> None:
    """Each capture is whole; those of an edge hold exactly what was asked for; the fields come in their order."""
    captures = [Capture.load(sidecar) for sidecar in sorted(folder.rglob("*.json"))]
    for capture in captures:
        assert not capture.damage(), capture.damage()
    edges = [capture for capture in captures if capture.recording == "edge"]
    assert len(edges) == len(FIELDS)
    for capture, field in zip(edges, FIELDS, strict=True):
        trigger = capture.document["trigger"]
        indexes, rows = samples(capture)
        at = trigger["lead"]["sample"]
        missing = lost(capture)
        assert trigger["kind"] == "gpio", trigger
        assert sorted(indexes + missing) == list(range(at - BEFORE, at + AFTER + 1)), (at, indexes, missing)
        assert np.array_equal(rows[-1], np.fix(field * LSB)), f"{rows[-1]} is not {field} uT"
        said = f"{BEFORE} samples before the edge and {AFTER} after it, {len(missing)} of them lost"
        print(f"{capture.name}: {said}; {rows[-1]} is {field} uT")
    every = np.concatenate([samples(capture)[1] for capture in captures if capture.recording == "all"])
    seen = [tuple(row) for row, before in zip(every[1:], every, strict=False) if (row != before).any()]
    print(f"{len(every)} samples; the field changed to {seen}")


def samples(capture: Capture) -> tuple[list[int], np.ndarray]:
    """Indexes of its samples, and their raw values, shape (n, 3)."""
    (payload,) = capture.payloads
    blocks = list(format_module(payload.format).Settings().open().read(capture.path(payload), capture))
    rows = np.concatenate([np.stack([block.samples[name] for name in AXES], axis=1) for block in blocks])
    return [block.first + n for block in blocks for n in range(block.count)], rows


def lost(capture: Capture) -> list[int]:
    """Indexes of those that the capture says are missing: a busy machine looks at the chip too late."""
    return [gap["first"] + n for gap in capture.document["streams"][0]["gaps"] for n in range(gap["samples"])]


if __name__ == "__main__":
    check(Path(sys.argv[1]))
