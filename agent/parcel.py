"""A parcel: one capture on its way to one target, what can become of it, and how long it rests after a failure."""

import dataclasses
import json
import random
from collections.abc import Mapping
from typing import Any

COLUMNS = """SELECT parcel.id, capture.uuid, capture.name, capture.day, target, state, parcel.revision, parcel.size,
    attempts, lease, progress, receipt, error FROM parcel JOIN capture ON capture.id = parcel.capture """
"""What `Parcel.of` takes."""


_NO_PLACE = ("earlier", "made", "new", "left_out", "unread", "sha256", "etag", "version", "tags", "readings_tag")
"""What receipts say that may change where the place stays."""
HELD_NS = 2**62
"""When a parcel is due that is held: not in its boot."""
UNSURE = "~"
"""The boot in which a parcel is due that may have been delivered before the database was made anew: in none, since this
sorts after the ids of all boots. It waits for a person."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parcel:
    """One row of the outbox, as it was when it was claimed or listed."""

    id: int
    capture: str
    """uuid of the capture; its sidecar is `captures/<day>/<name>.json`."""
    name: str
    day: str
    target: str
    state: str
    """waiting, leased, delivered, refused or dropped."""
    revision: int
    size: int
    attempts: int
    lease: str
    progress: dict[str, Any]
    receipt: Mapping[str, Any] | None
    error: str
    """Why the last attempt failed, or why it was refused or dropped."""

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> "Parcel":
        """From a row of `COLUMNS`."""
        number, capture, name, day, target, state, revision, size, attempts, lease, progress, receipt, error = row
        return cls(
            id=number,
            capture=capture,
            name=name,
            day=day,
            target=target,
            state=state,
            revision=revision,
            size=size,
            attempts=attempts,
            lease=lease or "",
            progress=json.loads(progress or "{}"),
            receipt=None if receipt is None else json.loads(receipt),
            error=error or "",
        )

    def delivered(self, receipt: Mapping[str, Any]) -> "Outcome":
        """It is there, and verified. Where it was before, and may be still, stays in the receipt as `earlier`."""
        return Outcome(self, "delivered", receipt=_with_earlier(receipt, self.receipt or {}))

    def refused(self, reason: str) -> "Outcome":
        """It will never be taken: parked until a person retries or drops it."""
        return Outcome(self, "refused", error=reason)

    def failed(self, error: str, after_s: float = 0.0) -> "Outcome":
        """One attempt failed; the next is not before its backoff, nor before `after_s` (Retry-After)."""
        return Outcome(self, "failed", error=error, after_s=after_s)

    def later(self, after_s: float, reason: str = "") -> "Outcome":
        """The target asks to wait; no attempt."""
        return Outcome(self, "later", error=reason, after_s=after_s)

    def released(self) -> "Outcome":
        """Nothing was tried (target unreachable, daemon stopping); ready again at once, no attempt."""
        return Outcome(self, "released")


def receipts(receipt: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A receipt and those of places that the target was given the capture at before, the newest first."""
    own = {name: said for name, said in receipt.items() if name != "earlier"}
    earlier = [one for each in receipt.get("earlier", ()) for one in receipts(each)]
    return [own, *earlier] if own else earlier


def _with_earlier(receipt: Mapping[str, Any], before: Mapping[str, Any]) -> Mapping[str, Any]:
    places = _places(receipt)
    earlier = [one for one in receipts(before) if _places(one) - places]
    return {**receipt, "earlier": earlier} if earlier else receipt


def _places(said: Any) -> set[str]:
    """All that a receipt, or a part of one, says of where: ids, addresses, names."""
    if isinstance(said, Mapping):
        said = [value for name, value in said.items() if name not in _NO_PLACE]
    elif isinstance(said, str):
        return {said}
    return set().union(*map(_places, said)) if isinstance(said, list | tuple) else set()


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claimed parcel; made by the parcel's own methods."""

    parcel: Parcel
    kind: str
    receipt: Mapping[str, Any] | None = None
    error: str = ""
    after_s: float = 0.0

    @property
    def final(self) -> bool:
        """Whether the target says that nothing can be amended there."""
        return bool((self.receipt or {}).get("final"))

    def next(self, backoff: "Backoff", now: tuple[str, int], jitter: random.Random) -> tuple[Any, ...]:
        """(state, attempts to add, boot and time it is due, error, id, lease) of a parcel that was not delivered; `now`
        is the boot and its time in nanoseconds."""
        parcel, error, attempts = self.parcel, self.error or None, int(self.kind == "failed")
        where = (parcel.id, parcel.lease)
        given_up = attempts and backoff.max_attempts is not None and parcel.attempts + 1 >= backoff.max_attempts
        if self.kind == "refused" or given_up:
            return ("refused", attempts, None, None, error, *where)
        if self.kind == "released":
            return ("waiting", 0, None, None, None, *where)
        rest_s = self.after_s
        if self.kind == "failed":
            longest_s = min(backoff.cap_s, backoff.base_s * 2.0 ** min(parcel.attempts, 60))
            rest_s = max(self.after_s, longest_s * jitter.random())
        return ("waiting", attempts, now[0], now[1] + int(rest_s * 1e9), error, *where)


@dataclasses.dataclass(frozen=True, slots=True)
class Backoff:
    """How long a parcel rests after a failure: random between 0 and base_s * 2^failures, at most cap_s."""

    base_s: float = 4.0
    cap_s: float = 900.0
    max_attempts: int | None = None
    """After so many failures it is refused with the last error; None: never."""


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """Of one target. Kept, never scanned."""

    owed: int = 0
    owed_bytes: int = 0
    refused: int = 0
    dropped: int = 0
    delivered: int = 0
    """Ever, also where the capture and its row are gone."""
    delivered_bytes: int = 0
    oldest_ns: int | None = None
    """Start (Unix time) of the oldest capture still owed."""
