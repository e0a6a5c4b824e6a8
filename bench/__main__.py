"""`python -m bench [NAME ...] [--compare]`: measures, and brings RESULTS.md up to date or compares with it."""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import GROUPS, LONG
from bench._drawing import draw
from bench._results import Group, as_json, group_from, load, save, told, worse

HERE = Path(__file__).parent
_RESULTS = HERE / "results.json"


def machine() -> str:
    """Processor, cores, kernel, Python."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{cpu}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def measured(name: str) -> Group:
    """Measures one group, here and now."""
    module = importlib.import_module(f"bench.{name}")
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    )
    load_1min, begun = os.getloadavg()[0], time.monotonic()
    measures = module.measure()
    return Group(
        about=(module.__doc__ or "").partition("\n\n")[0].replace("\n", " "),
        command=f"python -m bench {name}",
        machine=machine(),
        commit=commit.stdout.strip() or "unknown",
        date=time.strftime("%Y-%m-%d"),
        seconds=time.monotonic() - begun,
        load=load_1min,
        measures=measures,
    )


def run(name: str) -> Group | None:
    """Measures one group in a process of its own, which leaves the memory of the others alone; None where it fails."""
    print(f"{name} ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        answer = Path(folder) / "answer.json"
        ended = subprocess.run([sys.executable, "-m", "bench", name, "--answer", str(answer)], check=False)
        if ended.returncode:
            print(f"  {name} ended with {ended.returncode}", flush=True)
            return None
        group = group_from(json.loads(answer.read_text()))
    for m in group.measures:
        state = "met" if m.met else f"NOT MET: {m.reason}"
        print(f"  {m.what}: {m.figure:,.4g} {m.unit} (ratio {m.ratio:.3g}; {m.aim}: {state})")
    print(f"  {group.seconds:.0f} s", flush=True)
    return group


def compare(names: list[str], committed: dict[str, Group]) -> int:
    """0 where no ratio is worse; what is, is measured once more, since a busy machine may have been the reason."""
    found = []
    for name in names:
        if name not in committed:
            print(f"{name}: no committed results to compare with")
            continue
        group = run(name)
        bad = worse(group, committed[name]) if group is not None else {}
        if bad:
            print("\n".join(f"  {what}: {how}" for what, how in bad.items()), "\n  once more:", flush=True)
            group = run(name)
            again = worse(group, committed[name]) if group is not None else {}
            bad = {what: how for what, how in again.items() if what in bad}
        found += [f"{name} failed"] if group is None else [f"{name}: {what}: {how}" for what, how in bad.items()]
    print("\n".join(found) or "nothing is more than 25 % worse than the committed results")
    return 1 if found else 0


def main() -> int:
    """0; 1 where something failed, became worse, or misses its aim for no reason that was measured."""
    known = (*GROUPS, *LONG)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(known)}; none: all but {' and '.join(LONG)}"
    )
    parser.add_argument("--compare", action="store_true", help="fail where a ratio is 25 %% worse than committed")
    parser.add_argument("--tell", action="store_true", help="only write RESULTS.md and pictures anew from results.json")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if strangers := [name for name in given.names if name not in known]:
        parser.error(f"no group {', '.join(strangers)}; there are {', '.join(known)}")
    if given.answer:
        given.answer.write_text(json.dumps(as_json(measured(given.names[0]))))
        return 0
    names, groups = given.names or list(GROUPS), load(_RESULTS)
    if given.compare:
        return compare(names, groups)
    failed = []
    for name in [] if given.tell else names:
        group = run(name)
        if group is None:
            failed.append(name)
            continue
        groups[name] = group
        save(_RESULTS, {one: groups[one] for one in known if one in groups})
    for name, group in groups.items():
        if given.tell or name in names:
            draw(group, HERE / f"{name}.png")
    (HERE / "RESULTS.md").write_text(told({one: groups[one] for one in known if one in groups}))
    unexplained = [m for group in groups.values() for m in group.measures if not m.met and not m.reason]
    return 1 if failed or unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
