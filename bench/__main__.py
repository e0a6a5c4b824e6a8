"""`python -m bench [NAME ...] [--compare]`: runs the benchmarks; writes RESULTS.md, or compares with it."""

import argparse
import importlib
import json
import os
import pkgutil
import platform
import subprocess
import sys
import time
from pathlib import Path

import bench
from bench import Measure

HERE = Path(__file__).parent
_WORSE = 1.25


def machine() -> str:
    """One line: processor, cores, kernel, Python."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{cpu}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def table(results: dict[str, list[Measure]]) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    lines = [
        "# Results",
        "",
        f"`make bench` on {machine()}; commit {commit.stdout.strip() or 'unknown'}, {time.strftime('%Y-%m-%d')}.",
        "Trust the ratios, which are taken within one run; the machine is shared.",
    ]
    for name, measures in results.items():
        lines += ["", f"## {name}", "", "| what | figure | against | ratio | aim | met |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {m.what} | {m.figure:,.4g} {m.unit} | {m.against} | {m.ratio:.3g} | {m.aim} | {_word(m.met)} |"
            for m in measures
        ]
    return "\n".join(lines) + "\n"


def _word(met: bool) -> str:
    return "yes" if met else "NO"


def worse(results: dict[str, list[Measure]], committed: dict[str, dict[str, float]]) -> list[str]:
    """What became worse by more than a quarter since the committed results."""
    found = []
    for name, measures in results.items():
        for m in measures:
            before = committed.get(name, {}).get(m.what)
            if before is None or not before:
                continue
            factor = m.ratio / before if m.lower_is_better else before / max(m.ratio, 1e-12)
            if factor > _WORSE:
                found.append(f"{name}: {m.what}: ratio {m.ratio:.3g}, was {before:.3g}")
    return found


def main() -> int:
    known = [module.name for module in pkgutil.iter_modules(bench.__path__) if module.name[0] != "_"]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(known)}; all where none is given")
    parser.add_argument(
        "--compare", action="store_true", help="fail where a ratio is 25 %% worse than the committed one"
    )
    given = parser.parse_args()
    results: dict[str, list[Measure]] = {}
    for name in given.names or known:
        print(f"{name} ...", flush=True)
        results[name] = importlib.import_module(f"bench.{name}").measure()
        for m in results[name]:
            print(
                f"  {m.what}: {m.figure:,.4g} {m.unit} (ratio {m.ratio:.3g}; {m.aim}: {'met' if m.met else 'NOT MET'})"
            )
    stored = HERE / "results.json"
    committed: dict[str, dict[str, float]] = json.loads(stored.read_text()) if stored.exists() else {}
    if given.compare:
        found = worse(results, committed)
        print("\n".join(found) or "nothing is more than 25 % worse than the committed results")
        return 1 if found else 0
    if not given.names:
        stored.write_text(json.dumps({n: {m.what: m.ratio for m in ms} for n, ms in results.items()}, indent=1) + "\n")
        (HERE / "RESULTS.md").write_text(table(results))
    return 0 if all(m.met for ms in results.values() for m in ms) else 1


if __name__ == "__main__":
    sys.exit(main())
