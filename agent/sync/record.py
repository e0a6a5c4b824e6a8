"""What a courier has done since the start, for Health."""

from typing import Any


class Record:
    """Counters. Not safe for threads by itself; times are CLOCK_BOOTTIME in nanoseconds."""

    def __init__(self) -> None:
        self.sent_bytes = 0
        self._retried = 0
        self._success_ns = self._failing_ns = 0
        self._error = ""

    def delivered(self, now: int) -> None:
        """A parcel is there."""
        self._success_ns, self._failing_ns, self._error = now, 0, ""

    def not_delivered(self, error: Exception, now: int, *, refused: bool) -> None:
        """A parcel is not; it will be tried again unless it was `refused`."""
        self._error = str(error)
        if not refused:
            self._failing_ns = self._failing_ns or now
            self._retried += 1

    def health(self, now: int) -> dict[str, Any]:
        """Seconds are since then, None where it never was."""
        return {
            "retried": self._retried,
            "last_success_s": round((now - self._success_ns) / 1e9, 1) if self._success_ns else None,
            "failing_since_s": round((now - self._failing_ns) / 1e9, 1) if self._failing_ns else None,
            "error": self._error,
            "sent_bytes": self.sent_bytes,
        }
