"""A thread of the house: named, stopped twice without harm, watched for life, loud when it fails."""

import logging
import os
import resource
import threading
from collections.abc import Callable

from drivers.ports import boottime_ns

log = logging.getLogger(__name__)

_REALTIME = 10


class Worker:
    """Runs `run(worker)` in a thread. `run` returns when `worker.stopping` is set, and beats while it works.

    An exception out of `run` is handed to `failed`, which is expected to stop the daemon.
    """

    def __init__(
        self,
        name: str,
        run: Callable[["Worker"], None],
        failed: Callable[[str, BaseException], None],
        *,
        silence_s: float,
        urgent: bool = False,
    ) -> None:
        """`urgent`: it takes real-time priority, where the service may have it."""
        self.name = name
        self._urgent = urgent
        self.silence_s = silence_s
        """The longest time this thread may go without a beat."""
        self.stopping = threading.Event()
        self._run = run
        self._failed = failed
        self._beat_ns = boottime_ns()
        self._thread: threading.Thread | None = None

    def start(self) -> "Worker":
        """RuntimeError where the machine has no thread to give; it may be tried again."""
        self._beat_ns = boottime_ns()
        self._thread = threading.Thread(target=self._main, name=self.name, daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._thread = None
            raise
        return self

    def beat(self) -> None:
        """Shows life."""
        self._beat_ns = boottime_ns()

    def wait(self, seconds: float) -> bool:
        """Sleeps, woken early by `stop`, and shows life however long it is; True when stopping."""
        end_ns = boottime_ns() + int(seconds * 1e9)
        while True:
            self.beat()
            left_s = (end_ns - boottime_ns()) / 1e9
            if self.stopping.wait(max(0.0, min(left_s, self.silence_s / 3))):
                return True
            if left_s <= self.silence_s / 3:
                self.beat()
                return False

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def overdue_s(self) -> float:
        """Seconds beyond the declared silence, 0 where all is well."""
        silent_s = (boottime_ns() - self._beat_ns) / 1e9
        return max(0.0, silent_s - self.silence_s) if self.alive else 0.0

    def stop(self, timeout: float | None = None) -> bool:
        """Asks and waits; True when the thread has ended. May be called again, and from any thread."""
        self.stopping.set()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return thread is None
        thread.join(timeout)
        return not thread.is_alive()

    def _main(self) -> None:
        try:
            if self._urgent:
                self._go_first()
            self._run(self)
        except BaseException as error:
            self._failed(self.name, error)

    def _go_first(self) -> None:
        """Runs this thread, and none that it starts, before all ordinary ones: LimitRTPRIO= of the service allows it.

        This thread alone: those that compute for long would keep it waiting, at the same priority, for a tenth of a
        second at a time, which is longer than the FIFO of a chip lasts.
        """
        most, _ = resource.getrlimit(resource.RLIMIT_RTPRIO)
        if not most:
            return
        priority = _REALTIME if most == resource.RLIM_INFINITY else min(most, _REALTIME)
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
        except OSError as error:
            log.warning("%s has no real-time priority, although LimitRTPRIO= allows it: %s", self.name, error)
