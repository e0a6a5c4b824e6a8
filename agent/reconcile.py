"""Reconciling: what a platform has is held against what was delivered to it; what is missing there is owed again."""

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Sequence

from agent.capture import Capture, Payload
from agent.catalogue import Catalogue
from agent.database import Database
from agent.outbox import Outbox
from agent.parcel import UNSURE, Parcel
from agent.query import Query
from agent.removal import BEGUN
from agent.sync.making import needed, promised
from agent.targets import Receipt, Refused, Target, chosen
from agent.targets._inventory import Held, Inventoried

log = logging.getLogger(__name__)

_MANY = 10**9
_NONE = "the target, as it is configured now, takes none of its formats"
_BATCH = 500
"""Captures that are asked for at once."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one capture that was delivered."""

    capture: str
    """uuid."""
    name: str
    found: str
    """there, missing, differs, gone (from this device: nothing can be compared or sent again), or deleted (there, by a
    person here: it is not asked for)."""
    why: str
    parcel: int
    size: int
    unsure: bool = False
    """It waits since the database was made anew, and may never have been delivered."""
    files: tuple[str, ...] = ()
    """What the platform knows them by, where it has them."""


def reconcile(
    name: str, target: Target, *, catalogue: Catalogue, outbox: Outbox, since_ns: int | None = None
) -> Iterator[Verdict]:
    """Of each capture begun since then that counts as delivered to the target called `name`, or may have been before
    the database was made anew, in the order of start.

    Payloads are compared, by name, size and hash as far as the platform tells them; sidecars are not. Refused where the
    target cannot be asked; otherwise raises as `put`.
    """
    if not isinstance(target, Inventoried):
        raise Refused(f"{name} is of a kind that nobody can ask what it has")
    parcels = {
        parcel.capture: parcel
        for state in ("dropped", "unsure", "delivered")
        for parcel in outbox.list(name, state, limit=_MANY)
        if state != "dropped" or "deleted" in (parcel.receipt or {}) or parcel.error.startswith(BEGUN)
    }
    asked: list[tuple[Capture, Receipt]] = []
    for entry in catalogue.find(Query(since_ns=since_ns)):
        parcel = parcels.get(entry.uuid)
        if parcel is None:
            continue
        if "deleted" in (parcel.receipt or {}):
            yield Verdict(entry.uuid, entry.name, "deleted", parcel.error, parcel.id, parcel.size)
            continue
        try:
            capture = catalogue.load(entry)
        except (OSError, ValueError, LookupError):
            yield Verdict(entry.uuid, entry.name, "gone", "its files are not on this device", parcel.id, parcel.size)
            continue
        asked.append((capture, parcel.receipt or {}))
        if len(asked) == _BATCH:
            yield from _verdicts(target, asked, parcels)
            asked = []
    if asked:
        yield from _verdicts(target, asked, parcels)


def there(
    name: str, target: Target, *, catalogue: Catalogue, outbox: Outbox, query: Query
) -> Iterator[tuple[Capture, Held]]:
    """The files that the target called `name` has of the captures of a query, of those that were delivered to it and
    whose sidecars are still here. Raises as `reconcile`."""
    if not isinstance(target, Inventoried):
        raise Refused(f"{name} is of a kind that nobody can ask what it has")
    parcels = {parcel.capture: parcel for parcel in outbox.list(name, "delivered", limit=_MANY)}
    asked: list[tuple[Capture, Receipt]] = []
    for entry in catalogue.find(query):
        if entry.uuid in parcels and not entry.deleted:
            asked.append((catalogue.load(entry), parcels[entry.uuid].receipt or {}))
    for first in range(0, len(asked), _BATCH):
        ours: dict[str, Capture] = {}
        wanted: list[tuple[Capture, Receipt]] = []
        for capture, receipt in asked[first : first + _BATCH]:
            if given := _given(capture, target.formats, receipt):
                wanted.append((given, receipt))
                ours |= dict.fromkeys((path.name for path in given.files), given)
            else:
                log.warning("%s is not asked for: %s", capture.name, _NONE)
        for held in target.inventory(wanted) if wanted else ():
            if held.file in ours:  # else another device's
                yield ours[held.file], held


def owe_again(database: Database, verdicts: Sequence[Verdict]) -> int:
    """Owes what is missing or was deleted there, as if it had not been delivered; how many. Of what waits since the
    database was made anew, what is there counts as delivered from now on."""
    ready = "state = 'waiting', attempts = 0, due_boot = NULL, due_ns = NULL, progress = NULL"
    was = (  # by which it is sent anew, and yet known where some of it may be
        "CASE WHEN receipt IS NOT NULL AND json_extract(receipt, '$.deleted') IS NULL"
        " THEN json_object('earlier', json_array(json(receipt))) END"
    )
    unsure = f"state = 'waiting' AND due_boot = '{UNSURE}'"
    with database.transaction(durable=True) as connection:
        connection.executemany(
            "UPDATE parcel SET state = 'delivered', due_boot = NULL, due_ns = NULL, error = NULL, receipt = ?"  # noqa: S608
            f" WHERE id = ? AND {unsure}",
            [(json.dumps({"found": v.files}), v.parcel) for v in verdicts if v.unsure and v.found == "there"],
        )
        return connection.executemany(
            f"UPDATE parcel SET {ready}, receipt = {was}, error = ?"  # noqa: S608
            f" WHERE id = ? AND (state IN ('delivered', 'dropped') OR {unsure})",
            [
                (f"not there: {verdict.why}", verdict.parcel)
                for verdict in verdicts
                if verdict.found in ("missing", "deleted")
            ],
        ).rowcount


def _verdicts(
    target: Inventoried, asked: Sequence[tuple[Capture, Receipt]], parcels: Mapping[str, Parcel]
) -> Iterator[Verdict]:
    """Of these captures, with the answer to one question for all of them."""
    given = {capture.uuid: _given(capture, target.formats, receipt) for capture, receipt in asked}
    wanted = [(its, receipt) for capture, receipt in asked if (its := given[capture.uuid])]
    there: dict[str, Held] = {item.file: item for item in target.inventory(wanted)} if wanted else {}
    for capture, _ in asked:
        parcel, its = parcels[capture.uuid], given[capture.uuid]
        expected = [_item(payload) for payload in chosen(its, target.formats)] if its else []
        found, why = _compared(expected, there)
        ids = tuple(there[item.file].id for item in expected if item.file in there)
        unsure = parcel.state == "waiting"
        yield Verdict(capture.uuid, capture.name, found, why, parcel.id, parcel.size, unsure, ids)


def _given(capture: Capture, formats: tuple[str, ...], receipt: Receipt) -> Capture | None:
    """The capture as a target with these `formats` was given it: with the payload that was made for it or, where no
    receipt tells, would have been; None where the target, as it is configured now, takes none of it."""
    how, made = needed(capture, formats), receipt.get("made")
    if how and (made or not receipt) and (payload := promised(capture, how, made or {})):
        capture = Capture(capture.folder, {**capture.document, "payloads": [dataclasses.asdict(payload)]})
    try:
        chosen(capture, formats)
    except Refused:
        return None  # the configuration is another by now
    return capture


def _item(payload: Payload) -> Held:
    known = {"sha256": payload.sha256, "md5": payload.md5}
    hashes = " ".join(f"{kind}:{value}" for kind, value in known.items() if value)
    return Held(payload.file, payload.size if payload.size >= 0 else None, hashes)


def _compared(expected: Sequence[Held], there: Mapping[str, Held]) -> tuple[str, str]:
    """(there, missing or differs, why)."""
    if not expected:
        return "differs", _NONE
    for item in expected:
        found = there.get(item.file)
        if found is None:
            return "missing", f"{item.file} is not there"
        if None not in (found.size, item.size) and found.size != item.size:
            return "differs", f"{item.file} has {found.size} bytes there instead of {item.size}"
        kind, _, _ = found.hash.partition(":")
        if kind and f"{kind}:" in item.hash and found.hash not in item.hash.split():
            return "differs", f"{item.file} has another {kind} there"
    return "there", ""
