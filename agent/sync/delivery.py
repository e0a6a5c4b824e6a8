"""How parcels are delivered to a target, whatever its kind: which, when, how many at once, how fast, how often."""

import dataclasses

from agent.parcel import Backoff
from drivers.settings import check, option

_LEAST_KBPS = 7.0
"""Each upload gets as much, as far as one may: servers close what says nothing for 20 s or more."""
_PIECE = 1 << 16


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
    only_recordings: tuple[str, ...] = option(
        "gets captures of these recordings alone, of those that name it; empty: all", ()
    )
    only_labels: tuple[str, ...] = option(
        'gets captures alone that have one of these labels, each "name" or "name=value"; empty: all',
        (),
    )
    only_formats: tuple[str, ...] = option("gets captures alone that have one of these formats; empty: all", ())
    max_capture_mb: float = option("gets no captures of more megabytes; 0: any size", 0.0, at_least=0)
    delay_s: float = option("seconds that a capture waits after it was finished", 0.0, at_least=0)
    undated: str = option(
        "captures of samples from before the clock was first set: wait for their date, at most until the next boot,"
        " or send; kind: wait where what is there cannot be dated later",
        "kind",
        choices=("kind", "wait", "send"),
    )
    after_rebuild: str = option(
        "captures that were found again when the database had to be made anew: wait until `capture-agent reconcile` has"
        " asked what is there, or send; kind: wait where the target cannot recognise what comes twice",
        "kind",
        choices=("kind", "wait", "send"),
    )
    windows: tuple[str, ...] = option(
        'times of day, local, in which uploads begin, such as "22:00-06:00"; empty: always', ()
    )
    link: str = option(
        "which link to the outside may be used, as NetworkManager knows it; unmetered: none that costs by volume",
        "any",
        choices=("any", "unmetered", "wifi"),
    )
    link_unknown: str = option(
        "what to do where NetworkManager cannot tell of the link", "wait", choices=("wait", "send")
    )

    def __post_init__(self) -> None:
        mistakes = [
            ("windows", self.windows, f'{window!r} as "22:00-06:00"') for window in self.windows if not span(window)
        ]
        check(self, *mistakes[:1])

    @property
    def newest_first(self) -> bool:
        return self.order == "newest-first"

    @property
    def at_once(self) -> int:
        """Uploads at once: fewer than `connections` where the rate limit gives too little for each."""
        most = int(self.rate_limit_kbps / _LEAST_KBPS) if self.rate_limit_kbps else self.connections
        return max(1, min(self.connections, most))

    @property
    def piece_bytes(self) -> int:
        """Bytes that go out without a pause: what the rate limit gives in a second, and not more than 64 KiB."""
        return max(1, min(_PIECE, int(self.rate_limit_kbps * 1000))) if self.rate_limit_kbps else _PIECE

    @property
    def backoff(self) -> Backoff:
        """The rest of single parcels, as the outbox computes it."""
        return Backoff(self.backoff_base_s, self.backoff_cap_s, self.max_attempts or None)


def span(window: str) -> tuple[int, int] | None:
    """(first minute of the day, the one after the last) of `22:00-06:00`; None where it is nothing like that."""
    ends = [end.split(":") for end in window.split("-")]
    if len(ends) != 2 or not all(len(end) == 2 and all(len(n) == 2 and n.isdecimal() for n in end) for end in ends):
        return None
    minutes = [(int(hour), int(minute)) for hour, minute in ends]
    if any(minute > 59 or hour * 60 + minute > 24 * 60 for hour, minute in minutes):
        return None
    first, last = (hour * 60 + minute for hour, minute in minutes)
    return None if first == last else (first, last)
