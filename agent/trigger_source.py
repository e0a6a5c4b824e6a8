"""Where triggers come from: a watched stream, a pin, and always a command; asked every round by one thread."""

import logging
import queue

from agent.gpio import EdgeError, Edges
from agent.ring import Cursor
from agent.stream import Stream
from agent.trigger import MOTION, WATCHING, Detector, Event, TriggerSettings
from drivers import Block, Identity, boottime_ns

log = logging.getLogger(__name__)

_AGAIN_NS = 30_000_000_000
"""When a pin that somebody else has is tried again."""


class TriggerSource:
    """Gives the events of one recording, in the order in which they are known."""

    def __init__(self, settings: TriggerSettings, watched: Stream | None) -> None:
        """`watched` is the stream that `settings` means, where they mean one."""
        self.error = ""
        """Why it cannot fire though it should; commands it heeds all the same."""
        self._settings = settings
        self.watched = watched if settings.kind in (*WATCHING, MOTION) else None
        """The stream it watches, if any."""
        self._edges = Edges(settings.pin, settings.edge, settings.pull) if settings.kind == "gpio" else None
        self._asked: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._cursor: Cursor | None = None
        self._detector: Detector | None = None
        self._identity: Identity | None = None
        self._seen_ns = 0
        self._held_until_ns = 0
        self._again_ns = 0
        """When the pin is tried again; 0 while it is watched."""
        self._ignored = 0

    def open(self) -> None:
        """Begins to watch: what fires from now on counts."""
        if self.watched is not None:
            self._cursor = self.watched.ring.cursor()
        if self._edges is not None:
            self._watch(self._edges)

    def close(self) -> None:
        if self._edges is not None:
            self._edges.close()

    def ask(self, time_ns: int) -> None:
        """A person's trigger, now; from any thread."""
        self._asked.put(time_ns)

    @property
    def ignored(self) -> int:
        """Times it fired while the hold-off lasted."""
        return self._ignored + (self._detector.ignored if self._detector is not None else 0)

    def poll(self) -> list[Event]:
        """What has fired since the last call."""
        events = [Event("command", self._asked.get_nowait()) for _ in range(self._asked.qsize())]
        if self._edges is not None:
            if self._again_ns and boottime_ns() >= self._again_ns:
                self._watch(self._edges)
            events += [Event("gpio", time_ns) for time_ns in self._edges.take() if self._counts(time_ns)]
        if self.watched is not None and self._cursor is not None:
            events += [event for block in self._cursor.take() for event in self._events(self.watched, block)]
        return sorted(events, key=lambda event: event.time_ns)

    def passed(self, stream: Stream, index: int, observed_ns: int) -> bool:
        """Whether nothing can fire any more before this sample of a stream, which was observed at that time."""
        watched, detector = self.watched, self._detector
        if watched is None or detector is None or detector.next is None or watched.state != "running":
            return True
        return detector.next >= index if stream is watched else self._seen_ns >= observed_ns

    def _watch(self, edges: Edges) -> None:
        try:
            edges.open()
            self._again_ns, self.error = 0, ""
        except EdgeError as error:
            if str(error) != self.error:
                log.error("%s; it is tried again", error)
            self.error = str(error)
            self._again_ns = boottime_ns() + _AGAIN_NS

    def _counts(self, time_ns: int) -> bool:
        if time_ns < self._held_until_ns:
            self._ignored += 1
            return False
        self._held_until_ns = time_ns + round(self._settings.holdoff_s * 1e9)
        return True

    def _events(self, stream: Stream, block: Block) -> list[Event]:
        if self._settings.kind == MOTION:
            share = block.metadata.get(MOTION)
            if share is None or not self._counts(block.observed_ns):
                return []
            return [Event(MOTION, block.observed_ns, stream.name, value=float(share))]
        identity = stream.identity_at(block.segment)
        if identity is not self._identity:
            self._begin(identity)
        self._seen_ns = block.observed_ns
        if self._detector is None:
            return []
        return [
            Event(
                self._settings.kind,
                block.observed_ns - round((block.newest - index) * 1e9 / identity.rate_hz),
                stream.name,
                self._settings.channels,
                index,
                block.segment,
                value,
            )
            for index, value in self._detector.feed(block)
        ]

    def _begin(self, identity: Identity) -> None:
        """A detector for this set-up."""
        self._ignored, self._detector, self._identity = self.ignored, None, identity
        try:
            self._detector = Detector(self._settings, identity)
            self.error = ""
        except ValueError as error:
            self.error = f"nothing can trigger it: {error}"
            log.error("stream %s: %s", self._settings.stream, self.error)
