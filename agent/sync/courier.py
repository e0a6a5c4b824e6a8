"""The courier of one target: claims its parcels and hands them to upload threads, one by one while it is in trouble."""

import dataclasses
import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from agent.catalogue import Catalogue
from agent.database import DatabaseWaits
from agent.outbox import Outbox
from agent.parcel import Outcome, Parcel
from agent.sync.attempt import attempt, report
from agent.sync.delivery import Delivery, Pace
from agent.sync.ledger import Ledger
from agent.sync.trouble import Trouble
from agent.targets import Progress, Target, Unreachable
from agent.worker import Worker

log = logging.getLogger(__name__)

_LEASE_S = 300.0
_LOOK_S = 5.0
"""How often an idle courier looks whether a parcel's rest is over (a read, no write); what is new wakes it at once."""
_BATCH = 64
_UPLOAD_SILENCE_S = 900.0
"""The longest that a target may take over one step, such as the sync of a gigabyte on a slow stick."""
_STEP_BACK_S = 60.0
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
    ) -> None:
        self.name = name
        self._target = target
        self._delivery = delivery
        self._outbox = outbox
        self._catalogue = catalogue
        self._ledger = ledger
        self._now = now
        self._pace = Pace(delivery.rate_limit_kbps, now)
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        """Upload threads wait here for parcels,"""
        self._news = threading.Condition(self._lock)
        """and the dispatcher for what became of them."""
        self._woken = False
        self._claimed: dict[int, Parcel] = {}
        """Everything leased: waiting or being uploaded."""
        self._waiting: deque[Parcel] = deque()
        self._uploading = 0
        self._batch = delivery.connections
        self._claimed_ns = self._renewed_ns = self._look_ns = 0
        self._trouble = Trouble(max(4, delivery.connections), delivery.backoff_cap_s, jitter)
        self._workers: tuple[Worker, ...] = ()
        self.paused = self._stopping = False
        self._retried = self._sent_bytes = 0
        self._success_ns = self._failing_ns = 0
        self._error = self._database_error = ""

    def start(self, failed: Callable[[str, BaseException], None]) -> tuple[Worker, ...]:
        """Starts the dispatcher. All its threads, of which those that upload start when they are needed."""
        dispatcher = Worker(f"{self.name} courier", self._dispatch, failed, silence_s=120.0)
        uploaders = (
            Worker(f"{self.name} upload {number}", self._upload, failed, silence_s=_UPLOAD_SILENCE_S)
            for number in range(1, self._delivery.connections + 1)
        )
        self._workers = (dispatcher, *uploaders)
        dispatcher.start()
        return self._workers

    def ask(self) -> None:
        """Asks everything to end, and cuts what hangs. Returns at once."""
        with self._lock:
            self._stopping = True
            for worker in self._workers:
                worker.stopping.set()
            self._work.notify_all()
            self._news.notify_all()
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
            self._waiting.clear()
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
        """Counters since the start; seconds are since then, None where it never was."""
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
            else:
                state = "sending" if self._uploading else "idle"
            return {
                "state": state,
                "retried": self._retried,
                "last_success_s": round((now - self._success_ns) / 1e9, 1) if self._success_ns else None,
                "failing_since_s": round((now - self._failing_ns) / 1e9, 1) if self._failing_ns else None,
                "error": self._error,
                "sent_bytes": self._sent_bytes,
                "connections": self._uploading,
            }

    def _dispatch(self, worker: Worker) -> None:
        while not worker.stopping.is_set():
            try:
                step_s, commit_s = self._step(), self._ledger.due_s()
                self._waits_for_database("")
            except DatabaseWaits as error:
                step_s, commit_s = _DATABASE_REST_S, None
                self._waits_for_database(str(error))
            wait_s = min(_LOOK_S, step_s, _LOOK_S if commit_s is None else commit_s)
            worker.beat()
            with self._lock:
                if not self._woken and not self._stopping:
                    self._news.wait(wait_s)
                self._woken = False

    def _waits_for_database(self, why: str) -> None:
        """Says once that nothing can be claimed or committed, and once that it can again."""
        if bool(why) != bool(self._database_error):
            log.log(logging.ERROR if why else logging.INFO, "%s: %s", self.name, why or "the database is written again")
        self._database_error = why

    def _step(self) -> float:
        """Commits what is due, renews leases, claims and hands out. Seconds until there may be more to do."""
        if self._ledger.due_s() == 0:
            self._ledger.commit()
            self._look_ns = 0
        now = self._now()
        self._renew(now)
        with self._lock:
            trouble = bool(self._trouble)
            count = 1 if trouble else self._batch
            enough = bool(self._claimed) if trouble else len(self._waiting) >= self._delivery.connections
            rest_ns = max(self._trouble.again_ns, self._look_ns) - now
        if self.paused or enough:
            return _LOOK_S
        if rest_ns > 0:
            return rest_ns / 1e9
        if trouble:
            self._ledger.commit()  # what was given back can be taken again
        ready_s = self._outbox.due_s(self.name)
        parcels = []
        if ready_s == 0:
            parcels = self._outbox.claim(self.name, count, lease_s=_LEASE_S, newest_first=self._delivery.newest_first)
        if parcels:
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
            # claims grow while the threads empty them within a second
            quick = now - self._claimed_ns < 1_000_000_000
            self._batch = min(_BATCH, self._batch * 2) if quick else self._delivery.connections
            self._claimed_ns = now
            for parcel in parcels:
                if parcel.id not in self._claimed:  # else it is under way, and only its lease had run out
                    self._waiting.append(parcel)
                self._claimed[parcel.id] = parcel
            if self.paused or (self._trouble and len(parcels) > 1):  # which began while these were claimed
                self._give_back()
            elif self._trouble:
                self._trouble.probes(parcels[0].id)
            idle = sum(worker.alive for worker in self._workers[1:]) - self._uploading
            for worker in self._workers[1:]:
                if idle < len(self._waiting) and not worker.alive and not self._stopping:
                    worker.start()
                    idle += 1
            self._work.notify(len(self._waiting))

    def _renew(self, now: int) -> None:
        if now - self._renewed_ns > _LEASE_S / 3 * 1e9:
            self._renewed_ns = now
            with self._lock:
                claimed = list(self._claimed.values())
            if claimed:
                self._outbox.renew(claimed, _LEASE_S)

    def _give_back(self) -> None:
        """Releases what no thread has begun. The lock is held."""
        while self._waiting:
            parcel = self._waiting.popleft()
            self._ledger.add(self._claimed.pop(parcel.id).released(), self._delivery.backoff)

    def _upload(self, worker: Worker) -> None:
        while True:
            with self._lock:
                while not self._waiting and not worker.stopping.is_set():
                    worker.beat()
                    self._work.wait(60.0)
                if worker.stopping.is_set():
                    return
                parcel = self._waiting.popleft()
                self._uploading += 1
            try:
                self._settle(parcel, *self._deliver(parcel, worker))
            finally:
                with self._lock:
                    self._uploading -= 1
                    self._woken = True
                    self._news.notify()

    def _deliver(self, parcel: Parcel, worker: Worker) -> tuple[Outcome, Exception | None]:
        """One attempt, whose bytes are counted and slowed down to the rate limit."""

        def advance(count: int) -> None:
            with self._lock:
                self._sent_bytes += count
            left_s = self._pace.wait_s(count)
            while left_s > 0 and not worker.wait(min(left_s, 1.0)):
                left_s -= 1.0
            worker.beat()

        def store(state: dict[str, Any]) -> None:
            self._outbox.progress(parcel, state)

        worker.beat()
        progress = Progress(dict(parcel.progress), store, worker.stopping, advance=advance)
        return attempt(self.name, self._target, parcel, catalogue=self._catalogue, progress=progress)

    def _settle(self, parcel: Parcel, outcome: Outcome, error: Exception | None) -> None:
        """Counts the outcome, and puts it into the ledger. In trouble, nobody else is to go on."""
        now = self._now()
        with self._lock:
            claimed = self._claimed.pop(parcel.id, None)
            if claimed is None:
                return  # too late: given back already, at the end
            was_unreachable = self._trouble.unreachable
            if outcome.kind in ("delivered", "refused"):
                self._trouble.over()
            elif isinstance(error, Unreachable):
                if self._trouble.nobody_there(parcel.id, now):
                    outcome = parcel.later(_STEP_BACK_S, str(error))
            elif error is not None:
                self._trouble.failed(parcel.id, now, outcome.after_s)
            if outcome.kind == "delivered":
                self._success_ns, self._failing_ns, self._error = now, 0, ""
            elif error is not None:
                self._error = str(error)
                if outcome.kind != "refused":
                    self._failing_ns = self._failing_ns or now
                    self._retried += 1
            if self._trouble:
                self._give_back()
            is_unreachable = self._trouble.unreachable
        self._ledger.add(dataclasses.replace(outcome, parcel=claimed), self._delivery.backoff)
        if error is not None and not isinstance(error, Unreachable):
            report(self.name, outcome, error)
        if is_unreachable and not was_unreachable:
            log.warning("%s is unreachable, and is probed until it is back: %s", self.name, error)
        elif was_unreachable and not is_unreachable:
            log.info("%s is reachable again", self.name)
