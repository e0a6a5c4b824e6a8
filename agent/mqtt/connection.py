"""One connection to the broker, from connecting to its end, driven by the thread that owns it. It has no memory: what
the broker has not acknowledged when it ends is for its owner to send again on the next one."""

import dataclasses
import logging
import re
import select
import socket
import ssl
import threading
from collections import deque
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.mqtt.client import Broken, made
from agent.mqtt.commands import LONGEST, Received
from agent.mqtt.permissions import Permissions
from agent.mqtt.settings import MqttSettings
from agent.targets import Home, Unreachable
from drivers.ports import boottime_ns

log = logging.getLogger(__name__)

_WINDOW = 20
"""Messages that may be on their way without an acknowledgement."""
_OVERHEAD = 1024
"""Bytes of a packet that are neither topic nor payload, at most."""
_GOODBYE_S = 1.0
ENDED_EARLY = "it ended the connection instead of an answer: it may want another certificate (cert_file), or TLS"
"""Why is often lost with the connection, so that one cause has this alone at one time and more behind it at another."""
_properties: Any = Properties  # untyped


@dataclasses.dataclass(frozen=True, slots=True)
class Acknowledged:
    """What the broker said of message `mid`."""

    mid: int
    refused: bool


class Connection:
    """Used by one thread. `open`, then `turn` again and again; both raise Broken. `close` may be called twice."""

    def __init__(
        self, settings: MqttSettings, home: Home, permissions: Permissions, *, will: tuple[str, bytes, bool]
    ) -> None:
        """`will` is (topic, payload, retain), which the broker publishes when this ends without `close`."""
        self.inbox: deque[Received] = deque()
        self.acknowledged: list[Acknowledged] = []
        self.not_granted: list[tuple[str, str]] = []
        """(topic, why) of each subscription that was not."""
        self._settings = settings
        self._home = home
        self._permissions = permissions
        self._will = will
        self._client: Client | None = None
        self._up = False
        self._ended = ""
        self._log = ""
        self._outstanding: dict[int, str] = {}
        self._asked: dict[int | None, list[str]] = {}
        """Topics of each subscription that has no answer yet, by its number."""
        self._window = _WINDOW
        self._most_bytes = 1 << 28

    def open(self, stopping: threading.Event) -> None:
        """Connects, and waits for the broker's word, or until all of it is to end."""
        settings, v5 = self._settings, self._settings.version == "5"
        end_ns = boottime_ns() + int(settings.connect_timeout_s * 1e9)
        try:
            client = self._client = made(settings, self._home)
            self._listen(client)
            properties = None
            if v5:
                properties = _properties(PacketTypes.CONNECT)
                properties.ReceiveMaximum = _WINDOW
                properties.MaximumPacketSize = LONGEST + _OVERHEAD
            client.connect(
                settings.host,
                settings.used_port,
                settings.keepalive_s,
                clean_start=True if v5 else 3,  # 3: MQTT_CLEAN_START_FIRST_ONLY, the default, and the only one in 3.1.1
                properties=properties,
            )
        except Unreachable as error:
            raise Broken(str(error)) from None
        except ssl.SSLCertVerificationError as error:
            raise Broken(f"its certificate is not accepted: {error.verify_message}; see ca_file and host") from None
        except ssl.SSLError as error:
            raise Broken(f"TLS fails: {error.reason or error}") from None
        except socket.gaierror as error:
            raise Broken(f"the host is not known: {error.strerror}") from None
        except OSError as error:
            raise Broken(f"it cannot be reached: {error.strerror or error}") from None
        while not self._up:
            left_s = (end_ns - boottime_ns()) / 1e9
            if left_s <= 0 or stopping.is_set():
                raise Broken("it does not answer")
            self.turn(min(left_s, 0.25))

    def _listen(self, client: Client) -> None:
        topic, payload, retain = self._will
        client.will_set(topic, payload, qos=1, retain=retain)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._published
        client.on_subscribe = self._subscribed
        client.on_message = self._came
        client.on_log = self._logged

    def subscribe(self, topics: list[str]) -> None:
        """Asks for these topics, as they come and not as they were kept."""
        client = self._need()
        if self._settings.version == "5":
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            _, mid = client.subscribe([(topic, options) for topic in topics])
        else:
            _, mid = client.subscribe([(topic, 1) for topic in topics])
        self._asked[mid] = topics

    @property
    def free(self) -> int:
        """How many more messages may be on their way."""
        return self._window - len(self._outstanding)

    def ready(self, topic: str) -> bool:
        """Whether something may be sent on a topic now: where that is not known to be taken, alone."""
        if self._client is None or self._client.want_write():
            return False
        if not self._permissions.known(topic):
            return not self._outstanding
        return self.free > 0 and all(map(self._permissions.known, self._outstanding.values()))

    def under_way(self, topic: str) -> bool:
        """Whether something on this topic has no acknowledgement yet."""
        return topic in self._outstanding.values()

    def publish(
        self, topic: str, payload: bytes, *, sure: bool, retain: bool = False, correlation: bytes | None = None
    ) -> int:
        """Sends; its number, of which `acknowledged` tells if it is `sure` (QoS 1), as the first on a topic always is.
        Broken; ValueError where the broker takes nothing that long, or there cannot be such a topic."""
        client = self._need()
        if len(payload) + len(topic.encode()) + _OVERHEAD > self._most_bytes:
            raise ValueError(f"{len(payload)} bytes are more than the broker takes")
        properties = None
        if self._settings.version == "5" and correlation is not None:
            properties = _properties(PacketTypes.PUBLISH)
            properties.CorrelationData = correlation
        sure = sure or not self._permissions.known(topic)
        info = client.publish(topic, payload, qos=int(sure), retain=retain, properties=properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise Broken(self._ended or "the connection was lost")
        if sure:
            self._outstanding[info.mid] = topic
        return info.mid

    def tell(self, topic: str, payload: bytes) -> bool:
        """Sends at QoS 0, whatever is known of the topic; False where the network still has what went before. Broken,
        also where the broker takes nothing that long."""
        client = self._need()
        if client.want_write():
            return False
        if len(payload) + len(topic.encode()) + _OVERHEAD > self._most_bytes:
            raise Broken(f"it takes no message of {len(payload)} bytes, which {topic} has")
        if client.publish(topic, payload, qos=0).rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise Broken(self._ended or "the connection was lost")
        return True

    def turn(self, timeout: float) -> None:
        """Waits at most that long for the network, then reads and writes what it can."""
        client = self._need()
        try:
            connection = _socket(client)
            if connection is not None:
                pending = self._settings.tls and connection.pending() > 0
                writes = [connection] if client.want_write() else []
                readable, writable, _ = select.select([connection], writes, [], 0.0 if pending else timeout)
                if readable or pending:
                    client.loop_read()
                if writable:
                    client.loop_write()
                client.loop_misc()
        except Exception as error:
            if isinstance(error, Broken):
                raise
            log.warning("mqtt: the broker sent what nobody expected", exc_info=not isinstance(error, OSError))
            raise Broken(f"{type(error).__name__}: {error}") from error
        if self._ended or client.socket() is None:
            raise Broken(self._ended or self._log or "the connection was lost")

    def close(self) -> None:
        """Takes leave where there is a connection, so that no will is published, and lets everything go."""
        client = self._client
        if client is None:
            return
        if self._up and not self._ended:
            self._take_leave(client)
        else:
            for topic in {topic for topic in self._outstanding.values() if not self._permissions.known(topic)}:
                self._permissions.suspect(topic)
        self._client = None
        client.on_connect = client.on_disconnect = client.on_publish = None
        client.on_subscribe = client.on_message = client.on_log = None
        left = _socket(client)
        if left is not None:
            left.close()

    def _take_leave(self, client: Client) -> None:
        """Reads what has come first: closing with something unread cuts the connection, and the leave is lost."""
        end_ns = boottime_ns() + int(_GOODBYE_S * 1e9)
        try:
            while self._outstanding and boottime_ns() < end_ns:
                self.turn(0.05)
            self.turn(0.0)
            client.disconnect()
            while _socket(client) is not None and boottime_ns() < end_ns:
                self.turn(0.05)
        except Broken:
            return  # which it now is

    def _need(self) -> Client:
        if self._client is None:
            raise Broken("there is no connection")
        return self._client

    def _connected(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._ended = f"it refuses {self._who()}: {reason}"
            return
        self._up = True
        self._window = min(_WINDOW, getattr(properties, "ReceiveMaximum", _WINDOW))
        self._most_bytes = getattr(properties, "MaximumPacketSize", self._most_bytes)

    def _who(self) -> str:
        settings = self._settings
        if not settings.user:
            return "this device, which gives no user name" + (" but a certificate" if settings.cert_file else "")
        return f"user {settings.user!r}" + (
            f" with the password of {settings.password_file}" * bool(settings.password_file)
        )

    def _disconnected(
        self, client: Client, data: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._ended = self._ended or f"it ended the connection: {reason}"
        elif self._up:
            self._ended = self._ended or self._log or "the connection was lost"
        else:
            alert = re.search(r" alert ([a-z ]+)", self._log)
            self._ended = self._ended or ENDED_EARLY + (f"; TLS alert: {alert[1].strip()}" if alert else "")

    def _published(
        self, client: Client, data: Any, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        topic = self._outstanding.pop(mid, None)
        if topic is not None:
            self.acknowledged.append(Acknowledged(mid, reason.is_failure))
            if reason.is_failure:
                self._permissions.refuse(topic, str(reason))
                self._log = f"it ended the connection, having refused {topic}"
            else:
                self._permissions.grant(topic)
                self._log = ""

    def _subscribed(
        self, client: Client, data: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        topics = self._asked.pop(mid, [])
        self.not_granted += [(topic, str(why)) for topic, why in zip(topics, reasons, strict=False) if why.is_failure]

    def _came(self, client: Client, data: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # it names nothing of ours
        given = message.properties
        self.inbox.append(
            Received(
                topic,
                bytes(message.payload),
                message.retain,
                getattr(given, "ResponseTopic", ""),
                getattr(given, "CorrelationData", None),
            )
        )

    def _logged(self, client: Client, data: Any, level: int, text: str) -> None:
        if "failed to receive" in text and not self._log:
            self._log = f"the connection was lost: {text.partition(': ')[2]}"


def _socket(client: Client) -> Any:
    """The plain or TLS socket; None where there is none any more."""
    return client.socket()
