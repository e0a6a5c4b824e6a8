"""The writer of one recording of samples: drains its streams' rings into takes and cuts them to length.

One thread for each recording, and nothing slow in it: negatives are handed to the kernel here, synced and developed
elsewhere. All that came within one round goes to the kernel together.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from agent.clock import Clock
from agent.gate import Gate
from agent.negative import NegativeWriter
from agent.ring import Cursor
from agent.stream import Stream
from agent.take import OVERLAP_NS, Take, split
from agent.takes import Takes
from agent.worker import Worker
from drivers import Block

ROUND_S = 0.1
"""How often the rings are drained: a kill loses at most this much and one read."""
_GATHER_NS = 10_000_000_000
"""How long a recording waits for all of its streams before it begins with those that run."""
_CHANGED_NS = 1_000_000_000
"""How long the set of running streams must have been another one before the capture is cut."""


class SampleWriter:
    """Writes one recording that goes on from capture to capture, while it is wanted and its gate is open."""

    def __init__(self, streams: Sequence[Stream], takes: Takes, *, clock: Clock, gate: Gate) -> None:
        self.orders = takes.orders
        self.settings = takes.settings
        self.streams = tuple(streams)
        self._takes = takes
        self._clock = clock
        self._gate = gate
        self._wanted = False
        self.cursors: dict[str, Cursor] = {}
        """Where it is in the ring of each stream; a writer that takes over from another is given that one's."""
        self._recent: dict[str, deque[Block]] = {stream.name: deque() for stream in streams}
        self._begun = False
        self._waiting_since_ns = 0
        self._changed_since_ns = 0

    def start(self, failed: Callable[[str, BaseException], None]) -> Worker:
        """Starts the writer thread."""
        return Worker(f"write {self.orders.name}", self.run, failed, silence_s=60.0).start()

    def trigger(self) -> str:
        """One capture of the recording's length, from now; answers what will come."""
        if self.orders.wanted:
            return "it records already" if self._gate.on else "it waits for its schedule"
        self.orders.once = self.orders.wanted = True
        return "one capture"

    def open_negatives(self) -> list[NegativeWriter]:
        """Those being written, for the disk-sync thread."""
        return self._takes.negatives()

    def idle(self) -> bool:
        """Nothing is being written."""
        return not self._takes.all()

    def run(self, worker: Worker) -> None:
        """Rounds until the worker stops; then takes what the rings still hold, and finishes."""
        while not worker.wait(ROUND_S):
            self.step()
        self.step()
        self._takes.stop()

    def step(self) -> None:
        """One round: new blocks in, cuts where they are due, everything handed to the kernel."""
        now = self._clock.boottime_ns()
        self._wanted = self._gate.step(now) and self.orders.wanted
        blocks = {stream.name: self._cursor(stream).take() for stream in self.streams}
        self._follow(blocks, now)
        self._takes.flush(now)

    def _cursor(self, stream: Stream) -> Cursor:
        cursor = self.cursors.get(stream.name)
        if cursor is None:
            past_s = float("inf") if self.settings.when == "continuous" else 0.0
            cursor = self.cursors[stream.name] = stream.ring.cursor(past_s)
        return cursor

    def _follow(self, blocks: dict[str, list[Block]], now: int) -> None:
        if self._takes.current is not None:
            self._watch(self._takes.current, now)
        if self._takes.current is None and self._wanted and self._ready(now):
            self._open(self._running(), now, blocks)
        if self._takes.current is not None and self._gate.on:
            self._takes.current.until_ns = self._gate.until_ns
        for stream in self.streams:
            for block in blocks[stream.name]:
                self._write(stream, block)
            self._remember(stream, blocks[stream.name])
        if not self._wanted:
            self._takes.cut("schedule" if self.orders.wanted else "command")
            self._waiting_since_ns, self._begun = 0, False

    def _running(self) -> list[Stream]:
        return [stream for stream in self.streams if stream.state == "running" and stream.identity is not None]

    def _ready(self, now: int) -> bool:
        """Whether a capture may begin: all streams run, or some do and the others have had their time."""
        if not self._takes.possible(now):
            return False
        self._waiting_since_ns = self._waiting_since_ns or now
        patient = now - self._waiting_since_ns < _GATHER_NS and not self._begun
        running = self._running()
        return bool(running) and not (patient and len(running) < len(self.streams))

    def _watch(self, take: Take, now: int) -> None:
        """Cuts where streams came or went, where the lead is silent though time is up, where the disk is full."""
        running = self._running()
        if not running or (running == take.streams and [s.identity for s in running] == take.identities):
            self._changed_since_ns = 0
        elif not self._changed_since_ns:
            self._changed_since_ns = now
        elif now - self._changed_since_ns > _CHANGED_NS:
            self._changed_since_ns = 0
            self._takes.cut("streams changed")
            return
        if self.settings.length_s and now - take.begun_ns > (self.settings.length_s + 5) * 1e9 and not take.empty:
            self._takes.cut("length")
        elif self._takes.full():
            self._takes.cut("disk")

    def _open(self, streams: list[Stream], begun_ns: int, blocks: dict[str, list[Block]]) -> None:
        """A new take; in `blocks` the slower streams get what they sent just before, the lead keeps what is new."""
        take = self._takes.open(streams, begun_ns)
        if take is None:
            return
        for place, stream in enumerate(streams):
            if place != take.lead:
                recent = [*self._recent[stream.name], *blocks[stream.name]]
                blocks[stream.name] = [b for b in recent if b.observed_ns >= begun_ns - OVERLAP_NS]
                self._recent[stream.name].clear()
        take.until_ns = self._gate.until_ns
        self._begun = True

    def _write(self, stream: Stream, block: Block) -> None:
        for take in self._takes.closing:
            if take.fits(stream, block) and stream is not take.streams[take.lead]:
                take.write(stream, block)
        current = self._takes.current
        if current is not None and stream in current.streams and not current.fits(stream, block):
            self._next("streams changed")
            current = self._takes.current
        if current is None:
            self._takes.unrecorded += block.count if self._wanted else 0
            return
        if stream not in current.streams:
            return
        if not current.fits(stream, block):
            self._takes.unrecorded += block.count
            return
        if stream is not current.streams[current.lead]:
            current.write(stream, block)
            return
        self._lead(stream, block)

    def _lead(self, stream: Stream, block: Block) -> None:
        """A block of the fastest stream, cut at the very sample where a capture ends and the next begins."""
        self._takes.samples += block.count
        rest: Block | None = block
        while rest is not None and (take := self._takes.current) is not None:
            room = take.room_in(rest, self.settings)
            head, rest = (rest, None) if room is None else split(rest, room)
            if head is not None:
                take.write(stream, head)
            if room is not None and take.until_ns is not None and block.observed_ns >= take.until_ns:
                self._wanted = False  # the gate closes now, and what is left is after it
                self._takes.samples -= 0 if rest is None else rest.count
                self._takes.cut("schedule")
            elif room is not None:
                self._next("length")
        if rest is not None and self._wanted:
            self._takes.unrecorded += rest.count

    def _next(self, reason: str) -> None:
        """Cuts at this very sample and, unless one length was asked for, goes on in a new negative."""
        last = self._takes.current
        self._takes.cut(reason)
        self._wanted = self._wanted and self.orders.wanted
        if last is None or not self._wanted:
            return
        now = self._clock.boottime_ns()
        due_ns = last.begun_ns + int(self.settings.length_s * 1e9)
        begun_ns = due_ns if self.settings.length_s and 0 <= now - due_ns < OVERLAP_NS else now
        blocks: dict[str, list[Block]] = {stream.name: [] for stream in self.streams}
        # what was read before all of them were lost, in this very moment, still has its place
        self._open(self._running() or last.streams, begun_ns, blocks)
        if (take := self._takes.current) is not None:
            for stream in take.streams:
                for block in blocks[stream.name]:
                    take.write(stream, block)
                self._remember(stream, blocks[stream.name])

    def _remember(self, stream: Stream, blocks: list[Block]) -> None:
        """Keeps the last second of each stream, for the capture that may follow."""
        if len(self.streams) == 1 or not blocks:
            return
        recent = self._recent[stream.name]
        recent.extend(blocks)
        while recent[0].observed_ns < recent[-1].observed_ns - OVERLAP_NS:
            recent.popleft()

    def health(self) -> dict[str, Any]:
        """Counters, and what its schedule says."""
        found = self._takes.health(sum(cursor.dropped for cursor in list(self.cursors.values())))
        if not found["state"]:
            found["state"] = "idle" if not self.orders.wanted else "waiting" if self._gate.on else "scheduled"
        return {**found, "schedule": self._gate.health()}
