"""What a running process needs, as the kernel tells: processor by process and by thread, memory."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Look(NamedTuple):
    """The daemon at one moment."""

    at_s: float
    """Since it was first looked at."""
    cpu_s: float
    """That its process has used since then."""
    rss_mib: float


def cpu_s_by_thread(pid: int) -> dict[str, float]:
    """CPU seconds of the threads that are there, those of one name together."""
    spent: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            name, _, fields = (task / "stat").read_text().partition("(")[2].rpartition(") ")
            ticks = fields.split()
            spent[name] = spent.get(name, 0.0) + (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
    return spent


def busiest(before: dict[str, float], after: dict[str, float], seconds: float, most: int = 6) -> str:
    """The threads that needed most between two such accounts, in words."""
    percents = {name: 100 * (spent - before.get(name, 0.0)) / seconds for name, spent in after.items()}
    worst = sorted(percents, key=lambda name: -percents[name])[:most]
    return ", ".join(f"{name} {percents[name]:.1f} %" for name in worst if percents[name] >= 0.05)


def cpu_percent(looks: Sequence[Look]) -> float:
    """Of one core, from the first look to the last."""
    return 100 * (looks[-1].cpu_s - looks[0].cpu_s) / (looks[-1].at_s - looks[0].at_s)


def cpu_curve(looks: Sequence[Look], stride: int = 5) -> list[tuple[float, float]]:
    """Percent of a core over time."""
    pairs = zip(looks[:-stride:stride], looks[stride::stride], strict=False)
    return [(after.at_s, cpu_percent((before, after))) for before, after in pairs]


def cpu_s_of(pid: int) -> float:
    """CPU seconds of a process, its own and the system's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_s_of_children(pid: int) -> float:
    """CPU seconds of the processes that it has started and that still run."""
    spent = 0.0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            spent += cpu_s_of(int(process.name)) if int(parent) == pid else 0.0
    return spent


def rss_mib_of(pid: int) -> float:
    """Resident memory of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
