"""The conditions of a target: hours and links in which it may be sent to. Until they hold, parcels just wait."""

import logging
import time
from collections.abc import Callable

from agent.sync.delivery import Delivery, span
from agent.sync.link import Links

log = logging.getLogger(__name__)


class Conditions:
    """Asked before parcels are claimed; for one thread, but for `state`."""

    def __init__(
        self,
        name: str,
        delivery: Delivery,
        links: Links,
        local: Callable[[], time.struct_time] = time.localtime,
    ) -> None:
        """`name` is the target's; `local` is the time of day here."""
        self.state = ""
        """`waits for ...` while something waits; else empty."""
        self._name = name
        self._delivery = delivery
        self._spans = [found for found in map(span, delivery.windows) if found]
        self._links = links
        self._local = local

    def must_wait(self) -> bool:
        """Whether what is ready has to wait; says once that it has, and once that it has no longer."""
        waits_for = self.waits_for()
        state = waits_for and f"waits for {waits_for}"
        if state != self.state:
            log.info("%s %s", self._name, state or "may be sent to again")
        self.state = state
        return bool(state)

    def nothing_waits(self) -> None:
        """Nothing is ready that would have to wait."""
        self.state = ""

    def waits_for(self) -> str:
        """What it waits for, in words; empty where everything holds."""
        if self._spans and not any(self._within(*found) for found in self._spans):
            return " or ".join(self._delivery.windows)
        if self._delivery.link == "any":
            return ""
        link = self._links.link()
        if link is None:
            return "" if self._delivery.link_unknown == "send" else "NetworkManager to tell of the link"
        if self._delivery.link == "wifi":
            return "" if link.wifi else "Wi-Fi"
        return "an unmetered link" if link.metered else ""

    def _within(self, first: int, last: int) -> bool:
        now = self._local()
        minute = now.tm_hour * 60 + now.tm_min
        if first < last:
            return first <= minute < last
        return minute >= first or minute < last  # over midnight
