"""Power cuts: the machine that the daemon runs on is killed at random moments, and what it promised is held against it.

`python -m tests.system.power_cut`, run by power_cut.sh beside this. The host's record of what the guest had counted,
and of what reached its two servers, is the truth; the same ledger as the soak's judges what is on the disk at the end.
"""

import argparse
import contextlib
import datetime
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.soak import record
from tests.soak.far import Server
from tests.soak.layout import Range, rows_of
from tests.soak.ledger import balance
from tests.soak.life import Life
from tests.soak.rows import Account
from tests.soak.ship import configuration
from tests.soak.union import Union
from tests.system.power_cut_machine import Machine, Ticks

HERE = Path(__file__).parent
DURABLE_S = 2.0
LONGEST_S = DURABLE_S + 1.0
"""What a cut may cost at most."""
RATE_HZ = 50.0
"""Of the sensors: what an emulated machine can do."""
_HEAD = f"""
[agent]
device = "test"
device_id = "00000001"
data_dir = "/data/agent"
free_floor_bytes = 0
free_floor_percent = 0
date_wait_s = 0
durable_every_s = {DURABLE_S}
"""


class Cuts:
    """All that happened to one disk, as the ledger wants to know it."""

    own = ""
    disk_was_full = False

    def __init__(self, folder: Path, chance: random.Random, *, light: bool = False) -> None:
        """`light`: one board and no camera, for a host that is busy with other things."""
        self.folder = folder
        self.light = light
        self.data = folder / "disk" / "agent"
        self.one, self.two = Server(chance), Server(chance)
        self.lives: list[Life] = []
        self.promised: list[dict[str, int]] = []
        """Of each life: how many rows and pictures it had counted so long ago that no cut may cost them."""
        self.faults: Counter[str] = Counter()
        self.damaged: set[str] = set()
        self.schedule: dict[str, list[str]] = {"mcu": []} if light else {"imu": [], "mcu": []}

    def lost(self, stream: str, life: Life) -> list[Range]:
        """The rows of which no ledger may ask where they are."""
        return [(self.promised[self.lives.index(life)][stream], 1 << 62)] if life.how == "power cut" else []

    def note(self, ticks: Ticks, how: str) -> None:
        """A life of the daemon, as far as the host has heard of it."""
        if not ticks.boot_id:
            return  # the power went before it was started
        ended_ns = ticks.now_ns()
        life = Life(0, ended_ns, how, ticks.latest(), {how}, boot_id=ticks.boot_id, rate_hz=RATE_HZ)
        old = ticks.latest(ended_ns - int(LONGEST_S * 1e9))
        counted = {name: one["samples"] + one["lost"] * (name != "cam") for name, one in old.get("streams", {}).items()}
        self.lives.append(life)
        self.promised.append(
            {name: counted.get(name, 0) for name in (*self.schedule, *([] if self.light else ["cam"]))}
        )

    def judge(self, targets: dict[str, Any]) -> tuple[Account, list[float]]:
        """The account, and what each cut cost each stream that had come far enough, in seconds."""
        account = balance(self, {"targets": targets})
        captures = list(Union(self).captures.values())
        costs = []
        for life, promised in zip(self.lives, self.promised, strict=True):
            if life.how != "power cut":
                continue
            for stream in promised:
                recording = "photos" if stream == "cam" else stream
                own = [c for c in captures if life.holds(c) and c.recording == recording]
                if stream == "cam":
                    kept = len(own)
                else:
                    kept = max((end for c in own for _, end in rows_of(c.document)), default=0)
                if kept < promised[stream]:
                    why = f"{promised[stream]} of {stream} were promised and {kept} kept by the cut of {life.boot_id}"
                    account.complaints.append(why)
                ends = [c.document["start"]["boot_time_ns"] + c.document["duration_s"] * 1e9 for c in own]
                if promised[stream] and ends and stream != "cam":
                    costs.append((life.ended_ns - max(ends)) / 1e9)
        return account, costs


def whole(disk: Path, work: Path) -> list[str]:
    """What is wrong with file system and database right after a cut, before anybody has mended anything."""
    copy, place = work / "copy.img", work / "copy"
    place.mkdir(exist_ok=True)
    subprocess.run(["cp", "--sparse=always", disk, copy], check=True)
    wrong = []
    subprocess.run(["mount", "-o", "loop", copy, place], check=True)  # which replays the journal, as the guest does
    try:
        if (place / "agent" / "agent.db").exists():
            with contextlib.closing(sqlite3.connect(place / "agent" / "agent.db")) as database:
                (answer,) = database.execute("PRAGMA integrity_check").fetchone()
            if answer != "ok":
                wrong.append(f"the database is damaged: {answer}")
    finally:
        subprocess.run(["umount", place], check=True)
    checked = subprocess.run(["e2fsck", "-fn", copy], capture_output=True, text=True, check=False)
    if checked.returncode:
        wrong.append(f"the file system is damaged: {checked.stdout.strip()}")
    copy.unlink()
    return wrong


def sail(machine: Machine, cuts: Cuts, rounds: int, chance: random.Random) -> tuple[dict[str, Any], list[str]]:
    """That many cuts, and a last start in which everything is finished: what its targets said, and what was wrong."""
    wrong, usual_s = [], 30.0
    for number in range(rounds):
        begun = time.monotonic()
        early = chance.random() < 0.2 and number  # while it takes over what the cut before has left
        with machine.on("live") as ticks:
            if early:
                until = begun + chance.uniform(0.3, 1.2) * usual_s
                while time.monotonic() < until:
                    ticks.look()
            else:
                ticks.wait(_sampling)
                usual_s = time.monotonic() - begun
                until = time.monotonic() + chance.uniform(0.2, 20)
                while time.monotonic() < until:
                    ticks.look()
            machine.cut()
            cuts.note(ticks, "power cut")
        found = whole(machine.disk, machine.work)
        wrong += [f"round {number}: {text}" for text in found]
        when = f"{ticks.now_ns() / 1e9:.1f} s after it was switched on"
        how = "the daemon ran" if ticks.latest() else "the daemon did not run yet"
        print(f"round {number}: cut {when}, {how}; {'; '.join(found) or 'the disk is whole'}", flush=True)
    with machine.on("settle") as ticks:
        last = ticks.wait(lambda tick: "ended" in tick)
        machine.gone()
        cuts.note(ticks, "term")
        if last["ended"]:
            wrong.append(f"the daemon ended with {last['ended']}")
    return next(tick["targets"] for tick in reversed(ticks.all) if "targets" in tick), wrong


def _sampling(tick: dict[str, Any]) -> bool:
    return "streams" in tick and all(one["samples"] for one in tick["streams"].values())


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--mode", choices=("hostcache", "strict"), default="strict")
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    options.add_argument("--barriers", default="1")
    options.add_argument("--keep", type=Path)
    options.add_argument("--light", action="store_true", help="one board and no camera")
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was begun is cleared away
    print(f"seed {given.seed}, {given.mode}", flush=True)
    begun, chance = time.monotonic(), random.Random(given.seed)
    work: Path = given.work
    share = work / "share"
    share.mkdir()
    for name in ("power_cut_guest.py", "power_cut_guest.sh"):
        shutil.copy(HERE / name, share)
    shutil.copy(HERE / "power_cut_guest.sh", share / "boot")
    (share / "mount").write_text("defaults" if given.barriers == "1" else "barrier=0")
    machine = Machine(Path(os.environ["LAB"]), work, share, strict=given.mode == "strict")
    cuts = Cuts(work / "sea", chance, light=given.light)
    (cuts.folder / "disk").mkdir(parents=True)
    (cuts.folder / "archive").symlink_to(cuts.folder / "disk" / "archive")
    with cuts.one, cuts.two:
        there = [server.url.replace("127.0.0.1", "10.0.2.2") for server in (cuts.one, cuts.two)]
        archive = Path("/data/archive")
        config = configuration(
            *there, archive, schedule=cuts.schedule, rate_hz=RATE_HZ, longer=4.0, chip=False, light=given.light
        )
        (share / "config.toml").write_text(_HEAD + config)
        targets, wrong = sail(machine, cuts, given.rounds, chance)
        subprocess.run(["mount", "-o", "loop", machine.disk, cuts.folder / "disk"], check=True)
        try:
            account, costs = cuts.judge(targets)
        finally:
            if given.keep:
                shutil.copytree(work, given.keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.img", "*.sock"))
            subprocess.run(["umount", cuts.folder / "disk"], check=True)
    wrong += account.complaints
    for text in wrong:
        print(f"  - {text}")
    dearest = f"the dearest cut cost {max(costs, default=0):.2f} s"
    print(f"{account.captures} captures, {account.rows} rows, {account.pictures} pictures; {dearest}")
    if given.barriers == "1":
        record.add_cuts(
            {
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "seed": given.seed,
                "mode": given.mode,
                "minutes": (time.monotonic() - begun) / 60,
                "rounds": given.rounds,
                "captures": account.captures,
                "rows": account.rows,
                "pictures": account.pictures,
                "costs_s": [round(cost, 2) for cost in costs],
                "wrong": wrong,
            }
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
