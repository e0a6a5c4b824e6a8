"""Context: what commands said of what is to come, kept over restarts beside what the configuration says.

It is in the database, and once more in a file beside it, `context.notes`, from which a database that had to be made
anew has it again.
"""

import contextlib
import json
import logging
import os
import sqlite3
import stat
from collections.abc import Collection, Mapping
from typing import Any

from agent.capture import sync_directory
from agent.database import Database
from agent.recording import Orders

log = logging.getLogger(__name__)

_WRITE = "INSERT INTO note VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
Said = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Labels and metadata; None removes one that the configuration has."""
_PAUSED = "paused targets"
_OURS = f"key GLOB 'said of *' OR key GLOB 'wanted of *' OR key = '{_PAUSED}'"


class Context:
    """Notes in the house's database. For any thread.

    Of a recording they hold until the configuration itself says other labels or metadata, or another `when`, for it; of
    a target until it is resumed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._copied = database.path.with_name("context.notes")

    def restore(self) -> None:
        """Takes over what the file says, where the database has lost it, and says so where that cannot be read."""
        try:
            notes = json.loads(self._copied.read_bytes())
            rows = [(str(key), json.dumps(note)) for key, note in notes.items()]
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError) as error:
            log.error("what commands said before is lost: %s: %s; say it again", self._copied, error)
            return
        with self._database.transaction(durable=True) as connection:
            connection.executemany(_WRITE, rows)

    def keep(self, orders: Orders, labels: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        """Adds to what was said of a recording; durable."""
        known = self.recall(orders)
        note = {
            "configured": orders.configured,
            "labels": {**known[0], **labels},
            "metadata": {**known[1], **metadata},
        }
        self._write(_key(orders), note)

    def recall(self, orders: Orders) -> Said:
        """What was said of a recording, as its configuration is now."""
        note = self._read(_key(orders)) or {}
        if note.get("configured") != json.loads(json.dumps(orders.configured)):
            return {}, {}
        return note["labels"], note["metadata"]

    def keep_wanted(self, orders: Orders, wanted: bool) -> None:
        """Remembers that a recording was started or stopped; durable."""
        if self.wanted(orders) != wanted:
            self._write(_key_of_wanted(orders), {"when": orders.when, "wanted": wanted})

    def wanted(self, orders: Orders) -> bool:
        """Whether a recording was started last, and not stopped; where neither, or while its `when` was another one,
        which is forgotten now, as it is configured."""
        note = self._read(_key_of_wanted(orders))
        if note is not None and note["when"] == orders.when:
            return bool(note["wanted"])
        if note is not None:
            with self._database.transaction(durable=True) as connection:
                connection.execute("DELETE FROM note WHERE key = ?", (_key_of_wanted(orders),))
                self._copy(connection)
        return orders.when != "command"

    def keep_paused(self, targets: Collection[str]) -> None:
        """Remembers which targets are paused; durable."""
        if self.paused() != frozenset(targets):
            self._write(_PAUSED, sorted(targets))

    def paused(self) -> frozenset[str]:
        """The targets that were paused and not resumed since."""
        return frozenset(self._read(_PAUSED) or ())

    def forget(self, key: str, value: str) -> None:
        """Takes a label or metadatum with this value out of what was said, and answers of commands that repeat it; a
        daemon that runs goes on with it. What was there is overwritten."""
        forms = {value, json.dumps(value)[1:-1]}
        with self._database.transaction(durable=True) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            rows = connection.execute("SELECT key, value FROM note WHERE key GLOB 'said of *'").fetchall()
            for name, text in rows:
                note = json.loads(text)
                said = [*note["configured"], note["labels"], note["metadata"]]
                kept = [{k: v for k, v in one.items() if k != key or v != value} for one in said]
                if kept != said:
                    note = {"configured": kept[:2], "labels": kept[2], "metadata": kept[3]}
                    connection.execute("UPDATE note SET value = ? WHERE key = ?", (json.dumps(note), name))
            self._copy(connection)
            for form in forms if value else ():
                connection.execute("DELETE FROM answered WHERE instr(answer, ?)", (form,))
                connection.execute("DELETE FROM queued_message WHERE kind = 'answer' AND instr(payload, ?)", (form,))
        with self._database.reading() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # older pages are in the log, too

    def _read(self, key: str) -> Any:
        """None where there is no such note."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT value FROM note WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def _write(self, key: str, note: Any) -> None:
        with self._database.transaction(durable=True) as connection:
            connection.execute(_WRITE, (key, json.dumps(note)))
            self._copy(connection)

    def _copy(self, connection: sqlite3.Connection) -> None:
        """Writes the file anew, within the transaction: of two processes the later has it, too."""
        rows = connection.execute(f"SELECT key, value FROM note WHERE {_OURS} ORDER BY key").fetchall()  # noqa: S608
        part = self._copied.with_suffix(".notes.part")
        try:
            with part.open("w") as file:
                with contextlib.suppress(FileNotFoundError):  # what is written here is for a database made anew
                    database = self._database.path.stat()  # whose it is, and who may read it, also where root writes
                    if os.geteuid() == 0:
                        os.fchown(file.fileno(), database.st_uid, database.st_gid)
                    os.fchmod(file.fileno(), stat.S_IMODE(database.st_mode))
                json.dump({key: json.loads(value) for key, value in rows}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self._copied)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        sync_directory(self._copied.parent)


def _key(orders: Orders) -> str:
    return f"said of {orders.name}"


def _key_of_wanted(orders: Orders) -> str:
    return f"wanted of {orders.name}"
