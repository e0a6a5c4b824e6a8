"""Deletion of files: the payloads of captures, then their sidecars, then the folders that this leaves empty."""

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from agent.capture import Capture, sync_directory
from agent.folder import called
from agent.query import Entry

log = logging.getLogger(__name__)


def unlink(captures: Path, going: Sequence[Entry], newest: str) -> None:
    """Deletes the files of these captures, as far as they are there still. `newest`: the day of the newest capture."""
    for entry in going:
        _unlink(captures / entry.day / f"{entry.name}.json")
    for day in sorted({entry.day for entry in going}):
        _tidy(captures / day, keep=day >= newest)


def _unlink(sidecar: Path) -> None:
    """The sidecar goes last: it knows the payloads' names. Where it does not, all goes that is called like it."""
    try:
        files = Capture.load(sidecar).files
    except (OSError, ValueError) as error:
        if not isinstance(error, FileNotFoundError):
            log.warning("%s: deleted, though its sidecar cannot be read: %s", sidecar.stem, error)
        files = (*called(sidecar.parent, sidecar.stem), sidecar)
    for path in files:
        path.unlink(missing_ok=True)


def _tidy(folder: Path, *, keep: bool) -> None:
    """Puts on the disk what went from a day's folder, and removes an empty one unless it is to be kept."""
    if not folder.is_dir():
        return
    sync_directory(folder)
    if not keep and not any(folder.iterdir()):
        with contextlib.suppress(OSError):  # a late capture has just come into it
            folder.rmdir()
