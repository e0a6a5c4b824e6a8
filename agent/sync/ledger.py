"""What has become of parcels and is not yet committed: many outcomes, of all targets, make one durable transaction."""

import threading
from collections.abc import Callable

from agent.database import DatabaseWaits
from agent.outbox import Outbox
from agent.parcel import Backoff, Outcome

_COUNT = 50


class Ledger:
    """Collects outcomes from any thread; whoever of the dispatchers comes first commits them."""

    def __init__(self, outbox: Outbox, now: Callable[[], int], *, every_s: float) -> None:
        """`now` is in nanoseconds; `every_s` is the longest that an outcome waits for others."""
        self._outbox = outbox
        self._now = now
        self._every_s = every_s
        self._lock = threading.Lock()
        self._committing = threading.Lock()
        self._entries: list[tuple[Outcome, Backoff]] = []
        self._since_ns = 0

    def add(self, outcome: Outcome, backoff: Backoff) -> None:
        """Remembers an outcome until the next `commit`."""
        with self._lock:
            if not self._entries:
                self._since_ns = self._now()
            self._entries.append((outcome, backoff))

    def due_s(self) -> float | None:
        """Seconds until `commit` should be called; None where there is nothing to commit."""
        with self._lock:
            if not self._entries:
                return None
            if len(self._entries) >= _COUNT:
                return 0.0
            return max(0.0, self._every_s - (self._now() - self._since_ns) / 1e9)

    def commit(self) -> None:
        """Commits all outcomes there are. When this returns, those that were there before are on the disk.

        DatabaseWaits, and then they wait for the next call.
        """
        with self._committing:
            with self._lock:
                entries, self._entries = self._entries, []
            for backoff in dict.fromkeys(backoff for _, backoff in entries):
                try:
                    self._outbox.settle([outcome for outcome, its in entries if its == backoff], backoff)
                except DatabaseWaits:
                    with self._lock:
                        self._entries[:0] = entries
                    raise
                entries = [entry for entry in entries if entry[1] != backoff]
