"""The writer of one recording of pictures that begins by itself: those around each trigger, and one asked for at it."""

import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from agent.clock import Clock
from agent.gate import Gate
from agent.negative import NegativeWriter
from agent.picture_captures import PictureCaptures
from agent.ring import Cursor
from agent.stream import Stream
from agent.trigger import Event
from agent.trigger_source import TriggerSource
from agent.worker import Worker

log = logging.getLogger(__name__)

ROUND_S = 0.1
_LATE_NS = 10_000_000_000
"""How long after it was taken a picture may come: a long exposure, and a picture asked for waits for its turn.
Clips come later by their length, and by that of the one before them."""


@dataclasses.dataclass
class _Window:
    """The pictures taken between two moments (CLOCK_BOOTTIME), and those asked for at the trigger."""

    since_ns: int
    until_ns: int
    fired_ns: int
    said: dict[str, Any]
    """The sidecar's `trigger`."""
    asked: set[str]
    """Cameras of which the next picture belongs to it whenever it is taken."""


class TriggeredPictures:
    """Writes the pictures around each trigger, while it is armed: wanted, and its gate open."""

    def __init__(
        self,
        streams: Sequence[Stream],
        captures: PictureCaptures,
        source: TriggerSource,
        *,
        clock: Clock,
        gate: Gate,
    ) -> None:
        self.orders = captures.orders
        self.settings = captures.settings
        self.streams = tuple(streams)
        self._captures = captures
        self._source = source
        self._clock = clock
        self._gate = gate
        self._windows: deque[_Window] = deque()
        self.cursors: dict[str, Cursor] = {}
        """Where it is in the ring of each stream, while pictures are wanted."""
        self._written = {stream.name: -1 for stream in streams}
        """The last picture of each camera that went into a capture."""
        for stream in streams:
            stream.ring.keep_pictures()
        self._counts = dict.fromkeys(("triggers", "extended", "missed"), 0)
        self._dropped = 0

    def start(self, failed: Callable[[str, BaseException], None]) -> Worker:
        """Starts the writer thread."""
        return Worker(f"write {self.orders.name}", self.run, failed, silence_s=60.0).start()

    def trigger(self) -> str:
        """Fires it now, if it is armed; answers what will come. From any thread."""
        if not self.orders.wanted:
            return "it is not armed; start it first"
        if not self._gate.on:
            return "it waits for its schedule"
        self._source.ask(self._clock.boottime_ns())
        return f"pictures: {self.settings.trigger.in_words()}"

    def open_negatives(self) -> list[NegativeWriter]:
        """Pictures need none."""
        return []

    def idle(self) -> bool:
        """Nothing is being written."""
        return not self._windows

    def run(self, worker: Worker) -> None:
        """Rounds until the worker stops."""
        self._source.open()
        try:
            while not worker.wait(ROUND_S):
                self.step()
            self.step()
        finally:
            self._source.close()

    def step(self) -> None:
        """One round: what fired, and the pictures that belong to it."""
        now = self._clock.boottime_ns()
        armed = self._gate.step(now) and self.orders.wanted
        for event in self._source.poll():
            if armed:
                self._fire(event)
        if not self.orders.wanted:
            self._windows.clear()
        for stream in self.streams:
            if stream.name in self.cursors:
                self._sort(stream, self.cursors[stream.name])
        lag_s = max((stream.identity.lag_s for stream in self.streams if stream.identity is not None), default=0.0)
        while self._windows and now > self._windows[0].until_ns + _LATE_NS + round(2 * lag_s * 1e9):
            self._windows.popleft()
        if not self._windows:
            self._dropped += sum(cursor.dropped for cursor in self.cursors.values())
            self.cursors.clear()

    def _fire(self, event: Event) -> None:
        """Extends the window it falls into, or opens one."""
        trigger = self.settings.trigger
        until_ns = event.time_ns + round(trigger.post_s * 1e9)
        asked = {stream.name for stream in self.streams if trigger.snap and stream.snap()}
        last = self._windows[-1] if self._windows else None
        if last is not None and event.time_ns <= last.until_ns:
            self._counts["extended"] += 1
            last.until_ns = max(last.until_ns, until_ns)
            last.asked |= asked
            last.said = {**last.said, "extended": last.said["extended"] + 1}
            return
        if not any(stream.state == "running" for stream in self.streams):
            if not self._counts["missed"]:
                log.error("recording %s: a trigger (%s) is missed: no camera runs", self.orders.name, event.kind)
            self._counts["missed"] += 1
            return
        self._counts["triggers"] += 1
        since_ns = event.time_ns - round(trigger.pre_s * 1e9)
        said = {**event.as_json(trigger.units, event.time_ns), "extended": 0}
        self._windows.append(_Window(since_ns, until_ns, event.time_ns, said, asked))
        for stream in self.streams:
            if stream.name in self.cursors:
                self._sort(stream, self.cursors[stream.name])
                self._dropped += self.cursors[stream.name].dropped
            self._dropped += self._gone(stream, since_ns)
            self.cursors[stream.name] = stream.ring.cursor(float("inf"))

    def _gone(self, stream: Stream, since_ns: int) -> int:
        """Pictures since then that the ring had to drop already, by the rate of the camera."""
        held = stream.ring.cursor(float("inf")).take()
        if not held or held[0].observed_ns <= since_ns:
            return 0
        taken = (held[0].observed_ns - since_ns) * stream.identity_at(held[0].segment).rate_hz / 1e9
        return min(int(taken), held[0].first - held[0].lost - self._written[stream.name] - 1)

    def _sort(self, stream: Stream, cursor: Cursor) -> None:
        """New pictures go to the first window they belong to."""
        for block in cursor.take():
            if block.first <= self._written[stream.name]:
                continue
            for window in self._windows:
                within = window.since_ns <= block.observed_ns <= window.until_ns
                if not within and (block.observed_ns < window.fired_ns or stream.name not in window.asked):
                    continue
                if block.observed_ns >= window.fired_ns:
                    window.asked.discard(stream.name)
                self._written[stream.name] = block.first
                self._captures.write(stream, block, window.said)
                break

    def health(self) -> dict[str, Any]:
        """Counters; triggers `ignored` fell into the hold-off, `missed` could not be recorded."""
        state = "idle" if not self.orders.wanted else "armed" if self._gate.on else "scheduled"
        now = self._clock.boottime_ns()
        if any(now <= window.until_ns or window.asked for window in list(self._windows)):
            state = "recording"
        found = self._captures.health(
            state, self._dropped + sum(cursor.dropped for cursor in list(self.cursors.values()))
        )
        found["error"] = found["error"] or self._source.error
        counts = {**self._counts, "ignored": self._source.ignored}
        return {**found, "schedule": self._gate.health(), "trigger": counts}
