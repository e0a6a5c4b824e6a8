"""Damage to what lies on the disk: the database and the files of captures, while the daemon lives or is dead."""

import contextlib
import json
import os
import sqlite3
import time
from pathlib import Path

from tests.soak.layout import Layout, rows_of
from tests.soak.voyage import Voyage


def _flip(voyage: Voyage, path: Path, stretch: int) -> tuple[int, int]:
    """Overwrites a stretch of a file with noise, or (0) turns one bit round; the bytes that it hit."""
    try:
        size = path.stat().st_size
        if not size:
            return 0, 0
        at = voyage.chance.randrange(size)
        with path.open("r+b") as file:
            file.seek(at)
            noise = voyage.chance.randbytes(min(stretch, size - at))
            if not stretch:
                noise = bytes([file.read(1)[0] ^ 1 << voyage.chance.randrange(8)])
                file.seek(at)
            file.write(noise)
    except FileNotFoundError:
        return 0, 0
    return at, at + len(noise)


def database_locked(voyage: Voyage) -> None:
    with contextlib.closing(sqlite3.connect(voyage.data / "agent.db", timeout=5, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(voyage.chance.choice((0.5, 3, 11.5)))
        other.execute("ROLLBACK")


def database_truncated(voyage: Voyage) -> None:
    voyage.kill()
    path = voyage.data / "agent.db"
    os.truncate(path, voyage.chance.randrange(path.stat().st_size + 1))
    voyage.sail()


def database_gone(voyage: Voyage) -> None:
    voyage.kill()
    for path in voyage.data.glob("agent.db*"):
        path.unlink()
    voyage.sail()


def database_damaged(voyage: Voyage) -> None:
    voyage.kill()
    for _ in range(voyage.chance.randrange(1, 4)):
        _flip(voyage, voyage.data / voyage.chance.choice(("agent.db", "agent.db-wal")), 400)
    voyage.sail()


def database_bit_flipped(voyage: Voyage) -> None:
    voyage.kill()
    _flip(voyage, voyage.data / voyage.chance.choice(("agent.db", "agent.db-wal")), 0)
    voyage.sail()


def database_damaged_alive(voyage: Voyage) -> None:
    _flip(voyage, voyage.data / "agent.db", 4096)
    time.sleep(1)


def negative_damaged(voyage: Voyage) -> None:
    voyage.kill()
    for path in voyage.data.glob("recording/*.negative*"):
        if voyage.chance.random() < 0.7:
            with contextlib.suppress(OSError):
                layout = voyage.layouts.get(path.name) or Layout(path)
                size = path.stat().st_size
                if voyage.chance.random() < 0.3:
                    begin, end = voyage.chance.randrange(size + 1), size
                    os.truncate(path, begin)
                else:
                    begin, end = _flip(voyage, path, 60)
                voyage.damaged.add(path.name.partition(".negative")[0])
                voyage.layouts[path.name] = layout
                voyage.destroy(layout.stream, layout.begun_ns, layout.hit(begin, end))
    voyage.sail()


def _owed(voyage: Voyage) -> list[Path]:
    """Sidecars of captures that some target has not got yet: made by servers that are away for a while."""
    for server in (voyage.one, voyage.two):
        server.misbehave(("500",), 3)
    time.sleep(2.2)
    there = [set(server.named()) for server in (voyage.one, voyage.two)]
    found = sorted((voyage.data / "captures").rglob("*.json"))
    return [path for path in found if not all(path.name in names for names in there)]


def payload_damaged(voyage: Voyage) -> None:
    for sidecar in _owed(voyage)[:2]:
        with contextlib.suppress(FileNotFoundError, ValueError):
            document = json.loads(sidecar.read_text())
            payload = sidecar.parent / document["payloads"][0]["file"]
            voyage.damaged.add(sidecar.stem)
            voyage.destroy(document["recording"], document["start"]["boot_time_ns"], rows_of(document))
            if voyage.chance.random() < 0.2:
                payload.unlink()
            else:
                _flip(voyage, payload, 40)


def sidecar_damaged(voyage: Voyage) -> None:
    for sidecar in _owed(voyage)[:2]:
        with contextlib.suppress(FileNotFoundError, ValueError):
            document = json.loads(sidecar.read_text())
            voyage.destroy(document["recording"], document["start"]["boot_time_ns"], rows_of(document))
        voyage.damaged.add(sidecar.stem)
        if voyage.chance.random() < 0.3:
            with contextlib.suppress(FileNotFoundError):
                os.truncate(sidecar, 40)
        else:
            _flip(voyage, sidecar, 40)


FAULTS = (
    database_locked,
    database_truncated,
    database_gone,
    database_damaged,
    database_bit_flipped,
    database_damaged_alive,
    negative_damaged,
    payload_damaged,
    sidecar_damaged,
)
