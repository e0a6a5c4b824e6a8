"""The courier of one target: claims its parcels and hands them to upload threads, one by one while it is in trouble."""

import dataclasses
import logging
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent.catalogue import Catalogue
from agent.database import DatabaseWaits
from agent.occasion import Occasion
from agent.outbox import Outbox
from agent.parcel import Outcome, Parcel
from agent.sync.attempt import Result, attempt, attempt_many, doubted, report
from agent.sync.bundles import Group, grouped
from agent.sync.conditions import Conditions
from agent.sync.delivery import Delivery
from agent.sync.ledger import Ledger
from agent.sync.link import Links
from agent.sync.pace import Pace
from agent.sync.record import Record
from agent.sync.trouble import STEP_BACK_S, Trouble
from agent.sync.uploads import Uploads
from agent.targets import Bundling, Later, Progress, Refused, Target, Unreachable
from agent.worker import Worker

log = logging.getLogger(__name__)

_LEASE_S = 300.0
_LOOK_S = 5.0
"""How often an idle courier looks whether a parcel's rest is over (a read, no write); what is new wakes it at once."""
_BATCH = 64
_DATABASE_REST_S = 5.0


class Courier:
    """Delivers to one target. `ask`, then `join`, ends it; its target is closed with it."""

    def __init__(
        self,
        name: str,
        target: Target,
        delivery: Delivery,
        *,
        outbox: Outbox,
        catalogue: Catalogue,
        ledger: Ledger,
        now: Callable[[], int],
        jitter: random.Random,
        scratch: Path | None,
    ) -> None:
        self.name = name
        self._target = target
        self._bundling = target if isinstance(target, Bundling) else None
        self._bundle = None if self._bundling is None else self._bundling.bundle
        self._delivery = delivery
        self._outbox = outbox
        self._catalogue = catalogue
        self._scratch = scratch
        self._ledger = ledger
        self._now = now
        self._pace = Pace(delivery.rate_limit_kbps, now)
        self._conditions = Conditions(name, delivery, Links(now))
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        """The dispatcher waits here for what became of parcels."""
        self._woken = False
        self._claimed: dict[int, Parcel] = {}  # everything leased: waiting or being uploaded
        self._uploads = Uploads(self._deliver, self._notice)
        self._most = max(_BATCH, self._bundle.captures) if self._bundle else _BATCH
        self._ahead = 1 if self._bundle else delivery.at_once  # groups in the queue, so that no thread waits
        self._batch = delivery.at_once
        self._claimed_ns = self._renewed_ns = self._look_ns = 0
        self._trouble = Trouble(max(4, delivery.at_once), delivery.backoff_cap_s, jitter)
        self._workers: tuple[Worker, ...] = ()
        self.paused = self._stopping = False
        self._record = Record()
        self._waiting = Occasion(log)
        """That nothing can be claimed or committed."""
        self._written = f"{self.name}: the database is written again"

    def start(self, failed: Callable[[str, BaseException], None]) -> tuple[Worker, ...]:
        """Starts the dispatcher. All its threads, of which those that upload start when they are needed."""
        dispatcher = Worker(f"{self.name} courier", self._dispatch, failed, silence_s=120.0)
        self._workers = (dispatcher, *self._uploads.threads(self.name, self._delivery.at_once, failed))
        dispatcher.start()
        return self._workers

    def ask(self) -> None:
        """Asks everything to end, and cuts what hangs. Returns at once."""
        for worker in self._workers:
            worker.stopping.set()
        with self._lock:
            self._stopping = True
            self._news.notify_all()
        self._uploads.wake()
        try:
            self._target.close()
        except Exception:
            log.exception("%s: closing failed", self.name)

    def join(self, until_ns: int) -> None:
        """Waits for the end until then, and gives back every lease."""
        for worker in self._workers:
            if not worker.stop(max(0.0, (until_ns - self._now()) / 1e9)) and worker.alive:
                log.warning("%s: %s does not end, and is left behind", self.name, worker.name)
        with self._lock:
            left, self._claimed = self._claimed, {}
            self._uploads.take_back()
        for parcel in left.values():
            self._ledger.add(parcel.released(), self._delivery.backoff)

    def wake(self) -> None:
        """Says that something new is owed."""
        with self._lock:
            self._woken = True
            self._look_ns = 0
            self._news.notify()

    def retry_now(self) -> None:
        """Forgets all rests, the target's and its parcels', and tries at once."""
        self._ledger.commit()
        self._outbox.retry(self.name, refused=False)
        with self._lock:
            self._trouble.try_now()
        self.wake()

    def pause(self, paused: bool) -> None:
        """Begins no further uploads, or goes on."""
        with self._lock:
            self.paused = paused
            if paused:
                self._give_back()
        self.wake()

    def health(self) -> dict[str, Any]:
        """State, and counters since the start."""
        now = self._now()
        with self._lock:
            if self._stopping or not self._workers:
                state = "stopped"
            elif self.paused:
                state = "paused"
            elif self._trouble.unreachable:
                state = "unreachable"
            elif self._trouble:
                state = "failing"
            elif self._uploads.uploading:
                state = "sending"
            else:
                state = self._conditions.state or "idle"
            return {"state": state, **self._record.health(now), "connections": self._uploads.uploading}

    def _dispatch(self, worker: Worker) -> None:
        while not worker.stopping.is_set():
            try:
                step_s, commit_s = self._step(), self._ledger.due_s()
            except DatabaseWaits as error:
                step_s, commit_s = _DATABASE_REST_S, None
                self._waiting.trouble(f"{self.name}: {error}")
            wait_s = min(_LOOK_S, step_s, _LOOK_S if commit_s is None else commit_s)
            worker.beat()
            with self._lock:
                if not self._woken and not self._stopping:
                    self._news.wait(wait_s)
                self._woken = False

    def _step(self) -> float:
        """Commits what is due, renews leases, claims and hands out. Seconds until there may be more to do."""
        if self._ledger.due_s() == 0:
            self._ledger.commit()
            self._waiting.well(self._written)
            self._look_ns = 0
        now = self._now()
        self._renew(now)
        self._uploads.staff()
        if self._uploads.waiting and self._conditions.must_wait():
            with self._lock:
                self._give_back()
        with self._lock:
            trouble = bool(self._trouble)
            count = 1 if trouble else self._batch
            enough = bool(self._claimed) if trouble else self._uploads.waiting >= self._ahead
            rest_ns = max(self._trouble.again_ns, self._look_ns) - now
        if self.paused or enough:
            return _LOOK_S
        if rest_ns > 0:
            return rest_ns / 1e9
        if trouble:
            self._ledger.commit()  # what was given back can be taken again
        ready_s = self._outbox.due_s(self.name)
        parcels = []
        if ready_s == 0 and not self._conditions.must_wait():
            parcels = self._outbox.claim(self.name, count, lease_s=_LEASE_S, newest_first=self._delivery.newest_first)
        elif ready_s != 0:
            self._conditions.nothing_waits()
        if parcels:
            self._waiting.well(self._written)
            self._hand_out(parcels)
            return 0.0
        wait_s = min(_LOOK_S, ready_s or _LOOK_S)
        with self._lock:
            if not self._woken:
                self._look_ns = now + int(wait_s * 1e9)
        return wait_s

    def _hand_out(self, parcels: list[Parcel]) -> None:
        now = self._now()
        with self._lock:
            # claims grow while the threads empty them within a second; bundles, as long as there is more
            quick = self._bundle is not None or now - self._claimed_ns < 1_000_000_000
            self._batch = min(self._most, self._batch * 2) if quick else self._delivery.at_once
            self._claimed_ns = now
            fresh = [parcel for parcel in parcels if parcel.id not in self._claimed]  # else only its lease had run out
            self._claimed.update((parcel.id, parcel) for parcel in parcels)
            if self.paused or (self._trouble and len(parcels) > 1):  # which began while these were claimed
                self._release(fresh)
                self._give_back()
                return
            if self._trouble:
                self._trouble.probes(parcels[0].id)
            if not self._stopping:
                self._uploads.hand(grouped(fresh, self._bundle))

    def _renew(self, now: int) -> None:
        if now - self._renewed_ns > _LEASE_S / 3 * 1e9:
            self._renewed_ns = now
            with self._lock:
                claimed = list(self._claimed.values())
            if claimed:
                self._outbox.renew(claimed, _LEASE_S)

    def _give_back(self) -> None:
        """Releases what no thread has begun. The lock is held."""
        self._release(self._uploads.take_back())

    def _release(self, parcels: Sequence[Parcel]) -> None:
        for parcel in parcels:
            self._ledger.add(self._claimed.pop(parcel.id).released(), self._delivery.backoff)

    def _notice(self) -> None:
        """Has the dispatcher look whether there is more to do."""
        with self._lock:
            self._woken = True
            self._news.notify()

    def _deliver(self, group: Group, worker: Worker) -> None:
        """One attempt, whose bytes are counted and slowed down to the rate limit."""

        def advance(count: int) -> None:
            with self._lock:
                self._record.sent_bytes += count
            left_s = self._pace.wait_s(count)
            while left_s > 0 and not worker.wait(min(left_s, 1.0)):
                left_s -= 1.0
            worker.beat()

        worker.beat()
        if self._bundling is not None and len(group) > 1:
            progress = Progress(stop=worker.stopping, advance=advance, piece_bytes=self._delivery.piece_bytes)
            results = attempt_many(
                self.name, self._bundling, group, catalogue=self._catalogue, progress=progress, scratch=self._scratch
            )
        else:
            (parcel,) = group

            def store(state: dict[str, Any]) -> None:
                self._outbox.progress(parcel, state)

            progress = Progress(dict(parcel.progress), parcel.receipt or {}, store, worker.stopping, advance=advance)
            progress.piece_bytes = self._delivery.piece_bytes
            one = attempt(
                self.name, self._target, parcel, catalogue=self._catalogue, progress=progress, scratch=self._scratch
            )
            results = [one]
        report(self.name, [settled for result in results if (settled := self._settle(*result))])

    def _settle(self, outcome: Outcome, error: Exception | None) -> Result | None:
        """Counts the outcome, and puts it into the ledger. In trouble, nobody else is to go on."""
        now, parcel = self._now(), outcome.parcel
        with self._lock:
            claimed = self._claimed.pop(parcel.id, None)
            if claimed is None:
                return None  # too late: given back already, at the end
            was_unreachable = self._trouble.unreachable
            pending = isinstance(error, Later) and error.pending
            if isinstance(error, Refused) and error.doubtful:
                self._trouble.failed(parcel.id, now, 0.0)
                outcome = doubted(outcome, trouble=bool(self._trouble))
            elif outcome.kind in ("delivered", "refused"):
                self._trouble.over()
            elif pending:
                self._trouble.answered()
            elif isinstance(error, Unreachable):
                if self._trouble.nobody_there(parcel.id, now):
                    outcome = parcel.later(STEP_BACK_S, str(error))
            elif error is not None:
                self._trouble.failed(parcel.id, now, outcome.after_s)
            if outcome.kind == "delivered":
                self._record.delivered(now)
            elif error is not None and not pending:
                self._record.not_delivered(error, now, refused=outcome.kind == "refused")
            if self._trouble:
                self._give_back()
            is_unreachable = self._trouble.unreachable
        self._ledger.add(dataclasses.replace(outcome, parcel=claimed), self._delivery.backoff)
        if is_unreachable and not was_unreachable:
            log.warning("%s is unreachable, and is probed until it is back: %s", self.name, error)
        elif was_unreachable and not is_unreachable:
            log.info("%s is reachable again", self.name)
        return outcome, error
