"""Finishing: what is whole in the recording folder becomes a capture with a name, a row and its parcels.

Files come from `recording/` as hard links, so that until the row is on the disk there are both, and a start that finds
the one in `recording/` does the same again:

    link into captures/<day>/  ->  rows and parcels  ->  one sync of the file system  ->  unlink from recording/
"""

import ctypes
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.database import Database, DatabaseWaits
from agent.quarantine import set_aside
from agent.sync.owing import Owing

log = logging.getLogger(__name__)


def sync_filesystem(folder: Path) -> None:
    """syncfs(2): everything written to the file system that holds `folder` is on the disk when this returns."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), str(folder))
    finally:
        os.close(fd)


class Finishing:
    """Turns finished files into captures, a group at a time. Used by the developer and the disk-sync thread."""

    def __init__(
        self,
        *,
        database: Database,
        catalogue: Catalogue,
        owing: Owing,
        captures: Path,
        owed: Callable[[], None],
    ) -> None:
        """`owed` is called when targets have something new."""
        self._database = database
        self._catalogue = catalogue
        self._owing = owing
        self._captures = captures
        self._owed = owed
        self._lock = threading.Lock()
        self.finished = 0
        self.quarantined = 0
        """Those that could never be finished."""
        self.syncs = 0

    def known(self, uuid: str) -> Capture | None:
        """The capture with that uuid, if it is finished already and whole; then it is durable, too."""
        try:
            capture = self._catalogue.get(uuid)
            if capture.damage():
                return None
        except DatabaseWaits:
            raise
        except (LookupError, ValueError, OSError):
            return None
        sync_filesystem(self._captures)  # which a kill may have come before
        return capture

    def finish(self, captures: Sequence[Capture]) -> list[Capture]:
        """The captures as they now lie under `captures/`, durable, catalogued once and owed to each of their targets.

        Costs two syncs whatever the size of the group: the file system's and, when it is next due, the database's own.
        """
        if not captures:
            return []
        with self._lock:
            placed = [self._link(capture) for capture in captures]
            with self._database.transaction(durable=False) as connection:
                self._catalogue.add(connection, placed)
                self._owing.owe(connection, placed)
            sync_filesystem(self._captures)
            self.syncs += 1
            for capture in captures:
                for path in reversed(capture.files):  # without its sidecar nothing is taken for unfinished
                    path.unlink(missing_ok=True)
            self.finished += len(placed)
        self._owed()
        return placed

    def finish_each(self, captures: list[Capture], quarantine: Path) -> None:
        """The same, where one that can never be finished stops no other: it goes to quarantine.

        Whoever is settled leaves the list, so that what raises, a full disk for instance, leaves those to try again.
        """
        try:
            self.finish(captures)
            captures.clear()
        except (ValueError, FileNotFoundError):
            while captures:
                self._finish_alone(captures[0], quarantine)
                del captures[0]

    def _finish_alone(self, capture: Capture, quarantine: Path) -> None:
        try:
            self.finish([capture])
        except (ValueError, FileNotFoundError) as error:
            if self._is_finished(capture):
                for path in capture.files:
                    path.unlink(missing_ok=True)  # an attempt that failed in the midst of this
                return
            if isinstance(error, OSError) and all(path.exists() for path in capture.files):
                raise  # it is a folder that is missing
            for path in capture.files:
                place = self._captures / _day(capture) / path.name
                if path.exists() and place.exists() and place.samefile(path):
                    place.unlink()
            where = set_aside(quarantine, capture.files, str(error))
            self.quarantined += 1
            log.error("%s cannot be finished and lies in quarantine (%s): %s", capture.name, where.name, error)

    def _is_finished(self, capture: Capture) -> bool:
        """Whether its row is on the disk: only then its sidecar goes from here."""
        if capture.sidecar.exists():
            return False
        try:
            self._catalogue.entry(capture.uuid)
        except LookupError:
            return False
        return True

    def _link(self, capture: Capture) -> Capture:
        folder = self._captures / _day(capture)
        folder.mkdir(mode=0o750, exist_ok=True)
        for path in capture.files:
            place = folder / path.name
            if place.exists() and not place.samefile(path):
                _refuse_anothers(folder / capture.sidecar.name, capture.uuid)
                place.unlink()  # left by an attempt that was cut off
            if not place.exists():
                os.link(path, place)
        return Capture(folder, capture.document)


def _refuse_anothers(sidecar: Path, uuid: str) -> None:
    """ValueError where a capture has that name which is not this one."""
    try:
        other = Capture.load(sidecar).uuid
    except (ValueError, FileNotFoundError):
        return  # none that was ever finished
    if other != uuid:
        raise ValueError(f"{sidecar.name} is the name of another capture, {other}")


def _day(capture: Capture) -> str:
    """Its folder below `captures/`."""
    return str(capture.document["start"]["wall_time"])[:10]
