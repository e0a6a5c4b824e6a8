"""Durable queues of others behind the same few calls: put, claim and acknowledge, open; each as it comes.

`python -m bench._queues open KIND FOLDER` says how long opening takes and what memory it needs, in a process of its
own; `work` puts and cycles a hundred, for whoever counts the syncs.
"""

import contextlib
import json
import os
import pickle
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

_ROOT = Path(__file__).parent.parent
_BUGCAM, _BUGCAM_PLACE = "bugcam==0.8.3", _ROOT / ".peers" / "bugcam"
_ITEM = json.dumps({"name": "bay3.walk.20261121T101500.123Z.12345678", "payload": "x" * 270})
"""About as long as a row of ours."""


class Queue(Protocol):
    """A queue in a folder."""

    def put(self, count: int) -> None:
        """Puts items, one by one."""

    def cycle(self, count: int) -> None:
        """Claims items and acknowledges them."""

    def close(self) -> None:
        """Lets the file go."""


class PersistQueue:
    """persist-queue's SQLite queue with acknowledgement."""

    def __init__(self, folder: Path) -> None:
        from persistqueue import SQLiteAckQueue

        self._queue = SQLiteAckQueue(str(folder))

    def put(self, count: int) -> None:
        for _ in range(count):
            self._queue.put(_ITEM)

    def cycle(self, count: int) -> None:
        for _ in range(count):
            self._queue.ack(self._queue.get(block=False))

    def close(self) -> None:
        self._queue.close()

    @staticmethod
    def fill(folder: Path, count: int) -> None:
        data = pickle.dumps(_ITEM)
        _insert(
            folder / "data.db", "ack_queue_default (data, timestamp, status)", ((data, 0.0, 1) for _ in range(count))
        )


class LiteQueue:
    """litequeue; synchronous = NORMAL is its own choice."""

    def __init__(self, folder: Path) -> None:
        from litequeue import LiteQueue as Theirs

        self._queue = Theirs(folder / "queue.db")

    def put(self, count: int) -> None:
        for _ in range(count):
            self._queue.put(_ITEM)

    def cycle(self, count: int) -> None:
        for _ in range(count):
            self._queue.done(self._queue.pop().message_id)

    def close(self) -> None:
        self._queue.close()

    @staticmethod
    def fill(folder: Path, count: int) -> None:
        rows = ((_ITEM, f"0{number:031x}", 0, number) for number in range(count))
        _insert(folder / "queue.db", "Queue (data, message_id, status, in_time)", rows)


class Huey:
    """huey's SQLite storage: what is taken is gone, there is nothing to acknowledge."""

    def __init__(self, folder: Path) -> None:
        from huey.storage import SqliteStorage

        self._storage = SqliteStorage("bench", str(folder / "huey.db"))

    def put(self, count: int) -> None:
        for _ in range(count):
            self._storage.enqueue(_ITEM.encode())

    def cycle(self, count: int) -> None:
        for _ in range(count):
            assert self._storage.dequeue() is not None

    def close(self) -> None:
        self._storage.close()

    @staticmethod
    def fill(folder: Path, count: int) -> None:
        data = _ITEM.encode()
        _insert(folder / "huey.db", "task (queue, data, priority)", (("bench", data, 0.0) for _ in range(count)))


class Bugcam:
    """bugcam's store, which its uploader asks for the whole backlog at once."""

    deepest_opened = 100_000
    """Ten times as many would take forty seconds and two gigabytes."""

    def __init__(self, folder: Path) -> None:
        self._store = bugcam()(folder / "pollen.db")
        self._next = time.time_ns()

    def put(self, count: int) -> None:
        for _ in range(count):
            self._next += 1
            self._store.enqueue("/var/lib/bugcam/staging/1", "result", f"v1/{self._next}", metadata={"device": "bay3"})

    def cycle(self, count: int) -> None:
        """As its `_tick` does, but no more than wanted."""
        rows = self._store.claim_pending(count)
        assert len(rows) == count
        for row in rows:
            self._store.record_attempt(row.id)
            self._store.mark_uploaded(row.id)
            self._store.delete(row.id)

    def first(self) -> None:
        """What its uploader begins with."""
        self._store.claim_pending()

    def close(self) -> None:
        self._store.close()

    @staticmethod
    def fill(folder: Path, count: int) -> None:
        columns = "(staging_path, kind, s3_key, created_at, updated_at, metadata)"
        rows = ((f"/staging/{n}", "result", f"v1/{n}", "2026-11-21", "2026-11-21", _ITEM) for n in range(count))
        _insert(folder / "pollen.db", f"uploads {columns}", rows)


KINDS: dict[str, Any] = {
    "persist-queue": PersistQueue,
    "litequeue": LiteQueue,
    "huey": Huey,
    "bugcam's store": Bugcam,
}


class Absent(Exception):
    """A peer that cannot be measured here; the message says why."""


def bugcam() -> Any:
    """Its store's class. Its own dependencies (OpenCV, SciPy, Flask) are not for the store, and not installed."""
    if not _BUGCAM_PLACE.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--retries", "1"]
        made = subprocess.run(
            [*command, "--target", str(_BUGCAM_PLACE), _BUGCAM], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise Absent(f"{_BUGCAM} cannot be installed: {(made.stderr.strip().splitlines() or ['?'])[-1]}")
    if str(_BUGCAM_PLACE) not in sys.path:
        sys.path.append(str(_BUGCAM_PLACE))
    from bugcam.pollen.store import PollenStore

    return PollenStore


def made(kind: str, folder: Path, count: int) -> Path:
    """A folder with a queue of that many. Absent where the peer is not here."""
    folder.mkdir(parents=True)
    try:
        KINDS[kind](folder).close()
    except ImportError as error:
        raise Absent(f"{error.name} is not installed here") from error
    KINDS[kind].fill(folder, count)
    return folder


def opened(kind: str, folder: Path) -> tuple[float, float]:
    """(seconds, MiB) of opening it in a process of its own and claiming for the first time; imports are not in it."""
    command = [sys.executable, "-m", "bench._queues", "open", kind, str(folder)]
    answer = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True).stdout
    seconds, mebibytes = json.loads(answer)
    return seconds, mebibytes


def work_command(kind: str, folder: Path) -> list[str]:
    """A process that prints begin, puts and cycles a hundred, and prints end."""
    return [sys.executable, "-m", "bench._queues", "work", kind, str(folder)]


def resident_bytes() -> int:
    """Of this process, from which `most_bytes` counts anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def most_bytes() -> int:
    """The most that were resident since."""
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024


def _insert(path: Path, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Many rows in one transaction, past the queue's own calls: else a million would take minutes."""
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        sql = f"INSERT INTO {table} VALUES ({', '.join('?' * len(first))})"
        connection.execute(sql, first)
        connection.executemany(sql, rows)


def _open(kind: str, folder: Path) -> None:
    (folder / "other").mkdir(exist_ok=True)
    KINDS[kind](folder / "other").close()  # what it imports is there from now on
    before, begun = resident_bytes(), time.perf_counter()
    queue = KINDS[kind](folder)
    seconds = time.perf_counter() - begun
    first: Callable[[], None] = getattr(queue, "first", lambda: queue.cycle(1))
    first()
    print(json.dumps([seconds, (most_bytes() - before) / 2**20]))
    queue.close()


def _work(kind: str, folder: Path) -> None:
    queue = KINDS[kind](folder)
    print("begin", flush=True)
    queue.put(100)
    queue.cycle(100)
    print("end", flush=True)
    queue.close()


if __name__ == "__main__":
    {"open": _open, "work": _work}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
