"""Owing: what becomes of a new capture, a parcel for each target of its recording whose rules take it."""

import logging
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence

from agent.capture import Capture
from agent.outbox import Outbox
from agent.sync.delivery import Delivery
from agent.sync.rules import excluded, may_be_dated

log = logging.getLogger(__name__)


class Owing:
    """What the configuration says of recordings and targets now. For any thread."""

    def __init__(self, outbox: Outbox, recordings: Mapping[str, Sequence[str]]) -> None:
        """`recordings`: the targets of each recording; they have no rules until `change` tells of some."""
        self._outbox = outbox
        self._recordings: Mapping[str, Sequence[str]] = dict(recordings)
        self._deliveries: Mapping[str, Delivery] = {}
        self._excluded: Counter[str] = Counter()
        self._forsaken: set[str] = set()
        """Recordings whose captures are owed to nobody, which was said."""

    def change(self, recordings: Mapping[str, Sequence[str]], deliveries: Mapping[str, Delivery]) -> None:
        """What each recording owes from now on, and how it is delivered to each target.

        A recording that is gone owes what it did to what is left of its targets: its last captures are still being
        developed.
        """
        gone = {
            name: left
            for name, targets in self._recordings.items()
            if name not in recordings and (left := tuple(target for target in targets if target in deliveries))
        }
        self._deliveries = dict(deliveries)
        self._recordings = {**gone, **recordings}

    def owe(self, connection: sqlite3.Connection, captures: Sequence[Capture], *, found_again: bool = False) -> None:
        """Owes finished captures to whom they are for, in the caller's transaction; the log tells of each exclusion.

        `found_again`: nobody knows what has been delivered, so targets that would not recognise it are to be asked.
        """
        for capture in captures:
            owed = []
            for target in self._targets(capture):
                if why := self._why_not(target, capture):
                    self._excluded[target] += 1
                    log.info("%s is not for %s: %s", capture.name, target, why)
                else:
                    owed.append(target)
            self._owe(connection, capture, owed, found_again=found_again)

    def owe_again(self, connection: sqlite3.Connection, capture: Capture) -> None:
        """Owes an amended capture, in the caller's transaction: to whom it was owed, and to those whose rules take it
        because of a label that it has only now."""
        targets = self._targets(capture)
        self._outbox.amend(connection, capture.uuid, capture.revision, targets)
        if not may_be_dated(capture, self._outbox.boot_id):
            self._outbox.let_go(connection, capture.uuid)
        labelled = [name for name in targets if name in self._deliveries and self._deliveries[name].only_labels]
        self._owe(connection, capture, [name for name in labelled if not self._why_not(name, capture)])

    def excluded(self, target: str) -> int:
        """Captures since the start that the rules of a target kept from it."""
        return self._excluded[target]

    def _targets(self, capture: Capture) -> Sequence[str]:
        """Those of its recording; where that is configured no more, those that it was recorded for and that are."""
        known = self._recordings.get(capture.recording)
        if known is not None:
            return known
        meant = capture.document.get("targets")
        left = tuple(target for target in meant or () if target in self._deliveries)
        if not left and meant != [] and capture.recording not in self._forsaken:
            self._forsaken.add(capture.recording)
            log.warning(
                "%s, and what else there is of recording %s, is owed to nobody: that recording is not configured any"
                " more, and %s",
                capture.name,
                capture.recording,
                f"no target of {', '.join(meant)} is" if meant else "the sidecar does not say which targets it was for",
            )
        return left

    def _why_not(self, target: str, capture: Capture) -> str:
        delivery = self._deliveries.get(target)
        return "" if delivery is None else excluded(delivery, capture)

    def _owe(
        self, connection: sqlite3.Connection, capture: Capture, targets: Sequence[str], *, found_again: bool = False
    ) -> None:
        delays = {name: self._deliveries[name].delay_s for name in targets if name in self._deliveries}
        undated = may_be_dated(capture, self._outbox.boot_id)
        held = {name for name in delays if undated and self._deliveries[name].undated == "wait"}
        unsure = {name for name in delays if found_again and self._deliveries[name].after_rebuild == "wait"}
        self._outbox.owe(connection, [(capture.uuid, capture.size, targets)], delays, held, unsure=unsure)
