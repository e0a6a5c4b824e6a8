"""Amending a finished capture from Python or the command line: through the daemon, or alone where none runs."""

import random
import sqlite3
from pathlib import Path
from typing import Any

from agent import control
from agent.annotations import Annotation
from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.clock import Clock
from agent.database import Database
from agent.folder import DataFolder
from agent.outbox import Outbox


def annotate(data_dir: Path | str, which: str, **said: Any) -> dict[str, Any]:
    """Says something of a capture (its name, uuid, or the beginning of it); its name and the sidecar's new revision,
    which is owed again to the targets that can amend.

    `said` is fields of `agent.annotations.Annotation`. CommandError, ValueError or LookupError say what is wrong; Busy:
    a daemon is just starting.
    """
    annotation = Annotation(**said)
    try:
        answer: dict[str, Any] = control.ask(Path(data_dir), "annotate", capture=which, **said)
    except control.NoDaemon:
        amended = _alone(Path(data_dir), which, annotation)
        answer = {"capture": amended.name, "revision": amended.revision}
    return answer


def _alone(data_dir: Path, which: str, annotation: Annotation) -> Capture:
    """Without a daemon, which cannot start meanwhile. What is owed: to all that have the capture, or are owed it."""
    clock = Clock()
    with DataFolder(data_dir) as folder, Database(folder.database) as database:
        outbox = Outbox(database, boot_id=clock.boot_id, now=clock.boottime_ns, jitter=random.Random())  # noqa: S311
        targets = list(outbox.counts())

        def owe(connection: sqlite3.Connection, capture: Capture) -> None:
            outbox.amend(connection, capture.uuid, capture.revision, targets)

        return Catalogue(database, folder.captures).amend(which, annotation, owe)
