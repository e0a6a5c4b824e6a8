"""The developer: one thread that turns finished negatives into captures, in slices that leave the interpreter free."""

import errno
import logging
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.capture import SCHEMA, Capture, Payload
from agent.clock import Clock, iso, redated
from agent.database import DatabaseDamaged, DatabaseWaits
from agent.film import Film
from agent.finishing import Finishing
from agent.folder import called
from agent.formats import Format, Unfit, format_module
from agent.marks import marked
from agent.quarantine import set_aside
from agent.worker import Worker

log = logging.getLogger(__name__)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""The disk's fault and not the negative's: it rests until there is room."""
_SHORT = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""The same of a machine that fails or is short of something, unless others are developed meanwhile."""
_REST_S = 5.0
_ATTEMPTS = 2
"""A negative that fails to develop this often goes to quarantine."""
LAST_RESORT = "csv"


class _Stopped(Exception):
    """The daemon stops; what is in hand is developed at the next start."""


class Developer:
    """Develops negatives in the order they come, into the formats that each one's own head asks for."""

    def __init__(
        self,
        *,
        folder: Path,
        quarantine: Path,
        finishing: Finishing,
        clock: Clock,
    ) -> None:
        self._folder = folder
        self._quarantine = quarantine
        self._finishing = finishing
        self._clock = clock
        self._queue: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._failures: dict[Path, int] = {}
        self._short: dict[Path, int] = {}
        """Negatives that the machine was too short for, and how many others had been developed by then."""
        self._resting: list[Path] = []
        self._waiting: dict[Path, None] = {}
        """All that are not developed yet, with the one in hand."""
        self._full = False
        self._developed = 0
        self._quarantined = 0
        self._error = ""

    def add(self, negative: Path) -> None:
        """Queues a negative; from any thread."""
        self._waiting[negative] = None
        self._queue.put(negative)

    def start(self, failed: Callable[[str, BaseException], None]) -> Worker:
        """Starts the developer thread."""
        return Worker("develop", self.run, failed, silence_s=120.0).start()

    def run(self, worker: Worker) -> None:
        """Develops what is queued; when asked to stop it leaves the rest for the next start, also amid a long one."""

        def beat() -> None:
            worker.beat()
            if worker.stopping.is_set():
                raise _Stopped

        while not worker.stopping.is_set():
            worker.beat()
            try:
                negative = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            self.step(negative, beat)
            if self._resting and not worker.wait(_REST_S):
                self.add(self._resting.pop(0))

    def step(self, negative: Path, beat: Callable[[], None]) -> Capture | None:
        """Develops one negative; None where it could not be, now or ever."""
        try:
            capture = self._develop(negative, beat)
            for path in (*self._made_of(negative), negative):
                path.unlink(missing_ok=True)
        except _Stopped:
            return None
        except DatabaseDamaged:
            raise  # no fault of the negative's: the next start has a new database, and develops it
        except Exception as error:  # whatever a negative does to a format, the other recordings go on
            try:
                self._fail(negative, error)
            except OSError as problem:  # there is no room even in the quarantine
                self._rest(negative, problem)
            return None
        if self._full:
            log.info("there is room again to develop recordings")
        self._error, self._full = "", False
        self._forget(negative)
        if capture is None:
            log.info("%s holds no sample, and is gone", negative.name)
            return None
        self._developed += 1
        log.info("capture %s: %d bytes", capture.name, capture.size)
        return capture

    def _develop(self, negative: Path, beat: Callable[[], None]) -> Capture | None:
        def breathe() -> None:
            beat()
            time.sleep(0)  # lets go of the interpreter: a reader may be waiting for it

        if not negative.stat().st_size:
            return None  # a kill came before anything was handed to the kernel
        film = Film.scan(negative, breathe)
        head = film.head
        known = self._finishing.known(str(head["uuid"]))
        if known is not None:
            return known  # a kill came between its row and the end of its negative
        if not film.samples and not film.damaged:
            return None
        name = str(head["name"])
        if not name or Path(name).name != name:
            raise ValueError(f"its capture is called {name!r}, which is no plain file name")
        payloads, unfit = self._payloads(film, breathe)
        capture = Capture(self._folder, self._document(film, payloads, unfit))
        capture.write_sidecar()
        return self._finishing.finish([capture])[0]

    def _payloads(self, film: Film, breathe: Callable[[], None]) -> tuple[list[Payload], dict[str, str]]:
        """(what could be made, by format why what could not); a CSV where nothing else could: everything fits that."""
        payloads: list[Payload] = []
        unfit: dict[str, str] = {}
        for kind, form in _formats(film.head["settings"]["format"]):
            try:
                payloads.append(self._payload(film, kind, form, breathe))
            except Unfit as error:
                unfit[kind] = str(error)
        if not payloads:
            payloads = [self._payload(film, kind, form, breathe) for kind, form in _formats([LAST_RESORT])]
        for kind, why in unfit.items():
            made = ", ".join(payload.format for payload in payloads)
            log.error("capture %s is not made as %s, only as %s: %s", film.head["name"], kind, made, why)
        return payloads, unfit

    def _payload(self, film: Film, kind: str, form: Format, breathe: Callable[[], None]) -> Payload:
        path = self._folder / f"{film.head['name']}{form.suffix}"
        part = path.with_name(path.name + ".part")
        form.develop(film, part, breathe)
        part.rename(path)
        return Payload.of(path, format=kind, media_type=form.media_type, breathe=breathe)

    def _document(self, film: Film, payloads: list[Payload], unfit: Mapping[str, str]) -> dict[str, Any]:
        head = film.head
        started = head["started"]
        wall_ns = started["wall_ns"] + film.start_ns - started["boot_time_ns"]
        start = {
            "boot_time_ns": film.start_ns,
            "boot_id": started["boot_id"],
            "wall_time": iso(wall_ns),
            **{name: started[name] for name in ("clock", "dated_by") if name in started},
        }
        if start["clock"] != "synchronised" and start["boot_id"] == self._clock.boot_id and self._clock.synchronised():
            start = redated(start, self._clock)
        document = {
            "schema": SCHEMA,
            "uuid": head["uuid"],
            "revision": 1,
            "name": head["name"],
            "recording": head["recording"],
            "configuration": head["configuration"],
            "device": head["device"],
            "software": head["software"],
            "start": start,
            "end": {
                "reason": (film.end or {"reason": "cut off"})["reason"],
                "damaged": film.damaged,
                **({"unfit": unfit} if unfit else {}),
            },
            **({"trigger": film.trigger} if film.trigger else {}),
            "duration_s": film.duration_s,
            "streams": film.describe(),
            "labels": head["labels"],
            "metadata": head["metadata"],
            **({"targets": head["settings"]["targets"]} if "targets" in head["settings"] else {}),
            "payloads": [
                {
                    "file": p.file,
                    "format": p.format,
                    "media_type": p.media_type,
                    "size": p.size,
                    "sha256": p.sha256,
                    "md5": p.md5,
                    "crc32c": p.crc32c,
                }
                for p in payloads
            ],
        }
        segments = marked(document, film.notes)
        return {**document, "segments": segments} if segments else document

    def _fail(self, negative: Path, error: Exception) -> None:
        if (
            isinstance(error, DatabaseWaits)
            or getattr(error, "errno", None) in _FULL
            or self._is_short(negative, error)
        ):
            for path in self._made_of(negative):  # the disk may be full of just these
                path.unlink(missing_ok=True)
            self._rest(negative, error)
            return
        self._error = f"{negative.name} could not be developed and is tried again: {error}"
        failures = self._failures[negative] = self._failures.get(negative, 0) + 1
        if failures < _ATTEMPTS:
            log.warning("%s", self._error, exc_info=None if isinstance(error, OSError | ValueError) else error)
            self._queue.put(negative)
            return
        place = set_aside(self._quarantine, [negative, *self._made_of(negative)], str(error))
        self._forget(negative)
        self._quarantined += 1
        log.error("%s could not be developed and lies in quarantine (%s): %s", negative.name, place.name, error)

    def _is_short(self, negative: Path, error: Exception) -> bool:
        """Whether the machine is to blame: nothing else has been developed since it last failed like this."""
        if not isinstance(error, MemoryError) and getattr(error, "errno", None) not in _SHORT:
            return False
        before, self._short[negative] = self._short.get(negative), self._developed
        return before in (None, self._developed)

    def _forget(self, negative: Path) -> None:
        self._failures.pop(negative, None)
        self._short.pop(negative, None)
        self._waiting.pop(negative, None)

    def _rest(self, negative: Path, error: Exception) -> None:
        """Puts it off until the disk or the database is well again, which is said once for all that wait."""
        self._error = f"{negative.name} waits to be developed: {error}"
        if not self._full:
            log.error("recordings are not developed for now: %s", self._error)
        self._full = True
        self._resting.append(negative)

    def _made_of(self, negative: Path) -> list[Path]:
        """What was made of it and lies beside it still, whole or in part."""
        stem = negative.name.partition(".negative")[0]
        return [path for path in called(self._folder, stem) if ".negative" not in path.suffixes]

    def undeveloped(self) -> list[Path]:
        """Negatives not yet developed, with the one in hand; from any thread."""
        return list(self._waiting)

    @property
    def queued(self) -> int:
        """Negatives not yet developed, with the one in hand."""
        return len(self._waiting)

    def health(self) -> dict[str, Any]:
        return {
            "queued": self.queued,
            "developed": self._developed,
            "failed": self._quarantined,
            "error": self._error,
        }


def _formats(wanted: Sequence[str | Mapping[str, Any]]) -> Iterator[tuple[str, Format]]:
    """(name, format) as a recording's `format` names them: a name, or a table with `kind` and options."""
    for item in wanted:
        options = {"kind": item} if isinstance(item, str) else dict(item)
        kind = str(options.pop("kind"))
        yield kind, format_module(kind).Settings(**options).open()
