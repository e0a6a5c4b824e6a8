"""Assembly: the streams, recordings and targets of a configuration as they run; a change restarts what differs."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from agent.config.loading import Config, StreamConfig, owed_by
from agent.negative import NegativeWriter
from agent.recorders import AnyRecorder, Recorders
from agent.stream import Stream
from agent.sync import Delivery, Sync
from agent.sync.owing import Owing
from agent.targets import Home, Target
from agent.worker import Worker
from drivers.ports import boottime_ns

log = logging.getLogger(__name__)

Failed = Callable[[str, BaseException], None]

_READERS_S = 3.0  # together: one may be in a handshake, which holds nothing that could be lost
_WRITERS_S = 5.0
_COURIER_S = 5.0


class Assembly:
    """What one thread changes and every thread may look at: its mappings are replaced as wholes.

    Streams stop before the recordings that they feed, and these before their targets; they start the other way round.
    """

    def __init__(
        self,
        *,
        sync: Sync,
        home: Home,
        recorders: Recorders,
        stream: Callable[[StreamConfig], Stream],
        owing: Owing,
        failed: Failed,
        left_s: Callable[[float], float],
    ) -> None:
        """`left_s`: how much of a stage's time is left."""
        self.streams: Mapping[str, Stream] = {}
        self.recorders: Mapping[str, AnyRecorder] = {}
        self._sync = sync
        self._home = home
        self._make = recorders
        self._stream = stream
        self._owing = owing
        self._failed = failed
        self._left_s = left_s
        self._config: Config | None = None
        self._readers: dict[str, Worker] = {}
        self._writers: dict[str, Worker] = {}
        self._couriers: dict[str, Sequence[Worker]] = {}
        self.workers: Sequence[Worker] = ()
        """All its threads, for the watchdog."""

    def negatives(self) -> list[NegativeWriter]:
        """Those being written, for the disk-sync thread."""
        return [negative for recorder in self.recorders.values() for negative in recorder.open_negatives()]

    def change(self, config: Config) -> list[str]:
        """Makes it what `config` says; what was stopped, started and restarted, in words.

        What can fail comes first: an exception leaves everything as it was. A recording that is restarted goes on
        with the very next sample of the streams that run on.
        """
        old = self._config
        streams = _differing(old.streams if old else {}, config.streams)
        targets = _differing(old.targets if old else {}, config.targets)
        recordings = _differing(old.recordings if old else {}, config.recordings)
        recordings += [
            name
            for name, recipe in config.recordings.items()
            if name not in recordings and not set(streams).isdisjoint(recipe.watches)
        ]
        new_streams = {
            name: self._stream(each) if name in streams else self.streams[name] for name, each in config.streams.items()
        }
        new_recorders = {
            name: self._recorder(config, name, new_streams) if name in recordings else self.recorders[name]
            for name in config.recordings
        }
        opened = self._opened(config, targets)
        done = _words("stream", streams, self.streams, new_streams)
        done += _words("recording", recordings, self.recorders, new_recorders)
        done += _words("target", targets, self._couriers, opened)

        _end([self._readers.pop(name) for name in streams if name in self._readers], self._left_s(_READERS_S))
        _end([self._writers[name] for name in recordings if name in self._writers], self._left_s(_WRITERS_S))
        for name in recordings:
            writer = self._writers.pop(name, None)
            if writer is not None and name in new_recorders and not writer.alive:
                places = self.recorders[name].cursors.items()
                kept = {place: cursor for place, cursor in places if place in new_streams and place not in streams}
                new_recorders[name].cursors.update(kept)
        for name in targets:
            if self._couriers.pop(name, None) is not None:
                self._sync.remove(name, self._left_s(_COURIER_S))
        self._owing.change(*owed_by(config))
        for name, given in opened.items():
            self._couriers[name] = self._sync.add(name, given, self._failed)
        before = self.recorders
        self.streams, self.recorders, self._config = new_streams, new_recorders, config
        for name in recordings:
            if name in new_recorders:
                if name in before:
                    new_recorders[name].orders.follow(before[name].orders)
                self._writers[name] = new_recorders[name].start(self._failed)
        for name in streams:
            if name in new_streams:
                self._readers[name] = new_streams[name].start(self._failed)
        couriers = [worker for workers in self._couriers.values() for worker in workers]
        self.workers = [*couriers, *self._writers.values(), *self._readers.values()]
        return done

    def close(self) -> None:
        """Stops the sensors, then the recordings; targets go on until `Sync` is stopped."""
        _end(list(self._readers.values()), self._left_s(_READERS_S))
        _end(list(self._writers.values()), self._left_s(_WRITERS_S))

    def _recorder(self, config: Config, name: str, streams: Mapping[str, Stream]) -> AnyRecorder:
        recipe = config.recordings[name]
        members = [streams[stream] for stream in recipe.streams]
        pictures = all(config.streams[stream].pictures for stream in recipe.streams)
        watched = streams.get(recipe.trigger.stream, members[0])
        tagging = [streams[stream] for stream in recipe.tags_from]
        return self._make.make(name, recipe, members, pictures=pictures, watched=watched, tagging=tagging)

    def _opened(self, config: Config, names: Sequence[str]) -> dict[str, tuple[str, Target, Delivery]]:
        """Those of the targets that there are to be, opened: which never touches the network."""
        opened: dict[str, tuple[str, Target, Delivery]] = {}
        with ExitStack() as stack:
            for name in names:
                if name in config.targets:
                    given = config.targets[name]
                    target = given.settings.open(self._home)
                    stack.callback(target.close)
                    opened[name] = (given.kind, target, given.delivery)
            stack.pop_all()
        return opened


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names that only one of them has, or that mean another thing."""
    gone = [name for name in old if name not in new]
    return gone + [name for name in new if name not in old or old[name] != new[name]]


def _words(what: str, names: Sequence[str], before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """`stream imu restarted` and so on."""
    return [
        f"{what} {name} {'stopped' if name not in after else 'restarted' if name in before else 'started'}"
        for name in names
    ]


def _end(workers: Sequence[Worker], within_s: float) -> None:
    """All at once: each may be in a read that it finishes first."""
    end_ns = boottime_ns() + int(within_s * 1e9)
    for worker in workers:
        worker.stopping.set()
    for worker in workers:
        if not worker.stop(max(0.0, (end_ns - boottime_ns()) / 1e9)):
            log.warning("%s does not end, and is left behind", worker.name)
