"""What is live: health, newest values, newest picture, and the announcement to Home Assistant. Only the latest counts,
so nothing of it waits anywhere."""

import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from agent.catalogue import Catalogue
from agent.control import CommandError
from agent.device import Device
from agent.mqtt.connection import Connection
from agent.mqtt.discovery import Announced, discovery, without
from agent.mqtt.health import health
from agent.mqtt.machine import Machine
from agent.mqtt.permissions import Permissions
from agent.mqtt.picture import NewestPicture
from agent.mqtt.settings import MqttSettings
from agent.mqtt.topics import Topics

log = logging.getLogger(__name__)

_AFTER_COMMAND_S = 0.5


class Live:
    """Of one connection; used by one thread."""

    def __init__(
        self,
        settings: MqttSettings,
        topics: Topics,
        connection: Connection,
        *,
        device: Device,
        catalogue: Catalogue,
        obey: Callable[[str, Mapping[str, Any]], Any],
        now: Callable[[], int],
        announced: Announced,
        permissions: Permissions,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._connection = connection
        self._device = device
        self._obey = obey
        self._now = now
        self._permissions = permissions
        self._machine = Machine()
        self._picture = NewestPicture(catalogue, settings.picture_px)
        self._announced = announced
        self._last_announcement = b""
        self._health_ns = self._latest_ns = 0
        self._next: deque[tuple[str, bytes, bool, bool]] = deque()
        """(topic, payload, sure, retain) that are about to go."""

    def hurry(self) -> None:
        """Something was asked for: health should tell soon what became of it."""
        self._health_ns = min(self._health_ns, self._now() + int(_AFTER_COMMAND_S * 1e9))

    def announce_again(self, payload: bytes) -> None:
        """Home Assistant says of itself whether it is there."""
        if payload == b"online":
            self._last_announcement = b""
            self._health_ns = 0

    def step(self, status: Mapping[str, Any], wall_time: str) -> None:
        """Publishes what is due, as fast as the network takes it."""
        self.flush()
        now = self._now()
        if self._next:
            return
        if now >= self._health_ns:
            self._health_ns = now + int(self._settings.health_every_s * 1e9)
            status = self._obey("status", {})
            self._announce(status)
            payload = json.dumps(health(status, self._machine.read(), wall_time)).encode()
            self.publish(self._topics.health, payload, sure=True, retain=True)
        if self._settings.latest_every_s and now >= self._latest_ns:
            self._latest_ns = now + int(self._settings.latest_every_s * 1e9)
            for name in status["streams"]:
                self._values(name, wall_time)
            if self._settings.picture_px and (jpeg := self._picture.newer(status)):
                self.publish(self._topics.picture, jpeg, sure=True, retain=True)
        self.flush()

    def publish(self, topic: str, payload: bytes, *, sure: bool, retain: bool = False) -> None:
        """Sends it when its turn comes, unless the broker refuses it."""
        self._next.append((topic, payload, sure, retain))

    @property
    def goes_alone(self) -> bool:
        """Whether what is about to go has to wait until nothing else is under way."""
        return bool(self._next) and not self._permissions.known(self._next[0][0])

    def under_way(self, topic: str) -> bool:
        """Whether the broker has yet to take something on a topic."""
        return self._connection.under_way(topic) or any(topic == each for each, *_ in self._next)

    def flush(self) -> None:
        """Sends what is about to go, as fast as the network takes it. Broken."""
        refused = self._permissions.refused()
        while self._next:
            topic, payload, sure, retain = self._next[0]
            if topic not in refused:
                if not self._connection.ready(topic):
                    return
                try:
                    self._connection.publish(topic, payload, sure=sure, retain=retain)
                except ValueError as error:
                    log.warning("mqtt: %s is not published: %s", topic, error)
            self._next.popleft()

    def _values(self, stream: str, wall_time: str) -> None:
        try:
            values = self._obey("snapshot", {"stream": stream})
        except CommandError:
            return  # it has gone with a reload
        if values:
            payload = json.dumps({"time": wall_time, "stream": stream, "values": values}).encode()
            self.publish(self._topics.latest(stream), payload, sure=False)

    def _announce(self, status: Mapping[str, Any]) -> None:
        """Tells Home Assistant what there is, when that changes."""
        if not self._settings.home_assistant:
            return
        message = discovery(
            self._topics,
            self._device,
            status,
            commands=self._settings.commands,
            picture=bool(self._settings.picture_px),
        )
        payload = json.dumps(without(message, self._announced.components())).encode()
        if payload != self._last_announcement:
            self._last_announcement = payload
            self.publish(self._topics.device(self._device.id), payload, sure=True, retain=True)
            self._announced.keep({key: component["platform"] for key, component in message["components"].items()})
