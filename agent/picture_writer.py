"""The writer of one recording of pictures: each becomes a capture in the recording folder within one round.

Nothing slow here: the disk-sync thread finishes what lies there whole, in groups.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from agent.clock import Clock
from agent.gate import Gate
from agent.negative import NegativeWriter
from agent.picture_captures import PictureCaptures
from agent.ring import Cursor
from agent.stream import Stream
from agent.worker import Worker

ROUND_S = 0.1


class PictureRecorder:
    """Writes every picture that comes while it is wanted and its gate is open, and those a person asks for."""

    def __init__(self, streams: Sequence[Stream], captures: PictureCaptures, *, clock: Clock, gate: Gate) -> None:
        self.orders = captures.orders
        self.settings = captures.settings
        self.streams = tuple(streams)
        self._captures = captures
        self._clock = clock
        self._gate = gate
        self.cursors: dict[str, Cursor] = {stream.name: stream.ring.cursor(math.inf) for stream in streams}
        """Where it is in the ring of each stream; a writer that takes over from another is given that one's."""

    def start(self, failed: Callable[[str, BaseException], None]) -> Worker:
        """Starts the writer thread."""
        return Worker(f"write {self.orders.name}", self.run, failed, silence_s=60.0).start()

    def trigger(self) -> str:
        """A picture from each camera, now; answers what will come."""
        asked = [stream.name for stream in self.streams if stream.snap()]
        if not self.orders.wanted or not self._gate.on:
            self.orders.pictures += len(asked)
        return f"a picture from {', '.join(asked)}" if asked else "no camera is ready"

    def open_negatives(self) -> list[NegativeWriter]:
        """Pictures need none."""
        return []

    def idle(self) -> bool:
        """Nothing is being written."""
        return not self.orders.wanted and not self.orders.pictures

    def run(self, worker: Worker) -> None:
        """Rounds until the worker stops; then takes what the rings still hold."""
        while not worker.wait(ROUND_S):
            self.step()
        self.step()

    def step(self) -> None:
        """One round: each new picture becomes a capture, or is counted as unrecorded."""
        wanted = self._gate.step(self._clock.boottime_ns()) and self.orders.wanted
        for stream in self.streams:
            for block in self.cursors[stream.name].take():
                if wanted:
                    self._captures.write(stream, block)
                elif self.orders.pictures:
                    self.orders.pictures -= 1
                    self._captures.write(stream, block)

    def health(self) -> dict[str, Any]:
        """Counters, and what its schedule says."""
        state = "idle" if not self.orders.wanted else "recording" if self._gate.on else "scheduled"
        found = self._captures.health(state, sum(cursor.dropped for cursor in list(self.cursors.values())))
        return {**found, "schedule": self._gate.health()}
