"""The post: takes what waits in the queue to the broker over one connection, in order, a window at a time."""

import logging
from collections.abc import Callable

from agent.mqtt.connection import Connection
from agent.mqtt.permissions import Permissions
from agent.mqtt.queue import Message, Queue
from agent.mqtt.topics import Topics

log = logging.getLogger(__name__)

_COMMIT_S = 1.0
_COMMIT_COUNT = 200


class Post:
    """Of one connection; used by one thread."""

    def __init__(
        self, queue: Queue, connection: Connection, topics: Topics, *, permissions: Permissions, now: Callable[[], int]
    ) -> None:
        self._queue = queue
        self._connection = connection
        self._below = topics.prefix + "/"
        self._permissions = permissions
        self._now = now
        self._sent: dict[int, Message] = {}
        self._last = 0
        self._skipped: set[str] = set()
        self._done: list[int] = []
        self._done_ns = 0

    def step(self, *, holds: bool) -> None:
        """Strikes out what the broker has, sends what may be sent, unless it `holds`. Broken, DatabaseWaits."""
        self._hear()
        now = self._now()
        if self._done and (len(self._done) >= _COMMIT_COUNT or now - self._done_ns > _COMMIT_S * 1e9):
            self.settle()
        refused = self._permissions.refused()
        skip = {topic.removeprefix(self._below) for topic in refused if topic.startswith(self._below)}
        if self._skipped - skip:  # some may be tried again: from the beginning, once nothing is under way
            if self._sent:
                return
            self.settle()
            self._last = 0
        self._skipped = skip
        free = self._connection.free
        if free > 0 and not holds:
            for message in self._queue.waiting(self._last, free, skip):
                if message.kind == "answer" and message.topic in refused:
                    self._queue.refused(message.number)  # as where the broker says so, see _hear
                elif not self._send(message):
                    break
                self._last = message.number

    def settle(self) -> None:
        """Commits what the broker has acknowledged."""
        self._hear()
        if self._done:
            self._queue.done(self._done)
            self._done = []

    def _send(self, message: Message) -> bool:
        topic = self._below + message.topic if message.kind == "event" else message.topic
        if not self._connection.ready(topic):
            return False
        try:
            mid = self._connection.publish(topic, message.payload.encode(), sure=True, correlation=message.correlation)
        except ValueError as error:
            log.error("mqtt: %s %d cannot be sent, and is given up: %s", message.kind, message.number, error)
            self._queue.refused(message.number)
        else:
            self._sent[mid] = message
        return True

    def _hear(self) -> None:
        """A refused event waits, with all of its topic; a refused answer goes: where to was a stranger's wish."""
        heard, self._connection.acknowledged[:] = list(self._connection.acknowledged), []
        for acknowledged in heard:
            message = self._sent.pop(acknowledged.mid, None)
            if message is None:
                continue
            if not acknowledged.refused:
                self._done_ns = self._done_ns if self._done else self._now()
                self._done.append(message.number)
            elif message.kind == "answer":
                self._queue.refused(message.number)
