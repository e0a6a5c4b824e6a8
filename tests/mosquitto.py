"""A real mosquitto on loopback, plain or with TLS, passwords and an access list; and somebody who listens to it."""

import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import jsonschema
import pytest
import trustme
from paho.mqtt.client import Client, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import agent.mqtt

PROGRAM = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PASSWD = shutil.which("mosquitto_passwd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_mosquitto = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed (Debian package mosquitto)")

SCHEMA = json.loads((Path(agent.mqtt.__file__).parent / "messages.schema.json").read_text())
ACL = """\
user admin
topic readwrite #

user edge
topic readwrite capture-agent/test/#
topic readwrite homeassistant/#
topic write answers/#
"""


class Mosquitto:
    """Entering starts it on a port of its own. With `tls` it has a certificate, users `edge` and `admin`, and `acl`."""

    def __init__(self, folder: Path, *, tls: bool = False, acl: str = ACL, client_certificates: bool = False) -> None:
        assert PROGRAM is not None
        self.folder = folder
        self.tls = tls
        folder.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence false",
            "max_queued_messages 0",
            "user root",
        ]
        if tls:
            certificates(folder)
            (folder / "passwords").touch()
            for user in ("edge", "admin"):
                subprocess.run([str(PASSWD), "-b", folder / "passwords", user, f"{user}-secret"], check=True)
            (folder / "acl").write_text(acl)
            for name in ("passwords", "acl"):
                (folder / name).chmod(0o600)
            (folder / "edge-password").write_text("edge-secret\n")
            lines += [
                f"cafile {folder}/ca.crt",
                f"certfile {folder}/server.crt",
                f"keyfile {folder}/server.key",
                f"password_file {folder}/passwords",
                f"acl_file {folder}/acl",
                *(["require_certificate true"] if client_certificates else []),
            ]
        (folder / "mosquitto.conf").write_text("\n".join([*lines, f"allow_anonymous {'false' if tls else 'true'}", ""]))
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        with (self.folder / "mosquitto.log").open("ab") as log:
            command = [str(PROGRAM), "-c", str(self.folder / "mosquitto.conf")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < deadline and self.process.poll() is None, (
                self.folder / "mosquitto.log"
            ).read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
            self.process = None

    def freeze(self) -> None:
        """It takes what comes, and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def table(self, **options: str) -> str:
        """The [mqtt] table that reaches it; `options` as TOML has them."""
        own = {"host": '"localhost"', "port": str(self.port), "tls": str(self.tls).lower(), "health_every_s": "1.0"}
        if self.tls:
            own |= {
                "ca_file": f'"{self.folder}/ca.crt"',
                "user": '"edge"',
                "password_file": f'"{self.folder}/edge-password"',
            }
        return "\n[mqtt]\n" + "".join(f"{name} = {value}\n" for name, value in (own | options).items())

    @contextlib.contextmanager
    def listener(self, *topics: str, version: str = "5") -> Iterator["Listener"]:
        """A client of another's, who may do everything."""
        listener = Listener(self, topics or ("#",), version)
        try:
            yield listener
        finally:
            listener.close()


class Listener:
    """Remembers all that comes on its topics, in order."""

    def __init__(self, broker: Mosquitto, topics: tuple[str, ...], version: str) -> None:
        self.messages: list[MQTTMessage] = []
        self._news = threading.Condition()
        self._subscribed = threading.Event()
        self._v5 = version == "5"
        client = self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5 if self._v5 else MQTTv311)
        if broker.tls:
            client.tls_set_context(ssl.create_default_context(cafile=str(broker.folder / "ca.crt")))
            client.username_pw_set("admin", "admin-secret")
        client.on_message = self._came
        client.on_connect = lambda *_: client.subscribe([(topic, 1) for topic in topics])
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.reconnect_delay_set(1, 1)
        client.max_inflight_messages_set(1000)
        client.on_disconnect = lambda *_: self._subscribed.clear()
        client.connect("localhost", broker.port)
        client.loop_start()
        self.back()

    def back(self) -> None:
        """Returns when it hears everything, again or for the first time."""
        assert self._subscribed.wait(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self.client.on_connect = self.client.on_subscribe = self.client.on_message = self.client.on_disconnect = None
        del self.client  # which closes what it wakes its thread with

    def _came(self, client: Client, data: Any, message: MQTTMessage) -> None:
        with self._news:
            self.messages.append(message)
            self._news.notify_all()

    def publish(
        self, topic: str, payload: bytes | str = b"", *, reply: str = "", correlation: bytes | None = None, **more: Any
    ) -> None:
        properties: Any = Properties(PacketTypes.PUBLISH) if self._v5 else None
        if reply:
            properties.ResponseTopic = reply
        if correlation is not None:
            properties.CorrelationData = correlation
        self.client.publish(topic, payload, **{"qos": 1, "properties": properties, **more}).wait_for_publish(10)

    def until(self, condition: Callable[[MQTTMessage], bool], seconds: float = 10.0) -> MQTTMessage:
        """The first message (of those that came already, too) of which it holds."""
        deadline = time.monotonic() + seconds
        seen = 0
        with self._news:
            while True:
                for message in self.messages[seen:]:
                    if condition(message):
                        return message
                seen = len(self.messages)
                if not self._news.wait(deadline - time.monotonic()):
                    raise AssertionError(
                        f"waited in vain; there came {[(m.topic, m.payload[:200]) for m in self.messages[-20:]]}"
                    )

    def on(self, topic: str) -> list[Any]:
        """The documents that came on a topic (which may end in #)."""
        with self._news:
            return [json.loads(m.payload) for m in self.messages if _under(topic, m.topic)]

    def first(
        self, topic: str, where: Callable[[Any], bool] = lambda document: True, seconds: float = 10.0, **wanted: Any
    ) -> Any:
        """The first document on a topic of which that holds, with these values."""

        def fits(message: MQTTMessage) -> bool:
            if not _under(topic, message.topic):
                return False
            document = json.loads(message.payload)
            return all(document.get(key) == value for key, value in wanted.items()) and where(document)

        return json.loads(self.until(fits, seconds).payload)

    def ask(self, topic: str, payload: str = "", seconds: float = 10.0) -> Any:
        """The answer to one command."""
        token = os.urandom(6)
        self.publish(topic, payload, reply="answers/here", correlation=token)
        message = self.until(
            lambda m: m.topic == "answers/here" and getattr(m.properties, "CorrelationData", b"") == token, seconds
        )
        return json.loads(message.payload)


def _under(wanted: str, topic: str) -> bool:
    return topic == wanted or (wanted.endswith("#") and topic.startswith(wanted[:-1]))


def certificates(folder: Path) -> None:
    """An authority, and certificates by it: of the server, of a client, and one that is over; and another authority."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.crt")
    trustme.CA().cert_pem.write_to_path(folder / "stranger.crt")
    over = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    for name, issued in (
        ("server", authority.issue_cert("localhost", "127.0.0.1")),
        ("client", authority.issue_cert("edge")),
        ("stale", authority.issue_cert("localhost", not_before=over - datetime.timedelta(days=1), not_after=over)),
    ):
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.crt")


def loaded(folder: Path, credentials: Path) -> Path:
    """What LoadCredential=secrets:FOLDER makes of a folder's files."""
    credentials.mkdir()
    for path in folder.iterdir():
        shutil.copy(path, credentials / f"secrets_{path.name}")
    return credentials


def check(name: str, document: Any) -> None:
    """As the published schema says."""
    jsonschema.Draft202012Validator(
        {"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{name}"}, format_checker=jsonschema.FormatChecker()
    ).validate(document)
