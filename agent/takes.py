"""The takes of one recording: opened where the disk and the set-up allow it, handed to the kernel, ended, handed on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.capture import CaptureConfiguration
from agent.clock import Clock
from agent.device import Device
from agent.film import column_names
from agent.marks import Marks
from agent.negative import NegativeWriter
from agent.recording import Orders, RecordingSettings
from agent.stream import Stream
from agent.surroundings import Surroundings
from agent.take import Take, mismatch, open_take

_REST_NS = 5_000_000_000
"""How long nothing is tried after the disk took no more."""


class Takes:
    """One is `current`, those before may still get what their slower streams bring. Used by the recording's thread."""

    def __init__(
        self,
        orders: Orders,
        settings: RecordingSettings,
        *,
        folder: Path,
        clock: Clock,
        device: Device,
        finished: Callable[[Path], None],
        room: Callable[[], str],
        surroundings: Surroundings | None = None,
        required: Mapping[str, Any] | None = None,
    ) -> None:
        """`finished` gets each finished negative; `room` says why the disk takes no more.

        `surroundings` is asked for tags as each take begins. `required` is the document of the required configuration,
        where it is known.
        """
        self.orders = orders
        self.settings = settings
        self.current: Take | None = None
        self.closing: list[Take] = []
        self.samples = 0
        """Of the leads."""
        self.unrecorded = 0
        """Samples that came while recording was wanted and impossible."""
        self._folder = folder
        self._clock = clock
        self._device = device
        self._finished = finished
        self._room = room
        self._surroundings = surroundings or Surroundings((), 0.0)
        self._required = required
        self._marks = Marks(orders)
        self._rest_until_ns = 0
        self._captures = 0
        self._nbytes = 0

    def possible(self, now_ns: int) -> bool:
        """Whether the disk would take one more; what hinders it is said."""
        return now_ns >= self._rest_until_ns and not self.full()

    def full(self) -> bool:
        """Whether the disk takes no more, which is said."""
        if why := self._room():
            self.orders.refuse(why)
        return bool(why)

    def open(self, streams: Sequence[Stream], begun_ns: int, trigger: Mapping[str, Any] | None = None) -> Take | None:
        """A new current take of running streams; None, and why is said, where there may or can be none."""
        pairs = [(stream.name, stream.identity) for stream in streams if stream.identity is not None]
        columns = zip([identity for _, identity in pairs], column_names(pairs), strict=True)
        configuration = CaptureConfiguration.of(self.orders.name, list(columns))
        if why := mismatch(self.settings.require_configuration, self._required, configuration):
            self.orders.refuse(why)
            return None
        try:
            self.current = open_take(
                self.orders,
                self.settings,
                configuration,
                streams,
                begun_ns=begun_ns,
                folder=self._folder,
                clock=self._clock,
                device=self._device,
                trigger=trigger,
                tags=self._surroundings.at(begun_ns).metadata,
            )
        except OSError as error:
            self._fail(error)
        return self.current

    def flush(self, now_ns: int) -> None:
        """Hands everything to the kernel, and on what has ended."""
        self._marks.note(self.all(), now_ns)
        try:
            for take in self.all():
                take.negative.flush()
                take.kept = take.samples + take.others
            if self.current is not None:
                self.orders.resume()
        except OSError as error:
            self._fail(error)
            self.cut("disk")
        for take in [take for take in self.closing if take.whole(now_ns)]:
            self._finish(take)
            self.closing.remove(take)
        self.orders.missed(self.unrecorded, now_ns)

    def cut(self, reason: str) -> None:
        """Ends the current take: its lead gets nothing more, its slower streams what is still under way."""
        take, self.current = self.current, None
        if take is not None:
            take.reason = reason
            take.cut_ns = self._clock.boottime_ns()
            self.closing.append(take)
            if reason == "length" and self.orders.once:
                self.orders.end()

    def stop(self) -> None:
        """Ends everything at once, with what there is."""
        self.cut("stop")
        for take in self.closing:
            self._finish(take)
        self.closing.clear()
        self._marks.settle()
        self.orders.missed(self.unrecorded, self._clock.boottime_ns(), last=True)

    def all(self) -> list[Take]:
        """Those being written."""
        return [*self.closing, *([self.current] if self.current is not None else [])]

    def negatives(self) -> list[NegativeWriter]:
        """Their negatives, for the disk-sync thread."""
        return [take.negative for take in self.all()]

    def _fail(self, error: OSError) -> None:
        """The disk took no more: it is left alone for a while."""
        self.orders.refuse(f"cannot write to {self._folder}: {error.strerror}")
        self._rest_until_ns = self._clock.boottime_ns() + _REST_NS

    def _finish(self, take: Take) -> None:
        self._nbytes += take.negative.nbytes
        try:
            path = take.finish()
        except OSError:  # the disk again, which has been said: what it took is developed, the rest is counted
            path = take.negative.path if take.kept else None
            self.unrecorded += take.samples + take.others - take.kept
            if path is None:
                take.negative.path.unlink(missing_ok=True)
        if path is not None:
            self._captures += 1
            self._finished(path)

    def health(self, dropped: int) -> dict[str, Any]:
        """Counters; `dropped` samples the ring lost, `unrecorded` came while recording was wanted and impossible."""
        take, orders = self.current, self.orders
        return {
            "state": "recording" if take or self.closing else "refused" if orders.error else "",
            "capture": take.negative.head["name"] if take else None,
            "samples": self.samples,
            "bytes": self._nbytes + (take.negative.nbytes if take else 0),
            "finished": self._captures,
            "dropped": dropped,
            "unrecorded": self.unrecorded,
            "marks_lost": self._marks.lost,
            "error": orders.error,
        }
