"""CPU seconds of pieces of work, taken in turns, so that a noisy machine is noisy for all of them."""

import cProfile
import pstats
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def cpu_s(work: Callable[[], object]) -> float:
    """Processor seconds of this process, its own and the system's for it."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def best_cpu_s(works: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, float]:
    """Of each the best of some rounds: what other users of the machine take is nobody's."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            best[name] = min(best[name], cpu_s(work))
    return best


def where(work: Callable[[], object], most: int = 4) -> str:
    """Which functions a piece of work spends its CPU in, in words: a profile, which makes many short calls dearer."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(work)
    entries = pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]
    total = sum(entry[2] for _, entry in entries) or 1.0
    worst = sorted(entries, key=lambda entry: -entry[1][2])[:most]
    return ", ".join(f"{100 * entry[2] / total:.0f} % in {_name(*key)}" for key, entry in worst)


def _name(file: str, line: int, function: str) -> str:
    return function.strip("<>") if file == "~" else f"{function} ({Path(file).name}:{line})"
