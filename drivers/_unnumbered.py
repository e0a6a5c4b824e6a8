"""Indexes for rows that carry no number: what is lost between them is estimated, from damage and from time."""

import numpy as np

from drivers import Block, Samples

_SILENCE_NS, _SILENT_PERIODS = 150_000_000, 4
"""A pause this long, and of so many periods, may have swallowed rows."""
_JITTER_S, _FEWEST = 0.05, 1.5
"""What time and rate miss has to be more than this to count: data also comes late, and then all of it at once."""


class Numbering:
    """Counts the rows of one device."""

    def __init__(self, rate_hz: float, rows: int = 1) -> None:
        """`rows` is how many of them come together in one frame."""
        self._rate_hz, self._rows = rate_hz, rows
        self._index = self._segment = 0
        self._observed_ns: int | None = None

    def missed(self, observed_ns: int, coming: int) -> int:
        """Rows that time and rate say are missing before the `coming` rows; 0 where there was no pause."""
        if self._observed_ns is None or self._rate_hz <= 0:
            return 0
        passed_ns = observed_ns - self._observed_ns
        if passed_ns < max(_SILENCE_NS, _SILENT_PERIODS * self._rows / self._rate_hz * 1e9):
            return 0
        missed = passed_ns * 1e-9 * self._rate_hz - coming
        return round(missed) if missed > max(_FEWEST * self._rows, _JITTER_S * self._rate_hz) else 0

    def passed(self, observed_ns: int, coming: int) -> int:
        """Rows missing before the `coming` ones by time alone, however short that was."""
        if self._observed_ns is None:
            return 0
        return max(0, round((observed_ns - self._observed_ns) * 1e-9 * self._rate_hz) - coming)

    def block(
        self, samples: Samples, observed_ns: int, *, lost: int = 0, exact: bool = False, torn: bool = False
    ) -> Block:
        """The block of these rows, which come after `lost` ones; `torn`: time and index have lost touch."""
        if torn and self._observed_ns is not None:
            self._segment += 1
        if self._observed_ns is None:
            lost = 0  # nobody was there to miss it
        first = self._index + lost
        self._index = first + len(samples)
        self._observed_ns = observed_ns
        samples.flags.writeable = False
        return Block(first, samples, observed_ns, self._index - 1, lost, exact or not lost, self._segment)


def damaged_rows(size: int, mean: float) -> int:
    """How many rows (or frames) of `mean` bytes that many damaged bytes were, more or less a few bytes."""
    return int(np.floor(size / mean + 0.5)) if mean > 0 else 0
