"""Turns the pictures of one recording into captures in its folder, where the disk and the set-up allow it."""

from collections.abc import Callable, Mapping
from typing import Any

from agent.capture import Capture, CaptureConfiguration
from agent.pictures import PictureWriter
from agent.recording import Orders, RecordingSettings
from agent.stream import Stream
from agent.surroundings import Surroundings
from agent.take import mismatch
from drivers import Block


class PictureCaptures:
    """Used by the recording's thread."""

    def __init__(
        self,
        orders: Orders,
        settings: RecordingSettings,
        *,
        pictures: PictureWriter,
        finished: Callable[[Capture, Callable[[Capture], Capture]], None],
        room: Callable[[], str],
        surroundings: Surroundings | None = None,
        required: Mapping[str, Any] | None = None,
    ) -> None:
        """`finished` gets each picture, with what gives it another date should the clock not be set yet.

        `room` says why the disk takes no more; `surroundings` is asked for each picture's tags; `required` is the
        document of the required configuration, where known.
        """
        self.orders = orders
        self.settings = settings
        self._pictures = pictures
        self._finished = finished
        self._room = room
        self._surroundings = surroundings or Surroundings((), 0.0)
        self._required = required
        self._captures = 0
        self._nbytes = 0
        self._unrecorded = 0
        self._last: str | None = None

    def write(self, stream: Stream, block: Block, trigger: Mapping[str, Any] | None = None) -> None:
        """One picture becomes a capture, or is counted as unrecorded."""
        identity = stream.identity_at(block.segment)
        configuration = CaptureConfiguration.of(self.orders.name, [(identity, [])])
        why = self._room() or mismatch(self.settings.require_configuration, self._required, configuration)
        if not why:
            known = self._surroundings.at(block.observed_ns)
            try:
                capture = self._pictures.write(
                    block,
                    stream=stream.name,
                    driver=stream.driver,
                    identity=identity,
                    configuration=configuration,
                    labels=dict(self.orders.labels),
                    metadata={**known.metadata, **self.orders.metadata},
                    surroundings=known.tags,
                    trigger=trigger,
                )
            except OSError as error:
                why = f"pictures cannot be written: {error.strerror}"  # without its name, so that it is said once
            except ValueError as error:
                why = f"the picture could not be written: {error}"
        self._unrecorded += bool(why)
        self.orders.missed(self._unrecorded, block.observed_ns)
        if why:
            self.orders.refuse(why)
            return
        self.orders.resume()
        self._captures += 1
        self._nbytes += capture.size
        self._last = capture.name
        self._finished(capture, self._pictures.redate)

    def health(self, state: str, dropped: int) -> dict[str, Any]:
        """Counters; `dropped` pictures the ring lost, `unrecorded` came while they could not be written."""
        return {
            "state": "refused" if self.orders.error else state,
            "capture": self._last,
            "samples": self._captures,
            "bytes": self._nbytes,
            "finished": self._captures,
            "dropped": dropped,
            "unrecorded": self._unrecorded,
            "error": self.orders.error,
        }
