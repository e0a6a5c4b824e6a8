"""The catalogue: the captures this device knows, found by time, stream, label, name or set-up."""

import contextlib
import datetime
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.capture import Capture, CaptureConfiguration, sync_directory
from agent.database import Database
from agent.datasets import Datasets
from agent.deletion import unlink
from agent.query import Entry, Query, Scalar, where

__all__ = ["Catalogue", "Entry", "Owe", "Query"]

log = logging.getLogger(__name__)

_PAGE = 500
"""Rows that one query of a search fetches; a search of any length holds no more."""

Owe = Callable[[sqlite3.Connection, Capture], None]
"""Called within the transaction that records an amendment, to owe the new revision."""


_COLUMNS = (
    "SELECT uuid, name, recording, day, started_ns, boot_id, boot_time_ns, duration_s, size, configuration, clock,"
    " revision, standing, id FROM capture WHERE "
)


class Catalogue:
    """Rows of captures, in the house's database; files lie in `captures/<day>/`. For any thread.

    docs/catalogue.md shows how programs of others ask it.
    """

    def __init__(self, database: Database, captures: Path) -> None:
        self._database = database
        self._captures = captures
        self._amending = threading.Lock()

    @classmethod
    @contextlib.contextmanager
    def of(cls, data_dir: Path | str) -> "Iterator[Catalogue]":
        """That of a data folder, also while a daemon runs on it. FileNotFoundError, DatabaseDamaged, OtherVersion."""
        with Database(Path(data_dir) / "agent.db") as database:
            yield cls(database, Path(data_dir) / "captures")

    def add(self, connection: sqlite3.Connection, captures: Sequence[Capture]) -> None:
        """Adds captures, or brings what is known of them to their revision, in the caller's transaction.

        Each is catalogued once, by uuid. ValueError where another capture of this name is there, or a sidecar lacks
        what the catalogue needs.
        """
        for capture in captures:
            self._add(connection, capture)

    def _add(self, connection: sqlite3.Connection, capture: Capture) -> None:
        document = capture.document
        try:
            configuration, start = document["configuration"], document["start"]
            values = {
                "uuid": capture.uuid,
                "name": capture.name,
                "recording": capture.recording,
                "day": capture.folder.name,
                "started_ns": _unix_ns(start["wall_time"]),
                "boot_id": start["boot_id"],
                "boot_time_ns": start["boot_time_ns"],
                "duration_s": document["duration_s"],
                "size": capture.size,
                "configuration": configuration["uuid"],
                "clock": start["clock"],
                "revision": capture.revision,
            }
            described = (configuration["uuid"], configuration["name"], json.dumps(configuration["document"]))
            tags = [
                *(("label", key, _text(value)) for key, value in document["labels"].items()),
                *(("metadata", key, _text(value)) for key, value in document["metadata"].items()),
                *(("tag", tag, "") for tag in document.get("tags", ())),
                *(("stream", stream["name"], stream["model"]) for stream in document["streams"]),
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{capture.sidecar}: a sidecar without {error}") from error
        connection.execute("INSERT INTO configuration VALUES (?, ?, ?) ON CONFLICT DO NOTHING", described)
        try:
            row = connection.execute(
                f"INSERT INTO capture ({', '.join(values)}) VALUES ({', '.join(f':{key}' for key in values)})"  # noqa: S608
                " ON CONFLICT (uuid) DO UPDATE SET started_ns = excluded.started_ns, clock = excluded.clock,"
                " revision = excluded.revision, amending = 0, deleted = 0"
                " WHERE excluded.revision >= revision RETURNING id",
                values,
            ).fetchone()
        except sqlite3.IntegrityError as error:
            raise ValueError(f"{capture.sidecar}: another capture is called {capture.name}") from error
        if row is None:
            return  # a later revision is already known
        connection.execute("DELETE FROM tag WHERE capture = ?", row)
        connection.executemany("INSERT INTO tag VALUES (?, ?, ?, ?)", [(*tag, *row) for tag in tags])

    def folder(self, entry: Entry) -> Path:
        """Where its files lie."""
        return self._captures / entry.day

    def load(self, entry: Entry) -> Capture:
        """Reads the sidecar. LookupError where its files were deleted."""
        if entry.deleted:
            raise LookupError(f"capture {entry.name} was deleted here to make room")
        return Capture.load(self.folder(entry) / f"{entry.name}.json")

    def get(self, which: str) -> Capture:
        """The capture with that uuid, name, or beginning of a uuid. LookupError, which says what there is."""
        return self.load(self.entry(which))

    def entry(self, which: str) -> Entry:
        """The row with that uuid, name, or beginning of a uuid. LookupError, which says what there is."""
        with self._database.reading() as connection:
            rows = connection.execute(_COLUMNS + "uuid = ?", (which,)).fetchall()
            rows = rows or connection.execute(_COLUMNS + "name = ? AND deleted = 0", (which,)).fetchall()
            if not rows and which:
                sql = _COLUMNS + "uuid >= ? AND uuid < ? ORDER BY uuid LIMIT 6"
                rows = connection.execute(sql, (which.lower(), which.lower() + "~")).fetchall()
        if not rows:
            raise LookupError(f"no capture with uuid or name {which!r}")
        if len(rows) > 1:
            raise LookupError(f"{which!r} begins {', '.join(row[0] for row in rows[:5])}{' ...' * (len(rows) > 5)}")
        return Entry(*rows[0][:-1])

    def find(
        self, query: Query | None = None, *, limit: int | None = None, newest_first: bool = False
    ) -> Iterator[Entry]:
        """Entries in the order of their start, a page at a time: a search of any length stays small."""
        condition, values = where(query or Query())
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        place: tuple[int, ...] = ()
        while limit is None or limit > 0:
            page = _PAGE if limit is None else min(limit, _PAGE)
            after = f" AND (started_ns, id) {beyond} (?, ?)" if place else ""
            sql = f"{_COLUMNS}{condition}{after} ORDER BY started_ns {order}, id {order} LIMIT {page}"
            with self._database.reading() as connection:
                rows = connection.execute(sql, (*values, *place)).fetchall()
            for row in rows:
                yield Entry(*row[:-1])
            if len(rows) < page:
                return
            place = (rows[-1][4], rows[-1][-1])
            limit = None if limit is None else limit - len(rows)

    def configurations(self) -> list[tuple[CaptureConfiguration, int]]:
        """Every capture configuration there was, with how many captures have it."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT name, document, (SELECT count(*) FROM capture WHERE configuration = configuration.uuid)"
                " FROM configuration ORDER BY name, uuid"
            ).fetchall()
        return [(CaptureConfiguration(name, json.loads(document)), count) for name, document, count in rows]

    def configuration(self, uuid: str) -> Mapping[str, Any] | None:
        """The document of the capture configuration with that uuid (or its only beginning); None where unknown."""
        with self._database.reading() as connection:
            sql = "SELECT document FROM configuration WHERE uuid >= ? AND uuid < ? LIMIT 2"
            rows = connection.execute(sql, (uuid, uuid + "~")).fetchall()
        return json.loads(rows[0][0]) if len(rows) == 1 else None

    def stats(self) -> dict[str, dict[str, tuple[int, int]]]:
        """{recording: {standing: (captures, bytes)}}, from kept counters; `forgotten`: deleted, and the row too."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM stock WHERE captures > 0 ORDER BY recording, standing").fetchall()
        found: dict[str, dict[str, tuple[int, int]]] = {}
        for recording, standing, captures, size in rows:
            found.setdefault(recording, {})[standing] = (captures, size)
        return found

    def amend(self, which: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]], owe: Owe) -> Capture:
        """Replaces the sidecar by one that is a revision on, with what `change` makes of its document.

        `change` answers the parts that are new (labels, metadata, segments, start). LookupError: as `get`, also where
        it is deleted meanwhile. Whenever the power fails, a start that calls `resume_amendments` completes it.
        """
        with self._amending:
            capture = self.get(which)
            amended = capture.amended(**change(capture.document))
            content = amended.sidecar_bytes()
            with self._database.transaction(durable=True) as connection:
                connection.execute("UPDATE capture SET amending = 1 WHERE uuid = ?", (capture.uuid,))
            part = amended.sidecar.with_suffix(".json.part")
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.rename(amended.sidecar)
            sync_directory(amended.folder)
            self._record(amended, owe)
            return amended

    def resume_amendments(self, owe: Owe) -> int:
        """Records the amendments that a kill cut off; for the start. How many."""
        with self._database.reading() as connection:
            rows = connection.execute(_COLUMNS + "amending = 1").fetchall()
        for row in rows:
            entry = Entry(*row[:-1])
            try:
                self._record(Capture.load(self.folder(entry) / f"{entry.name}.json"), owe)
            except (LookupError, ValueError, FileNotFoundError) as error:
                log.error("%s: an amendment that was cut off is given up: %s", entry.name, error)
                with self._database.transaction(durable=True) as connection:
                    connection.execute("UPDATE capture SET amending = 0 WHERE uuid = ?", (entry.uuid,))
        return len(rows)

    def _record(self, capture: Capture, owe: Owe) -> None:
        with self._database.transaction(durable=True) as connection:
            sql = "UPDATE capture SET amending = 0 WHERE uuid = ? RETURNING revision, deleted"
            known, deleted = connection.execute(sql, (capture.uuid,)).fetchone()
            if not deleted:
                self._add(connection, capture)
                if capture.revision > known:
                    owe(connection, capture)
        if deleted:
            capture.sidecar.unlink(missing_ok=True)  # which is there again by the amendment alone
            raise LookupError(f"capture {capture.name} has just been deleted here to make room")

    def oldest(self, standing: str, count: int) -> list[Entry]:
        """Up to `count` captures of that standing in the order in which they were finished, those that were spared
        while others were given up behind the rest. As fast with a million as with ten."""
        with self._database.reading() as connection:
            rows = connection.execute(
                _COLUMNS + "standing = ? ORDER BY thinned, id LIMIT ?", (standing, count)
            ).fetchall()
        return [Entry(*row[:-1]) for row in rows]

    def delete(
        self, uuids: Sequence[str], *, also: Callable[[sqlite3.Connection], None] = lambda connection: None
    ) -> int:
        """Deletes the files of these captures; their rows and receipts stay. How many bytes of payloads went.

        First it is on the disk that they go (with what `also` does in the same transaction), then they go, then that
        they are gone; a kill in between is made good by `resume_deletions`.
        """
        return self.make_room(uuids, "", also=also)[1]

    def make_room(
        self,
        uuids: Sequence[str],
        standing: str,
        *,
        spared: Sequence[str] = (),
        also: Callable[[sqlite3.Connection], None] = lambda connection: None,
    ) -> tuple[int, int]:
        """The same, of those that still have this standing: how many, and bytes. `spared` ones stand behind by now."""
        with self._database.transaction(durable=True) as connection:
            count = connection.executemany(
                "UPDATE capture SET deleted = 1 WHERE uuid = ?1 AND deleted = 0 AND ?2 IN ('', standing)",
                [(uuid, standing) for uuid in uuids],
            ).rowcount
            connection.executemany("UPDATE capture SET thinned = thinned + 1 WHERE uuid = ?", [(u,) for u in spared])
            also(connection)
        return count, self.resume_deletions()

    def resume_deletions(self) -> int:
        """Completes deletions; bytes of payloads that went. Files that are gone already do not matter."""
        size = 0
        while going := self.oldest("deleting", _PAGE):
            size += sum(entry.size for entry in going)
            with self._database.reading() as connection:
                (newest,) = connection.execute("SELECT day FROM capture ORDER BY id DESC LIMIT 1").fetchone()
            unlink(self._captures, going, newest)
            with self._database.transaction(durable=False) as connection:
                connection.executemany("UPDATE capture SET deleted = 2 WHERE uuid = ?", [(e.uuid,) for e in going])
        return size

    def forget(self, keep: int) -> int:
        """Removes the rows of deleted captures but the last `keep`, some hundreds at a time; how many went."""
        with self._database.transaction(durable=False) as connection:
            (count,) = connection.execute(
                "SELECT coalesce(sum(captures), 0) FROM stock WHERE standing = 'deleted'"
            ).fetchone()
            rows = connection.execute(
                "SELECT id FROM capture WHERE standing = 'deleted' ORDER BY thinned, id LIMIT ?",
                (min(_PAGE, max(0, count - keep)),),
            ).fetchall()
            for table, column in (("parcel", "capture"), ("tag", "capture"), ("dataset", "capture"), ("capture", "id")):
                connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", rows)  # noqa: S608  our own words
        return len(rows)

    @property
    def datasets(self) -> Datasets:
        """Named groups of captures."""
        return Datasets(self._database)

    def values(self, kind: str) -> dict[str, dict[str, int]]:
        """{name: {value: captures}} of all labels or metadata, tags (whose value is empty) or streams (their models).

        `kind`: label, metadata, tag or stream; of captures that are here.
        """
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT key, value, count(*) FROM tag JOIN capture ON capture.id = tag.capture"
                " WHERE kind = ? AND deleted = 0 GROUP BY key, value ORDER BY key, value",
                (kind,),
            ).fetchall()
        found: dict[str, dict[str, int]] = {}
        for key, value, count in rows:
            found.setdefault(key, {})[value] = count
        return found


def _text(value: Scalar) -> str:
    """As a person writes it in a search: true, 5, walking."""
    return value if isinstance(value, str) else json.dumps(value)


def _unix_ns(wall_time: str) -> int:
    since_epoch = datetime.datetime.fromisoformat(wall_time) - datetime.datetime.fromtimestamp(0, datetime.UTC)
    return since_epoch // datetime.timedelta(microseconds=1) * 1000
