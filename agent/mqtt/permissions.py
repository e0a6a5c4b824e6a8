"""Permissions: which topics the broker lets this device write, as far as it has told.

There are brokers that end the connection with what they refuse (mosquitto 2.0.11, and all that cannot say no in 3.1.1),
and the refusal is easily lost with it. So a topic not known yet is tried alone, and one that is refused seldom again.
"""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

_AGAIN_S = 300.0
_MOST = 1000
_SUSPECTED = 2
"""So often in a row may a connection end with this topic unanswered; then it is taken for refused."""


class Permissions:
    """Outlives connections; used by one thread. `now` is in nanoseconds."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._good: set[str] = set()
        self._until: dict[str, int] = {}
        self._said: set[str] = set()
        self._suspected: dict[str, int] = {}

    def known(self, topic: str) -> bool:
        """Whether the broker has taken something on it."""
        return topic in self._good

    def refused(self) -> set[str]:
        """Topics that are not to be tried now."""
        now = self._now()
        return {topic for topic, until in self._until.items() if now < until}

    def grant(self, topic: str) -> None:
        """The broker has taken something on it."""
        if len(self._good) >= _MOST:
            self._good.clear()  # strangers choose where answers go
        self._good.add(topic)
        self._until.pop(topic, None)
        self._suspected.pop(topic, None)
        self._said.discard(topic)

    def refuse(self, topic: str, why: str) -> None:
        """The broker does not take it."""
        if len(self._until) >= _MOST:
            self._until.clear()
            self._said.clear()
        self._good.discard(topic)
        self._until[topic] = self._now() + int(_AGAIN_S * 1e9)
        if topic not in self._said:
            self._said.add(topic)
            log.error("mqtt: the broker refuses %s: %s; allow writing it in the broker's access list", topic, why)

    def suspect(self, topic: str) -> None:
        """The connection has ended while the broker had this topic alone to answer."""
        count = self._suspected.pop(topic, 0) + 1
        self._suspected = {topic: count}
        if count >= _SUSPECTED:
            self.refuse(topic, "it ends the connection instead of an answer")
