"""The queue: events and answers that wait for the broker, in SQLite, so that no restart loses one.

A message is there until the broker has acknowledged it, and has an id by which whoever gets it twice can tell.
"""

import dataclasses
import json
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from agent.database import Database

_DROPPED = "messages_dropped"
_REMEMBERED = 1000
"""Answers that are kept, so that a command which comes again is not obeyed again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One that waits; `topic` of an event is below the prefix, that of an answer is whole."""

    number: int
    kind: str
    """event or answer."""
    topic: str
    payload: str
    correlation: bytes | None = None


class Queue:
    """For any thread. `most` messages wait at most; `bound` drops the oldest beyond."""

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._most = most
        self._lock = threading.Lock()
        self._refused = 0

    def add(self, event: str, payload: Mapping[str, Any]) -> None:
        """Queues an event; `payload` has its `id`. One whose id waits already is the same event."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                "INSERT INTO queued_message (uuid, kind, topic, payload) VALUES (?, 'event', ?, ?)"
                " ON CONFLICT DO NOTHING",
                (payload["id"], f"event/{event}", json.dumps(payload)),
            )

    def answer(
        self, topic: str, payload: Mapping[str, Any], correlation: bytes | None, *, remembered: tuple[str, str] | None
    ) -> None:
        """Queues an answer, and with `remembered`, (who asked it, what), keeps it for `answered`."""
        text = json.dumps(payload)
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                "INSERT INTO queued_message (uuid, kind, topic, payload, correlation) VALUES (?, 'answer', ?, ?, ?)",
                (payload["id"], topic, text, correlation),
            )
            if remembered is not None:
                connection.execute(
                    "INSERT INTO answered (asker, question, answer) VALUES (?, ?, ?)", (*remembered, text)
                )
                connection.execute(
                    "DELETE FROM answered WHERE id <= (SELECT max(id) FROM answered) - ?", (_REMEMBERED,)
                )

    def again(self, topic: str, payload: Mapping[str, Any], correlation: bytes | None) -> None:
        """Queues an answer that was given before. One that has gone may stand there still, to be struck out soon."""
        with self._database.transaction(durable=False) as connection:
            connection.execute("DELETE FROM queued_message WHERE uuid = ?", (payload["id"],))
            connection.execute(
                "INSERT INTO queued_message (uuid, kind, topic, payload, correlation) VALUES (?, 'answer', ?, ?, ?)",
                (payload["id"], topic, json.dumps(payload), correlation),
            )

    def answered(self, asker: str) -> tuple[str, dict[str, Any]] | None:
        """(What was asked, what was answered) before."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT question, answer FROM answered WHERE asker = ?", (asker,)).fetchone()
        return row and (row[0], json.loads(row[1]))

    def waiting(self, after: int, count: int, but: Collection[str]) -> Sequence[Message]:
        """Up to `count` messages behind number `after`, oldest first, but no events of the topics `but`."""
        marks = ", ".join("?" * len(but))
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT id, kind, topic, payload, correlation FROM queued_message"  # noqa: S608  question marks
                f" WHERE id > ? AND (kind = 'answer' OR topic NOT IN ({marks})) ORDER BY id LIMIT ?",
                (after, *but, count),
            ).fetchall()
        return [Message(*row) for row in rows]

    def done(self, numbers: Sequence[int]) -> None:
        """The broker has these. A power cut may forget it, and then they are sent again."""
        with self._database.transaction(durable=False) as connection:
            connection.executemany("DELETE FROM queued_message WHERE id = ?", [(number,) for number in numbers])

    def refused(self, number: int) -> None:
        """The broker will never take this one: it goes, and is counted."""
        self.done([number])
        with self._lock:
            self._refused += 1

    def bound(self) -> int:
        """Drops the oldest beyond the bound, and counts them for good; how many."""
        with self._database.reading() as connection:
            (count,) = connection.execute("SELECT count(*) FROM queued_message").fetchone()
        if count <= self._most:
            return 0
        with self._database.transaction(durable=False) as connection:
            dropped = connection.execute(
                "DELETE FROM queued_message WHERE id IN (SELECT id FROM queued_message ORDER BY id LIMIT ?)",
                (count - self._most,),
            ).rowcount
            connection.execute(
                "INSERT INTO note VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + ?2",
                (_DROPPED, str(dropped)),
            )
        return dropped

    def health(self) -> dict[str, Any]:
        """`dropped` counts since the database was made, `refused` (by the broker) since the start."""
        with self._database.reading() as connection:
            (waiting,) = connection.execute("SELECT count(*) FROM queued_message").fetchone()
            dropped = connection.execute("SELECT value FROM note WHERE key = ?", (_DROPPED,)).fetchone()
        with self._lock:
            return {"waiting": waiting, "dropped": int(dropped[0]) if dropped else 0, "refused": self._refused}
