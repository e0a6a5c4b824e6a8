"""Sync: delivers what is owed, with one courier for each target, so that no target waits for another."""

import logging
import random
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agent.catalogue import Catalogue
from agent.clock import Clock
from agent.database import DatabaseDamaged, DatabaseWaits
from agent.outbox import Counts, Outbox
from agent.sync.courier import Courier
from agent.sync.delivery import Delivery
from agent.sync.ledger import Ledger
from agent.sync.record import Record
from agent.targets import Target
from agent.worker import Worker

__all__ = ["Delivery", "Sync"]

log = logging.getLogger(__name__)

_NOT_CONFIGURED = MappingProxyType({"state": "not configured", **Record().health(0), "connections": 0})


class Sync:
    """All couriers. `start` begins, `stop` ends within seconds even while uploads hang. For any thread."""

    def __init__(
        self,
        targets: Mapping[str, tuple[str, Target, Delivery]],
        *,
        outbox: Outbox,
        catalogue: Catalogue,
        clock: Clock,
        jitter: random.Random | None = None,
        commit_every_s: float = 4.0,
        excluded: Callable[[str], int] = lambda target: 0,
        scratch: Path | None = None,
        paused: Collection[str] = (),
    ) -> None:
        """`targets` by name: (kind, the target, how to deliver to it). They are closed by `stop`. `excluded`: how many
        captures a target's rules kept from it. `scratch`: where payloads are made in formats that a target takes and a
        capture has not, each for one attempt; None: nowhere. `paused`: targets that begin as such.

        Outcomes are committed 50 at once, or every `commit_every_s`: at a trickle that is 900 fsyncs an hour. After a
        kill a few parcels are offered again, and targets recognise what they have.
        """
        self._outbox = outbox
        self._catalogue = catalogue
        self._clock = clock
        self._jitter = jitter or random.Random()  # noqa: S311  spreads retries, guards nothing
        self._excluded = excluded
        self._scratch = scratch
        self.paused = frozenset(paused)
        """Names, also of targets that are not there, or are replaced."""
        self._ledger = Ledger(outbox, clock.boottime_ns, every_s=commit_every_s)
        self._kinds = {name: kind for name, (kind, _, _) in targets.items()}
        # replaced as a whole by `add` and `remove`, so that other threads may go through it meanwhile
        self._couriers = {name: self._courier(name, target, how) for name, (_, target, how) in targets.items()}

    def _courier(self, name: str, target: Target, delivery: Delivery) -> Courier:
        courier = Courier(
            name,
            target,
            delivery,
            outbox=self._outbox,
            catalogue=self._catalogue,
            ledger=self._ledger,
            now=self._clock.boottime_ns,
            jitter=self._jitter,
            scratch=self._scratch,
        )
        courier.paused = name in self.paused
        if courier.paused:
            log.info("%s: was paused by a command, and stays so", name)
        return courier

    def start(self, failed: Callable[[str, BaseException], None]) -> list[Worker]:
        """Starts delivering. All threads that there may be, for the watchdog; `failed` hears of one that broke."""
        return [worker for courier in self._couriers.values() for worker in courier.start(failed)]

    def add(
        self, name: str, given: tuple[str, Target, Delivery], failed: Callable[[str, BaseException], None]
    ) -> list[Worker]:
        """Starts delivering to one more target, (kind, the target, how to deliver to it); its threads."""
        kind, target, delivery = given
        courier = self._courier(name, target, delivery)
        workers = courier.start(failed)
        self._kinds = {**self._kinds, name: kind}
        self._couriers = {**self._couriers, name: courier}
        return list(workers)

    def remove(self, name: str, within_s: float = 5.0) -> None:
        """Ends one courier, whose target is closed; what is owed stays owed. KeyError: no such target."""
        courier = self._couriers[name]
        self._couriers = {other: its for other, its in self._couriers.items() if other != name}
        courier.ask()
        courier.join(self._clock.boottime_ns() + int(within_s * 1e9))
        self._commit()

    def stop(self, within_s: float = 5.0) -> None:
        """Cuts what is under way, gives back all leases, commits, and closes the targets. May be called twice.

        What does not come back `within_s` is left behind: the daemon as a whole has ten seconds.
        """
        for courier in self._couriers.values():
            courier.ask()
        until_ns = self._clock.boottime_ns() + int(within_s * 1e9)
        for courier in self._couriers.values():
            courier.join(until_ns)
        self._commit()

    def _commit(self) -> None:
        try:
            self._ledger.commit()
        except (DatabaseWaits, DatabaseDamaged) as error:
            log.error("the last deliveries are not on record, and may be made once more: %s", error)

    def wake(self) -> None:
        """Says that something new is owed to somebody."""
        for courier in self._couriers.values():
            courier.wake()

    def sync_now(self, name: str | None = None) -> None:
        """Tries at once whatever rests after failures, of one target or of all. KeyError: no such target."""
        for courier in self._named(name):
            courier.retry_now()

    def pause(self, name: str | None = None) -> None:
        """Begins no further uploads to one target, or to all; those under way go on. KeyError as above."""
        for courier in self._named(name):
            self.paused |= {courier.name}
            courier.pause(True)

    def resume(self, name: str | None = None) -> None:
        """Sends again. KeyError as above."""
        for courier in self._named(name):
            courier.pause(False)
        self.paused = self.paused - {name} if name else frozenset()

    def health(self) -> dict[str, dict[str, Any]]:
        """By target: kind, state, what is owed and since when, what was done since the start.

        `state` is idle, sending, `waits for ...` (hours, a link, the clock, reconcile), failing (it answers, but takes
        nothing), unreachable, paused or stopped; or `not configured`, where a target is gone and something waits for it
        still. `unsure`: captures wait for reconcile.
        """
        counts, wall_ns = self._outbox.counts(), self._clock.wall_ns()
        found = {}
        couriers = self._couriers
        gone = [name for name, count in counts.items() if name not in couriers and (count.owed or count.refused)]
        for name in (*couriers, *gone):
            count = counts.get(name, Counts())
            oldest_s = None if count.oldest_ns is None else max(0.0, (wall_ns - count.oldest_ns) / 1e9)
            found[name] = {
                "kind": self._kinds.get(name, ""),
                "owed": count.owed,
                "owed_bytes": count.owed_bytes,
                "oldest_s": oldest_s and round(oldest_s, 1),
                "refused": count.refused,
                "delivered": count.delivered,
                "excluded": self._excluded(name),
                **(couriers[name].health() if name in couriers else _NOT_CONFIGURED),
            }
            held = self._outbox.holds(name) if count.owed and name in couriers else ""
            found[name]["unsure"] = held == "reconcile"
            if found[name]["state"] == "idle" and held:
                found[name]["state"] = f"waits for {held}"
        return found

    def _named(self, name: str | None) -> list[Courier]:
        return list(self._couriers.values()) if name is None else [self._couriers[name]]
