"""Marks: moments that a person marked, written as notes into the negatives in which they may lie."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.annotations import extent, lead, segment
from agent.dating import Dating, sample_at
from agent.recording import Orders
from agent.take import Take

log = logging.getLogger(__name__)

NOTE = "mark"
_LAST, _AFTER_S = ("command", "schedule", "stop"), 0.25
"""Where no capture follows, a mark may lie so long after its last sample: what was measured by then had not come."""
_KEPT_NS = 5_000_000_000
"""How long after a mark a negative that is opened may still hold its moment: what was read late comes late."""


class Marks:
    """Turns the moments of one recording into samples. Used by the recording's thread.

    A moment is noted as a sample of the lead, in each negative that is open then or soon after; the one that holds the
    sample makes a segment of it, so that also at the edge of two captures it is in one of them.
    """

    def __init__(self, orders: Orders, dating: Dating | None = None) -> None:
        self.lost = 0
        """Marks that no negative could take."""
        self._orders = orders
        self._dating = dating or Dating()
        self._kept: list[tuple[int, dict[str, Any], list[Take]]] = []
        """When each came, its note, and where it is noted."""

    def note(self, takes: Sequence[Take], now_ns: int) -> None:
        """Notes what was marked since the last call."""
        self.settle(now_ns)
        while self._orders.marks and (takes or now_ns - self._orders.marks[0][0] > _KEPT_NS):
            time_ns, labels = self._orders.marks.popleft()
            if not takes:
                self._lose("nothing was recorded then, nor soon after")
                continue
            stream = takes[-1].streams[takes[-1].lead]
            fit = self._dating.fit(stream, now_ns)
            if fit is None:
                self._lose(f"{stream.name} has brought nothing")
            else:
                document = {"stream": stream.name, "sample": sample_at(fit, time_ns), "labels": dict(labels)}
                self._kept.append((now_ns, document, []))
        for _, document, noted in self._kept:
            for take in takes:
                if not any(one is take for one in noted):
                    take.negative.note(NOTE, document)
                    noted.append(take)

    def settle(self, now_ns: int | None = None) -> None:
        """Forgets those that nothing more can hold (None: all), and counts which nothing holds."""
        kept, self._kept = self._kept, []
        for came_ns, document, noted in kept:
            if now_ns is not None and now_ns - came_ns <= _KEPT_NS:
                self._kept.append((came_ns, document, noted))
            elif not any(_holds(take, int(document["sample"])) for take in noted):
                self._lose("no capture has its moment")

    def _lose(self, why: str) -> None:
        self.lost += 1
        log.warning("recording %s: a mark is lost: %s", self._orders.name, why)


def _holds(take: Take, sample: int) -> bool:
    """Whether its capture makes a segment of a mark at that sample."""
    if take.first is None or take.end is None:
        return False
    beyond = round(_AFTER_S * take.identities[take.lead].rate_hz) if take.reason in _LAST else 0
    return take.first <= sample < take.end + beyond


def marked(document: Mapping[str, Any], notes: Iterable[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The segments of a sidecar that its negative's notes make: those whose sample is in the capture, in order."""
    marks = [note for name, note in notes if name == NOTE]
    if not marks:
        return []
    name = lead(document)["name"]
    first, end, rate_hz = extent(document)
    beyond = round(_AFTER_S * rate_hz) if document["end"]["reason"] in _LAST else 0
    found = [
        segment(document, min(int(note["sample"]), end - 1), 0, note["labels"])
        for note in marks
        if note["stream"] == name and first <= note["sample"] < end + beyond
    ]
    return sorted(found, key=lambda one: int(one["first"]))
