"""bench/SOAK.md: what all voyages so far have shown, added up, with the seeds that repeat them."""

import fcntl
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_SUMS = _ROOT / "bench" / "soak.json"
_CUTS = _ROOT / "bench" / "power_cuts.json"
_PAGE = _ROOT / "bench" / "SOAK.md"
_WORDS = {
    "rows": "samples in files, each compared with what the sensor sent",
    "lost_exact": "samples lost and counted exactly by the wire",
    "lost_estimated": "samples lost and estimated (FIFOs that ran over, devices without power)",
    "estimates": "gaps whose length was estimated, and whose true length was known",
    "estimates_off": "of these, off by more than 1 sample and 0.02 % (the machine halted while it looked at the chip)",
    "samples_off": "samples by which those are off, together",
    "unrecorded": "samples not written, and counted so (a disk that was full or failed)",
    "damaged": "samples that the harness destroyed on the disk, each in a file it had read before",
    "garbled": "samples changed on the line past its own checksum",
    "untold": "samples missing behind the last status of a life in trouble, whose counters went with it",
    "pictures": "pictures, each compared with the camera's",
    "captures": "captures",
    "delivered": "deliveries, each file compared",
    "deleted": "captures deleted here after delivery, to make room",
    "quarantined": "files in quarantine, each with its reason",
    "all_kills": "lives that SIGKILL ended",
    "kills": "streams among them without other trouble: all that was taken 0.5 s before the kill must be there",
    "timed_kills": "of these, streams whose sensor was read until the kill: it may cost 0.5 s",
}


def add(run: dict[str, Any]) -> None:
    """Adds one run of voyages to the sums and writes the page anew."""
    _append(_SUMS, run)


def add_cuts(run: dict[str, Any]) -> None:
    """Adds one run of power cuts and writes the page anew."""
    _append(_CUTS, run)


def _append(path: Path, run: dict[str, Any]) -> None:
    with _PAGE.open("a") as page:
        fcntl.flock(page, fcntl.LOCK_EX)  # several may sail at once
        runs = [*_runs(path), {"commit": _commit(), "machine": _machine(), **run}]
        path.write_text(json.dumps(runs, indent=1) + "\n")
        text = _page(_runs(_SUMS)) + _cuts(_runs(_CUTS))
        page.truncate(0)
        page.write(text + f"\nMachine of the last run: {runs[-1]['machine']}.\n")


def _runs(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text()) if path.exists() else []


def _cuts(runs: list[dict[str, Any]]) -> str:
    """The part on power cuts."""
    lines = [
        "",
        "# Power cuts so far",
        "",
        "Written by `tests/system/power_cut.sh` (`make power-cuts`): an emulated machine with the daemon on it is",
        "killed at random, and started again. `hostcache`: its memory is lost; `strict`: the cache of its disk, too.",
        "After each cut file system and database are checked as they are, after the last one the same ledger as above",
        "is drawn up: nothing that was counted `durable_every_s` + 1 s (3 s) before a cut may be missing.",
        "",
        "| mode | cuts | captures | samples | pictures | wrong | dearest cut | on average |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for mode in sorted({run["mode"] for run in runs}):
        own = [run for run in runs if run["mode"] == mode]
        many = " | ".join(f"{sum(run[key] for run in own):,}" for key in ("rounds", "captures", "rows", "pictures"))
        costs = [cost for run in own for cost in run["costs_s"]]
        dear = f"{max(costs, default=0):.2f} s | {sum(costs) / max(1, len(costs)):.2f} s"
        lines.append(f"| {mode} | {many} | {sum(len(run['wrong']) for run in own)} | {dear} |")
    lines += ["", "| date | commit | seed | mode | cuts | minutes | wrong |", "|---|---|---|---|---|---|---|"]
    for run in runs:
        wrong = "; ".join(run["wrong"])[:300].replace("|", "/") or "nothing"
        what = f"{run['seed']} | {run['mode']} | {run['rounds']} | {run['minutes']:.1f}"
        lines.append(f"| {run['date']} | {run['commit']} | {what} | {wrong} |")
    return "\n".join([*lines, ""])


def _page(runs: list[dict[str, Any]]) -> str:
    faults, restarts, sums = _sum(runs, "faults"), _sum(runs, "restarts"), _sum(runs, "account")
    worst = max((run["worst_kill_ms"] for run in runs), default=0)
    lines = [
        "# The soak: faults so far",
        "",
        "Written by `python -m tests.soak --minutes M --seed S` (`make soak`): voyages of a real daemon with virtual",
        "sensors, two HTTP servers, an archive folder and a broker, through faults drawn from the seed. After each",
        "voyage every sample and picture in every file is compared with what the sensor sent, every delivered file",
        "with its hash, and what is missing with the counters.",
        "",
        "| fault | times |",
        "|---|---|",
        *(f"| {name.replace('_', ' ')} | {count} |" for name, count in sorted(faults.items())),
        "",
        "| ledger | |",
        "|---|---|",
        f"| voyages | {sum(run['voyages'] for run in runs)} |",
        f"| given up, because the machine gave the daemon no time | {sum(run.get('starved', 0) for run in runs)} |",
        f"| of which did not balance | {sum(len(run['unbalanced']) for run in runs)} |",
        *(f"| {words} | {sums.get(name, 0):,} |" for name, words in _WORDS.items()),
        f"| the most that a kill cost such a stream | {worst:.0f} ms |",
        "",
        "The daemon ended by itself, to be started again by systemd (all faults of that life, the thread, its error):",
        "",
        *(f"- {name.replace('_', ' ')}: {count}" for name, count in sorted(restarts.items())),
        *([] if restarts else ["- nothing"]),
        "",
        "| date | commit | seed | minutes | voyages | faults | did not balance |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        many = sum(run["faults"].values())
        bad = "; ".join(run["unbalanced"]) or "none"
        sailed = f"{run['seed']} | {run['minutes']:.1f} | {run['voyages']} | {many}"
        lines.append(f"| {run['date']} | {run['commit']} | {sailed} | {bad} |")
    return "\n".join([*lines, ""])


def _sum(runs: list[dict[str, Any]], key: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for run in runs:
        for name, count in run[key].items():
            found[name] = found.get(name, 0) + count
    return found


def _commit() -> str:
    """The commit, and whether what was tested differs from it."""
    git = ["git", "-C", str(_ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "agent", "drivers", "tests"], check=False)
    return (head.stdout.strip() or "unknown") + ("-dirty" if changed.returncode == 1 else "")


def _machine() -> str:
    return f"{platform.machine()}, Linux {platform.release()}, Python {sys.version.split()[0]}"
