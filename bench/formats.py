"""Files: bytes and processor time for a million six-axis samples in each format and in the negative, from what the
developer reads to the file on disk, against csv.writer, pandas.to_csv and JSON lines, which get arrays in memory."""

import csv
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.capture import SCHEMA, Capture
from agent.film import Film
from agent.formats import _digits as digits
from agent.formats import format_module
from agent.negative import NegativeWriter, identity_as_json
from bench import Measure, beside
from bench._texts import PEERS, PHYSICAL_PEERS
from bench._timing import best_cpu_s, where
from drivers import Block, Channel, Identity
from drivers.ports.virtual.motion import ACCEL_LSB_PER_G, GYRO_LSB_PER_DPS, Motion

Array = npt.NDArray[Any]

SAMPLES = 300_000
FLIGHT = Path(__file__).parents[2] / "shared" / "data" / "rocket_flight_imu.csv"
_FLIGHT_ROWS, _FLIGHT_ACCEL_SCALE = 7646, 0.75
"""Its peak is 20.3 g, beyond what the sensors here reach."""
_FLIGHT_LSB = (2048.0, 16.4)
"""Of the range of 16 g that it needs."""
_ROWS = 32
"""In a block: what a serial packet or two FIFO reads bring."""
_ROUNDS = 3
_START_NS = 10**15
NAMES = tuple(f"{sensor}{axis}" for sensor in ("Accelerometer", "Gyroscope") for axis in "XYZ")
SCALES = (1 / ACCEL_LSB_PER_G,) * 3 + (1 / GYRO_LSB_PER_DPS,) * 3
_UNITS = ("g",) * 3 + ("deg/s",) * 3
IMU = Identity(
    "MPU-6050",
    1000.0,
    tuple(Channel(name, unit, scale=scale) for name, unit, scale in zip(NAMES, _UNITS, SCALES, strict=True)),
)
_NEGATIVE = "negative"
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
        measures = [_rendering(rows), *_made(Path(name), rows)]
    if not FLIGHT.exists():
        print("  the real flight is not here: its sizes are left out")
        return measures
    flight = Motion(1, 100.0, replay=str(FLIGHT), replay_accel_scale=_FLIGHT_ACCEL_SCALE, lsb=_FLIGHT_LSB)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        return [*measures, *_sizes_of_flight(Path(name), flight.rows(0, _FLIGHT_ROWS))]


def _made(folder: Path, rows: Array) -> list[Measure]:
    """CPU and bytes of all formats and peers for these rows, in turns."""
    works, paths = _works(folder, rows)
    spent = {name: cpu / len(rows) * 1e6 for name, cpu in best_cpu_s(works, _ROUNDS).items()}
    sizes = {name: path.stat().st_size / len(rows) for name, path in paths.items()}
    _lossless(folder / _NEGATIVE, paths, rows)
    found = []
    for what, _, options, cpu_aim, size_aim in [(_NEGATIVE, "", {}, 1.0, 0.0), *_FORMATS]:
        peers = list(PHYSICAL_PEERS if options.get("units") == "physical" else PEERS)
        for unit, figures, aim in (("CPU s", spent, cpu_aim), ("bytes/sample", sizes, size_aim)):
            ours, theirs, word = figures[what], figures[peers[0]], "s" if unit == "CPU s" else "bytes"
            met = not aim or ours <= aim
            found.append(
                Measure(
                    what=f"{what}: {'a million samples' if unit == 'CPU s' else 'size'}",
                    figure=ours,
                    unit=unit,
                    against=beside(peers[0], theirs, unit),
                    ratio=ours / theirs,
                    aim=f"at most {aim:g} {word}" if aim else "shown",
                    met=met,
                    peers={peer: figures[peer] for peer in peers if peer in figures},
                    reason="" if met else _reason(what, unit, works, rows),
                )
            )
    return found


def _reason(what: str, unit: str, works: dict[str, Callable[[], object]], rows: Array) -> str:
    if unit == "CPU s":
        return where(works[what])
    steps = np.diff(rows.astype(np.int64), axis=0)
    bits = [_entropy_bits(steps[:, column]) for column in range(steps.shape[1])]
    return f"the steps from row to row alone hold {sum(bits) / 8:.2f} bytes of information a sample"


def _entropy_bits(values: Array) -> float:
    _, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def _works(folder: Path, rows: Array) -> tuple[dict[str, Callable[[], object]], dict[str, Path]]:
    """What to run for each file, and where it then is; the negative first, of which all formats are made."""
    negative = folder / _NEGATIVE
    works: dict[str, Callable[[], object]] = {_NEGATIVE: lambda: _negative(negative, rows)}
    paths = {_NEGATIVE: negative}
    for what, kind, options, *_ in _FORMATS:
        form, path = format_module(kind).Settings(**options).open(), folder / f"{what}{kind}"
        works[what] = lambda form=form, path=path: form.develop(Film.scan(negative), path, lambda: None)
        paths[what] = path
    physical = np.round(rows * np.array(SCALES), 5)  # as ours: all their digits would be for nothing
    for peers, values in ((PEERS, rows), (PHYSICAL_PEERS, physical)):
        for what, write in peers.items():
            path = folder / what
            try:
                write(path, values[:1], NAMES)
            except ImportError as error:
                print(f"  {what}: {error.name} is not installed here")
                continue
            works[what] = lambda write=write, path=path, values=values: write(path, values, NAMES)
            paths[what] = path
    return works, paths


def _lossless(negative: Path, paths: dict[str, Path], rows: Array) -> None:
    """Reads all files back; RuntimeError where one does not hold what was recorded."""
    film = Film.scan(negative)
    document = {"schema": SCHEMA, "start": {"boot_time_ns": film.start_ns}, "streams": film.describe()}
    for what, kind, options, *_ in _FORMATS:
        blocks = format_module(kind).Settings(**options).open().read(paths[what], Capture(negative.parent, document))
        got = np.concatenate([np.stack([block.samples[name] for name in NAMES], axis=1) for block in blocks])
        if not np.array_equal(got, rows):
            raise RuntimeError(f"{what} does not hold what was recorded")


def _sizes_of_flight(folder: Path, rows: Array) -> list[Measure]:
    """Of so few samples the processor time would tell nothing."""
    works, paths = _works(folder, rows)
    for work in works.values():
        work()
    _lossless(folder / _NEGATIVE, paths, rows)
    sizes = {what: path.stat().st_size / len(rows) for what, path in paths.items()}
    found = []
    for what, _, options, *_ in [(_NEGATIVE, "", {}), *_FORMATS]:
        peers = list(PHYSICAL_PEERS if options.get("units") == "physical" else PEERS)
        found.append(
            Measure(
                what=f"a rocket's flight, {what}",
                figure=sizes[what],
                unit="bytes/sample",
                against=beside(peers[0], sizes[peers[0]], "bytes/sample"),
                ratio=sizes[what] / sizes[peers[0]],
                aim="shown",
                met=True,
                peers={peer: sizes[peer] for peer in peers if peer in sizes},
            )
        )
    return found


def _rendering(rows: Array) -> Measure:
    """Rows of a sequence and six int16 to text in memory, against csv.writer on the same rows."""
    chunk, count = 4096, 20
    digits.int16(rows[:1, 0])  # the table is made once in a process
    parts = [(np.arange(first, first + chunk), rows[first : first + chunk]) for first in range(0, count * chunk, chunk)]

    def ours_of(sequence: Array, some: Array) -> bytes:
        cells = [digits.fixed(sequence)]
        cells[0][:, 0] = ord("\n")
        return digits.joined([*cells, *(digits.int16(some[:, place]) for place in range(6))])

    def theirs_of(sequence: Array, some: Array) -> bytes:
        text = io.StringIO()
        lists = zip(sequence.tolist(), some.tolist(), strict=True)
        csv.writer(text, lineterminator="\n").writerows([one, *row] for one, row in lists)
        return text.getvalue().encode()

    if any(ours_of(*part)[1:] + b"\n" != theirs_of(*part) for part in parts):
        raise RuntimeError("the two texts differ")
    works = {"ours": lambda: [ours_of(*part) for part in parts], "theirs": lambda: [theirs_of(*part) for part in parts]}
    spent = {name: cpu / count / chunk * 1e9 for name, cpu in best_cpu_s(works).items()}
    ratio = spent["theirs"] / spent["ours"]
    return Measure(
        what="rendering six int16 a row as CSV",
        figure=spent["ours"],
        unit="ns/row",
        against=beside("csv.writer", spent["theirs"], "ns/row"),
        ratio=ratio,
        aim="at least 8 times faster",
        met=ratio >= 8,
        lower_is_better=False,
        reason="" if ratio >= 8 else where(works["ours"]),
    )


def _negative(path: Path, rows: Array) -> None:
    """What the writer thread does: blocks in, handed to the kernel ten times a second."""
    head = {
        "uuid": "7a7b4a54-9d1a-4a32-8f0c-0d6f1a0f0d6e",
        "streams": [{"name": "imu", "driver": "mpu6050", "identity": identity_as_json(IMU)}],
        "started": {"boot_time_ns": _START_NS, "wall_ns": 1_700_000_000 * 10**9},
    }
    samples = np.ascontiguousarray(rows).view(IMU.dtype).ravel()
    path.unlink(missing_ok=True)
    writer = NegativeWriter(path, head)
    for number, first in enumerate(range(0, len(samples), _ROWS)):
        part = samples[first : first + _ROWS]
        newest = first + len(part) - 1
        writer.write(0, Block(first, part, _START_NS + newest * 1_000_000, newest))
        if number % 3 == 0:
            writer.flush()
    writer.finish({"reason": "stop"})
