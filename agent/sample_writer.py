"""The writer of one recording of samples: drains its streams' rings into takes and cuts them to length.

One thread for each recording, and nothing slow in it: negatives are handed to the kernel here, synced and developed
elsewhere. All that came within one round goes to the kernel together.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.capture import CaptureConfiguration
from agent.clock import Clock
from agent.device import Device
from agent.film import column_names
from agent.negative import NegativeWriter
from agent.recording import Orders, RecordingSettings
from agent.ring import Cursor
from agent.stream import Stream
from agent.take import OVERLAP_NS, Take, mismatch, open_take, split
from agent.worker import Worker
from drivers import Block

log = logging.getLogger(__name__)

ROUND_S = 0.1
"""How often the rings are drained: a kill loses at most this much and one read."""
_GATHER_NS = 10_000_000_000
"""How long a recording waits for all of its streams before it begins with those that run."""
_CHANGED_NS = 1_000_000_000
"""How long the set of running streams must have been another one before the capture is cut."""
_REST_NS = 5_000_000_000
"""How long nothing is tried after the disk took no more."""


class SampleWriter:
    """Writes one recording. `finished` gets each finished negative; `room` says why the disk takes no more."""

    def __init__(
        self,
        orders: Orders,
        settings: RecordingSettings,
        streams: Sequence[Stream],
        *,
        folder: Path,
        clock: Clock,
        device: Device,
        finished: Callable[[Path], None],
        room: Callable[[], str],
        required: Mapping[str, Any] | None = None,
    ) -> None:
        """`required` is the document of the required configuration, where it is known."""
        self.orders = orders
        self.settings = settings
        self.streams = tuple(streams)
        self._folder = folder
        self._clock = clock
        self._device = device
        self._finished = finished
        self._room = room
        self._required = required
        self.cursors: dict[str, Cursor] = {}
        """Where it is in the ring of each stream; a writer that takes over from another is given that one's."""
        self._take: Take | None = None
        self._closing: list[Take] = []
        self._recent: dict[str, deque[Block]] = {stream.name: deque() for stream in streams}
        self._begun = False
        self._rest_until_ns = 0
        self._waiting_since_ns = 0
        self._changed_since_ns = 0
        self._captures = 0
        self._samples = 0
        self._nbytes = 0
        self._unrecorded = 0

    def start(self, failed: Callable[[str, BaseException], None]) -> Worker:
        """Starts the writer thread."""
        return Worker(f"write {self.orders.name}", self.run, failed, silence_s=60.0).start()

    def trigger(self) -> str:
        """One capture of the recording's length, from now; answers what will come."""
        if self.orders.wanted:
            return "it records already"
        self.orders.once = self.orders.wanted = True
        return "one capture"

    def open_negatives(self) -> list[NegativeWriter]:
        """Those being written, for the disk-sync thread."""
        return [take.negative for take in (*self._closing, self._take) if take is not None]

    def idle(self) -> bool:
        """Nothing is being written."""
        return self._take is None and not self._closing

    def run(self, worker: Worker) -> None:
        """Rounds until the worker stops; then takes what the rings still hold, and finishes."""
        while not worker.wait(ROUND_S):
            self.step()
        self.step()
        self._cut("stop")
        for take in self._closing:
            self._finish(take)
        self._closing.clear()

    def step(self) -> None:
        """One round: new blocks in, cuts where they are due, everything handed to the kernel."""
        now = self._clock.boottime_ns()
        blocks = {stream.name: self._cursor(stream).take() for stream in self.streams}
        self._follow(blocks, now)
        try:
            for take in (*self._closing, *([self._take] if self._take else [])):
                take.negative.flush()
                take.kept = take.samples + take.others
            if self._take is not None:
                self.orders.resume()
        except OSError as error:
            self._fail(error)
            self._cut("disk")
        for take in [take for take in self._closing if now >= take.closes_ns]:
            self._finish(take)
            self._closing.remove(take)

    def _fail(self, error: OSError) -> None:
        """The disk took no more: it is left alone for a while."""
        self.orders.refuse(f"cannot write to {self._folder}: {error.strerror}")
        self._rest_until_ns = self._clock.boottime_ns() + _REST_NS

    def _cursor(self, stream: Stream) -> Cursor:
        cursor = self.cursors.get(stream.name)
        if cursor is None:
            past_s = float("inf") if self.settings.when == "continuous" else 0.0
            cursor = self.cursors[stream.name] = stream.ring.cursor(past_s)
        return cursor

    def _follow(self, blocks: dict[str, list[Block]], now: int) -> None:
        if self._take is not None:
            self._watch(self._take, now)
        if self._take is None and self.orders.wanted and self._ready(now):
            self._open(now, blocks)
        for stream in self.streams:
            for block in blocks[stream.name]:
                self._write(stream, block)
            self._remember(stream, blocks[stream.name])
        if not self.orders.wanted:
            self._cut("command")
            self._waiting_since_ns, self._begun = 0, False

    def _running(self) -> list[Stream]:
        return [stream for stream in self.streams if stream.state == "running" and stream.identity is not None]

    def _ready(self, now: int) -> bool:
        """Whether a capture may begin: all streams run, or some do and the others have had their time."""
        if now < self._rest_until_ns:
            return False
        if why := self._room():
            self.orders.refuse(why)
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
            self._cut("streams changed")
            return
        if self.settings.length_s and now - take.begun_ns > (self.settings.length_s + 5) * 1e9 and not take.empty:
            self._cut("length")
        elif why := self._room():
            self.orders.refuse(why)
            self._cut("disk")

    def _open(self, begun_ns: int, blocks: dict[str, list[Block]]) -> None:
        """A new take; in `blocks` the slower streams get what they sent just before, the lead keeps what is new."""
        streams = self._running()
        pairs = [(stream.name, stream.identity) for stream in streams if stream.identity is not None]
        columns = zip([identity for _, identity in pairs], column_names(pairs), strict=True)
        configuration = CaptureConfiguration.of(self.orders.name, list(columns))
        if why := mismatch(self.settings.require_configuration, self._required, configuration):
            self.orders.refuse(why)
            return
        try:
            take = open_take(
                self.orders,
                self.settings,
                configuration,
                streams,
                begun_ns=begun_ns,
                folder=self._folder,
                clock=self._clock,
                device=self._device,
            )
        except OSError as error:
            self._fail(error)
            return
        for place, stream in enumerate(streams):
            if place != take.lead:
                recent = [*self._recent[stream.name], *blocks[stream.name]]
                blocks[stream.name] = [b for b in recent if b.observed_ns >= begun_ns - OVERLAP_NS]
                self._recent[stream.name].clear()
        self._take = take
        self._begun = True

    def _write(self, stream: Stream, block: Block) -> None:
        for take in self._closing:
            if take.fits(stream, block) and stream is not take.streams[take.lead]:
                take.write(stream, block)
        if self._take is not None and stream in self._take.streams and not self._take.fits(stream, block):
            self._next("streams changed")
        current = self._take
        if current is None:
            self._unrecorded += block.count if self.orders.wanted else 0
            return
        if stream not in current.streams:
            return
        if not current.fits(stream, block):
            self._unrecorded += block.count
            return
        if stream is not current.streams[current.lead]:
            current.write(stream, block)
            return
        self._samples += block.count
        rest: Block | None = block
        while rest is not None and self._take is not None:
            room = self._take.room_in(rest, self.settings)
            head, rest = (rest, None) if room is None else split(rest, room)
            if head is not None:
                self._take.write(stream, head)
            if room is not None:
                self._next("length")
        if rest is not None and self.orders.wanted:
            self._unrecorded += rest.count

    def _next(self, reason: str) -> None:
        """Cuts at this very sample and, unless one length was asked for, goes on in a new negative."""
        last = self._take
        self._cut(reason)
        if last is None or not self.orders.wanted:
            return
        now = self._clock.boottime_ns()
        due_ns = last.begun_ns + int(self.settings.length_s * 1e9)
        begun_ns = due_ns if self.settings.length_s and 0 <= now - due_ns < OVERLAP_NS else now
        blocks: dict[str, list[Block]] = {stream.name: [] for stream in self.streams}
        self._open(begun_ns, blocks)
        if self._take is not None:
            for stream in self._take.streams:
                for block in blocks[stream.name]:
                    self._take.write(stream, block)
                self._remember(stream, blocks[stream.name])

    def _remember(self, stream: Stream, blocks: list[Block]) -> None:
        """Keeps the last second of each stream, for the capture that may follow."""
        if len(self.streams) == 1 or not blocks:
            return
        recent = self._recent[stream.name]
        recent.extend(blocks)
        while recent[0].observed_ns < recent[-1].observed_ns - OVERLAP_NS:
            recent.popleft()

    def _cut(self, reason: str) -> None:
        """Ends the take: its lead gets nothing more, its slower streams what is still under way."""
        take, self._take = self._take, None
        if take is not None:
            take.reason = reason
            take.closes_ns = self._clock.boottime_ns() + (OVERLAP_NS // 2 if len(take.streams) > 1 else 0)
            self._closing.append(take)
            if reason == "length" and self.orders.once:
                self.orders.end()

    def _finish(self, take: Take) -> None:
        self._nbytes += take.negative.nbytes
        try:
            path = take.finish()
        except OSError:  # the disk again, which has been said: what it took is developed, the rest is counted
            path = take.negative.path if take.kept else None
            self._unrecorded += take.samples + take.others - take.kept
            if path is None:
                take.negative.path.unlink(missing_ok=True)
        if path is not None:
            self._captures += 1
            self._finished(path)

    def health(self) -> dict[str, Any]:
        """Counters; `dropped` samples the ring lost, `unrecorded` came while recording was wanted and impossible."""
        take, orders = self._take, self.orders
        state = (
            "recording"
            if take or self._closing
            else "refused"
            if orders.error
            else "waiting"
            if orders.wanted
            else "idle"
        )
        return {
            "state": state,
            "capture": take.negative.head["name"] if take else None,
            "samples": self._samples,
            "bytes": self._nbytes + (take.negative.nbytes if take else 0),
            "finished": self._captures,
            "dropped": sum(cursor.dropped for cursor in list(self.cursors.values())),
            "unrecorded": self._unrecorded,
            "error": orders.error,
        }
