"""The rate limit that the uploads of one target share."""

import threading
from collections.abc import Callable

_BURST_S = 0.25


class Pace:
    """Says how long to wait for what was just sent. For any thread."""

    def __init__(self, kilobytes_per_s: float, now: Callable[[], int]) -> None:
        """`now` is in nanoseconds."""
        self._ns_per_byte = 1e6 / kilobytes_per_s if kilobytes_per_s else 0.0
        self._now = now
        self._lock = threading.Lock()
        self._paid_until = 0.0

    def wait_s(self, count: int) -> float:
        """Books `count` bytes; the seconds to wait before sending more."""
        if not self._ns_per_byte:
            return 0.0
        now = self._now()
        with self._lock:
            self._paid_until = max(self._paid_until, now - _BURST_S * 1e9) + count * self._ns_per_byte
            return max(0.0, (self._paid_until - now) / 1e9)
