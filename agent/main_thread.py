"""What the main thread does: waits for signals and for those who ask, feeds the watchdog, reloads, and ends."""

import enum
import logging
import queue
import time
from collections.abc import Callable, Sequence

from agent.control import CommandError
from agent.notify import Notify
from agent.worker import Worker

log = logging.getLogger(__name__)

EXIT_FAILED = 70
_RELOAD_S = 60.0
"""How long one who asks for a reload waits for its end."""

Answer = queue.SimpleQueue[str | CommandError]


class End(enum.Enum):
    """Why it should end."""

    ASKED = enum.auto()
    FAILED = enum.auto()


class MainThread:
    """`stop`, `hang_up` and `failed` may be called from signal handlers and any thread, `reload` from any other one."""

    def __init__(self) -> None:
        self.exit_code = 0
        self._inbox: queue.SimpleQueue[Answer | End] = queue.SimpleQueue()  # an Event is not safe in a signal handler

    def stop(self) -> None:
        """Asks for the end."""
        self._inbox.put(End.ASKED)

    def hang_up(self) -> None:
        """Asks for a reload, as SIGHUP does; what becomes of it is logged."""
        self._inbox.put(queue.SimpleQueue())

    def reload(self) -> str:
        """Asks for a reload and waits for its end: what it changed. CommandError says why it changed nothing."""
        answer: Answer = queue.SimpleQueue()
        self._inbox.put(answer)
        try:
            outcome = answer.get(timeout=_RELOAD_S)
        except queue.Empty:
            raise CommandError(f"reloading takes longer than {_RELOAD_S:.0f} s; see status") from None
        if isinstance(outcome, CommandError):
            raise outcome
        return outcome

    def failed(self, thread: str, error: BaseException) -> None:
        """A thread of the house has failed: loud, and the end; whoever started the daemon starts it again."""
        log.critical("thread %s failed; the daemon stops", thread, exc_info=error)
        self.exit_code = EXIT_FAILED
        self._inbox.put(End.FAILED)

    def rest(self, seconds: float) -> bool:
        """Waits until the next start; a SIGHUP cuts it short. Whether somebody asks for the end.

        A thread that failed was one of the start that has failed: with the next one it is made anew.
        """
        until = time.monotonic() + seconds
        while True:
            try:
                answer = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return False
            if answer is End.ASKED:
                return True
            if answer is not End.FAILED:
                answer.put(CommandError("the daemon has not begun yet"))
                return False
            self.exit_code = 0

    def wait(
        self, notify: Notify, workers: Callable[[], Sequence[Worker]], change: Callable[[], tuple[str, bool]]
    ) -> None:
        """Until somebody asks for the end, a thread fails, or a change needs everything to begin anew.

        `change` reloads: (what that changed, whether all has to begin anew), or CommandError. The watchdog is fed only
        while every one of the workers has shown life within the longest silence it declared.
        """
        every_s = None if notify.watchdog_s is None else notify.watchdog_s / 3
        anew = False
        while not anew:
            try:
                answer = self._inbox.get(timeout=every_s)
            except queue.Empty:
                _feed(notify, workers())
                continue
            if isinstance(answer, End):
                break
            notify(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))
            try:
                outcome, anew = change()
            except CommandError as error:
                answer.put(error)
            else:
                answer.put(outcome)
            if not anew:
                notify(READY="1")
        if not anew:
            notify(STOPPING="1")
            self._dismiss()

    def _dismiss(self) -> None:
        """Tells those who still wait for a reload that there will be none."""
        while not self._inbox.empty():
            answer = self._inbox.get()
            if not isinstance(answer, End):
                answer.put(CommandError("the daemon stops"))


def _feed(notify: Notify, workers: Sequence[Worker]) -> None:
    stuck = [worker.name for worker in workers if worker.overdue_s()]
    if stuck:
        log.critical("no life in %s; the watchdog is not fed", ", ".join(stuck))
    else:
        notify(WATCHDOG="1")
