"""Housekeeping: threads that look after the data folder while everything else goes on."""

import logging
from collections.abc import Callable, Mapping, Sequence

from agent.catalogue import Catalogue
from agent.database import Database
from agent.folder import DataFolder
from agent.outbox import Outbox
from agent.rebuild import rebuild
from agent.retention import Retention
from agent.worker import Worker

log = logging.getLogger(__name__)

_EVERY_S = 5.0

Failed = Callable[[str, BaseException], None]


class _StoppedEarly(Exception):
    """The daemon stops; the next start walks again."""


def keep_room(retention: Retention) -> Callable[[Failed], Worker]:
    """A thread that deletes what may go before the disk is full."""

    def run(worker: Worker) -> None:
        while True:
            worker.beat()
            deleted = retention.step()
            if deleted:
                log.info("%d captures were deleted to make room", deleted)
            if worker.wait(_EVERY_S):
                return

    return lambda failed: Worker("keep room", run, failed, silence_s=120.0).start()


def rebuild_catalogue(
    database: Database,
    catalogue: Catalogue,
    outbox: Outbox,
    *,
    folder: DataFolder,
    targets: Mapping[str, Sequence[str]],
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
        try:
            done = rebuild(
                database,
                catalogue,
                outbox,
                captures=folder.captures,
                quarantine=folder.quarantine,
                targets=lambda recording: targets.get(recording, ()),
                advance=advance,
            )
        except _StoppedEarly:
            return
        log.warning("found %d captures; %d did not fit and lie in quarantine", done.captures, done.quarantined)
        wake()

    return lambda failed: Worker("rebuild", run, failed, silence_s=120.0).start()
