"""How samples usually become text: csv.writer, pandas.to_csv and a JSON document a line, each from arrays in memory."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Write = Callable[[Path, Array, Sequence[str]], None]


def by_csv_writer(path: Path, rows: Array, names: Sequence[str]) -> None:
    """A line a row, its number first."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", *names])
        writer.writerows([number, *row] for number, row in enumerate(rows.tolist()))


def by_pandas(path: Path, rows: Array, names: Sequence[str]) -> None:
    """A data frame with the number as its index. ImportError where pandas is not installed."""
    import pandas

    pandas.DataFrame(rows, columns=list(names)).to_csv(path, index_label="sequence")


def by_json_lines(path: Path, rows: Array, names: Sequence[str]) -> None:
    """A document a row."""
    with path.open("w") as file:
        for number, row in enumerate(rows.tolist()):
            file.write(json.dumps({"sequence": number, **dict(zip(names, row, strict=True))}) + "\n")


PEERS: dict[str, Write] = {"csv.writer": by_csv_writer, "pandas.to_csv": by_pandas, "JSON lines": by_json_lines}
PHYSICAL_PEERS: dict[str, Write] = {f"{name}, physical units": write for name, write in PEERS.items()}
