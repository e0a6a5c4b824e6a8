"""The writer of one recording of samples: drains its streams' rings into takes and cuts them to length.

One thread for each recording, and nothing slow in it: negatives are handed to the kernel here, synced and developed
elsewhere. All that came within one round goes to the kernel together.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.clock import Clock
from agent.gate import Gate
from agent.negative import NegativeWriter
from agent.recent import Recent
from agent.ring import Cursor
from agent.stream import Stream
from agent.take import OVERLAP_NS, Take, fastest, span_ns, split
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
        self._recent = {stream.name: Recent() for stream in streams}
        self._begun = False
        self._gathering = False
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
        self._begun = bool(self.cursors)  # what another has begun goes on at once with the streams that run on
        while not worker.wait(ROUND_S):
            self.step()
        self.step()
        self._takes.stop()

    def step(self) -> None:
        """One round: new blocks in, cuts where they are due, everything handed to the kernel."""
        now = self._clock.boottime_ns()
        self._wanted = self._gate.step(now) and self.orders.wanted
        blocks = {stream.name: self._cursor(stream).take() for stream in self.streams}
        for name, new in blocks.items():
            self._recent[name].hear(new)
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
            self._watch(self._takes.current, now, blocks)
        if self._takes.current is None and self._wanted and self._ready(now):
            self._open(self._running(), now, blocks)
        if self._takes.current is not None and self._gate.on:
            self._takes.current.until_ns = self._gate.until_ns
        for stream in self.streams:
            for block in blocks[stream.name]:
                self._write(stream, block)
            self._remember(stream, blocks[stream.name])
        self._settle()
        if not self._wanted:
            self._give_up()
            self._takes.cut("schedule" if self.orders.wanted else "command")
            self._waiting_since_ns, self._begun = 0, False

    def _running(self) -> list[Stream]:
        """Those to record: what runs, but for the fastest where it brings nothing, for a capture goes by its clock."""
        running = [stream for stream in self.streams if stream.state == "running" and stream.identity is not None]
        now = self._clock.boottime_ns()
        while len(running) > 1 and self._recent[(lead := _lead_of(running)).name].silent(now):
            running.remove(lead)
        return running

    def _ready(self, now: int) -> bool:
        """Whether a capture may begin: all streams run, or some do and the others have had their time."""
        self._gathering = False
        if not self._takes.possible(now):
            return False
        self._waiting_since_ns = self._waiting_since_ns or now
        patient = now - self._waiting_since_ns < _GATHER_NS and not self._begun
        running = self._running()
        self._gathering = patient and len(running) < len(self.streams)
        return bool(running) and not self._gathering

    def _watch(self, take: Take, now: int, blocks: Mapping[str, list[Block]]) -> None:
        """Cuts where streams came or went, where the lead is silent though time is up, where the disk is full."""
        running = self._running()
        if now - take.begun_ns > _CHANGED_NS and any(s not in take.streams and blocks[s.name] for s in running):
            self._cut("streams changed")  # at once, so that what it brings is in the next one
            return
        if not running or (running == take.streams and [s.identity for s in running] == take.identities):
            self._changed_since_ns = 0
        elif not self._changed_since_ns:
            self._changed_since_ns = now
        elif now - self._changed_since_ns > _CHANGED_NS:
            self._changed_since_ns = 0
            self._cut("streams changed")
            return
        if self.settings.length_s and now - take.begun_ns > (self.settings.length_s + 5) * 1e9 and not take.empty:
            self._cut("length")
        elif self._takes.full():
            self._cut("disk")

    def _cut(self, reason: str) -> None:
        """Ends the current take. Where its lead brought nothing, it goes by the clock of the others, and has it all."""
        self._settle()
        take = self._takes.current
        if take is not None and take.first is None and not take.empty:
            for stream in take.streams:
                self._recent[stream.name].settle_all()
        self._takes.cut(reason)

    def _open(self, streams: list[Stream], begun_ns: int, blocks: dict[str, list[Block]]) -> None:
        """A new take, which begins with what its lead brought and no capture has yet.

        In `blocks` the lead gets that, and the slower streams what they sent just before, and the last one before that.
        """
        lead = _lead_of(streams)
        free = self._recent[lead.name].freed()
        if free and lead.identity is not None:
            begun_ns = min(begun_ns, free[0].observed_ns - span_ns(free[0], lead.identity))
        self._write_early([stream for stream in streams if stream is not lead], begun_ns)
        take = self._takes.open(streams, begun_ns)
        if take is None:
            return
        for stream in streams:
            if stream is lead:
                blocks[stream.name] = [*free, *blocks[stream.name]]
            else:
                blocks[stream.name] = self._recent[stream.name].since(begun_ns, blocks[stream.name])
            self._recent[stream.name].clear()
        take.until_ns = self._gate.until_ns
        self._begun = True

    def _write_early(self, streams: Sequence[Stream], begun_ns: int) -> None:
        """A capture for itself of what slower streams brought before the next one begins, while the lead was silent.

        What they brought before the recording began, which waits for all of them, is no part of it.
        """
        if not self._begun:
            return
        freed = [(stream, block) for stream in streams for block in self._recent[stream.name].freed()]
        early = [(stream, block) for stream, block in freed if block.observed_ns < begun_ns]
        since_ns = min((block.observed_ns for _, block in early), default=begun_ns)
        take = None
        if begun_ns - since_ns > OVERLAP_NS:
            take = self._takes.open([stream for stream in streams if any(stream is one for one, _ in early)], since_ns)
        for stream, block in early:
            if take is None or not take.fits(stream, block):
                self._takes.unrecorded += block.count
            else:
                take.write(stream, block)
                self._takes.samples += block.count if stream is take.streams[take.lead] else 0
            self._recent[stream.name].settle(block.observed_ns)
        self._takes.cut("streams changed")

    def _write(self, stream: Stream, block: Block) -> None:
        for take in self._takes.closing:
            if take.fits(stream, block) and stream is not take.streams[take.lead]:
                take.write(stream, block)
        current = self._takes.current
        if current is not None and self._ends(current, stream, block):
            self._next("streams changed")
            current = self._takes.current
        if current is None and self._gathering:
            self._recent[stream.name].free(block)
        elif current is None:
            self._takes.unrecorded += block.count if self._wanted else 0
        elif stream not in current.streams and _lead_of([*current.streams, stream]) is stream:
            self._recent[stream.name].free(block)  # the next capture, by its clock, will begin with it
        elif not current.fits(stream, block):
            self._takes.unrecorded += block.count
        elif stream is not current.streams[current.lead]:
            current.write(stream, block)
            self._recent[stream.name].free(block)  # until the lead comes as far
        else:
            self._lead(stream, block)

    def _ends(self, take: Take, stream: Stream, block: Block) -> bool:
        """Whether the capture ends before this block: of other hardware, or of a lead that brought nothing before."""
        if stream not in take.streams:
            return False
        if not take.fits(stream, block):
            return True
        if stream is not take.streams[take.lead] or take.first is not None or take.empty:
            return False
        return block.observed_ns - span_ns(block, stream.identity_at(block.segment)) > take.begun_ns + OVERLAP_NS

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
        self._cut(reason)
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
                    self._takes.samples += block.count if stream is take.streams[take.lead] else 0
                self._remember(stream, blocks[stream.name])

    def _settle(self) -> None:
        """What slower streams brought belongs to the capture as far as its lead has come."""
        take = self._takes.current
        if take is None or not take.led_ns:
            return
        for stream in take.streams:
            if stream is take.streams[take.lead]:
                self._recent[stream.name].settle_all()
            else:
                self._recent[stream.name].settle(take.led_ns)

    def _give_up(self) -> None:
        """Nothing follows: what no capture has is counted, but for what came in the last moment."""
        for recent in self._recent.values():
            free = recent.freed()
            if self._begun and free and free[-1].observed_ns - free[0].observed_ns > OVERLAP_NS:
                self._takes.unrecorded += sum(block.count for block in free)
            recent.settle_all()

    def _remember(self, stream: Stream, blocks: list[Block]) -> None:
        """Keeps what the capture that may follow will want."""
        if len(self.streams) > 1:
            self._takes.unrecorded += self._recent[stream.name].keep(blocks)

    def health(self) -> dict[str, Any]:
        """Counters, and what its schedule says."""
        found = self._takes.health(sum(cursor.dropped for cursor in list(self.cursors.values())))
        if not found["state"]:
            found["state"] = "idle" if not self.orders.wanted else "waiting" if self._gate.on else "scheduled"
        return {**found, "schedule": self._gate.health()}


def _lead_of(streams: Sequence[Stream]) -> Stream:
    """The fastest of these, whose hardware is known."""
    return streams[fastest([stream.identity for stream in streams if stream.identity is not None])]
