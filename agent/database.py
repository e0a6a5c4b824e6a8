"""The one SQLite file of a data folder: opened fast, written by one thread at a time, replaced when it is damaged."""

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from agent import schema
from agent.capture import sync_directory
from agent.quarantine import set_aside
from agent.write_ahead import lost_commits

_CHECKPOINT_PAGES = 4000
"""Pages of 4 KiB in the write-ahead log before it is copied back: rare on an SD card, 16 MiB at most for long."""
_CHECKED_BYTES = 8 << 20
"""After a kill a file of up to this size is checked as a whole when opened (about 30 ms; ten times that on a Pi)."""
_WAITS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_BUSY: errno.EAGAIN,
    sqlite3.SQLITE_LOCKED: errno.EAGAIN,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EIO,
}
_NOT_A_TABLE = 1
"""SQLITE_ERROR: what a missing table or column answers."""


class DatabaseDamaged(Exception):
    """The file can no longer be trusted. The next start of its owner sets it aside and rebuilds it."""


class DatabaseWaits(OSError):
    """It cannot be written or read just now: the disk is full or fails, or somebody else holds it. Nothing changed;
    whoever asked tries again later."""


class OtherVersion(Exception):
    """The file belongs to another version of this software, and is left as it is."""


class Database:
    """The file, as a context: `transaction` to write, `reading` to read; for any thread. Other processes may, too."""

    def __init__(self, path: Path, *, quarantine: Path | None = None) -> None:
        """With `quarantine` for its owner, the daemon, whose `open` makes a new file where there is none, upgrades an
        older one, and moves a damaged one into that folder and makes a new one. Without: for a guest, who only reads
        where he may not write."""
        self.path = path
        self.rebuilt_because = ""
        """Why the file is new and `captures/` has to be walked; empty when it need not be. Survives a kill."""
        self._quarantine = quarantine
        self._connections: list[sqlite3.Connection] = []
        self._write_lock, self._read_lock = threading.RLock(), threading.RLock()
        self._synchronous = ""
        self._index: BinaryIO | None = None
        """Open as long as the connections are, once it has been read: see `lost_commits`."""
        self.syncs = 0
        """Durable transactions: each made the disk sync once."""

    def open(self) -> Self:
        """Opens it; reads a few pages, however large it is. OtherVersion, DatabaseWaits; for a guest FileNotFoundError
        and DatabaseDamaged too."""
        if self._quarantine is None:
            if not self.path.exists():
                raise FileNotFoundError(f"{self.path}: no database; the daemon makes it at its first start")
            self._connect("")
            return self
        reason = f"{self.path.name} was missing"
        marker = _marker(self.path)
        if marker.exists():
            reason = f"{self.path.name} was damaged: {marker.read_text().strip()}"
            _replace(self.path, self._quarantine, reason)
        try:
            self._connect(reason)
        except DatabaseDamaged as error:
            reason = f"{self.path.name} was damaged: {error}"
            _replace(self.path, self._quarantine, reason)
            self._connect(reason)
        return self

    def _connect(self, reason: str) -> None:
        """`reason`: what to note where a new file has to be made."""
        owner = self._quarantine is not None
        wal = self.path.with_name(self.path.name + "-wal")
        killed = owner and wal.exists() and wal.stat().st_size > 0
        try:
            writer = self._connection()
            writer.execute("PRAGMA cache_size = -256")
            writer.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            writer.execute(f"PRAGMA journal_size_limit = {_CHECKPOINT_PAGES * 4096 * 2}")
            writer.execute("PRAGMA user_version")  # with the first look at the file SQLite takes over its log
            lost = killed and self._lost_commits(wal)
            self._prove(writer, reason, owner=owner)
            if killed and self.path.stat().st_size <= _CHECKED_BYTES:
                (answer,) = writer.execute("PRAGMA quick_check(1)").fetchone()
                if answer != "ok":
                    raise DatabaseDamaged(answer)
            if lost:  # what is known stays, and what is only in `captures/` is found again
                _note(writer, f"the last commits in {wal.name} were damaged")
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # or what is left of them would be found again, too
            reader = self._connection()
            reader.execute("PRAGMA query_only = 1")
            reader.execute("PRAGMA cache_size = -128")
            note = reader.execute("SELECT value FROM note WHERE key = 'rebuild'").fetchone()
            self.rebuilt_because = note[0] if note else ""
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.DatabaseError):
                self._excuse(error)
                if _is_damage(error, opening=True):
                    raise DatabaseDamaged(str(error)) from error
            raise

    def _lost_commits(self, wal: Path) -> bool:
        """Of a log that a kill has left."""
        with suppress(FileNotFoundError):  # the database is in another mode, and there is nothing in its log
            self._index = self.path.with_name(self.path.name + "-shm").open("rb", buffering=0)
            return lost_commits(wal, self._index)
        return False

    def _connection(self) -> sqlite3.Connection:
        reads_only = self._quarantine is None and not os.access(self.path, os.W_OK, effective_ids=True)
        name = _to_read(self.path) if reads_only else self.path
        connection = sqlite3.connect(name, timeout=10.0, isolation_level=None, check_same_thread=False, uri=reads_only)
        self._connections.append(connection)
        if not reads_only:
            connection.execute("PRAGMA journal_mode = WAL")
        # what a trigger may have to undo would otherwise go to a file, page by page
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    def _prove(self, connection: sqlite3.Connection, reason: str, *, owner: bool) -> None:
        """Makes, upgrades or tries out the tables."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > schema.VERSION or (version < schema.VERSION and not owner):
            raise OtherVersion(
                f"{self.path} has schema {version}, this software {schema.VERSION}: "
                + ("start the daemon once" if version < schema.VERSION else "install the newer version again")
            )
        if version == 0:
            schema.create(connection, reason)
            sync_directory(self.path.parent)
        elif version < schema.VERSION:
            schema.upgrade(connection)
        for table in schema.TABLES:
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608  our own names

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """One transaction, alone; it is committed at the end, or undone when anything is raised.

        durable: on the disk before this returns (one fsync, together with all that was committed before). Otherwise a
        kill cannot lose it, but a power cut can. Nesting is a RuntimeError. DatabaseDamaged: stop, and start again.
        """
        with self._write_lock:
            connection = self._connections[0]
            if connection.in_transaction:
                raise RuntimeError("a transaction within a transaction: pass the connection on instead")
            synchronous = "FULL" if durable else "NORMAL"
            try:
                if self._synchronous != synchronous:
                    connection.execute(f"PRAGMA synchronous = {synchronous}")
                    self._synchronous = synchronous
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                    self.syncs += durable
                except BaseException:
                    connection.rollback()  # nothing where SQLite has already undone it
                    raise
            except sqlite3.DatabaseError as error:
                self._report(error)
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read what was committed; never waits for a writer. Fetch before leaving the block."""
        with self._read_lock:
            try:
                yield self._connections[1]
            except sqlite3.DatabaseError as error:
                self._report(error)
                raise

    def rebuilt(self) -> None:
        """Says that everything in `captures/` is known again; durable."""
        with self.transaction(durable=True) as connection:
            connection.execute("DELETE FROM note WHERE key = 'rebuild'")
        self.rebuilt_because = ""

    def close(self) -> None:
        """Copies the write-ahead log back and closes; may be called twice."""
        with self._read_lock, self._write_lock:
            while self._connections:
                self._connections.pop().close()
            if self._index is not None:
                self._index.close()
                self._index = None

    def _excuse(self, error: sqlite3.DatabaseError) -> None:
        """DatabaseWaits where the disk, a lock or the permissions are to blame."""
        why = _WAITS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if why is not None:
            raise DatabaseWaits(why, f"{self.path.name}: {error}") from error

    def _report(self, error: sqlite3.DatabaseError) -> None:
        """Says whose fault it is, and leaves a mark for the owner's next start when it is the file's own."""
        self._excuse(error)
        if _is_damage(error, opening=False):
            if self._quarantine is not None:
                _marker(self.path).write_text(f"{error}\n")
            raise DatabaseDamaged(f"{self.path}: {error}; a new start sets it aside and rebuilds it") from error


def _to_read(path: Path) -> str:
    """The name of a file that may only be read. Where there is no log nobody has it open, and since SQLite cannot make
    one it takes the file for one that nobody changes, which is so until its owner starts."""
    log = path.with_name(path.name + "-wal")
    return path.absolute().as_uri() + ("?mode=ro" if log.exists() else "?mode=ro&immutable=1")


def _note(connection: sqlite3.Connection, reason: str) -> None:
    """Notes why `captures/` has to be walked, unless that is noted already."""
    connection.execute("INSERT INTO note VALUES ('rebuild', ?) ON CONFLICT DO NOTHING", (reason,))


def _marker(path: Path) -> Path:
    return path.with_name(path.name + ".damaged")


def _replace(path: Path, quarantine: Path, reason: str) -> None:
    """Moves the database away. Its mark comes first and goes last, so that a kill in between is made good."""
    marker = _marker(path)
    if not marker.exists():
        marker.write_text(reason + "\n")
    sync_directory(path.parent)
    files: Sequence[Path] = [path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")), marker]
    set_aside(quarantine, files, reason)
    sync_directory(path.parent)


def _is_damage(error: sqlite3.DatabaseError, *, opening: bool) -> bool:
    """Whether the file itself is to blame, and not the disk, a lock or the permissions."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or (opening and code == _NOT_A_TABLE)
