"""The writer of one recording that begins by itself: what is around each trigger, out of the rings, to the very sample.

Everything is counted in samples of the fastest stream (the lead). Where another stream or a pin fires, or a person
does, that is the lead's sample taken nearest to the moment.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from agent.clock import Clock
from agent.dating import Dating, sample_at, time_of
from agent.gate import Gate
from agent.negative import NegativeWriter
from agent.ring import Cursor
from agent.stream import Stream
from agent.take import OVERLAP_NS, Take, fastest
from agent.takes import Takes
from agent.trigger import Event
from agent.trigger_source import TriggerSource
from agent.window import Window, between
from agent.worker import Worker
from drivers import Block

log = logging.getLogger(__name__)

ROUND_S = 0.1
_SILENT_NS = 5_000_000_000
"""How long after its time a capture waits for samples of a lead that brings none."""
_LATE_NS = 1_000_000_000
"""How long a whole capture waits for what the watched stream may still say of its time."""


class TriggeredWriter:
    """Writes what is around each trigger, while it is armed: wanted, and its gate open."""

    def __init__(
        self, streams: Sequence[Stream], takes: Takes, source: TriggerSource, *, clock: Clock, gate: Gate
    ) -> None:
        self.orders = takes.orders
        self.settings = takes.settings
        self.streams = tuple(streams)
        self._takes = takes
        self._source = source
        self._clock = clock
        self._gate = gate
        self._dating = Dating()
        self._events: deque[Event] = deque()
        self._window: Window | None = None
        self.cursors: dict[str, Cursor] = {}
        """Where it is in the ring of each stream, while something is being written."""
        self._counts = dict.fromkeys(("triggers", "extended", "missed"), 0)
        self._dropped = 0
        self._missing = ""

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
        return f"one capture: {self.settings.trigger.in_words()}"

    def open_negatives(self) -> list[NegativeWriter]:
        """Those being written, for the disk-sync thread."""
        return self._takes.negatives()

    def idle(self) -> bool:
        """Nothing is being written."""
        return not self._takes.all()

    def run(self, worker: Worker) -> None:
        """Rounds until the worker stops; then takes what the rings still hold, and finishes."""
        self._source.open()
        try:
            while not worker.wait(ROUND_S):
                self.step()
            self.step()
        finally:
            self._source.close()
        self._miss_all("it ends")
        self._takes.stop()

    def step(self) -> None:
        """One round: what fired, what belongs to it, everything handed to the kernel."""
        now = self._clock.boottime_ns()
        armed = self._gate.step(now) and self.orders.wanted
        events = self._source.poll()  # before the rings are read: they are at least as far as what has fired
        if armed:
            self._events.extend(events)
        if self._takes.current is not None and self._takes.full():
            self._takes.cut("disk")
        if not self.orders.wanted:
            self._miss_all("it was stopped")
            self._end("command")
        self._follow(now)
        self._takes.flush(now)

    def _follow(self, now: int) -> None:
        """Goes through what fired in order: each begins a capture, or extends the one in progress."""
        while True:
            window = self._window
            if window is not None and self._takes.current is None:  # the disk did not take it
                self._takes.unrecorded += window.end - window.at
                window = self._window = None
            if window is None:
                if not self._events:
                    self._write_others()
                    return
                self._begin(self._events.popleft(), now)
                continue
            while self._events and (index := self._index(self._events[0], window.lead, now)) is not None:
                if index >= window.end:
                    break  # after it: a capture of its own
                self._extend(window, index, now)
                self._events.popleft()
            self._write_others()
            window.bring(self.cursors[window.lead.name].take())
            self._write_lead(window)
            if not self._complete(window, now):
                return

    def _running(self) -> list[Stream]:
        return [stream for stream in self.streams if stream.state == "running" and stream.identity is not None]

    def _index(self, event: Event, lead: Stream, now: int) -> int | None:
        """The lead's sample at which an event is; None where nothing of the lead is known."""
        if event.stream == lead.name:
            return event.sample
        fit = self._dating.fit(lead, now)
        return None if fit is None else sample_at(fit, self._time(event, now))

    def _time(self, event: Event, now: int) -> int:
        """CLOCK_BOOTTIME of an event, from all that is known of its stream."""
        watched = self._source.watched
        fit = None if watched is None or event.sample is None else self._dating.fit(watched, now, event.segment)
        return event.time_ns if fit is None or event.sample is None else time_of(fit, event.sample)

    def _begin(self, event: Event, now: int) -> None:
        """A capture around this event, or one more that was missed."""
        streams = self._running()
        identities = [stream.identity for stream in streams if stream.identity is not None]
        place = fastest(identities) if identities else None
        index = None if place is None else self._index(event, streams[place], now)
        if place is None or index is None:
            return self._miss(event, "no stream of it runs")
        lead = streams[place]
        said = event.as_json(self.settings.trigger.units, self._time(event, now))
        window = Window(lead, index, self.settings.trigger.around(identities[place].rate_hz), said)
        if not self._takes.possible(now) or not self._open(window, streams, now):
            return self._miss(event, self.orders.error or "the disk takes nothing for now")
        for stream in self.streams:
            if stream.name in self.cursors:
                self._dropped += self.cursors[stream.name].dropped
            self.cursors[stream.name] = stream.ring.cursor(float("inf"))
        window.bring(self.cursors[lead.name].take())
        self._dropped += window.missed()
        self._counts["triggers"] += 1
        self._missing = ""
        self._window = window
        return None

    def _miss(self, event: Event, why: str) -> None:
        """Counts it; says so once until one is recorded again."""
        self._counts["missed"] += 1
        if why != self._missing:
            log.error("recording %s: a trigger (%s) is missed: %s", self.orders.name, event.kind, why)
        self._missing = why

    def _miss_all(self, why: str) -> None:
        """What has fired and was not begun."""
        while self._events:
            self._miss(self._events.popleft(), why)

    def _open(self, window: Window, streams: Sequence[Stream], now: int) -> bool:
        """A take that begins with the window's next index."""
        fit = self._dating.fit(window.lead, now)
        take = self._takes.open(streams, now if fit is None else time_of(fit, window.at), window.said)
        if take is not None:
            take.since = window.at
            self._await(window, now)
        return take is not None

    def _await(self, window: Window, now: int) -> None:
        """Sets until when the lead may be silent."""
        fit = self._dating.fit(window.lead, now)
        window.deadline_ns = _SILENT_NS + max(now, 0 if fit is None else time_of(fit, window.end))

    def _extend(self, window: Window, index: int, now: int) -> None:
        self._counts["extended"] += 1
        window.extend(index)
        self._await(window, now)
        if (take := self._takes.current) is not None:
            take.trigger = window.said

    def _write_others(self) -> None:
        """What the slower streams have brought, into the take and into those that end."""
        for stream in self.streams:
            if stream.name not in self.cursors or (self._window is not None and stream is self._window.lead):
                continue
            for block in self.cursors[stream.name].take():
                for take in self._takes.all():
                    lead = stream is take.streams[take.lead]
                    if not lead and take.fits(stream, block) and block.observed_ns >= take.begun_ns - OVERLAP_NS:
                        take.write(stream, block)
        if not self._takes.all():
            self._dropped += sum(cursor.dropped for cursor in self.cursors.values())
            self.cursors.clear()

    def _write_lead(self, window: Window) -> None:
        """What the lead has brought of the window."""
        for part in window.parts():
            take = self._takes.current
            if take is None:
                return  # the disk did not take the next: counted
            if take.fits(window.lead, part):
                self._append(window, part)
            elif window.lead.identity_at(part.segment) is window.lead.identity:
                if self._go_on(window, "streams changed", part.first):
                    self._append(window, part)
            # else it is of what was there before this hardware, and counts as missing

    def _append(self, window: Window, part: Block) -> None:
        """Writes a block of the lead, going on in another take where one is long enough."""
        rest: Block | None = part
        while rest is not None and (take := self._takes.current) is not None:
            head = between(rest, rest.first, rest.first + self._longest(window, take))
            if head is None:
                self._go_on(window, "length", rest.first)
                continue
            take.write(window.lead, head)
            self._takes.samples += head.count
            rest = between(rest, head.end, rest.end)

    def _longest(self, window: Window, take: Take) -> int:
        """How many more samples the take may get: what belongs to one trigger is never cut."""
        settings, rate_hz = self.settings, take.identities[take.lead].rate_hz
        limits = [settings.length_samples, round(settings.length_s * rate_hz)]
        longest = min((limit for limit in limits if limit), default=1 << 62)
        if settings.length_bytes and take.negative.nbytes >= settings.length_bytes:
            longest = 0
        return max(0, max(longest, window.span) - take.samples)

    def _go_on(self, window: Window, reason: str, index: int) -> bool:
        """Cuts before this index of the lead, and goes on in a take of the streams that run now."""
        self._takes.cut(reason)
        streams, written = self._running(), window.at
        window.at = index
        if window.lead not in streams or not self._open(window, streams, self._clock.boottime_ns()):
            return False
        window.at = written
        for stream in streams:
            if stream is not window.lead:
                self.cursors[stream.name] = stream.ring.cursor(OVERLAP_NS / 1e9)
        return True

    def _complete(self, window: Window, now: int) -> bool:
        """Ends the capture where all of it is there and nothing can extend it any more, or nothing comes."""
        last_ns = window.last_ns()
        if self._takes.current is None:
            return True
        if last_ns is None:
            if now >= window.deadline_ns:
                self._end("silent")
            return now >= window.deadline_ns
        window.whole_ns = window.whole_ns or now
        if now - window.whole_ns < _LATE_NS and not self._source.passed(window.lead, window.end, last_ns):
            return False
        take = self._takes.current
        take.end = window.end  # what was lost at its very end counts as missing
        if take.first is None:
            self._takes.unrecorded += window.span
        self._end("trigger")
        return True

    def _end(self, reason: str) -> None:
        self._takes.cut(reason)
        self._window = None

    def health(self) -> dict[str, Any]:
        """Counters; triggers `ignored` fell into the hold-off, `missed` could not be recorded."""
        found = self._takes.health(self._dropped + sum(cursor.dropped for cursor in list(self.cursors.values())))
        found["error"] = found["error"] or self._source.error
        if found["state"] != "recording":
            state = "idle" if not self.orders.wanted else "armed" if self._gate.on else "scheduled"
            found["state"] = "refused" if found["error"] and state == "armed" else state
        counts = {**self._counts, "ignored": self._source.ignored}
        return {**found, "schedule": self._gate.health(), "trigger": counts}
