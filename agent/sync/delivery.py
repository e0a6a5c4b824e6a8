"""How parcels are delivered to a target, whatever its kind: how many at once, how fast, in which order, how often."""

import dataclasses
import threading
from collections.abc import Callable

from agent.parcel import Backoff
from drivers.settings import check, option

_BURST_S = 0.25


@dataclasses.dataclass(frozen=True)
class Delivery:
    """Options that every target has, beside those of its kind."""

    connections: int = option("uploads at once", 8, at_least=1, at_most=64)
    rate_limit_kbps: float = option("kilobytes a second, of all uploads together; 0: no limit", 0.0, at_least=0)
    order: str = option("which captures go first", "oldest-first", choices=("oldest-first", "newest-first"))
    backoff_base_s: float = option(
        "seconds a capture rests after its first failure, at most; doubles with each", 4.0, at_least=0.1, at_most=3600
    )
    backoff_cap_s: float = option("longest rest of a capture between two attempts, seconds", 900.0, at_least=1)
    max_attempts: int = option("failures after which a capture is set aside as refused; 0: never", 0, at_least=0)

    def __post_init__(self) -> None:
        check(self)

    @property
    def newest_first(self) -> bool:
        return self.order == "newest-first"

    @property
    def backoff(self) -> Backoff:
        """The rest of single parcels, as the outbox computes it."""
        return Backoff(self.backoff_base_s, self.backoff_cap_s, self.max_attempts or None)


class Pace:
    """The rate limit that the uploads of one target share: says how long to wait for what was just sent."""

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
