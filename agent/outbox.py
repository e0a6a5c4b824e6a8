"""The outbox: what is still owed, one parcel per capture and target; the only memory of delivery."""

import dataclasses
import json
import random
import sqlite3
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from agent.database import Database
from agent.parcel import COLUMNS, HELD_NS, UNSURE, Backoff, Counts, Outcome, Parcel

__all__ = ["Backoff", "Counts", "Outbox", "Outcome", "Parcel"]

_SLICE = 500
"""Rows that one transaction of a long job touches, so that nobody waits for it."""


_STATES = ("waiting", "leased", "delivered", "refused", "dropped")
_PENDING = ("waiting", "leased", "refused")
_HELD = "the date of this capture is not known yet"
_UNSURE = "it may be there already: the database was made anew"
_DROP = "state = 'dropped', due_boot = NULL, due_ns = NULL, lease = NULL, progress = NULL, error = ?1"


class Outbox:
    """Parcels of all targets. For any thread; every method is one transaction unless it takes a connection.

    `now` is CLOCK_BOOTTIME in nanoseconds, in the boot `boot_id`; `jitter` spreads what rests after failures.
    """

    def __init__(self, database: Database, *, boot_id: str, now: Callable[[], int], jitter: random.Random) -> None:
        self.boot_id = boot_id
        self._database = database
        self._now = now
        self._jitter = jitter

    def owe(
        self,
        connection: sqlite3.Connection,
        owed: Iterable[tuple[str, int, Sequence[str]]],
        delays_s: Mapping[str, float] = MappingProxyType({}),
        held: Collection[str] = (),
        *,
        unsure: Collection[str] = (),
    ) -> None:
        """Adds a parcel for each target of each (capture uuid, bytes, targets), in the caller's transaction.

        `delays_s`: how long a target's parcels rest at first; those `held` do until `let_go`, or the next boot; those
        `unsure` until a person has asked their target. What is there already stays as it is. LookupError where a
        capture is not in the catalogue.
        """
        due = {
            target: (self.boot_id, self._now() + int(delay_s * 1e9)) for target, delay_s in delays_s.items() if delay_s
        }
        due.update(dict.fromkeys(held, (self.boot_id, HELD_NS)))
        due.update(dict.fromkeys(unsure, (UNSURE, HELD_NS)))
        for capture, size, targets in owed:
            row = connection.execute("SELECT id, revision FROM capture WHERE uuid = ?", (capture,)).fetchone()
            if row is None:
                raise LookupError(f"capture {capture} is not in the catalogue, and cannot be owed")
            connection.executemany(
                "INSERT INTO parcel (capture, target, revision, size, due_boot, due_ns, error)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [
                    (
                        *(row[0], target, row[1], size),
                        *due.get(target, (None, None)),
                        _UNSURE if target in unsure else _HELD if target in held else None,
                    )
                    for target in targets
                ],
            )

    def let_go(self, connection: sqlite3.Connection, capture: str) -> None:
        """Makes the parcels of a capture ready that were held until its date is known, in the caller's transaction."""
        connection.execute(
            "UPDATE parcel SET due_boot = NULL, due_ns = NULL, error = NULL"
            " WHERE capture = (SELECT id FROM capture WHERE uuid = ?) AND state = 'waiting' AND due_ns = ?"
            " AND due_boot < ?",
            (capture, HELD_NS, UNSURE),
        )

    def holds(self, target: str) -> str:
        """What parcels of this target are held for: `reconcile`, before `the clock to be set`; empty where none are."""
        sql = "SELECT 1 FROM parcel WHERE target = ? AND state = 'waiting' AND due_boot = ? AND due_ns = ? LIMIT 1"
        with self._database.reading() as connection:
            for boot, what in ((UNSURE, "reconcile"), (self.boot_id, "the clock to be set")):
                if connection.execute(sql, (target, boot, HELD_NS)).fetchone() is not None:
                    return what
        return ""

    def amend(self, connection: sqlite3.Connection, capture: str, revision: int, targets: Sequence[str]) -> None:
        """Owes a new revision again to those of `targets` which have the capture, or are just taking it, unless their
        receipt says that it is final. Parcels not yet begun deliver the newest revision anyway; what was refused is
        tried again, from the beginning, as that may be what the annotation mends."""
        (capture_id,) = connection.execute("SELECT id FROM capture WHERE uuid = ?", (capture,)).fetchone()
        for target in targets:
            connection.execute(
                "UPDATE parcel SET revision = ?, state = 'waiting', attempts = 0"
                " WHERE capture = ? AND target = ? AND state = 'delivered'"
                " AND NOT coalesce(json_extract(receipt, '$.final'), 0)",
                (revision, capture_id, target),
            )
            connection.execute(
                "UPDATE parcel SET revision = ? WHERE capture = ? AND target = ? AND state = 'leased'",
                (revision, capture_id, target),
            )
        connection.execute(
            "UPDATE parcel SET revision = ?, progress = iif(state = 'refused', NULL, progress),"
            " attempts = iif(state = 'refused', 0, attempts), state = 'waiting'"
            " WHERE capture = ? AND state IN ('waiting', 'refused')",
            (revision, capture_id),
        )

    def claim(self, target: str, count: int, *, lease_s: float, newest_first: bool = False) -> list[Parcel]:
        """Leases up to `count` parcels that are due, for nobody else to take until they are settled or `lease_s` is
        over. As fast with a million owed as with ten."""
        order = "DESC" if newest_first else "ASC"
        lease, now = uuid.uuid4().hex, self._now()
        with self._database.transaction(durable=False) as connection:
            self._wake(connection, target, count, now)
            rows = connection.execute(
                f"{COLUMNS} WHERE target = ? AND state = 'waiting' AND due_boot IS NULL AND due_ns IS NULL"
                f" ORDER BY parcel.id {order} LIMIT ?",
                (target, count),
            ).fetchall()
            connection.executemany(
                "UPDATE parcel SET state = 'leased', lease = ?, due_boot = ?, due_ns = ? WHERE id = ?",
                [(lease, self.boot_id, now + int(lease_s * 1e9), row[0]) for row in rows],
            )
        return [dataclasses.replace(Parcel.of(row), state="leased", lease=lease) for row in rows]

    def _wake(self, connection: sqlite3.Connection, target: str, count: int, now: int) -> None:
        """Makes up to `count` of the parcels ready whose rest or lease is over; those of another boot always are."""
        for state in ("leased", "waiting"):
            for due in ("due_boot = ?2 AND due_ns <= ?3", "due_boot < ?2", f"due_boot > ?2 AND due_boot < '{UNSURE}'"):
                connection.execute(
                    "UPDATE parcel SET state = 'waiting', due_boot = NULL, due_ns = NULL, lease = NULL WHERE id IN ("  # noqa: S608  our own words
                    f"SELECT id FROM parcel WHERE target = ?1 AND state = '{state}' AND {due} LIMIT ?4)",
                    (target, self.boot_id, now, count),
                )

    def settle(self, outcomes: Sequence[Outcome], backoff: Backoff | None = None) -> None:
        """Commits what became of claimed parcels, all in one transaction; durable where one was delivered or refused.

        A delivery always counts. Anything else is ignored when the lease has meanwhile gone to somebody else.
        """
        backoff = backoff or Backoff()
        now = self._now()
        delivered = [outcome for outcome in outcomes if outcome.kind == "delivered"]
        others = [
            outcome.next(backoff, (self.boot_id, now), self._jitter)
            for outcome in outcomes
            if outcome.kind != "delivered"
        ]
        durable = bool(delivered) or any(values[0] == "refused" for values in others)
        with self._database.transaction(durable=durable) as connection:
            settled = connection.executemany(
                "UPDATE parcel SET state = 'delivered', receipt = ?, due_boot = NULL, due_ns = NULL, lease = NULL,"
                " progress = NULL, error = NULL WHERE id = ? AND state <> 'delivered' AND (revision <= ? OR ?)",
                [(json.dumps(o.receipt, allow_nan=False), o.parcel.id, o.parcel.revision, o.final) for o in delivered],
            ).rowcount
            if settled != len(delivered):  # some were amended while they were under way: owed again, as amended
                connection.executemany(
                    "UPDATE parcel SET state = 'waiting', receipt = ?, due_boot = NULL, due_ns = NULL, lease = NULL,"
                    " progress = NULL WHERE id = ? AND lease = ? AND revision > ?",
                    [
                        (json.dumps(o.receipt, allow_nan=False), o.parcel.id, o.parcel.lease, o.parcel.revision)
                        for o in delivered
                    ],
                )
            connection.executemany(
                "UPDATE parcel SET state = ?, attempts = attempts + ?, due_boot = ?, due_ns = ?,"
                " error = coalesce(?, error), lease = NULL WHERE id = ? AND lease = ? AND state = 'leased'",
                others,
            )

    def progress(self, parcel: Parcel, state: Mapping[str, Any]) -> None:
        """Remembers how far an upload has come. A power cut may lose the last ones, which only repeats work."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                "UPDATE parcel SET progress = ? WHERE id = ? AND lease = ?",
                (json.dumps(state, allow_nan=False), parcel.id, parcel.lease),
            )

    def renew(self, parcels: Iterable[Parcel], lease_s: float) -> None:
        """Keeps leases of uploads that are still going on."""
        until = self._now() + int(lease_s * 1e9)
        with self._database.transaction(durable=False) as connection:
            connection.executemany(
                "UPDATE parcel SET due_ns = ? WHERE id = ? AND lease = ?",
                [(until, parcel.id, parcel.lease) for parcel in parcels],
            )

    def release_all(self) -> int:
        """Frees every lease: for the start, when nobody can be uploading. How many there were."""
        with self._database.transaction(durable=False) as connection:
            return connection.executemany(
                "UPDATE parcel SET state = 'waiting', due_boot = NULL, due_ns = NULL, lease = NULL"
                " WHERE target = ? AND state = 'leased'",
                connection.execute("SELECT DISTINCT target FROM tally").fetchall(),
            ).rowcount

    def retry(self, target: str | None = None, capture: str | None = None, *, refused: bool = True) -> int:
        """Makes what rests after failures, and (with `refused`) what was refused or held, ready at once, with no
        failures counted; of a target, of a capture (uuid), of all. How many."""
        change = "state = 'waiting', attempts = 0, due_boot = NULL, due_ns = NULL, error = iif(?1 = '', error, ?1)"
        wheres = [f"state = 'waiting' AND due_boot > '' AND due_ns < {HELD_NS}"]
        if refused:
            wheres = ["state = 'waiting' AND due_boot > ''", "state = 'refused'"]
        return self._change(change, "", wheres, (target, capture))

    def drop(
        self,
        target: str | None = None,
        capture: str | None = None,
        *,
        refused_only: bool = True,
        reason: str = "dropped",
    ) -> int:
        """Owes what was refused (or else all that is not delivered) no longer; of a target, of a capture (uuid), of
        all. Then retention may delete it. How many."""
        wheres = [f"state = '{state}'" for state in (("refused",) if refused_only else _PENDING)]
        return self._change(_DROP, reason, wheres, (target, capture))

    def give_up(self, connection: sqlite3.Connection, captures: Sequence[str], reason: str) -> None:
        """Drops all that is still owed of these captures (uuids), in the caller's transaction."""
        connection.executemany(
            f"UPDATE parcel SET {_DROP} WHERE capture = (SELECT id FROM capture WHERE uuid = ?2)"  # noqa: S608
            " AND state NOT IN ('delivered', 'dropped')",
            [(reason, capture) for capture in captures],
        )

    def _change(self, change: str, reason: str, wheres: Sequence[str], scope: tuple[str | None, str | None]) -> int:
        """Changes rows in slices, a short transaction each; `scope` is (target or None, capture uuid or None)."""
        target, capture = scope
        of_capture = "" if capture is None else "AND capture = (SELECT id FROM capture WHERE uuid = ?3)"
        changed = 0
        for name in self._targets() if target is None else [target]:
            for where in wheres:
                count = _SLICE
                while count == _SLICE:
                    with self._database.transaction(durable=False) as connection:
                        count = connection.execute(
                            f"UPDATE parcel SET {change} WHERE id IN ("  # noqa: S608  our own words
                            f"SELECT id FROM parcel WHERE target = ?2 AND {where} {of_capture} LIMIT {_SLICE})",
                            (reason, name) if capture is None else (reason, name, capture),
                        ).rowcount
                    changed += count
        return changed

    def counts(self) -> dict[str, Counts]:
        """What is owed, refused, dropped and delivered, by target."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT target, state, parcels, bytes FROM tally").fetchall()
            oldest = {
                target: connection.execute(
                    "SELECT started_ns FROM capture WHERE id = (SELECT capture FROM parcel"
                    " WHERE target = ? AND state IN ('waiting', 'leased') ORDER BY id LIMIT 1)",
                    (target,),
                ).fetchone()
                for target in {row[0] for row in rows}
            }
        found: dict[str, Counts] = {}
        for target, started in sorted(oldest.items()):
            tally = {state: (parcels, size) for name, state, parcels, size in rows if name == target}
            owed, delivered, forgotten = (tally.get(state, (0, 0)) for state in ("owed", "delivered", "forgotten"))
            found[target] = Counts(
                owed=owed[0],
                owed_bytes=owed[1],
                refused=tally.get("refused", (0, 0))[0],
                dropped=tally.get("dropped", (0, 0))[0],
                delivered=delivered[0] + forgotten[0],
                delivered_bytes=delivered[1] + forgotten[1],
                oldest_ns=started[0] if started else None,
            )
        return found

    def list(self, target: str | None = None, state: str | None = None, *, limit: int = 100) -> Sequence[Parcel]:
        """Up to `limit` parcels of each target, oldest first; without a state: all that are not settled for good.
        State `unsure` has those of `waiting` that may have been delivered before the database was made anew."""
        found: list[Parcel] = []
        with self._database.reading() as connection:
            for name in self._targets() if target is None else [target]:
                for each in _PENDING if state is None else [state]:
                    if each not in (*_STATES, "unsure"):
                        raise ValueError(f"{each!r} is no state of a parcel; there is {', '.join(_STATES)}, unsure")
                    where = f"'waiting' AND due_boot = '{UNSURE}'" if each == "unsure" else f"'{each}'"
                    rows = connection.execute(
                        f"{COLUMNS} WHERE target = ? AND state = {where} ORDER BY parcel.id LIMIT ?", (name, limit)
                    )
                    found += map(Parcel.of, rows)
        return found

    def due_s(self, target: str) -> float | None:
        """Seconds until a parcel of this target is due, 0 where one is ready; None where nothing is owed."""
        with self._database.reading() as connection:
            others = f"due_boot > ?2 AND due_boot < '{UNSURE}'"
            for due in ("due_boot IS NULL AND due_ns IS NULL", "due_boot < ?2", others):
                sql = f"SELECT 1 FROM parcel WHERE target = ?1 AND state = 'waiting' AND {due} LIMIT 1"  # noqa: S608
                if connection.execute(sql, (target, self.boot_id)[: 1 + ("?2" in due)]).fetchone():
                    return 0.0
            times = [
                connection.execute(
                    f"SELECT min(due_ns) FROM parcel WHERE target = ? AND state = '{state}' AND due_boot = ?",  # noqa: S608
                    (target, self.boot_id),
                ).fetchone()[0]
                for state in ("waiting", "leased")
            ]
        return min((max(0.0, (time - self._now()) / 1e9) for time in times if time is not None), default=None)

    def _targets(self) -> Sequence[str]:
        with self._database.reading() as connection:
            return [name for (name,) in connection.execute("SELECT DISTINCT target FROM tally")]
