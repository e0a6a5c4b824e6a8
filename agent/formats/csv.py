"""CSV: a row per sample of the fastest stream, first its `sequence`, which jumps where samples were lost."""

import dataclasses
import io
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.capture import Capture
from agent.film import Column, Film
from agent.formats import Format
from agent.formats import _digits as digits
from agent.formats._payload import Cutter, channels_of, lead_of, written
from drivers import Block, Channel, check, option

_EMPTY = re.compile(rb",(?=[,\n])")
_LINES = 1 << 18
"""Bytes of text parsed at a time."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Options of the CSV format."""

    timestamp: str = option(
        "second column: none, or seconds since the capture's start (6 decimals)", "none", choices=("none", "seconds")
    )
    units: str = option(
        "raw: integers as the sensor gave them; physical: raw * scale + offset, in the channel's unit",
        "raw",
        choices=("raw", "physical"),
    )

    def __post_init__(self) -> None:
        check(self)

    def open(self) -> Format:
        """The format with these options."""
        return Csv(self)


class Csv:
    """Renders a film as CSV text: cells are numbers or (nothing was there) empty."""

    suffix = ".csv"
    media_type = "text/csv"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def develop(self, film: Film, path: Path, breathe: Callable[[], None]) -> dict[str, Any]:
        """Writes the file, a chunk of rows at a time."""
        with written(path) as file:
            self.render(film, file.write, breathe)
        return {}

    def render(self, film: Film, write: Callable[[bytes], object], breathe: Callable[[], None]) -> None:
        """Gives the text to `write`, a chunk of rows at a time."""
        timestamp = self._settings.timestamp == "seconds"
        header = ["sequence", *(["timestamp"] if timestamp else []), *(column.name for column in film.columns)]
        write(",".join(header).encode())
        for rows in film.rows():
            cells = [digits.fixed(rows.sequence)]
            cells[0][:, 0] = ord("\n")
            if timestamp:
                cells.append(digits.fixed((rows.time_ns - film.start_ns + 500) // 1000, 6))
            for column, values, there in zip(film.columns, rows.columns, rows.present, strict=True):
                cell = self._cells(column, values)
                if there is not None:
                    cell[~there, 1:] = 0
                cells.append(cell)
            write(digits.joined(cells))
            breathe()
        write(b"\n")

    def _cells(self, column: Column, values: npt.NDArray[Any]) -> digits.Bytes:
        channel = column.channel
        if self._settings.units == "raw" or plain(channel):
            if values.dtype == np.int16:
                return digits.int16(values)
            if values.dtype.kind in "iu":
                return digits.fixed(values)
            if np.dtype(channel.dtype).kind == "f":
                return digits.shortest(values)
            return _decimal(values, 3)  # integers, interpolated
        physical = values * np.float64(channel.scale) + channel.offset
        if np.dtype(channel.dtype).kind == "f":
            return digits.shortest(physical)
        return _decimal(physical, decimals(channel))

    def read(self, path: Path, capture: Capture) -> Iterator[Block]:
        """Rows as blocks, one column after the other; raw values, whatever units the file is in.

        Columns of the fastest stream have their own type, those of slower ones float64, NaN where nothing was there.
        """
        with path.open("rb") as file:
            yield from self.parse(file, capture)

    def parse(self, file: io.BufferedIOBase, capture: Capture) -> Iterator[Block]:
        """The same of a text that is open."""
        lead = lead_of(capture)
        ours = {channel.name for channel in channels_of(lead)}
        channels = {channel.name: channel for s in capture.document["streams"] for channel in channels_of(s)}
        cutter = Cutter(lead, capture)
        names = file.readline().decode().strip().split(",")
        columns = [name for name in names if name in channels]
        wanted = np.dtype([(name, channels[name].dtype if name in ours else "<f8") for name in columns])
        physical: bool | None = None
        while lines := file.readlines(_LINES):
            if physical is None:
                physical = self._is_physical(dict(zip(names, lines[0].split(b","), strict=False)), channels, ours)
            texts = _EMPTY.sub(b",nan", b"".join(lines)).decode().splitlines()
            parsed = np.dtype(
                [
                    (name, wanted[name] if name in columns and not physical else "<i8" if not at else "<f8")
                    for at, name in enumerate(names)
                ]
            )
            table = np.loadtxt(texts, parsed, delimiter=",", comments=None, ndmin=1)
            samples = np.empty(len(table), wanted)
            for name in columns:
                samples[name] = _raw(table[name], channels[name], wanted[name]) if physical else table[name]
            yield from cutter.cut(table["sequence"], samples)

    def _is_physical(self, cells: dict[str, bytes], channels: dict[str, Channel], ours: set[str]) -> bool:
        """Whether a file holds physical units: then integer channels have decimals, which raw ones never have."""
        for name in ours & cells.keys():
            channel = channels[name]
            if np.dtype(channel.dtype).kind in "iu" and not plain(channel):
                return not cells[name].strip().lstrip(b"-").isdigit()
        return self._settings.units == "physical"


def plain(channel: Channel) -> bool:
    """Whether raw values are already in physical units."""
    return channel.scale == 1 and channel.offset == 0


def decimals(channel: Channel) -> int:
    """Decimals that tell two neighbouring raw values of an integer channel apart, with one to spare; at least one."""
    step = abs(channel.scale) or 1.0
    return min(max(math.ceil(-math.log10(step)) + 1, 1), digits.DECIMALS)


def _decimal(values: npt.NDArray[Any], places: int) -> digits.Bytes:
    scaled = values * 10.0**places
    if np.abs(scaled).max(initial=0) > 2.0**62:
        return digits.shortest(values)
    return digits.fixed(np.rint(scaled).astype(np.int64), places)


def _raw(physical: npt.NDArray[Any], channel: Channel, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    values = (physical - channel.offset) / channel.scale if not plain(channel) else physical
    return np.rint(values).astype(dtype) if dtype.kind in "iu" else values.astype(dtype)
