"""An occasion: a trouble that comes and goes is one, said when it begins and when it has been over for a while."""

import logging
from collections.abc import Callable

from drivers.ports import boottime_ns

_QUIET_NS = 60_000_000_000
_FORGOTTEN_NS = 3600_000_000_000
"""After so long what comes again is new, where it went well once meanwhile."""
_TEXTS = 20


class Occasion:
    """Of one kind of trouble; used by one thread, or under one lock. `now` is in nanoseconds."""

    def __init__(self, log: logging.Logger, now: Callable[[], int] = boottime_ns) -> None:
        self._log = log
        self._now = now
        self._said: set[str] = set()
        self._trouble_ns = self._well_ns = 0

    def trouble(self, text: str) -> None:
        """Says it, unless it has been said of this occasion, which goes on."""
        now = self._now()
        if self._well_ns and now - self._trouble_ns >= _FORGOTTEN_NS:
            self._said.clear()
        self._trouble_ns, self._well_ns = now, 0
        if text not in self._said and len(self._said) < _TEXTS:
            self._said.add(text)
            self._log.error("%s", text)

    def well(self, text: str) -> None:
        """To be called whenever it goes well: says so where it did for a minute, and the occasion is over."""
        if not self._said:
            return
        now = self._now()
        if not self._well_ns:
            self._well_ns = now
        elif now - self._well_ns >= _QUIET_NS:
            self._said.clear()
            self._log.info("%s", text)
