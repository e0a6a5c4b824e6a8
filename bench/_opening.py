"""What opening an outbox costs in time and memory, and how many disk syncs its work takes, beside those of others."""

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import Measure, absent
from bench._queues import KINDS, made, opened, work_command

_ROOT = Path(__file__).parent.parent

_OPENER = """
import json, sys, time
from pathlib import Path
from agent.database import Database
from bench._owed import TARGET, outbox_of
from bench._queues import most_bytes, resident_bytes
before, begun = resident_bytes(), time.perf_counter()
database = Database(Path(sys.argv[1]), quarantine=Path(sys.argv[1]).parent).open()
outbox = outbox_of(database)
outbox.release_all()
owed = outbox.counts()[TARGET].owed
opened = time.perf_counter() - begun
claimed = len(outbox.claim(TARGET, 50, lease_s=1))
print(json.dumps([opened, (most_bytes() - before) / 2**20, owed, claimed, "sqlite_utils" in sys.modules]))
database.close()
"""


def opening(path: Path, count: int, peers: dict[str, tuple[str, Path]]) -> list[Measure]:
    """With so many owed, each time in a process of its own: open, free the leases, count, claim."""
    command: list[Any] = [sys.executable, "-c", _OPENER, path]
    answers = [json.loads(subprocess.run(command, cwd=_ROOT, check=True, capture_output=True).stdout) for _ in range(5)]
    assert answers[0][2] > 0.9 * count and answers[0][3] == 50 and not answers[0][4], answers
    seconds = statistics.median(answer[0] for answer in answers)
    mebibytes = statistics.median(answer[1] for answer in answers)
    theirs = {name: opened(kind, place) for name, (kind, place) in peers.items()}
    return [
        Measure(
            f"open with {count} owed, free leases and count",
            seconds,
            "s",
            "the aim of 0.1 s" + "".join(f"; {name}: {its:.2g} s" for name, (its, _) in theirs.items()),
            seconds / 0.1,
            "under 0.1 s",
            seconds < 0.1,
            peers={name: its for name, (its, _) in theirs.items()},
            compared=False,
            reason=f"of five openings the fastest took {min(answer[0] for answer in answers):.3f} s",
        ),
        Measure(
            f"most memory that opening {count} owed and the first claim take",
            mebibytes,
            "MiB",
            "the aim of 20 MiB" + "".join(f"; {name}: {its:.3g} MiB" for name, (_, its) in theirs.items()),
            mebibytes / 20,
            "at most 20 MiB",
            mebibytes <= 20,
            peers={name: its for name, (_, its) in theirs.items()},
            reason=f"of five openings the leanest took {min(answer[1] for answer in answers):.1f} MiB",
        ),
    ]


_WORK = """
import sys
from pathlib import Path
from agent.catalogue import Catalogue
from agent.database import Database
from bench._owed import RECEIPT, TARGET, capture_of, outbox_of, owe
folder = Path(sys.argv[1])
captures = [capture_of(folder, number) for number in range(100)]
with Database(folder / "syncs.db", quarantine=folder) as database:
    catalogue, outbox = Catalogue(database, folder), outbox_of(database)
    print("begin", flush=True)
    for capture in captures:
        owe(database, catalogue, outbox, [capture], durable=True)
    for _ in range(2):
        outbox.settle([p.delivered(RECEIPT) for p in outbox.claim(TARGET, 50, lease_s=1)])
    print("end", flush=True)
"""


def syncs(folder: Path, missing: dict[str, str]) -> list[Measure]:
    """As strace counts them; nothing of peers that are missing."""
    what = "syncs for 100 captures owed one by one and delivered 50 at a time"
    strace = shutil.which("strace")
    if strace is None:
        return [absent(what, "fsyncs", "strace is not installed here")]

    def counted(command: list[str]) -> int:
        traced = [strace, "-f", "-e", "trace=fsync,fdatasync,write", *command]
        text = subprocess.run(traced, cwd=_ROOT, check=True, capture_output=True, text=True).stderr
        text = text.partition('"begin"')[2].partition('"end"')[0]
        assert text, "strace saw no beginning"
        return text.count("sync(")

    (folder / "syncs").mkdir()
    ours = counted([sys.executable, "-c", _WORK, str(folder / "syncs")])
    theirs = {
        kind: float(counted(work_command(kind, made(kind, folder / f"{kind} syncs", 0))))
        for kind in KINDS
        if kind not in missing
    }
    return [
        Measure(
            what,
            ours,
            "fsyncs",
            "102 transactions that have to be durable"
            + "".join(f"; {kind}: {its:.0f}" for kind, its in theirs.items()),
            ours / 102,
            "ratio at most 1.15",
            ours <= 1.15 * 102,
            peers=theirs,
            reason=f"{ours - 102} were for checkpoints of the write-ahead log or new files",
        )
    ]
