"""The disk-sync thread: the only place that waits for the disk while recording, so that a stalling card delays nobody."""

import logging
import queue
from collections.abc import Callable, Iterable
from typing import Any

from agent.capture import Capture
from agent.finishing import Finishing
from agent.negative import NegativeWriter
from agent.worker import Worker

log = logging.getLogger(__name__)


class DiskSync:
    """Every `every_s` syncs the open negatives and finishes the pictures that came, as one group."""

    def __init__(
        self, *, every_s: float, negatives: Callable[[], Iterable[NegativeWriter]], finishing: Finishing
    ) -> None:
        self._every_s = every_s
        self._negatives = negatives
        self._finishing = finishing
        self._pictures: queue.SimpleQueue[Capture] = queue.SimpleQueue()
        self._kept: list[Capture] = []
        self._syncs = 0
        self._error = ""

    def add(self, picture: Capture) -> None:
        """Queues a picture that lies whole in the recording folder; from any thread."""
        self._pictures.put(picture)

    def start(self, failed: Callable[[str, BaseException], None]) -> Worker:
        """Starts the thread. It declares a long silence: a card may stall for a minute."""
        return Worker("sync disk", self.run, failed, silence_s=120.0).start()

    def run(self, worker: Worker) -> None:
        while not worker.wait(self._every_s):
            self.step()
        self.step()

    def step(self) -> None:
        """One round; a disk that fails is said once and tried again the next time."""
        try:
            for negative in self._negatives():
                self._syncs += negative.sync()
            while not self._pictures.empty():
                self._kept.append(self._pictures.get())
            if self._kept:
                self._finishing.finish(self._kept)
                self._syncs += 1
                self._kept.clear()
        except OSError as error:
            if str(error) != self._error:
                log.error("the disk does not take what was recorded: %s", error)
            self._error = str(error)
        else:
            self._error = ""

    @property
    def queued(self) -> int:
        """Pictures not yet finished."""
        return self._pictures.qsize() + len(self._kept)

    def health(self) -> dict[str, Any]:
        return {"syncs": self._syncs, "queued": self.queued, "error": self._error}
