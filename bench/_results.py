"""What was measured, group by group: kept in results.json, told in RESULTS.md, compared with what was committed."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import GROUPS, LONG, Measure

_WORSE = 1.25


@dataclasses.dataclass(frozen=True)
class Group:
    """The results of one group, and of which run they are."""

    about: str
    """The first sentence of its module."""
    command: str
    machine: str
    commit: str
    date: str
    seconds: float
    load: float
    """Of the machine in the minute before."""
    measures: list[Measure]


def load(path: Path) -> dict[str, Group]:
    """The groups of a results.json, in the order in which they run; none where there is no such file."""
    if not path.exists():
        return {}
    document = json.loads(path.read_text())
    return {name: group_from(document[name]) for name in (*GROUPS, *LONG) if name in document}


def group_from(document: Mapping[str, Any]) -> Group:
    return Group(**{**document, "measures": [_measure_from(measure) for measure in document["measures"]]})


def _measure_from(document: Mapping[str, Any]) -> Measure:
    return Measure(**{**document, "curve": tuple((x, y) for x, y in document["curve"])})


def save(path: Path, groups: Mapping[str, Group]) -> None:
    path.write_text(json.dumps({name: as_json(group) for name, group in groups.items()}, indent=1) + "\n")


def as_json(group: Group) -> dict[str, Any]:
    return {**vars(group), "measures": [_measure_as_json(measure) for measure in group.measures]}


def _measure_as_json(measure: Measure) -> dict[str, Any]:
    """Four digits are more than any run repeats."""
    document = {**vars(measure), "peers": {name: _short(figure) for name, figure in measure.peers.items()}}
    document |= {"figure": _short(measure.figure), "ratio": _short(measure.ratio)}
    document["curve"] = [[_short(x), _short(y)] for x, y in measure.curve]
    return document


def _short(figure: float) -> float:
    return float(f"{figure:.5g}")


def told(groups: Mapping[str, Group]) -> str:
    """RESULTS.md."""
    unmet = [(name, m) for name, group in groups.items() for m in group.measures if not m.met]
    count = sum(len(group.measures) for group in groups.values())
    lines = [
        "# Results",
        "",
        "Made by `make bench`. Trust the ratios, which are taken within one run; the machine is shared.",
        f"Of {count} figures {len(unmet)} {'misses its aim' if len(unmet) == 1 else 'miss their aims'}"
        + ("; why stands below the table of each." if unmet else "."),
    ]
    for name, group in groups.items():
        lines += ["", f"## {name}", "", group.about, ""]
        lines += [
            f"`{group.command}` at commit {group.commit}, {group.date}: {group.seconds:.0f} s on {group.machine},"
            f" load {group.load:.1f} in the minute before."
        ]
        lines += ["", f"![{name}]({name}.png)", ""]
        lines += ["| what | figure | against | ratio | aim | met |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {m.what} | {m.figure:,.4g} {m.unit} | {m.against} | {m.ratio:.3g} | {m.aim} | {_word(m.met)} |"
            for m in group.measures
        ]
        missed = [m for m in group.measures if not m.met]
        if missed:
            lines += ["", *(f"- {m.what}: {m.reason or 'the reason has not been measured'}." for m in missed)]
    return "\n".join(lines) + "\n"


def _word(met: bool) -> str:
    return "yes" if met else "NO"


def worse(now: Group, committed: Group) -> dict[str, str]:
    """What became worse by more than a quarter since the committed results, and how, in words."""
    before, found = {m.what: m.ratio for m in committed.measures}, {}
    for m in now.measures:
        was = before.get(m.what, 0.0)
        if was <= 0 or not m.compared:
            continue  # new, of a peer that was not there, or a matter of chance
        if m.lower_is_better:
            factor = m.ratio / was
        elif not m.ratio:
            continue  # of a peer that is not here
        else:
            factor = was / m.ratio
        if factor > _WORSE:
            found[m.what] = f"ratio {m.ratio:.3g}, was {was:.3g}"
    return found
