"""Turns lines of text into rows: numbers apart by comma, tab or space, each perhaps with a label, `label:value`.

Numbers are what JavaScript's `Number()` takes for finite ones (Edge Impulse CLI, `data-forwarder.ts`); labels are
those of the Arduino plotter (`msgAggregatorWorker.ts` of its web app): up to the first colon.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, groupby, repeat
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from drivers import Block
from drivers._line import Piece
from drivers._unnumbered import Numbering, damaged_rows

LONGEST = 4096
"""A line with more bytes than this is none."""
_FEW = 8
"""Lines looked at together where not all that came are good."""
_SHOWN = 80
_COMMAS = bytes.maketrans(b",", b" ")
_PLAIN = b"0123456789+-.eE \t\r\v\f"
_OTHER_BASES = re.compile(rb"0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+")
_COLON = re.compile(rb"[ \t]*:[ \t]*")

Values = npt.NDArray[np.float64]


class Layout(NamedTuple):
    """What is in each line."""

    width: int
    labels: tuple[bytes, ...] = ()
    """In the order of the columns; empty where there are none."""


def values_of(line: bytes) -> tuple[Layout, list[float]] | None:
    """What stands in one line; None where that is not numbers, or not all of them have a label, or some."""
    tokens = line.translate(_COMMAS).split()
    if b":" not in line:
        values = [number(token) for token in tokens]
        labels: tuple[bytes, ...] = ()
    else:
        pairs = [token.partition(b":") for token in _COLON.sub(b":", line).translate(_COMMAS).split()]
        labels = tuple(label for label, _, _ in pairs)
        values = [number(value) for _, _, value in pairs]
        if len(set(labels)) < len(labels) or not all(labels):
            return None
    if not values or not all(map(math.isfinite, values)):
        return None
    return Layout(len(values), labels), values


def number(token: bytes) -> float:
    """A number as JavaScript reads it; NaN for all else."""
    try:
        if not token.translate(None, _PLAIN):
            return float(token)
        return float(int(token, 0)) if _OTHER_BASES.fullmatch(token) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def is_error(line: bytes) -> bool:
    """Whether the device says that it cannot go on: ERR or <ERR, in any case (`data-forwarder.ts`)."""
    return line.lstrip()[:4].upper().startswith((b"ERR", b"<ERR"))


def shown(line: bytes) -> str:
    """A line for people, cut to a bearable length."""
    return repr(line.strip()[:_SHOWN].decode(errors="backslashreplace"))


class Survey:
    """Finds out what a device sends, from the first end of a line on: `layout`, once there is one."""

    def __init__(self) -> None:
        self._layouts: Counter[Layout] = Counter()
        self._rest = b""
        self._cut = True
        self.error = b""
        """The line in which the device says that it cannot go on."""
        self.last_bad = b""

    @property
    def layout(self) -> Layout | None:
        """That of most lines of numbers; what stands before them (a banner, a header) is no matter."""
        return max(self._layouts, key=self._layouts.__getitem__, default=None)

    def count(self, data: bytes, _observed_ns: int) -> int:
        """How many lines of numbers these bytes complete."""
        if self._cut:
            _, end, data = data.partition(b"\n")
            self._cut = not end
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-LONGEST:]
        rows = 0
        for line in lines:
            if is_error(line):
                self.error = self.error or line
            elif found := values_of(line):
                self._layouts[found[0]] += 1
                rows += 1
            elif line.strip():
                self.last_bad = line
        return rows


def arrivals(pieces: Iterable[Piece], layout: Layout) -> list[tuple[int, int]]:
    """(time, rows) of each piece that completes rows of this layout."""
    decoder = Decoder(layout, np.dtype([(f"{n}", "<f8") for n in range(layout.width)]), 0.0)
    counted = ((ns, sum(block.count for block in decoder.feed(data, ns))) for data, ns in pieces)
    return [(ns, rows) for ns, rows in counted if rows]


class Decoder:
    """Turns bytes, however they are cut, into blocks. The first line is dropped: it may be the end of one."""

    def __init__(self, layout: Layout, dtype: np.dtype[np.void], rate_hz: float) -> None:
        self.counters = {"lines": 0, "bad_lines": 0, "banner_lines": 0}
        self.last_bad = b""
        """The last line that was none of ours; its beginning where it is long."""
        self.fatal = ""
        self._layout, self._dtype = layout, dtype
        self._prefixes = [label + b":" for label in layout.labels]
        self._doubtful = any(len(label.translate(None, _PLAIN)) < len(label) for label in layout.labels)
        """Whether a label has something in it that could stand in a number."""
        self._outline = b""
        """What is left of a good line without what may stand in numbers: nearly all have the same."""
        self._numbering = Numbering(rate_hz)
        self._rest = b""
        self._cut = True
        """Whether the line that is being received has no beginning."""
        self._mean = 0.0
        """Bytes of a good line."""
        self._skipped = 0
        """Rows that damaged lines were, since the last good one."""

    def advice(self) -> str:
        """What to look at where no line is good."""
        return f"each line should hold {self._layout.width} numbers; the last one was {shown(self.last_bad)}"

    def feed(self, data: bytes, observed_ns: int) -> list[Block]:
        """The rows of the lines that these bytes complete."""
        if self.fatal:
            return []
        if self._cut:
            _, newline, data = data.partition(b"\n")
            if not newline:
                return []
            self._cut = False
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        whole, self._rest = data[:end], data[end:]
        if len(self._rest) > LONGEST:
            self._bad(self._rest)
            self._rest, self._cut = b"", True
        runs = self._all_rows(whole) if whole else []
        coming = sum(len(values) for values, _ in runs)
        blocks = []
        for values, skipped in runs:
            missed = self._numbering.missed(observed_ns, coming)
            samples = values.view(self._dtype).reshape(-1)
            lost = max(skipped, missed)
            blocks.append(self._numbering.block(samples, observed_ns, lost=lost, torn=missed > 0))
        return blocks

    def _all_rows(self, whole: bytes) -> list[tuple[Values, int]]:
        """Rows that hang together, and how many are missing before each such run."""
        runs: list[tuple[list[Values], int]] = []
        good_bytes = good = 0
        for size, values in self._parts(whole):
            good, good_bytes = good + len(values), good_bytes + size
            self.counters["lines"] += len(values)
            if self._skipped or not runs:
                runs.append(([], self._skipped))
                self._skipped = 0
            runs[-1][0].append(values)
        if good:
            self._mean = good_bytes / good
        return [(np.concatenate(values), skipped) for values, skipped in runs]

    def _parts(self, whole: bytes) -> Iterator[tuple[int, Values]]:
        """Bytes and rows of what is good: of as many lines at once as have the outline of a good one."""
        outlines = whole.translate(None, _PLAIN)
        if outlines == (self._outline + b"\n") * outlines.count(b"\n"):
            yield from self._alike(whole)
            return
        known = self._outline
        pairs = zip(outlines.split(b"\n"), whole.split(b"\n")[:-1], strict=False)
        for alike, run in groupby(pairs, lambda pair: pair[0] == known):
            lines = [line for _, line in run]
            if self.fatal:
                return
            yield from self._alike(b"\n".join([*lines, b""])) if alike else self._line_by_line(lines)

    def _alike(self, whole: bytes) -> Iterator[tuple[int, Values]]:
        """The same of lines that have the outline of a good one: of all at once, or else of a few, or else of each."""
        values = self._good_rows(whole)
        if values is not None:
            yield len(whole), values
            return
        lines = whole.split(b"\n")[:-1]
        if len(lines) <= _FEW:
            yield from self._line_by_line(lines)
            return
        for first in range(0, len(lines), _FEW):
            yield from self._alike(b"\n".join([*lines[first : first + _FEW], b""]))

    def _good_rows(self, whole: bytes) -> Values | None:
        """The rows, where all these lines are good, which nearly all of them are.

        They have the outline of a good one. So where each has as many tokens, and each token is a number once what is
        as long as its label is cut off, then that was its label: for there are no more bytes that are not a number's.
        """
        width, prefixes = self._layout.width, self._prefixes
        fields = list(map(bytes.split, whole.translate(_COMMAS).split(b"\n")[:-1]))
        if set(map(len, fields)) != {width}:
            return None
        tokens = list(chain.from_iterable(fields))
        for column, prefix in enumerate(prefixes):
            ours, size = tokens[column::width], len(prefix)
            if self._doubtful and not all(map(bytes.startswith, ours, repeat(prefix))):
                return None
            tokens[column::width] = [token[size:] for token in ours]
        try:
            values = np.fromiter(map(float, tokens), np.float64, len(tokens))
        except ValueError:
            return None
        return values.reshape(-1, width) if np.isfinite(values).all() else None

    def _line_by_line(self, lines: Iterable[bytes]) -> Iterator[tuple[int, Values]]:
        for line in lines:
            if not line.strip():
                continue
            if is_error(line):
                self.fatal = f"the device says {shown(line)}"
                return
            row = self._row(line)
            if row is None:
                self._bad(line)
            else:
                yield len(line) + 1, np.array([row])

    def _row(self, line: bytes) -> list[float] | None:
        found = values_of(line) if len(line) <= LONGEST else None
        if found is None:
            return None
        layout, values = found
        if layout == self._layout:
            self._outline = line.translate(None, _PLAIN)
            return values
        if layout.labels and set(layout.labels) == set(self._layout.labels):
            by_label = dict(zip(layout.labels, values, strict=True))
            return [by_label[label] for label in self._layout.labels]
        return None

    def _bad(self, line: bytes) -> None:
        """Counts a line that is none of ours: text that stands by itself, or what rows became on their way."""
        self.last_bad = line[:LONGEST]
        if not self.counters["lines"]:
            self.counters["banner_lines"] += 1
            return
        self.counters["bad_lines"] += 1
        if 2 * len(line.translate(None, _PLAIN + b",:")) <= len(line):
            self._skipped += max(1, damaged_rows(len(line) + 1, self._mean))
