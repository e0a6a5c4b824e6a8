"""The writer of one recording of pictures: each becomes a capture in the recording folder within one round.

Nothing slow here: the disk-sync thread finishes what lies there whole, in groups.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.capture import Capture, CaptureConfiguration
from agent.negative import NegativeWriter
from agent.pictures import PictureWriter
from agent.recording import Orders, RecordingSettings
from agent.ring import Cursor
from agent.stream import Stream
from agent.take import mismatch
from agent.worker import Worker
from drivers import Block

log = logging.getLogger(__name__)

ROUND_S = 0.1


class PictureRecorder:
    """Writes one recording of pictures; `room` says why the disk takes no more.

    `finished` gets each picture, with what gives it another date should the clock not be set yet.
    """

    def __init__(
        self,
        orders: Orders,
        settings: RecordingSettings,
        streams: Sequence[Stream],
        *,
        pictures: PictureWriter,
        finished: Callable[[Capture, Callable[[Capture], Capture]], None],
        room: Callable[[], str],
        required: Mapping[str, Any] | None = None,
    ) -> None:
        self.orders = orders
        self.settings = settings
        self.streams = tuple(streams)
        self._pictures = pictures
        self._finished = finished
        self._room = room
        self._required = required
        self.cursors: dict[str, Cursor] = {}
        """Where it is in the ring of each stream; a writer that takes over from another is given that one's."""
        self._captures = 0
        self._nbytes = 0
        self._unrecorded = 0
        self._last: str | None = None

    def start(self, failed: Callable[[str, BaseException], None]) -> Worker:
        """Starts the writer thread."""
        return Worker(f"write {self.orders.name}", self.run, failed, silence_s=60.0).start()

    def trigger(self) -> str:
        """A picture from each camera, now; answers what will come."""
        asked = [stream.name for stream in self.streams if stream.snap()]
        if not self.orders.wanted:
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
        for stream in self.streams:
            cursor = self.cursors.get(stream.name)
            if cursor is None:
                cursor = self.cursors[stream.name] = stream.ring.cursor(float("inf"))
            for block in cursor.take():
                if self.orders.wanted:
                    self._write(stream, block)
                elif self.orders.pictures:
                    self.orders.pictures -= 1
                    self._write(stream, block)

    def _write(self, stream: Stream, block: Block) -> None:
        identity = stream.identity_at(block.segment)
        configuration = CaptureConfiguration.of(self.orders.name, [(identity, [])])
        why = self._room() or mismatch(self.settings.require_configuration, self._required, configuration)
        if not why:
            try:
                capture = self._pictures.write(
                    block,
                    stream=stream.name,
                    driver=stream.driver,
                    identity=identity,
                    configuration=configuration,
                    labels=dict(self.orders.labels),
                    metadata=dict(self.orders.metadata),
                )
            except OSError as error:
                why = f"pictures cannot be written: {error.strerror}"  # without its name, so that it is said once
            except ValueError as error:
                why = f"the picture could not be written: {error}"
        if why:
            self.orders.refuse(why)
            self._unrecorded += 1
            return
        self.orders.resume()
        self._captures += 1
        self._nbytes += capture.size
        self._last = capture.name
        self._finished(capture, self._pictures.redate)

    def health(self) -> dict[str, Any]:
        """Counters; `dropped` pictures the ring lost, `unrecorded` came while they could not be written."""
        orders = self.orders
        return {
            "state": "refused" if orders.error else "recording" if orders.wanted else "idle",
            "capture": self._last,
            "samples": self._captures,
            "bytes": self._nbytes,
            "finished": self._captures,
            "dropped": sum(cursor.dropped for cursor in list(self.cursors.values())),
            "unrecorded": self._unrecorded,
            "error": orders.error,
        }
