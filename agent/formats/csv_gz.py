"""CSV, compressed while it is written: what `csv` makes with the same options, as a gzip file."""

import dataclasses
import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.capture import Capture
from agent.film import Film
from agent.formats import csv
from agent.formats._payload import written
from drivers import Block

_LEVEL = 1
"""Level 6 takes nine times as long for noise in digits, and saves 13 % more."""
_GZIP = 16 + zlib.MAX_WBITS
"""A gzip header, without a name or a date: equal data give equal bytes."""


@dataclasses.dataclass(frozen=True)
class Settings(csv.Settings):
    """Options of the CSV format."""

    def open(self) -> "CsvGz":
        """The format with these options."""
        return CsvGz(csv.Csv(self))


class CsvGz:
    """Renders a film as CSV text in a gzip file."""

    suffix = ".csv.gz"
    media_type = "application/gzip"

    def __init__(self, text: csv.Csv) -> None:
        self._text = text

    def develop(self, film: Film, path: Path, breathe: Callable[[], None]) -> dict[str, Any]:
        """Writes the file, a chunk of rows at a time."""
        deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        with written(path) as file:
            self._text.render(film, lambda text: file.write(deflate.compress(text)), breathe)
            file.write(deflate.flush())
        return {}

    def read(self, path: Path, capture: Capture) -> Iterator[Block]:
        """What `csv` reads from the text. ValueError where the file is damaged."""
        try:
            with gzip.open(path, "rb") as file:
                yield from self._text.parse(file, capture)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: no whole gzip file: {error}") from None
