"""Speed and memory, as ratios against a peer or a floor measured in the same run.

Each module here whose name does not begin with an underscore has `measure() -> list[Measure]`. `python -m bench
[NAME ...]` runs them and writes `RESULTS.md` and `results.json`; with `--compare` it fails where a ratio is more than
25 % worse than the one committed.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Measure:
    """One figure. `ratio` is what is compared between runs and machines: to the peer or floor, or to the aim."""

    what: str
    figure: float
    unit: str
    against: str
    """The peer or floor measured in the same run, with its figure; or the aim itself."""
    ratio: float
    aim: str
    """The bound in words, e.g. `ratio at most 4`."""
    met: bool
    lower_is_better: bool = True
