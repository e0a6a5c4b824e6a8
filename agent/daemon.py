"""The daemon: the one file that knows everybody; it opens the far end first and the sensors last, and unwinds back."""

import dataclasses
import functools
import logging
import os
import random
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent import commands
from agent.adoption import take_over
from agent.answers import Answers
from agent.assembly import Assembly
from agent.buttons import Buttons
from agent.calibration import Calibrations
from agent.catalogue import Catalogue
from agent.clock import Clock
from agent.config.loading import Config, ConfigError, StreamConfig, load, owed_by
from agent.context import Context
from agent.control import CommandError, Control
from agent.database import Database
from agent.developer import Developer
from agent.device import identify
from agent.disk_sync import DiskSync
from agent.finishing import Finishing
from agent.folder import DataFolder
from agent.housekeeping import keep_dates, keep_room, rebuild_catalogue
from agent.main_thread import MainThread
from agent.monitor import Parts
from agent.notify import Notify
from agent.outbox import Outbox
from agent.recorders import Recorders
from agent.retention import Retention
from agent.ring import Ring
from agent.stream import Stream
from agent.sync import Sync
from agent.sync.owing import Owing
from agent.targets import Home
from agent.wear import Wear
from agent.worker import Worker
from drivers.ports import boottime_ns

log = logging.getLogger(__name__)

_DEVELOP_S = 3.0
"""How long a stopping daemon goes on developing; what is left waits for the next start."""
_JOIN_S = 5.0
_SHUTDOWN_S = 9.0  # of all stages together
_TO_DEVELOP = 4
"""Bytes that developing may take for each byte of a negative: two or three formats."""

Start = Callable[[Callable[[str, BaseException], None]], Worker]


class CannotBegin(Exception):
    """The disk does not let anything begin now: it is full, fails, or is not there; the message says which."""


class Daemon:
    """Everything that runs on one data folder, as a context: entering starts it, leaving stops it.

    Entering raises Busy where another daemon has the folder, and CannotBegin.
    """

    def __init__(self, config: Config, main: MainThread) -> None:
        self.next: Config | None = None
        """The configuration to begin anew with, where a reload has to restart everything."""
        self._config = config
        self._main = main
        self._stack = ExitStack()
        self._workers: list[Worker] = []
        self._assembly: Assembly | None = None
        self._clock = Clock()
        self._begun_ns = boottime_ns()
        self._end_ns = 0
        self._reloads = 0
        self._refused = ""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            try:
                self._open(stack)
            except OSError as error:
                raise CannotBegin(str(error)) from error
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_ns = boottime_ns() + int(_SHUTDOWN_S * 1e9)
        self._stack.close()

    def wait(self, notify: Notify) -> int:
        """Until the end, or until everything has to begin anew as `next` says; the exit code."""
        notify(READY="1", STATUS=f"{len(self._config.streams)} streams, {len(self._config.recordings)} recordings")
        self._main.wait(notify, self._all_workers, self._change)
        return self._main.exit_code

    def _all_workers(self) -> list[Worker]:
        return [*self._workers, *(self._assembly.workers if self._assembly else ())]

    def _change(self) -> tuple[str, bool]:
        """Checks the configuration as it is now, then restarts what differs: what that was, and whether all has to
        begin anew. CommandError where the configuration is wrong, and then nothing has changed."""
        assert self._assembly is not None
        try:
            config = load(self._config.path)
        except ConfigError as error:
            self._refused = "; ".join(map(str, error.mistakes))
            log.error("the changed configuration is refused, and nothing was changed: %s", self._refused)
            raise CommandError(f"nothing was changed: {self._refused}") from None
        self._reloads, self._refused = self._reloads + 1, ""
        if _beyond_assembly(config) != _beyond_assembly(self._config):
            log.info("the configuration has changed in what everything shares: all of it is restarted")
            self.next = config
            return "everything is restarted", True
        done = "; ".join(self._assembly.change(config)) or "nothing has changed"
        logging.getLogger().setLevel(config.agent.log_level.upper())
        self._config = config
        log.info("configuration reloaded: %s", done)
        return done, False

    def _health(self) -> dict[str, Any]:
        return {"path": str(self._config.path), "reloads": self._reloads, "error": self._refused}

    def _run(self, stack: ExitStack, start: Start) -> None:
        """Starts a thread that the stack will stop."""
        worker = start(self._main.failed)
        self._workers.append(worker)
        stack.callback(lambda: worker.stop(self._left_s(_JOIN_S)))

    def _left_s(self, most_s: float) -> float:
        """How long a stage may take to stop; once the daemon ends, all of them together have `_SHUTDOWN_S`."""
        return max(0.1, min(most_s, (self._end_ns - boottime_ns()) / 1e9)) if self._end_ns else most_s

    def _open(self, stack: ExitStack) -> None:
        config, settings = self._config, self._config.agent
        folder = stack.enter_context(DataFolder(settings.data_dir))
        device = identify(settings.device, settings.device_id)
        database = stack.enter_context(Database(folder.database, quarantine=folder.quarantine))
        catalogue = Catalogue(database, folder.captures)
        clock = self._clock
        outbox = Outbox(database, boot_id=clock.boot_id, now=clock.boottime_ns, jitter=_chance())
        outbox.release_all()
        owing = Owing(outbox, {})
        owing.change(*owed_by(config))
        catalogue.resume_amendments(owing.owe_again)
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        home = Home(device.name, device.id, folder.secrets, Path(credentials) if credentials else None)
        context = Context(database)
        if database.rebuilt_because:
            context.restore()
        mqtt = None
        if config.mqtt is not None:
            from agent.mqtt.service import Mqtt  # noqa: PLC0415  with its library only where there is a broker

            mqtt = Mqtt(config.mqtt, device=device, home=home, database=database, catalogue=catalogue, clock=clock)
            mqtt.listen()
        sync = Sync(
            {},
            outbox=outbox,
            catalogue=catalogue,
            clock=clock,
            jitter=_chance(),
            excluded=owing.excluded,
            scratch=folder.scratch,
            paused=context.paused(),
        )
        stack.callback(lambda: sync.stop(self._left_s(_JOIN_S)))

        finishing = Finishing(
            database=database,
            catalogue=catalogue,
            owing=owing,
            captures=folder.captures,
            owed=sync.wake,
        )
        developer = Developer(folder=folder.recording, quarantine=folder.quarantine, finishing=finishing, clock=clock)

        def needed() -> int:
            return _TO_DEVELOP * sum(negative.nbytes for negative in assembly.negatives())

        disk_sync = DiskSync(
            every_s=settings.durable_every_s,
            negatives=lambda: assembly.negatives(),
            ended=developer.undeveloped,
            finishing=finishing,
            quarantine=folder.quarantine,
            clock=clock,
            date_wait_s=settings.date_wait_s,
        )
        take_over(folder, finishing, developer, disk_sync, device=device, clock=clock)
        self._run(stack, developer.start)
        stack.callback(lambda: _drain(developer, self._left_s(_DEVELOP_S)))
        retention = Retention(
            floor=settings.free_floor,
            max_bytes=settings.max_captures_bytes,
            give_up_undelivered=settings.give_up_undelivered,
            delete_unowed=settings.delete_unowed,
            catalogue=catalogue,
            outbox=outbox,
            captures=folder.captures,
        )
        calibrations = Calibrations(folder.calibration)
        recorders = Recorders(
            folder=folder,
            clock=clock,
            device=device,
            developer=developer,
            disk_sync=disk_sync,
            room=lambda: retention.must_stop(needed()),
            context=context,
            configuration=catalogue.configuration,
        )

        def stream(given: StreamConfig) -> Stream:
            ring = Ring(settings.ring_s, settings.ring_bytes)
            made = Stream(given.name, given.driver, given.settings, ring=ring, clock=clock, jitter=_chance())
            made.calibration = calibrations.load(given.name)
            return made

        assembly = self._assembly = Assembly(
            sync=sync,
            home=home,
            recorders=recorders,
            stream=stream,
            owing=owing,
            failed=self._main.failed,
            left_s=self._left_s,
        )
        self._run(stack, disk_sync.start)
        self._run(stack, keep_room(retention, needed))
        self._run(stack, keep_dates(catalogue, clock, owing.owe_again, lambda: not database.rebuilt_because))
        if database.rebuilt_because:
            self._run(stack, rebuild_catalogue(database, catalogue, owing, folder=folder, wake=sync.wake))
        stack.callback(assembly.close)
        assembly.change(config)
        metrics = None
        if config.metrics.listen:
            from agent.metrics.service import Metrics  # noqa: PLC0415  with the library's server only where it is wanted

            metrics = Metrics(config.metrics, lambda: answers.status())
        buttons = Buttons(config.buttons, lambda: assembly.recorders, clock.boottime_ns)
        if config.buttons:
            self._run(stack, buttons.start)
        answers = Answers(
            Parts(
                device=device.name,
                data_dir=settings.data_dir,
                clock=clock,
                assembly=assembly,
                catalogue=catalogue,
                outbox=outbox,
                sync=sync,
                developer=developer,
                disk_sync=disk_sync,
                retention=retention,
                wear=Wear(lambda: disk_sync.syncs + finishing.syncs + database.syncs, clock.boottime_ns),
                workers=self._all_workers,
                begun_ns=self._begun_ns,
                configuration=self._health,
                reload=self._main.reload,
                context=context,
                calibrations=calibrations,
                amend=functools.partial(catalogue.amend, owe=owing.owe_again),
                buttons=buttons.health,
                mqtt=mqtt.health if mqtt else None,
                metrics=metrics.health if metrics else None,
            )
        )

        def obey(name: str, given: Mapping[str, Any]) -> Any:
            return commands.obey(answers, name, given)

        runtime = os.environ.get("RUNTIME_DIRECTORY")
        self._run(stack, Control(settings.data_dir, obey, Path(runtime) if runtime else None).start)
        if mqtt is not None:
            self._run(stack, functools.partial(mqtt.start, obey=obey))
        if metrics is not None:
            self._run(stack, metrics.start)
        log.info("recording %s on %s", ", ".join(config.streams), settings.data_dir)


def _beyond_assembly(config: Config) -> Config:
    """What is left of a configuration without what an assembly can change, and what is changed on the fly."""
    agent = dataclasses.replace(config.agent, log_level="info")
    return dataclasses.replace(config, agent=agent, streams={}, recordings={}, targets={}, formats={})


def _chance() -> random.Random:
    """Spreads retries; guards nothing."""
    return random.Random()  # noqa: S311


def _drain(developer: Developer, within_s: float) -> None:
    """Lets the developer finish what is queued, for a while."""
    end_ns = boottime_ns() + int(within_s * 1e9)
    while developer.queued and boottime_ns() < end_ns:
        threading.Event().wait(0.05)
    if developer.queued:
        log.info("%d recordings are developed at the next start", developer.queued)
