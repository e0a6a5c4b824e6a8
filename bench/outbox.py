"""The outbox with a thousand, a hundred thousand and a million owed, against the durable queues on PyPI: put, claim and
acknowledge, open, memory and disk syncs. Ours keeps a catalogue besides, and a parcel survives a power cut."""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.catalogue import Catalogue
from agent.database import Database
from bench import Measure, absent, beside
from bench._opening import opening, syncs
from bench._owed import RECEIPT, TARGET, capture_of, filled, outbox_of, owe
from bench._queues import KINDS, Absent, made

_BATCH = 50
_ROUNDS = 40
DEPTHS = (1_000, 100_000, 1_000_000)
_PEER_S = 2.0
"""How long a peer may claim and acknowledge at each depth: one of them takes a third of a second for each."""
_STEP = 5

Figures = dict[int, dict[str, float]]
"""By depth, by peer."""


def measure() -> list[Measure]:
    with _folder() as folder:
        peers, missing = {depth: dict[str, Path]() for depth in DEPTHS}, {}
        for kind in KINDS:
            for depth in DEPTHS:
                try:
                    peers[depth][kind] = made(kind, folder / f"{kind} {depth}", depth)
                except Absent as error:
                    missing[kind] = str(error)
                    break
        found = [_put(folder / "put", durable, missing) for durable in (False, True)]
        depths = {depth: filled(folder / str(depth), depth) for depth in DEPTHS}
        found += _claim_and_settle(folder, depths, peers)
        found += opening(depths[DEPTHS[-1]], DEPTHS[-1], _to_open(peers))
        found += syncs(folder, missing)
    return [*found, *(absent(f"the outbox beside {kind}", "parcels/s", why) for kind, why in missing.items())]


def _to_open(peers: dict[int, dict[str, Path]]) -> dict[str, tuple[str, Path]]:
    """(kind, folder) of each peer at the deepest that can be waited for, by a name that says so."""
    found = {}
    for kind in peers[DEPTHS[-1]]:
        depth = min(DEPTHS[-1], getattr(KINDS[kind], "deepest_opened", DEPTHS[-1]))
        found[kind if depth == DEPTHS[-1] else f"{kind} with {depth}"] = kind, peers[depth][kind]
    return found


def _put(folder: Path, durable: bool, missing: dict[str, str]) -> Measure:
    """One by one, as recordings end."""
    folder.mkdir(exist_ok=True)
    count = 300 if durable else 1000
    with Database(folder / f"{durable}.db", quarantine=folder) as database:
        catalogue, outbox = Catalogue(database, folder), outbox_of(database)
        captures = [capture_of(folder, number) for number in range(count)]
        floor_s = _floor(folder)
        begun = time.perf_counter()
        for capture in captures:
            owe(database, catalogue, outbox, [capture], durable=durable)
        rate = count / (time.perf_counter() - begun)
    theirs = {}
    for kind in KINDS.keys() - missing.keys() if durable else ():
        queue = KINDS[kind](made(kind, folder / kind, 0))
        begun = time.perf_counter()
        queue.put(count)
        theirs[kind] = count / (time.perf_counter() - begun)
        queue.close()
    theirs = dict(sorted(theirs.items(), key=lambda item: -item[1]))
    return Measure(
        f"catalogued and owed, one by one, {'durable (FULL)' if durable else 'NORMAL'}",
        rate,
        "captures/s",
        beside("fdatasync after an append", 1 / floor_s, "/s")
        + "".join(f"; {kind}: {its:,.0f}/s" for kind, its in theirs.items()),
        floor_s * rate,
        "shown; durable ones are bound by the disk",
        True,
        lower_is_better=False,
        peers={"fdatasync after an append": 1 / floor_s} | theirs,
        compared=False,
    )


def _claim_and_settle(folder: Path, depths: dict[int, Path], peers: dict[int, dict[str, Path]]) -> list[Measure]:
    """Rounds at each depth in turn, so that a noisy machine is noisy for all of them."""
    times: dict[int, list[float]] = {depth: [] for depth in depths}
    cpu = dict.fromkeys(depths, 0.0)
    floors = [_floor(folder)]
    databases = {depth: Database(path, quarantine=folder).open() for depth, path in depths.items()}
    try:
        for _ in range(_ROUNDS):
            for depth, database in databases.items():
                outbox = outbox_of(database)
                begun, used = time.perf_counter(), time.process_time()
                parcels = outbox.claim(TARGET, _BATCH, lease_s=60)
                outbox.settle([parcel.delivered(RECEIPT) for parcel in parcels])
                times[depth].append(time.perf_counter() - begun)
                cpu[depth] += time.process_time() - used
                assert len(parcels) == _BATCH
                if depth == DEPTHS[0]:  # stays as deep as it was
                    with database.transaction(durable=False) as connection:
                        connection.execute("UPDATE parcel SET state = 'waiting' WHERE state = 'delivered'")
            floors.append(_floor(folder))
    finally:
        for database in databases.values():
            database.close()
    rates = {depth: _BATCH / statistics.median(spent) for depth, spent in times.items()}
    us = {depth: spent / _ROUNDS / _BATCH * 1e6 for depth, spent in cpu.items()}
    theirs, their_us = _cycles(peers)
    floor_s = statistics.median(floors)
    slow = f"a batch of {_BATCH} makes one fdatasync, which took {floor_s * 1e3:.2f} ms"
    found = []
    for depth in DEPTHS:
        best = max(theirs[depth], key=lambda kind, depth=depth: theirs[depth][kind], default="")
        against = beside(f"the best, {best}", theirs[depth][best], "/s") if best else "no peer is here"
        found.append(
            Measure(
                f"claim and settle, {_BATCH} at a time, durable, {depth} owed",
                rates[depth],
                "parcels/s",
                against,
                rates[depth] / (theirs[depth][best] if best else 10_000),
                "at least 10,000/s",
                rates[depth] >= 10_000,
                lower_is_better=False,
                peers=theirs[depth],
                compared=False,
                reason=f"{us[depth]:.0f} us of CPU each, and {slow}",
            )
        )
    for depth in DEPTHS[1:]:
        ratio = rates[depth] / rates[DEPTHS[0]]
        found.append(
            Measure(
                f"the same with {depth} owed as with {DEPTHS[0]}",
                rates[depth],
                "parcels/s",
                beside(f"{DEPTHS[0]} owed", rates[DEPTHS[0]], "/s"),
                ratio,
                "ratio at least 0.8",
                ratio >= 0.8,
                lower_is_better=False,
                reason=f"CPU is {us[depth] / us[DEPTHS[0]]:.2f} times that with {DEPTHS[0]} owed; {slow}",
            )
        )
    ratio = us[DEPTHS[-1]] / us[DEPTHS[0]]
    leanest = min(their_us[DEPTHS[0]], key=lambda kind: their_us[DEPTHS[0]][kind], default="")
    if leanest:
        its = their_us[DEPTHS[0]][leanest]
        found.append(
            Measure(
                f"CPU of claim and settle, {DEPTHS[0]} owed",
                us[DEPTHS[0]],
                "us/parcel",
                beside(f"the leanest, {leanest}", its, "us"),
                us[DEPTHS[0]] / its,
                "shown",
                True,
                peers=their_us[DEPTHS[0]],
            )
        )
    return [
        *found,
        Measure(
            f"CPU of claim and settle, {DEPTHS[-1]} owed",
            us[DEPTHS[-1]],
            "us/parcel",
            beside(f"{DEPTHS[0]} owed", us[DEPTHS[0]], "us"),
            ratio,
            "ratio at most 1.25",
            ratio <= 1.25,
            peers=their_us[DEPTHS[-1]],
            reason=f"its file has {depths[DEPTHS[-1]].stat().st_size / 1e6:.0f} MB, of which 0.4 MB are cached",
        ),
    ]


def _cycles(peers: dict[int, dict[str, Path]]) -> tuple[Figures, Figures]:
    """(items a second, us of CPU an item) of peers that claim and acknowledge."""
    rates: Figures = {depth: {} for depth in peers}
    us: Figures = {depth: {} for depth in peers}
    for depth, places in peers.items():
        for kind, place in places.items():
            queue = KINDS[kind](place)
            done, begun, used = 0, time.perf_counter(), time.process_time()
            while (spent := time.perf_counter() - begun) < _PEER_S and done < depth // 2:
                queue.cycle(_STEP)
                done += _STEP
            rates[depth][kind], us[depth][kind] = done / spent, (time.process_time() - used) / done * 1e6
            queue.close()
    return rates, us


def _floor(folder: Path) -> float:
    """Seconds of appending 4 KiB and making it durable; the median of five."""
    spent = []
    with (folder / "floor").open("ab", buffering=0) as file:
        for _ in range(5):
            begun = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            spent.append(time.perf_counter() - begun)
    return statistics.median(spent)


@contextmanager
def _folder() -> Iterator[Path]:
    """Here, and not in /tmp, which may be memory, where to be durable costs nothing."""
    with tempfile.TemporaryDirectory(prefix="bench-outbox-", dir=Path.cwd()) as name:
        yield Path(name)
