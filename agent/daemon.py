"""The daemon: the one file that knows everybody; it opens the far end first and the sensors last, and unwinds back."""

import logging
import os
import queue
import random
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from agent import commands
from agent.answers import Answers
from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.clock import Clock
from agent.config.loading import Config, load
from agent.control import Control
from agent.database import Database
from agent.developer import Developer
from agent.device import identify
from agent.disk_sync import DiskSync
from agent.finishing import Finishing
from agent.folder import Busy, DataFolder
from agent.housekeeping import keep_dates, keep_room, rebuild_catalogue
from agent.monitor import Parts
from agent.negative import NegativeWriter
from agent.notify import Notify
from agent.outbox import Outbox
from agent.picture_writer import PictureRecorder
from agent.pictures import settle
from agent.rebuild import adopt
from agent.recorders import Recorders
from agent.retention import Retention
from agent.ring import Ring
from agent.sample_writer import SampleWriter
from agent.stream import Stream
from agent.sync import Sync
from agent.targets import Home
from agent.worker import Worker
from drivers.ports import boottime_ns

log = logging.getLogger(__name__)

EXIT_FAILED = 70
EXIT_BUSY = 75
_DEVELOP_S = 3.0
"""How long a stopping daemon goes on developing; what is left waits for the next start."""
_JOIN_S = 5.0
_READERS_S = 3.0  # together: one may be in a handshake, which holds nothing that could be lost
_SHUTDOWN_S = 9.0  # of all stages together
_TO_DEVELOP = 4
"""Bytes that developing may take for each byte of a negative: two or three formats."""

Start = Callable[[Callable[[str, BaseException], None]], Worker]


class Daemon:
    """Everything that runs on one data folder, as a context: entering starts it, leaving stops it.

    Entering raises Busy where another daemon has the folder.
    """

    def __init__(self, config: Config) -> None:
        self.exit_code = 0
        self._config = config
        self._end: queue.SimpleQueue[None] = queue.SimpleQueue()  # an Event is not safe in a signal handler
        self._stack = ExitStack()
        self._workers: list[Worker] = []
        self._clock = Clock()
        self._begun_ns = boottime_ns()
        self._end_ns = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def stop(self) -> None:
        """Asks the daemon to end; from a signal or any thread."""
        self._end.put(None)

    def wait(self, notify: Notify) -> int:
        """Until somebody stops it or a thread fails; the exit code.

        The watchdog is fed only while every thread has shown life within the longest silence it declared.
        """
        notify(READY="1")
        every_s = None if notify.watchdog_s is None else notify.watchdog_s / 3
        while True:
            try:
                self._end.get(timeout=every_s)
                break
            except queue.Empty:
                pass  # time to say that all is well
            stuck = [worker.name for worker in self._workers if worker.overdue_s()]
            if stuck:
                log.critical("no life in %s; the watchdog is not fed", ", ".join(stuck))
            else:
                notify(WATCHDOG="1")
        notify(STOPPING="1")
        return self.exit_code

    def _failed(self, thread: str, error: BaseException) -> None:
        """A thread of the house has failed: loud, and the end; whoever started the daemon starts it again."""
        log.critical("thread %s failed; the daemon stops", thread, exc_info=error)
        self.exit_code = EXIT_FAILED
        self._end.put(None)

    def _run(self, stack: ExitStack, start: Start) -> None:
        """Starts a thread that the stack will stop."""
        worker = start(self._failed)
        self._workers.append(worker)
        stack.callback(lambda: worker.stop(self._left_s(_JOIN_S)))

    def _left_s(self, most_s: float) -> float:
        """How long a stage may take to stop; the time of all together begins with the first that asks."""
        now = boottime_ns()
        self._end_ns = self._end_ns or now + int(_SHUTDOWN_S * 1e9)
        return max(0.1, min(most_s, (self._end_ns - now) / 1e9))

    def _open(self, stack: ExitStack) -> None:
        config, settings = self._config, self._config.agent
        folder = stack.enter_context(DataFolder(settings.data_dir))
        device = identify(settings.device, settings.device_id)
        database = stack.enter_context(Database(folder.database, quarantine=folder.quarantine))
        catalogue = Catalogue(database, folder.captures)
        clock = self._clock
        outbox = Outbox(database, boot_id=clock.boot_id, now=clock.boottime_ns, jitter=_chance())
        outbox.release_all()
        owes = {name: recipe.targets for name, recipe in config.recordings.items()}

        def owe_again(connection: sqlite3.Connection, capture: Capture) -> None:
            outbox.amend(connection, capture.uuid, capture.revision, owes.get(capture.recording, ()))

        catalogue.resume_amendments(owe_again)
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        home = Home(device.name, device.id, folder.secrets, Path(credentials) if credentials else None)
        targets = {name: (t.kind, t.settings.open(home), t.delivery) for name, t in config.targets.items()}
        sync = Sync(targets, outbox=outbox, catalogue=catalogue, clock=clock, jitter=_chance())
        self._workers += sync.start(self._failed)
        stack.callback(lambda: sync.stop(self._left_s(_JOIN_S)))

        finishing = Finishing(
            database=database,
            catalogue=catalogue,
            outbox=outbox,
            captures=folder.captures,
            targets=owes,
            owed=sync.wake,
        )
        developer = Developer(folder=folder.recording, quarantine=folder.quarantine, finishing=finishing, clock=clock)
        self._take_over(folder, finishing, developer)
        self._run(stack, developer.start)
        stack.callback(lambda: _drain(developer, self._left_s(_DEVELOP_S)))

        recorders: dict[str, SampleWriter | PictureRecorder] = {}

        def negatives() -> list[NegativeWriter]:
            return [negative for recorder in recorders.values() for negative in recorder.open_negatives()]

        def needed() -> int:
            return _TO_DEVELOP * sum(negative.nbytes for negative in negatives())

        disk_sync = DiskSync(
            every_s=settings.durable_every_s,
            negatives=negatives,
            finishing=finishing,
            quarantine=folder.quarantine,
            clock=clock,
            date_wait_s=settings.date_wait_s,
        )
        self._run(stack, disk_sync.start)
        retention = Retention(
            floor_bytes=settings.free_floor_bytes,
            floor_percent=settings.free_floor_percent,
            max_bytes=settings.max_captures_bytes,
            give_up_undelivered=settings.give_up_undelivered,
            delete_unowed=settings.delete_unowed,
            catalogue=catalogue,
            outbox=outbox,
            captures=folder.captures,
        )
        streams = {
            name: Stream(
                name,
                stream.driver,
                stream.settings,
                ring=Ring(settings.ring_s, settings.ring_bytes),
                clock=clock,
                jitter=_chance(),
            )
            for name, stream in config.streams.items()
        }

        writers = Recorders(
            folder=folder,
            clock=clock,
            device=device,
            developer=developer,
            disk_sync=disk_sync,
            room=lambda: retention.must_stop(needed()),
            configuration=catalogue.configuration,
        )
        for name, recipe in config.recordings.items():
            members = [streams[stream] for stream in recipe.streams]
            pictures = all(config.streams[stream].pictures for stream in recipe.streams)
            recorders[name] = writers.make(name, recipe, members, pictures=pictures)
        for one in recorders.values():
            self._run(stack, one.start)
        self._run(stack, keep_room(retention, needed))
        self._run(stack, keep_dates(catalogue, clock, owe_again))
        if database.rebuilt_because:
            self._run(
                stack, rebuild_catalogue(database, catalogue, outbox, folder=folder, targets=owes, wake=sync.wake)
            )
        answers = Answers(
            Parts(
                device=device.name,
                data_dir=settings.data_dir,
                clock=clock,
                streams=streams,
                recorders=dict(recorders),
                catalogue=catalogue,
                outbox=outbox,
                sync=sync,
                developer=developer,
                disk_sync=disk_sync,
                retention=retention,
                workers=lambda: self._workers,
                begun_ns=self._begun_ns,
            )
        )
        self._run(stack, Control(settings.data_dir, lambda name, given: commands.obey(answers, name, given)).start)
        readers = [stream.start(self._failed) for stream in streams.values()]
        self._workers += readers
        stack.callback(lambda: _stop_all(readers, self._left_s(_READERS_S)))
        log.info("recording %s on %s", ", ".join(streams), settings.data_dir)

    def _take_over(self, folder: DataFolder, finishing: Finishing, developer: Developer) -> None:
        """What an earlier run left in the recording folder: pictures are finished, negatives developed."""
        settle(folder.recording)
        whole = adopt(folder.recording, quarantine=folder.quarantine)
        finishing.finish_each(whole, folder.quarantine)
        negatives = sorted([*folder.recording.glob("*.negative"), *folder.recording.glob("*.negative.part")])
        for negative in negatives:
            developer.add(negative)
        if whole or negatives:
            log.info("of an earlier run: %d finished captures, %d recordings to develop", len(whole), len(negatives))


def run(config_path: Path) -> int:
    """Runs a daemon until SIGTERM or SIGINT; the exit code for the process. ConfigError."""
    config = load(config_path)
    logging.basicConfig(level=config.agent.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    sys.setswitchinterval(0.001)  # a reader that waits for the interpreter gets it from the developer sooner
    daemon = Daemon(config)

    def stop(number: int, frame: FrameType | None) -> None:
        daemon.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        with daemon:
            return daemon.wait(Notify())
    except Busy as error:
        log.critical("%s", error)
        return EXIT_BUSY


def _chance() -> random.Random:
    """Spreads retries; guards nothing."""
    return random.Random()  # noqa: S311


def _stop_all(workers: Sequence[Worker], within_s: float) -> None:
    """All at once: each may be in a read that it finishes first."""
    end_ns = boottime_ns() + int(within_s * 1e9)
    for worker in workers:
        worker.stopping.set()
    for worker in workers:
        if not worker.stop(max(0.0, (end_ns - boottime_ns()) / 1e9)):
            log.warning("%s does not end, and is left behind", worker.name)


def _drain(developer: Developer, within_s: float) -> None:
    """Lets the developer finish what is queued, for a while."""
    end_ns = boottime_ns() + int(within_s * 1e9)
    while developer.queued and boottime_ns() < end_ns:
        threading.Event().wait(0.05)
    if developer.queued:
        log.info("%d recordings are developed at the next start", developer.queued)
