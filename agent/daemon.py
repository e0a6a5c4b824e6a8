"""The daemon: the one file that knows everybody; it opens the far end first and the sensors last, and unwinds back."""

import fcntl
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from agent import commands
from agent.answers import Answers
from agent.catalogue import Catalogue
from agent.clock import Clock
from agent.config import Config, ConfigError, load
from agent.control import Control
from agent.database import Database
from agent.developer import Developer
from agent.device import identify
from agent.disk_sync import DiskSync
from agent.finishing import Finishing
from agent.monitor import Parts
from agent.negative import NegativeWriter
from agent.outbox import Outbox
from agent.picture_writer import PictureRecorder
from agent.pictures import PictureWriter
from agent.rebuild import adopt, rebuild
from agent.recording import Orders
from agent.retention import Retention
from agent.ring import Ring
from agent.sample_writer import SampleWriter
from agent.stream import Stream
from agent.sync import Sync
from agent.targets import Home
from agent.worker import Worker
from drivers.ports import boottime_ns

log = logging.getLogger(__name__)

EXIT_CONFIG = 78
EXIT_FAILED = 70
EXIT_BUSY = 75
_DEVELOP_S = 3.0
"""How long a stopping daemon goes on developing; what is left waits for the next start."""
_HOUSEKEEPING_S = 5.0


class Busy(Exception):
    """Another daemon runs on this data folder."""


class Daemon:
    """Everything that runs on one data folder, as a context: entering starts it, leaving stops it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.exit_code = 0
        self._stop = threading.Event()
        self._stack = ExitStack()
        self._workers: list[Worker] = []

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
        self._stop.set()

    def wait(self) -> int:
        """Until somebody stops it or a thread fails; the exit code."""
        self._stop.wait()
        return self.exit_code

    def _failed(self, thread: str, error: BaseException) -> None:
        """A thread of the house has failed: loud, and the end; whoever started the daemon starts it again."""
        log.critical("thread %s failed; the daemon stops", thread, exc_info=error)
        self.exit_code = EXIT_FAILED
        self._stop.set()

    def _open(self, stack: ExitStack) -> None:
        config, settings = self.config, self.config.agent
        clock = Clock()
        begun_ns = boottime_ns()
        data_dir = settings.data_dir
        recording, captures, quarantine, secrets = _folders(data_dir)
        stack.enter_context(_Lock(data_dir / "agent.lock"))
        device = identify(settings.device, settings.device_id)

        database = stack.enter_context(Database(data_dir / "agent.db", quarantine=quarantine))
        catalogue = Catalogue(database, captures)
        outbox = Outbox(database, boot_id=clock.boot_id, now=clock.boottime_ns, jitter=random.Random())  # noqa: S311
        outbox.release_all()
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        home = Home(device.name, device.id, secrets, Path(credentials) if credentials else None)
        sync = Sync(
            {name: (t.kind, t.settings.open(home), t.delivery) for name, t in config.targets.items()},
            outbox=outbox,
            catalogue=catalogue,
            clock=clock,
        )
        self._workers += sync.start(self._failed)
        stack.callback(sync.stop)

        owes = {name: r.targets for name, r in config.recordings.items()}
        finishing = Finishing(
            database=database, catalogue=catalogue, outbox=outbox, captures=captures, targets=owes, owed=sync.wake
        )
        developer = Developer(
            folder=recording, quarantine=quarantine, finishing=finishing, formats=config.formats, clock=clock
        )
        self._adopt(finishing, developer, recording, quarantine)
        stack.callback(self._start(developer.start).stop)
        stack.callback(_drain, developer)

        recorders: dict[str, SampleWriter | PictureRecorder] = {}

        def negatives() -> list[NegativeWriter]:
            return [negative for recorder in recorders.values() for negative in recorder.open_negatives()]

        disk_sync = DiskSync(every_s=settings.durable_every_s, negatives=negatives, finishing=finishing)
        stack.callback(self._start(disk_sync.start).stop)
        retention = Retention(
            floor_bytes=settings.free_floor_bytes,
            floor_percent=settings.free_floor_percent,
            give_up_undelivered=settings.give_up_undelivered,
            catalogue=catalogue,
            outbox=outbox,
            captures=captures,
        )
        retention.step()

        streams = {
            name: Stream(
                name,
                stream.driver,
                stream.settings,
                ring=Ring(settings.ring_s, settings.ring_bytes),
                clock=clock,
                jitter=random.Random(),  # noqa: S311  spreads retries, guards nothing
            )
            for name, stream in config.streams.items()
        }
        for name, recipe in config.recordings.items():
            orders = Orders(name, recipe)
            members = [streams[stream] for stream in recipe.streams]
            required = catalogue.configuration(recipe.require_configuration) if recipe.require_configuration else None
            if all(config.streams[stream].pictures for stream in recipe.streams):
                writer = PictureWriter(
                    recording, captures, device=device, recording=name, full_names=recipe.picture_name == "full", clock=clock
                )
                recorders[name] = PictureRecorder(
                    orders,
                    recipe,
                    members,
                    pictures=writer,
                    finished=disk_sync.add,
                    room=retention.must_stop,
                    required=required,
                )
            else:
                recorders[name] = SampleWriter(
                    orders,
                    recipe,
                    members,
                    folder=recording,
                    clock=clock,
                    device=device,
                    finished=developer.add,
                    room=retention.must_stop,
                    required=required,
                )
        for recorder in recorders.values():
            stack.callback(self._start(recorder.start).stop)
        stack.callback(self._start(_housekeeping(retention)).stop)
        parts = Parts(
            device=device.name,
            data_dir=data_dir,
            clock=clock,
            streams=streams,
            recorders=recorders,
            catalogue=catalogue,
            outbox=outbox,
            sync=sync,
            developer=developer,
            disk_sync=disk_sync,
            retention=retention,
            workers=lambda: self._workers,
            begun_ns=begun_ns,
        )
        answers = Answers(parts)
        control = Control(data_dir, lambda name, given: commands.obey(answers, name, given))
        stack.callback(self._start(control.start).stop)
        if database.rebuilt_because:
            stack.callback(self._start(_rebuilding(finishing, sync)).stop)
        readers = [self._start(stream.start) for stream in streams.values()]
        stack.callback(_stop_all, readers)
        log.info("capture-agent runs: %s on %s", ", ".join(streams), data_dir)

    def _start(self, start: Callable[[Callable[[str, BaseException], None]], Worker]) -> Worker:
        worker = start(self._failed)
        self._workers.append(worker)
        return worker

    def _adopt(self, finishing: Finishing, developer: Developer, recording: Path, quarantine: Path) -> None:
        """What an earlier run left in the recording folder: pictures are finished, negatives developed."""
        whole = adopt(recording, quarantine=quarantine)
        if whole:
            log.info("%d finished captures of an earlier run are taken over", len(whole))
            finishing.finish(whole)
        negatives = sorted([*recording.glob("*.negative"), *recording.glob("*.negative.part")])
        for negative in negatives:
            developer.add(negative)
        if negatives:
            log.info("%d recordings of an earlier run are developed", len(negatives))


def run(config_path: Path) -> int:
    """Runs a daemon until SIGTERM or SIGINT; the exit code for the process."""
    try:
        config = load(config_path)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201  before there is a log
        return EXIT_CONFIG
    logging.basicConfig(level=config.agent.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    sys.setswitchinterval(0.001)  # a reader that waits for the interpreter gets it from the developer sooner
    try:
        with Daemon(config) as daemon:

            def stop(number: int, frame: FrameType | None) -> None:
                daemon.stop()

            signal.signal(signal.SIGTERM, stop)
            signal.signal(signal.SIGINT, stop)
            return daemon.wait()
    except Busy as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EXIT_BUSY


def _folders(data_dir: Path) -> tuple[Path, Path, Path, Path]:
    folders = [data_dir / name for name in ("recording", "captures", "quarantine", "secrets")]
    for folder in folders:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    folders[3].chmod(0o700)
    recording, captures, quarantine, secrets = folders
    return recording, captures, quarantine, secrets


class _Lock:
    """One daemon per data folder: a file lock that ends with the process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise Busy(f"another capture-agent runs on {self._path.parent}") from None

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)


def _stop_all(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.stopping.set()
    for worker in workers:
        worker.stop(5.0)


def _drain(developer: Developer) -> None:
    """Lets the developer finish what is queued, for a while."""
    end_ns = boottime_ns() + int(_DEVELOP_S * 1e9)
    while developer.queued and boottime_ns() < end_ns:
        threading.Event().wait(0.05)
    if developer.queued:
        log.info("%d recordings are developed at the next start", developer.queued)


def _housekeeping(retention: Retention) -> Callable[[Callable[[str, BaseException], None]], Worker]:
    """A thread that keeps the disk from filling."""

    def keep(worker: Worker) -> None:
        while not worker.wait(_HOUSEKEEPING_S):
            retention.step()

    return lambda failed: Worker("keep room", keep, failed, silence_s=120.0).start()
