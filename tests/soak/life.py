"""A life of the daemon: from one start to its end, what it said meanwhile and what it had to suffer."""

import dataclasses
from typing import Any

from agent.capture import Capture
from tests.soak.truth import RATE_HZ


@dataclasses.dataclass
class Life:
    """From one start of the daemon to its end, in boot time."""

    begun_ns: int
    ended_ns: int = 0
    how: str = ""
    """kill, term, or what it ended with by itself."""
    status: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The last that it said."""
    troubled: set[str] = dataclasses.field(default_factory=set)
    """The faults that it lived through."""
    told: list[tuple[int, dict[str, int]]] = dataclasses.field(default_factory=list)
    """How many rows each recording had taken by when."""
    attentive: bool = False
    """Whether the machine let it run in the last second before it was killed, as far as can be told from outside."""
    boot_id: str = ""
    """Of the boot that it was in, where there are several."""
    rate_hz: float = RATE_HZ
    """Of its sensors."""

    def tell(self, now_ns: int, status: dict[str, Any]) -> None:
        """Notes what it said of itself."""
        self.status = status
        self.told.append((now_ns, {name: one["samples"] for name, one in status["recordings"].items()}))

    def taken_by(self, time_ns: int, recording: str) -> int:
        """How many rows a recording was known to have taken by then."""
        return max((told[recording] for at_ns, told in self.told if at_ns <= time_ns), default=0)

    def holds(self, capture: Capture) -> bool:
        """Whether the capture began in it."""
        start = capture.document["start"]
        here = self.begun_ns <= start["boot_time_ns"] <= self.ended_ns
        return here and self.boot_id in ("", start["boot_id"])
