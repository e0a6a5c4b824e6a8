"""The database: whether it is whole, and what it owes to whom since when."""

import datetime
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from agent import schema
from agent.doctor import Finding, fail, ok, warn
from agent.doctor.scene import Scene
from agent.folder import DataFolder

_OLD_DAYS = 2.0
_REBUILD = (
    "stop the service and move agent.db, agent.db-wal and agent.db-shm away: the next start makes a new one of what is"
    " in captures/ (all of it is then owed again)"
)
_FALSE_BEFORE = (3, 41, 0)
"""Until then quick_check found NULLs in tables WITHOUT ROWID where there are none; a third party may have made one."""


def database(scene: Scene) -> Iterator[Finding]:
    """Its integrity, then its backlog; it is only read, and the daemon may go on meanwhile."""
    path = DataFolder(scene.data_dir).database
    if not os.path.lexists(path):
        return  # or it is not ours to see, as the check of the data folder says
    try:
        connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, timeout=5.0)
    except sqlite3.Error as error:
        yield fail("database", f"{path} cannot be opened: {error}", _REBUILD)
        return
    try:
        yield _checked(connection, path)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == schema.VERSION:
            yield from _backlog(scene, connection)
            return
        remedy = "start the daemon once" if version < schema.VERSION else "install the newer version again"
        yield warn("database", f"{path} has schema {version}, this software {schema.VERSION}", remedy)
    except sqlite3.OperationalError as error:
        yield fail(
            "database", f"{path} cannot be read: {error}", "run this as root, or as a member of the daemon's group"
        )
    except sqlite3.DatabaseError as error:
        yield fail("database", f"{path} is damaged: {error}", _REBUILD)
    finally:
        connection.close()


def _checked(connection: sqlite3.Connection, path: Path) -> Finding:
    said = [row[0] for row in connection.execute("PRAGMA quick_check(100)")]
    if sqlite3.sqlite_version_info < _FALSE_BEFORE:
        ours = tuple(f" {table}." for table in schema.TABLES)
        said = [line for line in said if not (line.startswith("NULL value in ") and not any(t in line for t in ours))]
    if said and said != ["ok"]:
        return fail("database", f"{path} is damaged: {said[0]} ({len(said)} such errors)", _REBUILD)
    return ok("database", f"{path.name} is whole, {path.stat().st_size / 1e6:.1f} MB")


def _backlog(scene: Scene, connection: sqlite3.Connection) -> Iterator[Finding]:
    now = scene.clock.wall_ns()
    owed = connection.execute(
        "SELECT target, count(*), min(started_ns) FROM parcel JOIN capture ON capture.id = parcel.capture"
        " WHERE state IN ('waiting', 'leased') GROUP BY target ORDER BY target"
    ).fetchall()
    for target, count, oldest_ns in owed:
        days = (now - oldest_ns) / 86400e9
        date = datetime.datetime.fromtimestamp(oldest_ns / 1e9, datetime.UTC).strftime("%Y-%m-%d %H:%M")
        seen = f"{count:,} captures are owed to {target}, the oldest of {date} UTC"
        if days >= _OLD_DAYS:
            yield warn("backlog", f"{seen}, {days:.0f} days ago", f"capture-agent outbox list; targets test {target}")
        else:
            yield ok("backlog", seen)
    refused = connection.execute(
        "SELECT target, count(*), max(error) FROM parcel WHERE state = 'refused' GROUP BY target ORDER BY target"
    ).fetchall()
    for target, count, error in refused:
        remedy = "mend the cause, then capture-agent outbox retry; or outbox drop"
        yield warn("backlog", f"{target} has refused {count:,} captures: {error}", remedy)
    if not owed and not refused:
        yield ok("backlog", "nothing is owed")
