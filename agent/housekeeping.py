"""Housekeeping: threads that look after the data folder while everything else goes on."""

import logging
from collections.abc import Callable

from agent.catalogue import Catalogue, Owe, Query
from agent.clock import Clock, redated
from agent.database import Database
from agent.folder import DataFolder
from agent.rebuild import rebuild
from agent.retention import Retention
from agent.sync.owing import Owing
from agent.worker import Worker

log = logging.getLogger(__name__)

_EVERY_S = 5.0
_ONCE_MORE_S = 60.0

Failed = Callable[[str, BaseException], None]


class _StoppedEarly(Exception):
    """The daemon stops; the next start walks again."""


def keep_room(retention: Retention, needed: Callable[[], int]) -> Callable[[Failed], Worker]:
    """A thread that deletes what may go before the disk is full."""

    def run(worker: Worker) -> None:
        failing = ""
        while True:
            worker.beat()
            try:
                deleted = retention.step(needed())
            except OSError as error:
                if str(error) != failing:
                    log.error("no room can be made: %s", error)
                failing = str(error)
            else:
                failing = ""
                if deleted:
                    log.info("%d captures were deleted to make room", deleted)
            if worker.wait(_EVERY_S):
                return

    return lambda failed: Worker("keep room", run, failed, silence_s=600.0).start()


def keep_dates(
    catalogue: Catalogue, clock: Clock, owe: Owe, whole: Callable[[], bool] = lambda: True
) -> Callable[[Failed], Worker]:
    """A thread that, once the wall clock is set, corrects the date of what this boot recorded before.

    Names stay, and so do the pictures of this boot, whose name and EXIF are their date. `whole`: whether the catalogue
    knows all captures by now.
    """

    def run(worker: Worker) -> None:
        while not worker.wait(_EVERY_S):
            if not clock.synchronised():
                continue
            try:
                redate(worker)
                if worker.wait(_ONCE_MORE_S):
                    return
                found_all = whole()
                redate(worker)  # what was being developed just then
            except OSError as error:
                log.warning("dates are corrected later: %s", error)
                continue
            if found_all:
                return

    def redate(worker: Worker) -> None:
        for entry in catalogue.find(Query(clock="unsynchronised", boot_id=clock.boot_id)):
            worker.beat()
            if worker.stopping.is_set():
                return
            try:
                if catalogue.load(entry).pictured:
                    continue
                catalogue.amend(entry.uuid, lambda document: {"start": redated(document["start"], clock)}, owe)
            except (LookupError, ValueError, FileNotFoundError) as error:  # deleted meanwhile, or damaged
                log.warning("capture %s keeps its date: %s", entry.name, error)
            else:
                log.info("capture %s has its true date now", entry.name)

    return lambda failed: Worker("keep dates", run, failed, silence_s=180.0).start()


def rebuild_catalogue(
    database: Database,
    catalogue: Catalogue,
    owing: Owing,
    *,
    folder: DataFolder,
    wake: Callable[[], None],
) -> Callable[[Failed], Worker]:
    """A thread that finds all captures again after the database had to be set aside."""

    def run(worker: Worker) -> None:
        def advance(found: int) -> None:
            worker.beat()
            if worker.stopping.is_set():
                raise _StoppedEarly

        if not any(folder.captures.iterdir()):
            database.rebuilt()  # a first start
            return
        log.warning("the catalogue is rebuilt from the sidecars: %s", database.rebuilt_because)
        failing, done = False, None
        while done is None:
            try:
                done = rebuild(
                    database,
                    catalogue,
                    owing,
                    captures=folder.captures,
                    quarantine=folder.quarantine,
                    advance=advance,
                )
            except _StoppedEarly:
                return
            except OSError as error:
                if not failing:
                    log.error("the catalogue cannot be rebuilt for now: %s", error)
                failing = True
                if worker.wait(_EVERY_S):
                    return
        log.warning("found %d captures; %d did not fit and lie in quarantine", done.captures, done.quarantined)
        wake()

    return lambda failed: Worker("rebuild", run, failed, silence_s=120.0).start()
