"""The SQLite file: opened fast, upgraded, replaced when damaged, shared by processes and threads."""

import errno
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import schema
from agent.database import Database, DatabaseDamaged, DatabaseWaits, OtherVersion

ROOT = Path(__file__).parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with owned(path) as database:
        yield database


def owned(path: Path) -> Database:
    return Database(path, quarantine=path.parent / "quarantine")


def note(database: Database, key: str) -> str | None:
    with database.reading() as connection:
        row = connection.execute("SELECT value FROM note WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def write(database: Database, key: str, value: str, *, durable: bool = False) -> None:
    with database.transaction(durable=durable) as connection:
        connection.execute("INSERT INTO note VALUES (?, ?)", (key, value))


def test_a_new_file_asks_for_a_rebuild_until_it_was_done(path: Path) -> None:
    with owned(path) as database:
        assert database.rebuilt_because == "agent.db was missing"
    with owned(path) as database:  # a kill before the rebuild was whole
        assert database.rebuilt_because == "agent.db was missing"
        database.rebuilt()
        assert database.rebuilt_because == ""
    with owned(path) as database:
        assert database.rebuilt_because == ""


def test_what_is_raised_within_a_transaction_undoes_it(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction(durable=True) as connection:
        connection.execute("INSERT INTO note VALUES ('a', 'b')")
        raise ZeroDivisionError
    assert note(database, "a") is None
    write(database, "a", "c")
    assert note(database, "a") == "c"


def test_transactions_do_not_nest(database: Database) -> None:
    with database.transaction(durable=False), pytest.raises(RuntimeError, match="within a transaction"):
        write(database, "a", "b")
    write(database, "a", "b")


def test_a_reader_neither_sees_nor_waits_for_what_is_not_committed(database: Database) -> None:
    seen: list[str | None] = []
    with database.transaction(durable=True) as connection:
        connection.execute("INSERT INTO note VALUES ('a', 'b')")
        reader = threading.Thread(target=lambda: seen.append(note(database, "a")))
        reader.start()
        reader.join(10)
    assert seen == [None]
    assert note(database, "a") == "b"


def test_only_durable_transactions_are_synced(database: Database) -> None:
    for durable, level in ((True, 2), (False, 1), (True, 2)):
        with database.transaction(durable=durable) as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (level,)


def test_another_process_reads_and_writes_meanwhile(database: Database, path: Path) -> None:
    write(database, "ours", "1")
    script = (
        "import sys; from pathlib import Path; from agent.database import Database\n"
        "with Database(Path(sys.argv[1])) as database:\n"
        "    with database.reading() as c: assert c.execute(\"SELECT value FROM note WHERE key = 'ours'\").fetchone()\n"
        "    with database.transaction(durable=True) as c: c.execute(\"INSERT INTO note VALUES ('theirs', '2')\")\n"
    )
    subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, check=True)
    assert note(database, "theirs") == "2"


def test_a_guest_makes_no_file_and_repairs_none(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="daemon makes it"):
        Database(path).open()
    assert not path.exists()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(DatabaseDamaged):
        Database(path).open()
    assert path.read_bytes() == b"no database" * 1000


@pytest.mark.parametrize("damage", ["garbage", "cut", "no tables", "zeroes"])
def test_a_damaged_file_is_set_aside_with_the_reason_and_replaced(path: Path, damage: str) -> None:
    with owned(path) as database:
        write(database, "a", "b")
        database.rebuilt()
    whole = path.read_bytes()
    if damage == "no tables":
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE parcel")
        connection.close()
    else:
        path.write_bytes({"garbage": b"\xa5" * 9000, "cut": whole[:-5000], "zeroes": bytes(len(whole))}[damage])
    damaged = path.read_bytes()
    with owned(path) as database:
        assert database.rebuilt_because.startswith("agent.db was damaged: ")
        assert note(database, "a") is None
        write(database, "a", "c")
        reason = database.rebuilt_because
    aside = path.parent / "quarantine" / "agent.db"
    assert (aside / "agent.db").read_bytes() == damaged
    assert (aside / "reason.txt").read_text() == reason + "\n"
    assert not path.with_name("agent.db.damaged").exists()


def test_damage_found_while_running_stops_loudly_and_the_next_start_replaces_the_file(path: Path) -> None:
    with owned(path) as database:
        with database.transaction(durable=True) as connection:
            connection.executemany("INSERT INTO note VALUES (?, ?)", [(f"{n:05}", "x" * 500) for n in range(500)])
        database.rebuilt()
    content = bytearray(path.read_bytes())
    content[-40 * 4096 : -30 * 4096] = b"\xff" * (10 * 4096)  # deep in a table: what opening never looks at
    path.write_bytes(content)
    with owned(path) as database:
        assert database.rebuilt_because == ""
        with pytest.raises(DatabaseDamaged, match="new start"), database.reading() as connection:
            connection.execute("SELECT sum(length(value)) FROM note").fetchone()
    with owned(path) as database:
        assert "damaged" in database.rebuilt_because
        write(database, "a", "b")


def test_after_a_kill_a_small_file_is_checked_as_a_whole(path: Path) -> None:
    with owned(path) as database, database.transaction(durable=True) as connection:
        connection.executemany("INSERT INTO note VALUES (?, ?)", [(f"{n:05}", "x" * 500) for n in range(500)])
    script = (
        "import os, sys; from pathlib import Path; from agent.database import Database\n"
        "database = Database(Path(sys.argv[1]), quarantine=Path(sys.argv[1]).parent).open()\n"
        "with database.transaction(durable=True) as c: c.execute(\"INSERT INTO note VALUES ('a', 'b')\")\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, check=True)
    with path.open("r+b") as file:
        file.seek(-50 * 4096, 2)
        file.write(b"\xff" * (40 * 4096))
    with owned(path) as database:
        assert "damaged" in database.rebuilt_because


def killed(path: Path) -> Path:
    """A copy of the database as a kill would leave it after twenty commits; its write-ahead log."""
    place = path.parent / "killed"
    place.mkdir()
    with owned(path) as database:
        database.rebuilt()
    with owned(path) as database:
        for number in range(20):
            write(database, f"key {number}", "x" * 5000)
        for name in (path.name, f"{path.name}-wal"):
            shutil.copy(path.with_name(name), place)
    return place / f"{path.name}-wal"


def kept(database: Database) -> list[int]:
    return [number for number in range(20) if note(database, f"key {number}")]


@pytest.mark.parametrize(
    ("frame", "byte", "before"), [(30, 1000, True), (30, 9, True), (0, 0, False), (0, -20, False), (0, -7, False)]
)
def test_a_log_damaged_amid_its_commits_asks_for_a_walk_and_keeps_what_is_before(
    path: Path, frame: int, byte: int, before: bool
) -> None:
    log = killed(path)
    data = bytearray(log.read_bytes())
    data[32 + frame * (24 + 4096) + byte] ^= 1  # in a page, in its frame, in the header of the log
    log.write_bytes(data)
    for _ in range(2):  # and again, until it was done
        with owned(path.with_name("killed") / path.name) as database:
            assert kept(database) == list(range(len(kept(database))))
            assert (0 < len(kept(database)) < 20) == before
            assert database.rebuilt_because == "the last commits in agent.db-wal were damaged"


def test_a_damaged_log_is_found_once(path: Path) -> None:
    log = killed(path)
    data = bytearray(log.read_bytes())
    data[32 + 30 * (24 + 4096) + 1000] ^= 1
    log.write_bytes(data)
    with owned(log.with_name(path.name)) as database:
        database.rebuilt()
        write(database, "later", "x")
        for name in (path.name, f"{path.name}-wal"):
            shutil.copy(log.with_name(name), path.parent)
    with owned(path) as database:
        assert (database.rebuilt_because, note(database, "later")) == ("", "x")


@pytest.mark.parametrize("cut", [0, 50, 4120 + 4000])
def test_a_log_that_is_whole_or_whose_last_commit_was_cut_off_asks_for_nothing(path: Path, cut: int) -> None:
    log = killed(path)
    os.truncate(log, log.stat().st_size - cut)
    with owned(log.with_name(path.name)) as database:
        assert database.rebuilt_because == ""
        assert kept(database) == list(range(20 if not cut else 19))


def test_after_a_kill_the_owner_keeps_its_lock_on_the_index_of_the_log(path: Path) -> None:
    log = killed(path)
    script = (
        "import sys; from pathlib import Path; from agent.database import Database\n"
        "with Database(Path(sys.argv[1]), quarantine=Path(sys.argv[1]).parent / 'quarantine'):\n"
        "    print('open', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, log.with_name(path.name)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == b"open\n"
        with log.with_name(f"{path.name}-shm").open("r+b") as index:
            # Who gets byte 128, SQLite's "dead man's switch", cuts the index off, which the owner has mapped: SIGBUS.
            with pytest.raises(BlockingIOError):
                fcntl.lockf(index, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
            owner.communicate(b"")
            fcntl.lockf(index, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
    assert owner.returncode == 0


def test_a_kill_while_setting_aside_is_made_good(path: Path) -> None:
    with owned(path) as database:
        write(database, "a", "b")
        database.rebuilt()
    path.with_name("agent.db.damaged").write_text("bad page\n")  # the mark is there, and the file not yet moved
    with owned(path) as database:
        assert database.rebuilt_because == "agent.db was damaged: bad page"
        assert note(database, "a") is None


def test_a_full_or_forbidden_disk_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "agent.db").mkdir()
    with pytest.raises(DatabaseWaits, match="unable to open"):
        owned(tmp_path / "agent.db").open()
    assert {path.name for path in tmp_path.iterdir()} == {"agent.db"}, "neither in quarantine nor marked as damaged"


def test_a_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    owned(path).open().close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(OtherVersion, match="newer version"):
        owned(path).open()
    assert path.exists()


def test_a_start_with_the_current_schema_does_without_sqlite_utils(path: Path) -> None:
    owned(path).open().close()
    script = (
        "import sys; from pathlib import Path; from agent.database import Database\n"
        "Database(Path(sys.argv[1]), quarantine=Path(sys.argv[1]).parent).open().close()\n"
        "assert 'sqlite_utils' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, check=True)


def test_migrations_are_whole_steps_with_their_record(database: Database) -> None:
    def add_table(utils) -> None:
        assert utils["parcel"].exists()
        utils.execute("CREATE TABLE message (id INTEGER PRIMARY KEY)")

    def fail(utils) -> None:
        utils.execute("CREATE TABLE other (id INTEGER PRIMARY KEY)")
        raise ZeroDivisionError

    def commit(utils) -> None:
        utils.conn.commit()

    with database._write_lock:
        connection = database._connections[0]
        with pytest.raises(ZeroDivisionError):
            schema.upgrade(connection, [*schema.MIGRATIONS, add_table, fail])
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        assert "message" in tables and "other" not in tables
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION + 1,)
        with pytest.raises(RuntimeError, match="before its record"):
            schema.upgrade(connection, [*schema.MIGRATIONS, add_table, commit])
        assert not connection.in_transaction


def test_closing_twice_does_no_harm(path: Path) -> None:
    database = owned(path).open()
    database.close()
    database.close()
    assert not path.with_name("agent.db-wal").exists()


def test_a_full_disk_is_said_as_such_and_the_file_goes_on_afterwards(tmp_path: Path) -> None:
    with Database(tmp_path / "agent.db", quarantine=tmp_path / "quarantine") as database:
        with database.transaction(durable=False) as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DatabaseWaits, match="full") as caught, database.transaction(durable=False) as connection:
            connection.executemany("INSERT INTO note VALUES (?, ?)", ((str(n), "x" * 1000) for n in range(100)))
        assert caught.value.errno == errno.ENOSPC
        with database.transaction(durable=False) as connection:
            connection.execute("PRAGMA max_page_count = 100000")
        with database.transaction(durable=True) as connection:
            connection.execute("INSERT INTO note VALUES ('later', 'there is room again')")
        with database.reading() as connection:
            assert connection.execute("SELECT count(*) FROM note WHERE key = 'later'").fetchone() == (1,)
