"""A database that owes very many captures, made quickly; and captures to add to it."""

import datetime
import random
import uuid
from pathlib import Path

from agent.capture import SCHEMA, Capture
from agent.catalogue import Catalogue
from agent.database import Database
from agent.outbox import Outbox
from drivers import boottime_ns

TARGET = "archive"
RECEIPT = {"path": "2026-11-21/bay3.walk.20261121T101500.123Z.12345678.csv", "sha256": "0" * 64}


def filled(path: Path, count: int, *, delivered: bool = False, days: int = 1) -> Path:
    """A database with that many captures, owed or delivered, spread over some days and found by two tags each. Rows
    and counters are put in directly, with the triggers away for that long: otherwise a million would take a minute."""
    source = random.Random(1)
    state, tally = ("delivered", "delivered") if delivered else ("waiting", "owed")
    with Database(path.with_suffix(".db"), quarantine=path.parent) as database:
        with database.transaction(durable=False) as connection:
            connection.execute("PRAGMA cache_size = -200000")  # of this connection alone
            triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                connection.execute(f"DROP TRIGGER {name}")
        for first in range(0, count, 20_000):
            numbers = range(first, min(first + 20_000, count))
            with database.transaction(durable=False) as connection:
                connection.executemany(
                    "INSERT INTO capture (id, uuid, name, recording, day, started_ns, boot_id, boot_time_ns,"
                    " duration_s, size, configuration, clock, revision, parcels, pending)"
                    " VALUES (?, ?, ?, 'walk', ?, ?, 'b', ?, 60, 330, 'c', 'synchronised', 1, 1, ?)",
                    [
                        (
                            *(n + 1, str(uuid.UUID(int=source.getrandbits(128))), name_of(n), day_of(n, count, days)),
                            *(n, n, not delivered),
                        )
                        for n in numbers
                    ],
                )
                connection.executemany(
                    "INSERT INTO parcel (capture, target, revision, size, state) VALUES (?, ?, 1, 330, ?)",
                    [(n + 1, TARGET, state) for n in numbers],
                )
                if days > 1:
                    tags = (("label", "activity", "walking"), ("stream", "imu", "MPU-6050"))
                    connection.executemany(
                        "INSERT INTO tag (kind, key, value, capture) VALUES (?, ?, ?, ?)",
                        [(*tag, n + 1) for n in numbers for tag in tags],
                    )
        with database.transaction(durable=False) as connection:
            connection.execute("INSERT INTO tally VALUES (?, ?, ?, ?)", (TARGET, tally, count, count * 330))
            connection.execute("INSERT INTO stock VALUES ('walk', ?, ?, ?)", (tally, count, count * 330))
            connection.execute("DELETE FROM note WHERE key = 'rebuild'")
            for _, sql in triggers:
                connection.execute(sql)
    return path.with_suffix(".db")


def name_of(number: int) -> str:
    """Of a capture."""
    return f"bay3.walk.{number:09}"


def day_of(number: int, count: int, days: int) -> str:
    """Its folder: the last day's captures come last."""
    first = datetime.date(2026, 11, 21) - datetime.timedelta(days - 1)
    return (first + datetime.timedelta(number * days // count)).isoformat()


def capture_of(folder: Path, number: int) -> Capture:
    """One that a catalogue takes; its files are not there."""
    document = {
        "schema": SCHEMA,
        "uuid": str(uuid.UUID(int=random.Random(number).getrandbits(128))),
        "revision": 1,
        "name": name_of(number),
        "recording": "walk",
        "configuration": {"uuid": "c", "name": "walk", "document": {}},
        "start": {
            "boot_time_ns": number,
            "boot_id": "b",
            "wall_time": "2026-11-21T10:15:00.000000Z",
            "clock": "synchronised",
        },
        "duration_s": 60.0,
        "streams": [{"name": "imu", "model": "MPU-6050"}],
        "labels": {"activity": "walking"},
        "metadata": {},
        "payloads": [],
    }
    return Capture(folder, document)


def owe(database: Database, catalogue: Catalogue, outbox: Outbox, captures: list[Capture], *, durable: bool) -> None:
    """What the end of a recording does to the database."""
    with database.transaction(durable=durable) as connection:
        catalogue.add(connection, captures)
        outbox.owe(connection, [(capture.uuid, capture.size, [TARGET]) for capture in captures])


def outbox_of(database: Database) -> Outbox:
    """The outbox of this boot."""
    return Outbox(database, boot_id="b", now=boottime_ns, jitter=random.Random(1))
