"""The probe: whether commands would come at all, which no broker says."""

import logging
import uuid

from agent.mqtt.commands import Received
from agent.mqtt.connection import Connection
from agent.mqtt.topics import Topics

log = logging.getLogger(__name__)

_PROBE_S = 10.0


class Probe:
    """A message to oneself on a command's topic: a broker whose ACL forbids reading it grants the subscription all the
    same, and brings nothing."""

    def __init__(self, connection: Connection, topics: Topics) -> None:
        self._topics = topics
        self._connection = connection
        self._until_ns = 0
        self._open = True
        self.token = uuid.uuid4().hex.encode()

    def heard(self, received: Received) -> bool:
        """Whether this is the probe."""
        if received.topic != self._topics.probe or received.payload != self.token:
            return False
        self._open = False
        return True

    def look(self, now: int, user: str, *, under_way: bool) -> None:
        """Says once what is wrong. While it is `under_way` to the broker it cannot be back."""
        for topic, why in self._connection.not_granted:
            log.error(
                "mqtt: the broker does not let %r subscribe to %s: %s; allow reading it in its access list",
                user,
                topic,
                why,
            )
            if topic == f"{self._topics.command}/+":
                self._open = False
        self._connection.not_granted.clear()
        if under_way or not self._until_ns:
            self._until_ns = now + int(_PROBE_S * 1e9)
        if self._open and now >= self._until_ns:
            self._open = False
            log.error(
                "mqtt: the broker brings %r no message on %s/#, so no command will come: allow reading (and, to be"
                " sure, writing) it in the broker's access list",
                user,
                self._topics.command,
            )
