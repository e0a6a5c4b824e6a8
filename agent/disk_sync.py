"""The disk-sync thread: the one place that waits for the disk while recording; a stalling card delays nobody else."""

import logging
import os
import queue
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from agent.capture import Capture
from agent.clock import Clock
from agent.finishing import Finishing
from agent.negative import NegativeWriter
from agent.worker import Worker

log = logging.getLogger(__name__)

Redate = Callable[[Capture], Capture]


class DiskSync:
    """Every `every_s` syncs the negatives that grew or ended, and finishes the pictures that came as one group."""

    def __init__(
        self,
        *,
        every_s: float,
        negatives: Callable[[], Iterable[NegativeWriter]],
        ended: Callable[[], Iterable[Path]],
        finishing: Finishing,
        quarantine: Path,
        clock: Clock,
        date_wait_s: float,
    ) -> None:
        """`ended`: negatives that nobody writes any more and that are not developed yet, which may take hours.

        `date_wait_s`: how long a picture waits for a clock that is set, since its name and EXIF are its date.
        """
        self._every_s = every_s
        self._negatives = negatives
        self._ended = ended
        self._finishing = finishing
        self._quarantine = quarantine
        self._clock = clock
        self._date_wait_ns = int(date_wait_s * 1e9)
        self._pictures: queue.SimpleQueue[tuple[Capture, Redate]] = queue.SimpleQueue()
        self._undated: list[tuple[Capture, Redate]] = []
        self._kept: list[Capture] = []
        self._whole: set[Path] = set()
        """Those of the ended negatives that are on the disk to their end."""
        self.syncs = 0
        """Of negatives: finishing counts its own."""
        self._error = ""

    def add(self, picture: Capture, redate: Redate) -> None:
        """Queues a picture that lies whole in the recording folder; from any thread.

        `redate` gives it the date that the clock has by then, should it not have been set yet.
        """
        self._pictures.put((picture, redate))

    def start(self, failed: Callable[[str, BaseException], None]) -> Worker:
        """Starts the thread. It declares a long silence: a card may stall for a minute."""
        return Worker("sync disk", self.run, failed, silence_s=120.0).start()

    def run(self, worker: Worker) -> None:
        rest_s = self._every_s
        while not worker.wait(rest_s):
            begun_ns = self._clock.boottime_ns()
            self.step()
            rest_s = max(0.0, self._every_s - (self._clock.boottime_ns() - begun_ns) / 1e9)
        self.step()

    def step(self) -> None:
        """One round; a disk that fails, or a want of memory, is said once and tried again the next time."""
        problem = self._sync()
        try:
            self._dated()
            if self._kept:
                self._finishing.finish_each(self._kept, self._quarantine)
        except (OSError, MemoryError) as error:
            problem = error
        said = "" if problem is None else str(problem) or "no memory"
        if said and not self._error:
            log.error("the disk does not take what was recorded: %s", said)
        self._error = said

    def _sync(self) -> OSError | MemoryError | None:
        """Syncs each negative, whatever becomes of the others; what the last one to fail said."""
        problem: OSError | MemoryError | None = None
        for negative in self._negatives():
            try:
                self.syncs += negative.sync()
            except (OSError, MemoryError) as error:
                problem = error
        ended = set(self._ended())
        self._whole &= ended
        for path in ended - self._whole:
            try:
                self.syncs += _sync(path)
                self._whole.add(path)
            except (OSError, MemoryError) as error:
                problem = error
        return problem

    def _dated(self) -> None:
        """Moves on the pictures whose date is known, and those that have waited long enough for one."""
        while not self._pictures.empty():
            picture, redate = self._pictures.get()
            if self.waits(picture):
                self._undated.append((picture, redate))
            else:
                self._kept.append(picture)
        if self._undated and self._clock.synchronised():
            while self._undated:
                picture, redate = self._undated[0]
                try:
                    self._kept.append(redate(picture))
                except (ValueError, FileNotFoundError):  # it is no longer whole: finishing says so
                    self._kept.append(picture)
                self._undated.pop(0)
        while self._undated and not self.waits(self._undated[0][0]):
            self._kept.append(self._undated.pop(0)[0])

    def waits(self, picture: Capture) -> bool:
        """Whether a picture may still get a date: only in its own boot, and for a while."""
        start = picture.document["start"]
        if start["clock"] != "unsynchronised" or start["boot_id"] != self._clock.boot_id:
            return False
        return self._clock.boottime_ns() - int(start["boot_time_ns"]) < self._date_wait_ns

    @property
    def queued(self) -> int:
        """Pictures not yet finished."""
        return self._pictures.qsize() + len(self._undated) + len(self._kept)

    def health(self) -> dict[str, Any]:
        return {
            "queued": self.queued,
            "undated": len(self._undated),
            "failed": self._finishing.quarantined,
            "error": self._error,
        }


def _sync(negative: Path) -> bool:
    """Puts a file on the disk; False where it is gone, because it has been developed."""
    try:
        fd = os.open(negative, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)
    return True
