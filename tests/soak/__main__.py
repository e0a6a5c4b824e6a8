"""`python -m tests.soak --minutes 10 --seed 7`: voyages until the time is over; the results go to bench/SOAK.md."""

import argparse
import dataclasses
import datetime
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent import control
from tests.running import done
from tests.soak import damage, far_faults, process_faults, record
from tests.soak.ledger import balance
from tests.soak.rows import Account
from tests.soak.voyage import Starved, Voyage

FAULTS = [*process_faults.possible(), *far_faults.possible(), *damage.FAULTS]


def deal(seed: int, number: int, many: int, only: str = "") -> list[Callable[[Voyage], None]]:
    """The faults of one voyage, off shuffled decks: each comes once before any comes again. `only`: of these names."""
    known = [fault for fault in FAULTS if not only or fault.__name__ in only.split(",")]
    found = []
    for place in range(number * many, (number + 1) * many if known else 0):
        deck, card = divmod(place, len(known))
        found.append(random.Random(f"{seed}.deck.{deck}").sample(known, len(known))[card])
    return found


def sail(folder: Path, seed: int, number: int, faults: Sequence[Callable[[Voyage], None]]) -> tuple[Voyage, Account]:
    """One voyage through these faults, and its account."""
    chance = random.Random(f"{seed}.{number}")
    disk = ("ext4", "tmpfs")[number % 2] if process_faults.disk_full in faults else ""
    clock = process_faults.clock_step in faults
    with Voyage(folder, chance, disk=disk, sensors=chance.random() < 0.4, clock=clock) as voyage:
        for fault in faults:
            on = f" on {disk}" if fault is process_faults.disk_full else ""
            voyage.faults[fault.__name__ + on] += 1
            voyage.life.troubled.add(fault.__name__)
            print(f"  {fault.__name__}", end="", flush=True)
            time.sleep(chance.uniform(0, 1.5))
            try:
                fault(voyage)
            except (control.NoDaemon, control.CommandError, EOFError, TimeoutError):
                pass  # it ended while it was asked; what follows starts it again
            if voyage.revive():
                print(f" ({next(reversed(voyage.restarts), 'killed for want of memory')})", end="", flush=True)
        status = arrive(voyage)
        voyage.end()
        for stream, lines in voyage.schedule.items():
            for life in voyage.lives:
                for line in lines:
                    at, kind, _ = line.split()
                    if float(at) < (life.ended_ns - life.begun_ns) / 1e9 - 2:
                        voyage.faults[f"{stream} {kind}"] += 1
        for server in (voyage.one, voyage.two):
            voyage.faults.update({f"target: {kind}": count for kind, count in server.happened.items()})
        return voyage, balance(voyage, status)


def arrive(voyage: Voyage) -> dict[str, Any]:
    """Ends all recordings, owes refused parcels again, and waits until all is delivered; the status by then."""
    for attempt in range(5):
        try:
            for name in voyage.look()["recordings"]:
                voyage.ask("stop", recording=name)
            voyage.ask("sync")
            voyage.look(done, 240)
            if any(target["refused"] for target in voyage.life.status["targets"].values()):
                voyage.ask("retry")
                voyage.ask("sync")
                voyage.look(done, 240)
            return voyage.look()
        except (control.NoDaemon, control.CommandError, EOFError, ConnectionError, TimeoutError):
            if attempt == 4:
                raise
            voyage.revive()
    raise AssertionError


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    options.add_argument("--voyage", type=int, default=-1, help="only this one of them")
    options.add_argument("--voyages", type=int, default=0, help="this many of them, however long it takes")
    options.add_argument(
        "--only", default="", help="only faults of these names: sigkill,killed_at_start for many kills"
    )
    options.add_argument("--faults", type=int, default=8, help="of one voyage")
    options.add_argument("--keep", type=Path, help="where folders of voyages that do not balance are kept")
    options.add_argument("--dry", action="store_true", help="leave bench/SOAK.md as it is")
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was begun is cleared away
    print(f"seed {given.seed}", flush=True)
    begun, number = time.monotonic(), max(0, given.voyage)
    faults, restarts, sums, unbalanced = Counter(), Counter(), Counter(), []
    worst, voyages, starved = 0.0, 0, 0
    while voyages < given.voyages or (not given.voyages and time.monotonic() - begun < given.minutes * 60):
        folder = Path(tempfile.mkdtemp(prefix="soak-"))
        print(f"voyage {number}:", end="", flush=True)
        try:
            voyage, account = sail(
                folder / "sea", given.seed, number, deal(given.seed, number, given.faults, given.only)
            )
            faults += voyage.faults
            restarts += voyage.restarts
            sums += Counter({k: v for k, v in dataclasses.asdict(account).items() if isinstance(v, int)})
            worst = max(worst, account.worst_kill_ms)
            complaints = account.complaints
        except SystemExit:
            shutil.rmtree(folder, ignore_errors=True)
            break  # this voyage ends nowhere, and those before it count
        except Starved as error:
            print(f"\n  given up: {error}", flush=True)
            starved += 1
            shutil.rmtree(folder, ignore_errors=True)
            number += 1
            if given.voyage >= 0:
                break
            continue
        except Exception:
            complaints = [traceback.format_exc()]
        voyages += 1
        print(f"\n  {'balanced' if not complaints else 'DOES NOT BALANCE'}", flush=True)
        for text in complaints:
            print(f"  - {text}", flush=True)
        if complaints:
            unbalanced.append(f"voyage {number}: {_last(complaints[0])}")
            if given.keep:
                pipes = shutil.ignore_patterns("fiu*", "disk.img", "*.sock")
                shutil.copytree(folder, given.keep / f"{given.seed}.{number}", dirs_exist_ok=True, ignore=pipes)
        shutil.rmtree(folder, ignore_errors=True)
        number += 1
        if given.voyage >= 0:
            break
    run = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seed": given.seed,
        "minutes": (time.monotonic() - begun) / 60,
        "voyages": voyages,
        "starved": starved,
        "faults": faults,
        "restarts": restarts,
        "account": sums,
        "worst_kill_ms": worst,
        "unbalanced": unbalanced,
    }
    print(", ".join(f"{name} {count:,}" for name, count in sums.items()), flush=True)
    if not given.dry and (voyages or starved):
        record.add(run)
    return 1 if unbalanced else 0


def _last(complaint: str) -> str:
    """Its first line; of a traceback, what was raised."""
    lines = complaint.strip().splitlines()
    place = next((at for at, line in enumerate(lines) if line.partition(":")[0].endswith("Error")), 0)
    return lines[place][:200].replace("|", "/")


if __name__ == "__main__":
    sys.exit(main())
