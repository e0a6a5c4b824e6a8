"""Withdrawal: captures are taken back: files here, copies at targets, and each name that was said of them."""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from agent.capture import short_id
from agent.catalogue import Catalogue
from agent.database import Database
from agent.query import Entry, Query
from agent.removal import Fate, Remove, asked

_PAUSE_S = 0.2


class OnItsWay(Exception):
    """A capture is being sent just now; the message says which and what to do."""


class Withdrawal:
    """Of one data folder, also while a daemon runs on it; what failed is found again by a second withdrawal."""

    def __init__(self, database: Database, catalogue: Catalogue, targets: Mapping[str, Remove], *, today: str) -> None:
        """`targets`: those that can remove; `today` stands in the receipts that are kept."""
        self._database = database
        self._catalogue = catalogue
        self._targets = targets
        self._today = today

    def find(self, queries: Sequence[Query]) -> list[Entry]:
        """All that one of these means, with those whose files were deleted here to make room."""
        found = {
            entry.uuid: entry
            for query in queries
            for entry in self._catalogue.find(dataclasses.replace(query, deleted=True))
        }
        return list(found.values())

    def hold(self, entries: Sequence[Entry], wait_s: float) -> None:
        """Sees that nothing of them is sent any more. OnItsWay where after `wait_s` something still is; a wait of 0
        is for a folder without a daemon: nothing can be under way."""
        of_capture = "capture = (SELECT id FROM capture WHERE uuid = ?)"
        uuids = [(entry.uuid,) for entry in entries]
        deadline = time.monotonic() + wait_s
        while True:
            with self._database.transaction(durable=True) as connection:
                states = "'waiting', 'refused'" if wait_s else "'waiting', 'refused', 'leased'"
                connection.executemany(
                    "UPDATE parcel SET state = 'dropped', due_boot = NULL, due_ns = NULL, lease = NULL,"  # noqa: S608
                    f" error = 'withdrawn' WHERE {of_capture} AND state IN ({states})",
                    uuids,
                )
                leased = [
                    uuid
                    for (uuid,) in uuids
                    if connection.execute(
                        f"SELECT 1 FROM parcel WHERE {of_capture} AND state = 'leased'",  # noqa: S608
                        (uuid,),
                    ).fetchone()
                ]
            if not leased:
                return
            if time.monotonic() > deadline:
                raise OnItsWay(f"capture {leased[0]} is being sent just now: pause its targets, and withdraw it again")
            time.sleep(_PAUSE_S)

    def take_back(self, entry: Entry) -> list[Fate]:
        """Removes one capture wherever that can be done, and what is known of it here but where it was."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT parcel.id, target, receipt, attempts > 0 OR progress IS NOT NULL FROM parcel"
                " JOIN capture ON capture.id = parcel.capture WHERE uuid = ?",
                (entry.uuid,),
            ).fetchall()
        fates: list[Fate] = []
        kept: list[tuple[str, int]] = []
        for number, target, text, begun in rows:
            receipt = json.loads(text) if text else {}
            if "withdrawn" in receipt:
                continue
            fate = self._at_target(entry.uuid, target, receipt, begun=bool(begun))
            fates += [fate] if fate else []
            if fate is None or fate.state != "failed":
                left: dict[str, Any] = {"left": receipt} if fate and fate.state == "by hand" else {}
                left |= {"stays": fate.stays} if fate and fate.stays else {}
                kept.append((json.dumps({"withdrawn": self._today, **left}), number))
        self._catalogue.delete([entry.uuid])
        self._forget(entry, kept, names=all(fate.state != "failed" for fate in fates))
        return fates

    def _at_target(self, uuid: str, target: str, receipt: dict[str, Any], *, begun: bool) -> Fate | None:
        """None where it never was."""
        if not receipt:
            said = "it may have arrived in part: what was sent was never confirmed"
            return Fate(uuid, target, "by hand", said) if begun else None
        if "deleted" in receipt:
            return Fate(uuid, target, "removed", "", tuple(receipt.get("stays", ())))
        return asked(self._targets.get(target), uuid, target, receipt)

    def _forget(self, entry: Entry, kept: Sequence[tuple[str, int]], *, names: bool) -> None:
        """Keeps receipts; with `names`, nothing by which it could be found as somebody's stays."""
        of_capture = "capture = (SELECT id FROM capture WHERE uuid = ?)"
        with self._database.transaction(durable=True) as connection:
            connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten, too
            connection.executemany("UPDATE parcel SET receipt = ?, progress = NULL, error = NULL WHERE id = ?", kept)
            if names:
                for table in ("tag", "dataset"):
                    connection.execute(f"DELETE FROM {table} WHERE {of_capture}", (entry.uuid,))  # noqa: S608
                connection.execute(
                    "UPDATE capture SET name = ? WHERE uuid = ?", (f"withdrawn-{short_id(entry.uuid)}", entry.uuid)
                )
