"""A lock for questions to a server: whoever waits for it shows life, however long the one who has it hears nothing."""

import contextlib
import threading
from collections.abc import Iterator

from agent.targets import Progress

_BEAT_S = 1.0


@contextlib.contextmanager
def alone(lock: threading.Lock, progress: Progress) -> Iterator[None]:
    """Holds `lock`. Raises Stopped when the daemon is stopping meanwhile."""
    while not lock.acquire(timeout=_BEAT_S):
        progress.sent(0)
    try:
        yield
    finally:
        lock.release()
