"""The upload threads of one target: each takes a group of parcels that waits, and delivers it."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from agent.parcel import Parcel
from agent.sync.bundles import Group
from agent.worker import Worker

log = logging.getLogger(__name__)

_SILENCE_S = 900.0
"""The longest that a target may take over one step, such as the sync of a gigabyte on a slow stick."""


class Uploads:
    """Threads that start when they are needed. For any thread; calls nobody while it holds its lock."""

    def __init__(self, deliver: Callable[[Group, Worker], None], hungry: Callable[[], None]) -> None:
        """`deliver` delivers a group to the end; `hungry` is called when nothing waits, and when a group is done."""
        self._deliver = deliver
        self._hungry = hungry
        self._work = threading.Condition()
        self._waiting: deque[Group] = deque()
        self._uploading = 0
        self._workers: tuple[Worker, ...] = ()
        self._short = ""
        """Why no further thread could be started; empty where all did."""

    def threads(self, name: str, count: int, failed: Callable[[str, BaseException], None]) -> tuple[Worker, ...]:
        """All threads that there may be, not yet started; once, before the first `hand`."""
        self._workers = tuple(
            Worker(f"{name} upload {number}", self._run, failed, silence_s=_SILENCE_S) for number in range(1, count + 1)
        )
        return self._workers

    @property
    def waiting(self) -> int:
        """Groups that no thread has taken yet."""
        return len(self._waiting)

    @property
    def uploading(self) -> int:
        """Groups that are being delivered."""
        return self._uploading

    def hand(self, groups: Sequence[Group]) -> None:
        """Puts groups into the queue."""
        with self._work:
            self._waiting.extend(groups)
            self._staff()
            self._work.notify(len(self._waiting))

    def staff(self) -> None:
        """Starts the threads that what waits needs: again, where the machine had none to give."""
        with self._work:
            self._staff()

    def _staff(self) -> None:
        idle = sum(worker.alive for worker in self._workers) - self._uploading
        for worker in self._workers:
            if idle < len(self._waiting) and not worker.alive and not worker.stopping.is_set():
                try:
                    worker.start()
                except (RuntimeError, MemoryError) as error:  # those that run go on
                    if not self._short:
                        log.error("%s does not start, and is tried again: %s", worker.name, error or "no memory")
                    self._short = str(error) or "no memory"
                    return
                idle += 1
        self._short = ""

    def take_back(self) -> list[Parcel]:
        """Empties the queue; the parcels that were in it."""
        with self._work:
            parcels = [parcel for group in self._waiting for parcel in group]
            self._waiting.clear()
        return parcels

    def wake(self) -> None:
        """Has the threads see that they are asked to end."""
        with self._work:
            self._work.notify_all()

    def _run(self, worker: Worker) -> None:
        while True:
            with self._work:
                while not self._waiting and not worker.stopping.is_set():
                    worker.beat()
                    self._work.wait(60.0)
                if worker.stopping.is_set():
                    return
                group = self._waiting.popleft()
                self._uploading += 1
                last = not self._waiting
            if last:
                self._hungry()
            try:
                self._deliver(group, worker)
            finally:
                with self._work:
                    self._uploading -= 1
                self._hungry()
