"""The disk-sync thread: the one place that waits for the disk while recording; a stalling card delays nobody else."""

import logging
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
    """Every `every_s` syncs the open negatives and finishes the pictures that came, as one group."""

    def __init__(
        self,
        *,
        every_s: float,
        negatives: Callable[[], Iterable[NegativeWriter]],
        finishing: Finishing,
        quarantine: Path,
        clock: Clock,
        date_wait_s: float,
    ) -> None:
        """`date_wait_s`: how long a picture waits for a clock that is set, since its name and EXIF are its date."""
        self._every_s = every_s
        self._negatives = negatives
        self._finishing = finishing
        self._quarantine = quarantine
        self._clock = clock
        self._date_wait_ns = int(date_wait_s * 1e9)
        self._pictures: queue.SimpleQueue[tuple[Capture, Redate]] = queue.SimpleQueue()
        self._undated: list[tuple[Capture, Redate]] = []
        self._kept: list[Capture] = []
        self._open: list[NegativeWriter] = []
        """Those that were open a round ago: one that was closed since has an end that was never synced."""
        self.syncs = 0
        """Of negatives: finishing counts its own."""
        self._failed = 0
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
        while not worker.wait(self._every_s):
            self.step()
        self.step()

    def step(self) -> None:
        """One round; a disk that fails is said once and tried again the next time."""
        problem = self._sync()
        try:
            self._dated()
            if self._kept:
                self._failed += self._finishing.finish_each(self._kept, self._quarantine)
                self._kept.clear()
        except OSError as error:
            problem = error
        if problem is not None and not self._error:
            log.error("the disk does not take what was recorded: %s", problem)
        self._error = "" if problem is None else str(problem)

    def _sync(self) -> OSError | None:
        """Syncs each negative, whatever becomes of the others; what the last one to fail said."""
        problem, now_open = None, list(self._negatives())
        for negative in (*(one for one in self._open if one not in now_open), *now_open):
            try:
                self.syncs += negative.sync()
            except OSError as error:
                problem = error
        self._open = now_open
        return problem

    def _dated(self) -> None:
        """Moves on the pictures whose date is known, and those that have waited long enough for one."""
        while not self._pictures.empty():
            picture, redate = self._pictures.get()
            if picture.document["start"]["clock"] == "synchronised" or not self._date_wait_ns:
                self._kept.append(picture)
            else:
                self._undated.append((picture, redate))
        if self._undated and self._clock.synchronised():
            while self._undated:
                picture, redate = self._undated[0]
                try:
                    self._kept.append(redate(picture))
                except (ValueError, FileNotFoundError):  # it is no longer whole: finishing says so
                    self._kept.append(picture)
                self._undated.pop(0)
        oldest_ns = self._clock.boottime_ns() - self._date_wait_ns
        while self._undated and self._undated[0][0].document["start"]["boot_time_ns"] < oldest_ns:
            self._kept.append(self._undated.pop(0)[0])

    @property
    def queued(self) -> int:
        """Pictures not yet finished."""
        return self._pictures.qsize() + len(self._undated) + len(self._kept)

    def health(self) -> dict[str, Any]:
        return {
            "queued": self.queued,
            "undated": len(self._undated),
            "failed": self._failed,
            "error": self._error,
        }
