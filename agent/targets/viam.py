"""Viam: pictures and files as streams, samples as readings, each with a tag by which it is found there again."""

import contextlib
import dataclasses
import ipaddress
import re
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from agent.capture import Capture, Payload
from agent.formats import Format
from agent.formats._extra import missing
from agent.targets import Failed, Home, Later, Progress, Receipt, Refused, Unreachable, chosen
from agent.targets._inventory import Held
from agent.targets._viam_calls import Line
from agent.targets._viam_delivery import Delivery
from agent.targets._viam_readings import readable, shows
from agent.targets._viam_removal import remove
from agent.targets._viam_session import session
from agent.targets._viam_uploads import Part, Uploads, tag_of
from drivers.settings import check, option

_API = re.compile(r"[a-z0-9_-]+:[a-z0-9_-]+:[a-z0-9_-]+")
_PORT = 443


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of a `viam` target."""

    needs_date: ClassVar[bool] = True
    """Of readings, which cannot be amended."""
    recognises: ClassVar[bool] = False
    """Only where the API key may read data, which nobody knows beforehand."""
    part_id: str = option(
        "id of the machine's part that captures belong to, a UUID", example="11111111-2222-3333-4444-555555555555"
    )
    key_id: str = option("id of an API key, a UUID", example="01234567-89ab-cdef-0123-456789abcdef")
    key_file: str = option("the API key: name of a credential or secret, or path of a file", example="viam-key")
    samples: str = option(
        "samples as readings, which can be queried, as files, or both",
        "readings",
        choices=("readings", "files", "both"),
    )
    readings_hz: float = option(
        "readings a second of each stream, at most; 0: every sample is one", 0.0, at_least=0, at_most=1e6
    )
    component_name: str = option("component that readings and pictures belong to; empty: the recording's name", "")
    component_type: str = option("what gives the readings", "rdk:component:sensor")
    camera_type: str = option("what gives the pictures", "rdk:component:camera")
    tags: tuple[str, ...] = option("tags of everything that is sent", ())
    label_tags: bool = option("tags such as activity:walking from a capture's labels", True)
    dataset_ids: tuple[str, ...] = option("ids of the data sets that pictures and files become part of", ())
    delete_readings: bool = option(
        "taking a capture back deletes its readings, too: by a call that means all readings of the organization to a"
        " server which does not know its filter",
        False,
    )
    formats: tuple[str, ...] = option("deliver only the first of these formats that a capture has; empty: any", ())
    host: str = option("address of Viam, with its port where that is not 443", "app.viam.com")
    ca_file: str = option("certificates (PEM) to trust instead of those that come with grpcio", "")
    proxy: str = option("proxy URL; empty: https_proxy and no_proxy of the environment", "")
    insecure: bool = option("no TLS: for tests, with a host on this machine", False)
    connect_timeout_s: float = option("longest wait for a connection, seconds", 20.0, at_least=0.1, at_most=300)
    idle_timeout_s: float = option("longest wait without any progress, seconds", 60.0, at_least=0.1, at_most=600)

    def __post_init__(self) -> None:
        mistakes = missing("grpc", "viam")
        for name in ("part_id", "key_id"):
            if not _is_uuid(value := getattr(self, name)):
                mistakes.append((name, value, "a UUID, such as 01234567-89ab-cdef-0123-456789abcdef"))
        if not self.key_file:
            mistakes.append(("key_file", "", "where the API key is"))
        for name in ("component_type", "camera_type"):
            if not _API.fullmatch(value := getattr(self, name)):
                mistakes.append((name, value, "NAMESPACE:TYPE:SUBTYPE, such as rdk:component:sensor"))
        if not (host := _host(self.host)):
            mistakes.append(("host", self.host, "HOST or HOST:PORT, without https://"))
        elif self.insecure and not _is_loopback(host):
            mistakes.append(("insecure", True, "false: without TLS, anybody on the way can read the API key"))
        if self.proxy and not self.proxy.startswith("http://"):
            mistakes.append(("proxy", self.proxy, "http://HOST:PORT"))
        check(self, *mistakes)

    def open(self, home: Home) -> "Viam":
        """Makes the target; reads no secret and touches no network."""
        return Viam(self, home)


class Viam:
    """Takes pictures as a camera's, samples as a sensor's readings or as files, and each sidecar as a file. Safe for
    several threads.

    Viam recognises nothing that comes twice. So everything bears a tag of its own, and Viam is asked for these tags
    before anything is sent, as far as the API key may read data; of readings, what was acknowledged is saved as well.
    Nothing is ever replaced: a later revision's sidecar is one more file, and readings keep the date they came with.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self.formats = settings.formats
        self._settings = settings
        parts = urllib.parse.urlsplit(f"//{settings.host}")
        line = Line(
            address=settings.host if parts.port else f"{settings.host}:{_PORT}",
            connect_s=settings.connect_timeout_s,
            idle_s=settings.idle_timeout_s,
            tls=not settings.insecure,
            ca_file=settings.ca_file,
            proxy=settings.proxy,
        )
        self._session = session(line, home, settings.key_id, settings.key_file)
        part = Part(
            settings.part_id,
            component_name=settings.component_name,
            component_type=settings.component_type,
            camera_type=settings.camera_type,
            tags=settings.tags,
            label_tags=settings.label_tags,
            dataset_ids=settings.dataset_ids,
        )
        self._uploads = Uploads(self._session, part)

    def put(self, capture: Capture, progress: Progress) -> Receipt:
        """Delivers payloads, readings and sidecar. The receipt has the id of each file, and how many readings."""
        payloads, source = self._parted(capture)
        if not payloads and source is None and self._settings.samples == "readings":
            raise Refused(
                f'{capture.name} has no payload that can be read back as samples here; samples = "files" takes it'
            )
        progress.check()
        delivery = Delivery(self._uploads, capture, progress)
        try:
            with self._censored():
                return delivery.deliver(payloads, source, self._settings.readings_hz)
        except (Refused, Later, Unreachable, Failed):
            progress.check()  # what comes of cutting the connection is no fault
            raise

    def probe(self) -> list[str]:
        """Tries the key, and asks for what there is not."""
        with self._censored():
            self._session.login(Progress())
            stored = self._uploads.stored(("outbox:nothing",), Progress())
        found = [f"{self._settings.host} knows the API key {self._settings.key_id}"]
        if stored is None:
            return [*found, "the key may not read data: what was stored before an answer got lost will be sent again"]
        return [*found, "the key may read data: what is there already will be recognised"]

    def inventory(self, asked: Sequence[tuple[Capture, Receipt]]) -> Iterator[Held]:
        """Asks for the tags of each capture, which hold its hashes. Of readings, that all were taken."""
        with self._censored():
            for capture, _ in asked:
                payloads, source = self._parted(capture)
                sent = {payload.file for payload in payloads}
                found = Delivery(self._uploads, capture, Progress()).there(payloads, source, self._settings.readings_hz)
                if found is None:
                    raise Refused("the API key may not read data, so that nobody knows what Viam has")
                for file, binary_id in found.items():
                    yield Held(file, id=binary_id if source is None or file in sent else "")

    def fetch(self, held: Held, take: Callable[[bytes], object]) -> None:
        """Gives a picture or a file; Viam sends it in one message, which has 64 MiB at most here."""
        if not held.id:
            raise Refused(f"{held.file} is there as readings, which Viam's own client exports")
        with self._censored():
            take(self._uploads.content(held.id))

    def remove(self, capture: str, receipt: Receipt) -> Sequence[str]:
        """Deletes pictures and files of the capture, in all revisions; its readings, where the settings say so."""
        with self._censored():
            return remove(self._uploads, tag_of(capture), receipt, readings=self._settings.delete_readings)

    def close(self) -> None:
        """Aborts what hangs and lets the connection go; may be called twice, from any thread."""
        self._session.close()

    def _parted(self, capture: Capture) -> tuple[tuple[Payload, ...], tuple[Payload, Format] | None]:
        """What is sent as it is, and what becomes readings. Pictures and clips are sent as they are in any case."""
        payloads = chosen(capture, self.formats)
        if self._settings.samples == "files":
            return payloads, None
        source = readable(capture, payloads)
        if self._settings.samples == "readings":
            payloads = tuple(payload for payload in payloads if shows(payload))
        return payloads, source

    @contextlib.contextmanager
    def _censored(self) -> Iterator[None]:
        """Takes key and tokens out of an error, should the server have repeated them."""
        try:
            yield
        except (Refused, Later, Unreachable, Failed) as error:
            error.args = tuple(self._session.hidden(str(text)) for text in error.args)
            raise


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _host(address: str) -> str:
    """Of HOST or HOST:PORT; empty where it is neither."""
    try:
        parts = urllib.parse.urlsplit(f"//{address}")
        usual = parts.netloc == address and "@" not in address and parts.port != 0
    except ValueError:
        return ""
    return parts.hostname or "" if usual else ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
