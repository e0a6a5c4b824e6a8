"""Removal: a target is asked to take back what it was given, and what came of it is told and kept in the parcel."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from agent.database import Database
from agent.parcel import receipts
from agent.targets import Failed, Later, Receipt, Refused, Unreachable

Remove = Callable[[str, Receipt], Sequence[str]]
"""Of a target: takes back the capture (uuid) that it gave this receipt for; what stays there; raises as `put` does."""

_STATES = ("removed", "by hand", "failed")
BEGUN = "its deletion there was begun"
"""How the error of a parcel begins whose capture may be there in part."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fate:
    """What became of one capture at one target."""

    capture: str
    """uuid."""
    target: str
    state: str
    """removed; by hand: nobody but a person can; failed: to be tried again; on its way: it is being sent, or is owed in
    a later revision; never there."""
    said: str
    """Why it is not removed, or where it lies."""
    stays: tuple[str, ...] = ()
    """What of it is there all the same."""
    in_part: bool = False
    """Some of it may have gone."""


def asked(remove: Remove | None, uuid: str, target: str, receipt: Receipt) -> Fate:
    """What became of a capture at a target that can `remove` it, wherever it was put there; None: it cannot."""
    fates = [_asked(remove, uuid, target, one) for one in receipts(receipt)]
    worst = max(fates, key=lambda fate: _STATES.index(fate.state))
    return dataclasses.replace(
        worst,
        said="; ".join(fate.said for fate in fates if fate.state == worst.state),
        stays=tuple(dict.fromkeys(said for fate in fates for said in fate.stays)),
        in_part=len({fate.state for fate in fates}) > 1 or worst.in_part,
    )


def _asked(remove: Remove | None, uuid: str, target: str, receipt: Receipt) -> Fate:
    where = json.dumps(receipt, ensure_ascii=False)
    if remove is None:
        return Fate(uuid, target, "by hand", where)
    try:
        stays = remove(uuid, receipt)
    except Refused as error:
        return Fate(uuid, target, "by hand", f"{error}: {where}")
    except (Unreachable, Later) as error:
        return Fate(uuid, target, "failed", str(error))
    except (Failed, OSError) as error:
        return Fate(uuid, target, "failed", str(error), in_part=True)
    return Fate(uuid, target, "removed", "", tuple(stays))


def delete_there(database: Database, target: str, remove: Remove | None, captures: Sequence[str]) -> Iterator[Fate]:
    """Deletes captures (uuids) at the target called `target`, and nothing here.

    Their parcels are dropped, so that nothing is sent again by itself; the receipt says when, and what stays there. It
    is dropped first: after a kill, or where it fails in the middle, it is rather said that something is not there which
    is, than that it is safe there.
    """
    for uuid in captures:
        begun = _begin(database, target, uuid)
        if isinstance(begun, Fate):
            yield begun
            continue
        number, receipt = begun
        fate = asked(remove, uuid, target, receipt)
        with database.transaction(durable=True) as connection:
            if fate.state == "removed":
                (today,) = connection.execute("SELECT date('now')").fetchone()
                kept = {"deleted": today, **({"stays": fate.stays} if fate.stays else {})}
                said = f"deleted there on {today}, by a person"
                connection.execute(
                    "UPDATE parcel SET receipt = ?, progress = NULL, error = ? WHERE id = ? AND state = 'dropped'",
                    (json.dumps(kept), said, number),
                )
            elif not fate.in_part:
                connection.execute(
                    "UPDATE parcel SET state = 'delivered', error = NULL WHERE id = ? AND state = 'dropped'", (number,)
                )
        yield fate


def _begin(database: Database, target: str, uuid: str) -> Fate | tuple[int, dict[str, Any]]:
    """The parcel's number and its receipt, once it is dropped."""
    with database.transaction(durable=True) as connection:
        row = connection.execute(
            "SELECT parcel.id, state, error, receipt FROM parcel JOIN capture ON capture.id = parcel.capture"
            " WHERE uuid = ? AND target = ?",
            (uuid, target),
        ).fetchone()
        number, state, error, text = row or (0, "", "", None)
        receipt: dict[str, Any] = json.loads(text or "{}")
        if not receipt or "deleted" in receipt or "withdrawn" in receipt:
            return Fate(
                uuid, target, "never there", "it was deleted there before" if receipt else "it was not delivered"
            )
        if state in ("waiting", "leased", "refused"):
            return Fate(uuid, target, "on its way", "a later revision is owed: drop that, or let it arrive first")
        if state == "dropped" and not error.startswith(BEGUN):
            return Fate(uuid, target, "never there", f"it was given up: {error}")
        connection.execute("UPDATE parcel SET state = 'dropped', error = ? WHERE id = ?", (BEGUN, number))
    return number, receipt
