"""Formats: processor time and bytes for a million six-axis samples, from the negative to the file on disk."""

import csv
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from agent.film import Film
from agent.formats import _digits as digits
from agent.formats import format_module
from agent.negative import NegativeWriter, identity_as_json
from bench import Measure
from drivers import Block, Channel, Identity
from drivers.ports.virtual.motion import ACCEL_LSB_PER_G, GYRO_LSB_PER_DPS, Motion

SAMPLES = 500_000
_ROWS = 32
"""In a block: what a serial packet or two FIFO reads bring."""
_START_NS = 10**15
IMU = Identity(
    "MPU-6050",
    1000.0,
    tuple(Channel(f"Accelerometer{axis}", "g", scale=1 / ACCEL_LSB_PER_G) for axis in "XYZ")
    + tuple(Channel(f"Gyroscope{axis}", "deg/s", scale=1 / GYRO_LSB_PER_DPS) for axis in "XYZ"),
)
_FORMATS: list[tuple[str, str, dict[str, Any], float, float]] = [
    ("csv, raw", "csv", {}, 1.0, 0.0),
    ("csv, physical units", "csv", {"units": "physical"}, 2.0, 0.0),
    ("csv_gz, raw", "csv_gz", {}, 1.0, 0.0),
    ("csv_gz, physical units", "csv_gz", {"units": "physical"}, 2.0, 0.0),
    ("wav", "wav", {}, 1.0, 0.0),
    ("flac", "flac", {}, 1.0, 5.3),
    ("parquet", "parquet", {}, 1.0, 6.0),
    ("mcap, a message per sample", "mcap", {}, 10.0, 0.0),
]
"""(what, kind, options, CPU seconds a million samples may take, bytes a sample may; 0: shown only)"""


def measure() -> list[Measure]:
    rows = Motion(1, IMU.rate_hz).rows(0, SAMPLES)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        measures = [_rendering(rows)]
        spent = _cpu_s(lambda: _negative(folder / "n", rows))
        measures += _figures("negative", folder / "n", spent, (1.0, 0.0))
        for what, kind, options, cpu_aim, size_aim in _FORMATS:
            form, path = format_module(kind).Settings(**options).open(), folder / "payload"

            def develop(form: Any = form, path: Path = path) -> None:
                form.develop(Film.scan(folder / "n"), path, lambda: None)

            measures += _figures(what, path, _cpu_s(develop), (cpu_aim, size_aim))
    return measures


def _cpu_s(work: Callable[[], object]) -> float:
    """Processor seconds of this process."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _rendering(rows: np.ndarray[Any, Any]) -> Measure:
    """Rows of a sequence and six int16 to text in memory, against csv.writer on the same rows."""
    ours, theirs, chunk = 0.0, 0.0, 4096
    digits.int16(rows[:1, 0])  # the table is made once in a process
    for first in range(0, 40 * chunk, chunk):
        sequence, some = np.arange(first, first + chunk), rows[first : first + chunk]

        def ours_of(sequence: Any = sequence, some: Any = some) -> bytes:
            cells = [digits.fixed(sequence)]
            cells[0][:, 0] = ord("\n")
            return digits.joined([*cells, *(digits.int16(some[:, place]) for place in range(6))])

        def theirs_of(sequence: Any = sequence, some: Any = some) -> bytes:
            text = io.StringIO()
            lists = zip(sequence.tolist(), some.tolist(), strict=True)
            csv.writer(text, lineterminator="\n").writerows([one, *row] for one, row in lists)
            return text.getvalue().encode()

        if ours_of()[1:] + b"\n" != theirs_of():
            raise RuntimeError("the two texts differ")
        ours += _cpu_s(ours_of)
        theirs += _cpu_s(theirs_of)
    count = 40 * chunk
    return Measure(
        what="rendering six int16 a row as CSV",
        figure=ours / count * 1e9,
        unit="ns/row",
        against=f"csv.writer: {theirs / count * 1e9:,.0f} ns/row",
        ratio=theirs / ours,
        aim="at least 8 times faster",
        met=theirs / ours >= 8,
        lower_is_better=False,
    )


def _figures(what: str, path: Path, cpu_s: float, aims: tuple[float, float]) -> list[Measure]:
    aim, size_aim = aims
    per_million, size = cpu_s / SAMPLES * 1e6, path.stat().st_size / SAMPLES
    raw = IMU.dtype.itemsize
    return [
        Measure(
            what=f"{what}: a million samples",
            figure=per_million,
            unit="CPU s",
            against=f"the aim of {aim:g} s",
            ratio=per_million / aim,
            aim=f"at most {aim:g} s",
            met=per_million <= aim,
        ),
        Measure(
            what=f"{what}: size",
            figure=size,
            unit="bytes/sample",
            against=f"{raw} bytes raw",
            ratio=size / raw,
            aim=f"at most {size_aim:g}" if size_aim else "shown",
            met=not size_aim or size <= size_aim,
        ),
    ]


def _negative(path: Path, rows: np.ndarray[Any, Any]) -> None:
    """What the writer thread does: blocks in, handed to the kernel ten times a second."""
    head = {
        "uuid": "7a7b4a54-9d1a-4a32-8f0c-0d6f1a0f0d6e",
        "streams": [{"name": "imu", "driver": "mpu6050", "identity": identity_as_json(IMU)}],
        "started": {"boot_time_ns": _START_NS, "wall_ns": 1_700_000_000 * 10**9},
    }
    samples = np.ascontiguousarray(rows).view(IMU.dtype).ravel()
    writer = NegativeWriter(path, head)
    for number, first in enumerate(range(0, SAMPLES, _ROWS)):
        part = samples[first : first + _ROWS]
        newest = first + len(part) - 1
        writer.write(0, Block(first, part, _START_NS + newest * 1_000_000, newest))
        if number % 3 == 0:
            writer.flush()
    writer.finish({"reason": "stop"})
