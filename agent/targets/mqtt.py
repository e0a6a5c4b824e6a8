"""A broker, for networks in which there is nothing else: small captures as messages, acknowledged before they count."""

import dataclasses
import json
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from agent.capture import Capture, safe_name
from agent.targets import (
    Failed,
    Home,
    Plan,
    Progress,
    Receipt,
    Refused,
    chosen,
    placeholders,
    placeholders_of,
    sidecar_content,
    template_mistake,
    verified,
)
from agent.targets._inventory import Held
from drivers.settings import check, option

_JSON = "application/json"
_CHUNK = 1 << 18


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of an `mqtt` target."""

    recognises: ClassVar[bool] = False

    host: str = option("host name or address of the broker", example="broker.example")
    port: int = option("port of the broker; 0: 8883 with TLS, 1883 without", 0, at_least=0, at_most=65535)
    version: str = option("of the protocol: 5, or 3.1.1 for older brokers", "5", choices=("5", "3.1.1"))
    tls: bool = option("whether the connection is encrypted and the broker's certificate verified", True)
    ca_file: str = option(
        "the only authority that is trusted (PEM: name of a credential or secret, or path of a file); empty: the"
        " system's",
        "",
    )
    cert_file: str = option("certificate that this device shows (PEM, likewise); empty: none", "")
    key_file: str = option("private key of cert_file (PEM, likewise); empty: it is in cert_file", "")
    user: str = option("user name; empty: none", "")
    password_file: str = option("its password: name of a credential or secret, or path of a file", "")
    topic: str = option(
        "where a message goes; may hold {device} {device_id} {date} {recording} {name} {file} {uuid} {format}",
        "captures/{device}/{recording}/{file}",
    )
    content: str = option(
        "files: a message for each payload, then one with the sidecar; readings: one JSON message with all samples in"
        " physical units",
        "files",
        choices=("files", "readings"),
    )
    most_kb: float = option("captures of more kilobytes are refused", 256.0, at_least=1, at_most=10_000)
    retain: bool = option("whether the broker keeps the last message of each topic", False)
    need_subscriber: bool = option(
        "whether a capture waits until somebody listens, where the broker says so (MQTT 5), and is not retained", True
    )
    connect_timeout_s: float = option("longest wait for a connection, seconds", 10.0, at_least=0.1, at_most=300)
    answer_timeout_s: float = option("longest wait for the broker's word, seconds", 30.0, at_least=0.1, at_most=600)
    formats: tuple[str, ...] = option("deliver only the first of these formats that a capture has; empty: all", ())

    def __post_init__(self) -> None:
        wrong: list[tuple[str, object, str]] = []
        if not self.host or any(letter.isspace() for letter in self.host):
            wrong.append(("host", self.host, "a host name or an address"))
        if mistake := template_mistake(self.topic):
            wrong.append(("topic", self.topic, mistake))
        elif not all(self.topic.split("/")) or set("+#\0") & set(self.topic) or self.topic.startswith("$"):
            wrong.append(("topic", self.topic, "levels with a / between them, without + and #"))
        elif self.content == "files" and "{file}" not in self.topic:
            wrong.append(("topic", self.topic, "{file} somewhere, so that each message has its own topic"))
        if not self.tls:
            needless = [name for name in ("ca_file", "cert_file", "key_file") if getattr(self, name)]
            wrong += [(name, getattr(self, name), "nothing where tls = false") for name in needless]
        if self.key_file and not self.cert_file:
            wrong.append(("key_file", self.key_file, "nothing where there is no cert_file"))
        if self.password_file and not self.user:
            wrong.append(("password_file", self.password_file, "nothing where there is no user"))
        check(self, *wrong)

    @property
    def used_port(self) -> int:
        return self.port or (8883 if self.tls else 1883)

    def mistakes(self, plan: Plan) -> Iterable[tuple[str, object, str]]:
        """Readings are of samples."""
        if self.content == "readings" and plan.pictures:
            yield "format", list(plan.formats), 'samples: pictures have no readings, and want content = "files"'

    def open(self, home: Home) -> "Mqtt":
        """Makes the target; reads no secret and touches no network."""
        return Mqtt(self, home)


class Mqtt:
    """A connection for each capture. The same capture put twice is the same messages on the same topics, with uuid,
    revision and sha256 beside them (in MQTT 5), by which who listens can tell. Safe for several threads."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self.formats = settings.formats
        self._settings = settings
        self._home = home
        self._stop = threading.Event()
        self._broker = f"{settings.host}:{settings.used_port}"

    def put(self, capture: Capture, progress: Progress) -> Receipt:
        """Publishes payloads, unless an earlier revision brought them, and then the sidecar, or the readings; the
        receipt has the topics, and the sha256 of payloads."""
        from agent.targets._mqtt_session import Session  # noqa: PLC0415  paho-mqtt, only where something is delivered

        progress.check()
        messages = self._readings(capture) if self._settings.content == "readings" else self._files(capture)
        had = progress.receipt.get("sha256", {}) if progress.receipt.get("broker") == self._broker else {}
        topics: list[str] = []
        sums: dict[str, str] = {}
        with Session(self._settings, self._home, progress, self._stop) as session:
            for file, format, media_type, payload, sha256 in messages:
                topic = self._topic(capture, file, format)
                said = {
                    "uuid": capture.uuid,
                    "revision": str(capture.revision),
                    **({"sha256": sha256} if sha256 else {}),
                }
                if not sha256 or had.get(topic) != sha256:
                    session.publish(topic, payload, media_type=media_type, said=said)
                topics.append(topic)
                sums |= {topic: sha256} if sha256 else {}
        return {"broker": self._broker, "topics": topics, "sha256": sums}

    def probe(self) -> list[str]:
        """Connects, and publishes nothing: whether the topics are allowed shows with the first capture."""
        from agent.targets._mqtt_session import Session  # noqa: PLC0415

        with Session(self._settings, self._home, Progress(), self._stop) as session:
            most = f"messages of up to {session.most_bytes / 1e6:.3g} MB"
        return [f"{self._broker} lets {self._settings.user or 'us'} in, and takes {most}"]

    def inventory(self, asked: Sequence[tuple[Capture, Receipt]]) -> Iterator[Held]:
        """Nothing can be asked."""
        raise Refused("a broker passes messages on and keeps none: nobody can ask it what came of them")

    def remove(self, capture: str, receipt: Receipt) -> Sequence[str]:
        """Empties what the broker keeps of its topics; what was passed on is with those who listened."""
        from agent.targets._mqtt_session import Session  # noqa: PLC0415

        topics, settings = receipt.get("topics"), self._settings
        if not settings.retain or receipt.get("broker") != self._broker or not isinstance(topics, list):
            raise Refused("a message that was passed on cannot be taken back")
        if not {"file", "name", "uuid"} & set(placeholders_of(settings.topic)):
            raise Refused("its topic may have another capture's message by now")
        with Session(settings, self._home, Progress(), self._stop) as session:
            for topic in topics:
                session.publish(str(topic), b"", media_type="", said={"uuid": capture})
        return ["what those have who listened when it came"]

    def close(self) -> None:
        """Ends what hangs; may be called twice, from another thread."""
        self._stop.set()

    def _files(self, capture: Capture) -> list[tuple[str, str, str, bytes, str]]:
        """(file, format, media type, content, sha256) of each payload, then of the sidecar."""
        payloads = chosen(capture, self.formats)
        size = sum(payload.size for payload in payloads)
        self._bounded(size)
        found = []
        for payload in payloads:
            content = b"".join(bytes(chunk) for chunk in verified(capture, payload, _CHUNK))
            found.append((payload.file, payload.format, payload.media_type, content, payload.sha256))
        return [*found, (capture.sidecar.name, "json", _JSON, sidecar_content(capture), "")]

    def _readings(self, capture: Capture) -> list[tuple[str, str, str, bytes, str]]:
        from agent.series import samples  # noqa: PLC0415

        self._bounded(min(payload.size for payload in capture.payloads))
        if damage := capture.damage():
            raise Refused(damage)
        try:
            found = samples(capture)
        except LookupError as error:
            raise Refused(str(error)) from None
        except (OSError, ValueError) as error:
            raise Failed(f"{capture.name} cannot be read: {error}") from None
        document = {
            "uuid": capture.uuid,
            "revision": capture.revision,
            **{key: capture.document[key] for key in ("name", "recording", "device", "start", "labels", "metadata")},
            "series": [
                {
                    "name": one.name,
                    "unit": one.unit,
                    "times_s": one.times_s.round(6).tolist(),
                    "values": [value if math.isfinite(value) else None for value in one.values.tolist()],
                }
                for one in found.series
            ],
        }
        content = json.dumps(document, allow_nan=False).encode()
        self._bounded(len(content))
        return [(f"{capture.name}.readings.json", "readings", _JSON, content, "")]

    def _bounded(self, size: int) -> None:
        if size > self._settings.most_kb * 1000:
            raise Refused(f"{size} bytes are more than most_kb = {self._settings.most_kb:g} allows in messages")

    def _topic(self, capture: Capture, file: str, format: str) -> str:
        """Names in it are one level each: nothing of a capture brings levels or wildcards with it."""
        known: dict[str, Any] = placeholders(capture, self._home, file, format)
        levels = {name: value if name == "file" else safe_name(value) for name, value in known.items()}
        levels["file"] = "".join("-" if letter in "+#/\0" else letter for letter in levels["file"])
        return self._settings.topic.format(**levels)
