"""Speed, size and memory, each as a ratio against a peer or a floor measured in the same run.

Each module here whose name does not begin with an underscore is a group: its docstring says what it measures, and
`measure() -> list[Measure]` does so. `python -m bench [NAME ...]` runs them, each in a process of its own, and brings
`results.json`, `RESULTS.md` and a picture per group up to date; with `--compare` it fails where a ratio is more than
25 % worse than the one committed.
"""

import dataclasses
from collections.abc import Mapping, Sequence

GROUPS = ("serial", "imu", "formats", "outbox", "pictures", "upload", "upload_far", "daemon", "growth")
"""What `make bench` runs, in this order."""
LONG = ("offline",)
"""Only by name: each takes longer than all others together."""


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
    peers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Figures of others in the same unit, for the picture."""
    curve: Sequence[tuple[float, float]] = ()
    """What the figure was over something else, for the picture."""
    curve_over: str = ""
    """What that is, with its unit."""
    compared: bool = True
    """Whether a worse ratio means that something became slower: not so where disk or chance decide."""
    reason: str = ""
    """Where the aim is not met: why, as measured in the same run."""


def beside(name: str, figure: float, unit: str) -> str:
    """The words of `against` for a peer or floor."""
    return f"{name}: {figure:,.4g} {unit}"


def absent(what: str, unit: str, why: str) -> Measure:
    """The row of a peer that cannot be measured here."""
    return Measure(what, 0.0, unit, why, 0.0, "to compare", True)
