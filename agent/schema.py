"""The schema of agent.db, and how a file of an older version becomes one of this version.

A new file is made from SCHEMA with nothing but sqlite3, which costs neither the time nor the memory of importing
sqlite-utils. Whoever changes SCHEMA appends the step that turns the version before into it: MIGRATIONS[n] makes
version n + 2 of version n + 1, on a sqlite_utils.Database, within one transaction with its record (user_version).
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

Migration = Callable[[Any], None]
"""Changes a sqlite_utils.Database by its `execute`, and looks at it as it likes; before sqlite-utils 4 the methods that
create and insert commit by themselves, and a step must not."""

_MESSAGES = """
CREATE TABLE queued_message (            -- events and answers that an MQTT broker has not acknowledged yet
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order in which they are sent; never used again
    uuid TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('event', 'answer')),
    topic TEXT NOT NULL,                 -- of an event below the prefix, of an answer the whole
    payload TEXT NOT NULL,
    correlation BLOB
);

CREATE TABLE answered (                  -- commands that came with a correlation id, lest they be obeyed twice
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    asker TEXT NOT NULL UNIQUE,          -- where the answer goes, and the correlation id, as a hash
    question TEXT NOT NULL,
    answer TEXT NOT NULL
);
"""


_DATASETS = """
CREATE TABLE dataset (                   -- named groups of captures
    name TEXT NOT NULL,
    capture INTEGER NOT NULL REFERENCES capture (id),
    PRIMARY KEY (name, capture)
);
CREATE INDEX dataset_capture ON dataset (capture);
"""


def _add_messages(database: Any) -> None:
    for statement in _MESSAGES.split(";\n")[:-1]:
        database.execute(statement)


def _add_datasets(database: Any) -> None:
    for statement in _DATASETS.split(";\n")[:-1]:
        database.execute(statement)


MIGRATIONS: tuple[Migration, ...] = (_add_messages, _add_datasets)

VERSION = 1 + len(MIGRATIONS)

TABLES = (
    "note",
    "configuration",
    "capture",
    "tag",
    "parcel",
    "tally",
    "stock",
    "queued_message",
    "answered",
    "dataset",
)

# No table is WITHOUT ROWID: quick_check of SQLite 3.40 (Debian 12) finds NULLs in them where there are none.
_ROWS = """
CREATE TABLE note (                      -- facts that outlive a kill; `rebuild`: why it is still needed
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE configuration (
    uuid TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    document TEXT NOT NULL
);

CREATE TABLE capture (
    id INTEGER PRIMARY KEY,              -- in the order of finishing: what `oldest` means, whatever the clock did
    uuid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    recording TEXT NOT NULL,
    day TEXT NOT NULL,                   -- its folder in captures/
    started_ns INTEGER NOT NULL,         -- Unix time
    boot_id TEXT NOT NULL,
    boot_time_ns INTEGER NOT NULL,
    duration_s REAL NOT NULL,
    size INTEGER NOT NULL,               -- bytes of its payloads
    configuration TEXT NOT NULL REFERENCES configuration (uuid),
    clock TEXT NOT NULL,
    revision INTEGER NOT NULL,
    amending INTEGER NOT NULL DEFAULT 0, -- 1 while its sidecar may be a revision ahead of this row
    deleted INTEGER NOT NULL DEFAULT 0,  -- 1 while its files go, 2 when they are gone
    thinned INTEGER NOT NULL DEFAULT 0,  -- how often it was spared while others were given up
    parcels INTEGER NOT NULL DEFAULT 0,  -- kept by triggers: all of its parcels,
    pending INTEGER NOT NULL DEFAULT 0,  -- and those neither delivered nor dropped
    standing TEXT GENERATED ALWAYS AS (CASE
        WHEN deleted = 1 THEN 'deleting' WHEN deleted = 2 THEN 'deleted'
        WHEN pending > 0 THEN 'owed' WHEN parcels > 0 THEN 'delivered' ELSE 'kept' END) VIRTUAL
);
CREATE UNIQUE INDEX capture_name ON capture (name) WHERE deleted = 0;  -- the name of a deleted one may come again
CREATE INDEX capture_started ON capture (started_ns);
CREATE INDEX capture_standing ON capture (standing, thinned);  -- the oldest of a standing
CREATE INDEX capture_configuration ON capture (configuration);
CREATE INDEX capture_undated ON capture (boot_id) WHERE clock = 'unsynchronised';
CREATE INDEX capture_amending ON capture (amending) WHERE amending = 1;

CREATE TABLE tag (                       -- what captures are found by; kind: label, metadata, tag or stream
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    capture INTEGER NOT NULL REFERENCES capture (id),
    PRIMARY KEY (capture, kind, key)
);
CREATE INDEX tag_value ON tag (kind, key, value);

CREATE TABLE parcel (
    id INTEGER PRIMARY KEY,
    capture INTEGER NOT NULL REFERENCES capture (id),
    target TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'leased', 'delivered', 'refused', 'dropped')),
    revision INTEGER NOT NULL,
    size INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_boot TEXT,                       -- both NULL: ready (or settled). Else: not before this CLOCK_BOOTTIME of
    due_ns INTEGER,                      -- that boot; of a leased parcel: when its lease expires
    lease TEXT,
    progress TEXT,
    receipt TEXT,
    error TEXT,
    UNIQUE (capture, target)
);
CREATE INDEX parcel_pending ON parcel (target, state, due_boot, due_ns)  -- the claim; written as OR so that
    WHERE state = 'waiting' OR state = 'leased' OR state = 'refused';    -- SQLite can prove that one state is in it
CREATE INDEX parcel_owed ON parcel (target) WHERE state IN ('waiting', 'leased');  -- the oldest

CREATE TABLE tally (                     -- parcels by target and state, where waiting and leased are `owed`;
    target TEXT NOT NULL,                -- `forgotten` are the delivered ones whose rows are gone
    state TEXT NOT NULL,
    parcels INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (target, state)
);

CREATE TABLE stock (                     -- captures by recording and standing, `forgotten` ones too
    recording TEXT NOT NULL,
    standing TEXT NOT NULL,
    captures INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (recording, standing)
);
"""
_TRIGGERS = """
CREATE TRIGGER parcel_added AFTER INSERT ON parcel BEGIN
    INSERT INTO tally VALUES (new.target, 'owed', 1, new.size)
        ON CONFLICT DO UPDATE SET parcels = parcels + 1, bytes = bytes + excluded.bytes;
    UPDATE capture SET parcels = parcels + 1, pending = pending + 1 WHERE id = new.capture;
END;
CREATE TRIGGER parcel_moved AFTER UPDATE OF state ON parcel
    WHEN old.state <> new.state AND (old.state NOT IN ('waiting', 'leased') OR new.state NOT IN ('waiting', 'leased'))
BEGIN
    UPDATE tally SET parcels = parcels - 1, bytes = bytes - old.size
        WHERE target = old.target AND state = iif(old.state IN ('waiting', 'leased'), 'owed', old.state);
    INSERT INTO tally VALUES (new.target, iif(new.state IN ('waiting', 'leased'), 'owed', new.state), 1, new.size)
        ON CONFLICT DO UPDATE SET parcels = parcels + 1, bytes = bytes + excluded.bytes;
    UPDATE capture SET pending = pending
        + (new.state NOT IN ('delivered', 'dropped')) - (old.state NOT IN ('delivered', 'dropped'))
        WHERE id = new.capture;
END;
CREATE TRIGGER parcel_removed AFTER DELETE ON parcel BEGIN
    UPDATE tally SET parcels = parcels - 1, bytes = bytes - old.size
        WHERE target = old.target AND state = iif(old.state IN ('waiting', 'leased'), 'owed', old.state);
    INSERT INTO tally VALUES (old.target, 'forgotten', old.state = 'delivered', (old.state = 'delivered') * old.size)
        ON CONFLICT DO UPDATE SET parcels = parcels + excluded.parcels, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER capture_added AFTER INSERT ON capture BEGIN
    INSERT INTO stock VALUES (new.recording, new.standing, 1, new.size)
        ON CONFLICT DO UPDATE SET captures = captures + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER capture_moved AFTER UPDATE OF deleted, parcels, pending ON capture WHEN old.standing <> new.standing
BEGIN
    UPDATE stock SET captures = captures - 1, bytes = bytes - old.size
        WHERE recording = old.recording AND standing = old.standing;
    INSERT INTO stock VALUES (new.recording, new.standing, 1, new.size)
        ON CONFLICT DO UPDATE SET captures = captures + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER capture_removed AFTER DELETE ON capture BEGIN
    UPDATE stock SET captures = captures - 1, bytes = bytes - old.size
        WHERE recording = old.recording AND standing = old.standing;
    INSERT INTO stock VALUES (old.recording, 'forgotten', 1, old.size)
        ON CONFLICT DO UPDATE SET captures = captures + 1, bytes = bytes + excluded.bytes;
END;
"""
SCHEMA = _ROWS + _MESSAGES + _DATASETS + _TRIGGERS


def create(connection: sqlite3.Connection, reason: str) -> None:
    """Makes everything in an empty file, and notes why `captures/` has to be walked; all or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        statement = ""
        for line in SCHEMA.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):  # executescript would commit first
                connection.execute(statement)
                statement = ""
        connection.execute("INSERT INTO note VALUES ('rebuild', ?)", (reason,))
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def upgrade(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Brings an older file to this version, step by step; a kill leaves it at the last whole step."""
    import sqlite_utils  # noqa: PLC0415  0.2 s and 25 MiB, needed after an update only

    (version,) = connection.execute("PRAGMA user_version").fetchone()
    database = sqlite_utils.Database(connection)
    for step, migration in enumerate(migrations[version - 1 :], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            migration(database)
            if not connection.in_transaction:
                raise RuntimeError(f"the step to schema {step} has committed before its record")
            connection.execute(f"PRAGMA user_version = {step}")
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
