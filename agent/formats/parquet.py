"""Parquet: a row per sample of the fastest stream, raw values, for pandas, DuckDB, Polars. Needs the extra `parquet`.

Columns are `sequence` (jumps where samples were lost), `timestamp` (int64, ns since the capture's start) and the
channels, empty where a slower stream had nothing. Integers are stored as differences, packed in as many bits as they
need. What the capture is stands in the file's metadata: configuration, labels, start, and as `streams` each channel's
unit, scale and offset (physical value = raw * scale + offset), which also stand at the column itself.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.capture import Capture
from agent.film import Column, Film, Rows
from agent.formats._extra import missing
from agent.formats._payload import Cutter, channels_of, description, lead_of, written
from drivers import Block, check

if TYPE_CHECKING:
    import pyarrow

_GROUP = 1 << 16
"""Rows in a row group: the least that a reader reads, and what is held in memory; more saves less than 1 %."""
_LEVEL = 1
"""Of zstd; level 9 takes twice as long and saves 1 %."""
_ENCODINGS = {"i": "DELTA_BINARY_PACKED", "u": "DELTA_BINARY_PACKED", "f": "BYTE_STREAM_SPLIT", "b": "PLAIN"}
"""By the kind of a column's numpy type."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Parquet has no options."""

    def __post_init__(self) -> None:
        check(self, *missing("pyarrow.parquet", "parquet"))

    def open(self) -> "Parquet":
        """The format."""
        return Parquet()


class Parquet:
    """Renders a film as one table."""

    suffix = ".parquet"
    media_type = "application/vnd.apache.parquet"

    def develop(self, film: Film, path: Path, breathe: Callable[[], None]) -> dict[str, Any]:
        """Writes the file, a row group at a time."""
        from pyarrow import parquet  # noqa: PLC0415  an extra

        schema = _schema(film)
        kinds = {"sequence": "i", "timestamp": "i", **{c.name: np.dtype(c.dtype).kind for c in film.columns}}
        with (
            written(path) as file,
            parquet.ParquetWriter(
                file,
                schema,
                compression="zstd",
                compression_level=_LEVEL,
                use_dictionary=False,
                column_encoding={name: _ENCODINGS[kind] for name, kind in kinds.items()},
                write_page_checksum=True,
            ) as writer,
        ):
            group: list[Rows] = []
            for rows in film.rows():
                group.append(rows)
                if sum(len(part.sequence) for part in group) >= _GROUP:
                    writer.write_batch(_batch(schema, group, film), _GROUP)
                    group.clear()
                breathe()
            if group:
                writer.write_batch(_batch(schema, group, film), _GROUP)
        return {}

    def read(self, path: Path, capture: Capture) -> Iterator[Block]:
        """Rows as blocks. ValueError or OSError where the file is damaged.

        Columns of the fastest stream have their own type, those of slower ones float64, NaN where nothing was there.
        """
        from pyarrow import parquet  # noqa: PLC0415  an extra

        lead = lead_of(capture)
        ours = {channel.name for channel in channels_of(lead)}
        channels = [channel for stream in capture.document["streams"] for channel in channels_of(stream)]
        dtype = np.dtype([(c.name, c.dtype if c.name in ours else "<f8") for c in channels])
        cutter = Cutter(lead, capture)
        with (
            path.open("rb") as file,
            parquet.ParquetFile(file, page_checksum_verification=True, pre_buffer=False) as table,
        ):
            for batch in table.iter_batches(_GROUP, use_threads=False):
                samples = np.empty(batch.num_rows, dtype)
                for name in dtype.names or ():
                    samples[name] = batch.column(name).to_numpy(zero_copy_only=False)
                yield from cutter.cut(batch.column("sequence").to_numpy(), samples)


def _schema(film: Film) -> "pyarrow.Schema":
    import pyarrow  # noqa: PLC0415  an extra

    def field(column: Column) -> pyarrow.Field:
        channel = column.channel
        told = {"unit": channel.unit, "scale": repr(channel.scale), "offset": repr(channel.offset)}
        kind = pyarrow.from_numpy_dtype(np.dtype(column.dtype))
        return pyarrow.field(column.name, kind, nullable=column.track is not film.lead, metadata=told)

    return pyarrow.schema(
        [
            pyarrow.field("sequence", pyarrow.int64(), nullable=False),
            pyarrow.field("timestamp", pyarrow.int64(), nullable=False, metadata={"unit": "ns"}),
            *map(field, film.columns),
        ],
        metadata={**description(film), "streams": json.dumps(film.describe())},
    )


def _batch(schema: "pyarrow.Schema", group: list[Rows], film: Film) -> "pyarrow.RecordBatch":
    import pyarrow  # noqa: PLC0415  an extra

    def column(place: int) -> pyarrow.Array:
        values = np.concatenate([rows.columns[place] for rows in group])
        there = [rows.present[place] for rows in group]
        if all(each is None for each in there):
            return pyarrow.array(values)
        counts = [len(rows.sequence) for rows in group]
        masks = [np.zeros(n, np.bool_) if each is None else ~each for each, n in zip(there, counts, strict=True)]
        return pyarrow.array(values, mask=np.concatenate(masks))

    sequence = np.concatenate([rows.sequence for rows in group])
    time_ns = np.concatenate([rows.time_ns for rows in group]) - film.start_ns
    arrays = [pyarrow.array(sequence), pyarrow.array(time_ns), *map(column, range(len(film.columns)))]
    return pyarrow.record_batch(arrays, schema=schema)
