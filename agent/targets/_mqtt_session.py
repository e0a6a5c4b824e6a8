"""A session with a broker for one delivery: connects, publishes what must be acknowledged, takes leave."""

import socket
import ssl
import threading
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.targets import Failed, Home, Later, Progress, Refused, Stopped, Unreachable
from agent.targets._mqtt_tls import context

if TYPE_CHECKING:
    from agent.targets.mqtt import Settings

_TURN_S = 0.1
_OVERHEAD = 1024
"""Bytes of a packet that are neither topic nor payload, at most."""
_NOBODY = 0x10
_LATER = (0x88, 0x89, 0x97)
"""Server unavailable, server busy, quota exceeded."""
_TOO_LARGE = 0x95
_NOT_ALLOWED = (0x84, 0x85, 0x86, 0x87, 0x8C)


class Session:
    """Used by one thread; `stop` is set by any. Entering connects, leaving closes. Raises as a target's `put`."""

    def __init__(self, settings: "Settings", home: Home, progress: Progress, stop: threading.Event) -> None:
        from paho.mqtt.client import Client, MQTTv5, MQTTv311  # noqa: PLC0415  only where something is delivered
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

        self._settings = settings
        self._progress = progress
        self._stop = stop
        self._v5 = settings.version == "5"
        self._connected: Any = None
        self._limit = 1 << 28
        self._ended = ""
        self._answers: dict[int, Any] = {}
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"capture-agent-{home.device_id}-{uuid.uuid4().hex[:8]}",
            protocol=MQTTv5 if self._v5 else MQTTv311,
            reconnect_on_failure=False,
        )
        self._client.connect_timeout = settings.connect_timeout_s
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.on_disconnect = self._on_disconnect
        if settings.user:
            password = home.secret(settings.password_file) if settings.password_file else None
            self._client.username_pw_set(settings.user, password)
        if settings.tls:
            try:
                self._client.tls_set_context(
                    context(home, ca_file=settings.ca_file, cert_file=settings.cert_file, key_file=settings.key_file)
                )
            except ValueError as error:
                raise Unreachable(str(error)) from None

    def __enter__(self) -> "Session":
        try:
            self._connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def most_bytes(self) -> int:
        """Of a packet that the broker takes."""
        return self._limit

    def publish(self, topic: str, payload: bytes, *, media_type: str, said: Mapping[str, str]) -> None:
        """One message of QoS 1; returns once the broker has it. `said` stands beside it, in MQTT 5."""
        from paho.mqtt.packettypes import PacketTypes  # noqa: PLC0415
        from paho.mqtt.properties import Properties  # noqa: PLC0415

        if len(payload) + len(topic.encode()) + _OVERHEAD > self._limit:
            raise Refused(f"{len(payload)} bytes are more than the broker takes in one message")
        properties: Any = None
        if self._v5:
            untyped: Any = Properties
            properties = untyped(PacketTypes.PUBLISH)
            properties.ContentType = media_type
            properties.UserProperty = list(said.items())
        info = self._client.publish(topic, payload, qos=1, retain=self._settings.retain, properties=properties)
        self._wait(lambda: info.mid in self._answers, "acknowledge the message")
        self._judge(self._answers.pop(info.mid), topic)
        self._progress.sent(len(payload))

    def close(self) -> None:
        """Takes leave; may be called twice."""
        client = self._client
        client.disconnect()
        client.on_connect = client.on_publish = client.on_disconnect = None
        left: Any = client.socket()
        if left is not None:
            left.close()

    def _connect(self) -> None:
        settings = self._settings
        self._check()
        try:
            self._client.connect(settings.host, settings.used_port, keepalive=60)
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(f"the broker's certificate is not accepted: {error.verify_message}") from None
        except OSError as error:
            why = error.reason if isinstance(error, ssl.SSLError) else error.strerror
            kind = "host is not known" if isinstance(error, socket.gaierror) else "cannot be reached"
            raise Unreachable(f"{settings.host}:{settings.used_port} {kind}: {why or error}") from None
        self._wait(lambda: self._connected is not None, "answer", Unreachable)
        reason, properties = self._connected
        if reason.is_failure:
            if reason.value in _LATER:
                raise Later(f"the broker: {reason}")
            raise Unreachable(f"the broker refuses user {settings.user!r}: {reason}; see the credentials")
        self._limit = getattr(properties, "MaximumPacketSize", self._limit)

    def _judge(self, reason: Any, topic: str) -> None:
        if reason.value == _NOBODY and not self._settings.retain and self._settings.need_subscriber:
            raise Later(f"nobody subscribes to {topic}, and the broker would forget it", 60.0)
        if not reason.is_failure:
            return
        if reason.value in _LATER:
            raise Later(f"the broker: {reason}")
        if reason.value == _TOO_LARGE:
            raise Refused(f"the broker: {reason}")
        if reason.value in _NOT_ALLOWED:
            raise Unreachable(f"the broker does not allow {topic}: {reason}; see its access list and the credentials")
        raise Failed(f"the broker does not take {topic}: {reason}")

    def _wait(self, done: Any, what: str, silent: type[Exception] = Failed) -> None:
        end = time.monotonic() + self._settings.answer_timeout_s
        while not done():
            self._check()
            if time.monotonic() > end:
                raise silent(f"the broker is silent: it did not {what} within {self._settings.answer_timeout_s:g} s")
            code = self._client.loop(_TURN_S)
            if done():
                return
            if self._ended or code:
                raise silent(f"the broker ended the connection: {self._ended or code.name}")

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped
        self._progress.check()

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._connected = (reason, properties)

    def _on_publish(self, client: Any, data: Any, mid: int, reason: Any, properties: Any) -> None:
        self._answers[mid] = reason

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._ended = str(reason)
