"""Edge Impulse: samples as signed data acquisition documents, pictures and sound as files, by its ingestion API."""

import calendar
import contextlib
import dataclasses
import json
import re
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from agent.capture import Capture, Payload
from agent.targets import Failed, Home, Later, Plan, Progress, Receipt, Refused, Unreachable, chosen, verified
from agent.targets._credentials import Credentials, short
from agent.targets._edge_impulse_document import CBOR, JSON, Document, document
from agent.targets._edge_impulse_labels import structured_labels, told
from agent.targets._edge_impulse_samples import Sheet
from agent.targets._edge_impulse_studio import Studio, parsed
from agent.targets._inventory import Held
from agent.targets._transport import Answer, Body, Host, Line, judge
from drivers.settings import check, option

_CHUNK = 1 << 16
_LARGEST = 100 << 20
"""A file has to be smaller."""
_FILES = {"wav": ".wav", "jpeg": ".jpg"}
"""Formats that go as they are; all others are read back as samples."""
_ANSWER_BYTES = 1 << 20
"""Some hundred samples, as the Studio lists them."""
_THERE = re.compile(r"An item with this hash already exists(?: \(ids?: ([0-9, ]+)\))?")
"""How the platform says that it has this very file, with status 200."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of an `edge_impulse` target."""

    api_key_file: str = option(
        "API key of the project: name of a credential or secret, or path of a file", example="edge-impulse-key"
    )
    hmac_key_file: str = option("HMAC key that samples are signed with; empty: not signed", "")
    category: str = option(
        "part of the dataset; split: the platform divides training and testing",
        "training",
        choices=("training", "testing", "split", "validation", "anomaly"),
    )
    label: str = option("name of the capture's label (or metadata) that is the label there; empty: the only one", "")
    segments: bool = option("send labelled parts too: the project has to be one of several labels a sample", False)
    encoding: str = option("how samples are written; json takes about twice as much", "cbor", choices=("cbor", "json"))
    senml_units: bool = option("m/s2, rad/s and Cel, as the platform demands; false: units as recorded", True)
    date_id: bool = option("the platform adds a date to the file's name", False)
    url: str = option("address of the ingestion service", "https://ingestion.edgeimpulse.com")
    studio_url: str = option(
        "address of the Studio's API: which project it is, what it has", "https://studio.edgeimpulse.com/v1"
    )
    ca_file: str = option("certificates (PEM) to trust instead of the system's", "")
    proxy: str = option("proxy URL; empty: http_proxy, https_proxy and no_proxy of the environment", "")
    connect_timeout_s: float = option("longest wait for a connection, seconds", 10.0, at_least=0.1, at_most=300)
    idle_timeout_s: float = option("longest wait without any progress, seconds", 60.0, at_least=0.1, at_most=600)
    formats: tuple[str, ...] = option(
        "of a capture's formats the first of these is sent; wav and jpeg as they are, others as samples",
        ("csv", "csv_gz", "parquet", "flac", "wav", "jpeg"),
    )

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        for name in ("url", "studio_url"):
            parts = urllib.parse.urlsplit(getattr(self, name))
            if "@" in parts.netloc:
                mistakes.append((name, "(not shown)", "no password: use api_key_file"))
            elif parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
                mistakes.append((name, getattr(self, name), "http://HOST or https://HOST"))
        if not self.api_key_file:
            mistakes.append(("api_key_file", "", "where the key is"))
        if not self.formats or "mcap" in self.formats:
            mistakes.append(("formats", self.formats, "some of csv, csv_gz, parquet, flac, wav, jpeg"))
        if self.proxy and not self.proxy.startswith(("http://", "https://")):
            mistakes.append(("proxy", self.proxy, "http://HOST:PORT"))
        check(self, *mistakes)

    def mistakes(self, plan: Plan) -> Iterable[tuple[str, object, str]]:
        """Samples need a constant rate."""
        first = next((name for name in self.formats if name in plan.formats), "")
        if not plan.pictures and first not in _FILES and plan.rates_hz and not max(plan.rates_hz):
            yield "streams", plan.rates_hz, "a stream at a constant rate: Edge Impulse takes no other samples"

    def open(self, home: Home) -> "EdgeImpulse":
        """Makes the target; reads no secret and touches no network."""
        return EdgeImpulse(self, home)


@dataclasses.dataclass(frozen=True)
class _File:
    """One file of the form."""

    name: str
    media_type: str
    size: int
    content: Callable[[], Iterator[bytes | memoryview]]


class EdgeImpulse:
    """One payload of a capture is one sample there. Safe for several threads.

    The same file is recognised by its hash, so a document is the same at every try, and "already exists" is a delivery.
    There is no place for a sidecar; what it says goes into label and metadata, and cannot be amended there.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self.formats = settings.formats
        self._settings = settings
        self._home = home
        self._key = Credentials(home, settings.api_key_file, header="x-api-key")
        self._hmac_key = Credentials(home, settings.hmac_key_file, header="key")
        line = Line(settings.connect_timeout_s, settings.idle_timeout_s, ca_file=settings.ca_file, proxy=settings.proxy)
        self._url = f"{settings.url.rstrip('/')}/api/{settings.category}/files"
        self._host = Host(urllib.parse.urljoin(settings.url, "/"), line)
        self._studio_host = Host(urllib.parse.urljoin(settings.studio_url, "/"), line)
        self._studio = Studio(settings.studio_url.rstrip("/"), self._ask_studio)

    def put(self, capture: Capture, progress: Progress) -> Receipt:
        """Delivers a payload. The receipt has the ids of project and sample, what was left out, and if it was new."""
        payload = chosen(capture, self.formats)[0]
        progress.check()
        try:
            with self._censored():
                about = told(capture, self._settings.label)
                files = self._files(capture, payload, about.label)
                if files[0].size >= _LARGEST:
                    raise Refused(
                        f"{files[0].name} has {files[0].size} bytes and Edge Impulse takes less than {_LARGEST}: "
                        "make the recording's captures shorter (length_s)"
                    )
                said = self._sent(files, about.headers, progress)
        except (Refused, Later, Unreachable, Failed):
            progress.check()  # what comes of cutting the connection is no fault
            raise
        return {
            "url": self._url,
            "file": files[0].name,
            "label": about.label,
            "left_out": list(about.left_out),
            **said,
            "final": True,
        }

    def probe(self) -> list[str]:
        """Asks the Studio whose key this is. Changes nothing there."""
        with self._censored():
            number, name = self._studio.project()
        return [f"the key is of project {name!r} ({number})", f"samples go to {self._url}"]

    def inventory(self, asked: Sequence[tuple[Capture, Receipt]]) -> Iterator[Held]:
        """Asks the Studio for the samples of each capture, whose metadata says which it is. It tells neither the sizes
        nor the hashes of what was sent."""
        with self._censored():
            project, _ = self._studio.project()
            for capture, _ in asked:
                if found := self._studio.samples(project, capture.name, capture.uuid):
                    payload = chosen(capture, self.formats)[0]
                    yield Held(payload.file, id=", ".join(map(str, found)))

    def remove(self, capture: str, receipt: Receipt) -> Sequence[str]:
        """Deletes the samples that were made of the capture."""
        file = receipt.get("file")
        if receipt.get("url") != self._url or not isinstance(file, str):
            raise Refused(f"it was not delivered to {self._url}")
        name = urllib.parse.unquote(file).rpartition(".")[0]
        with self._censored():
            project, known_as = self._studio.project()
            if receipt.get("project") not in (None, project):
                raise Refused(f"it is in project {receipt['project']}, and the key is of {project}, {known_as!r}")
            for sample in self._studio.samples(project, name, capture):
                self._studio.delete(project, sample)
        return ()

    def close(self) -> None:
        """Aborts what hangs and lets the connections go; may be called twice, from any thread."""
        self._host.close()
        self._studio_host.close()

    @contextlib.contextmanager
    def _censored(self) -> Iterator[None]:
        """Takes our keys out of an error, should the server have repeated them."""
        try:
            yield
        except (Refused, Later, Unreachable, Failed) as error:
            error.args = tuple(self._hmac_key.hidden(self._key.hidden(str(text))) for text in error.args)
            raise

    def _ask_studio(self, method: str, url: str) -> Answer:
        return self._asked(self._studio_host, method, url, {"Content-Length": "0"}, _nothing)

    def _files(self, capture: Capture, payload: Payload, label: str) -> list[_File]:
        """The file, and the one with labelled parts where there are any."""
        if payload.format in _FILES:
            name, source = payload.file, lambda: verified(capture, payload, _CHUNK)
            return [_File(urllib.parse.quote(name), payload.media_type, payload.size, source)]
        sheet = Sheet.of(capture, payload, senml=self._settings.senml_units)
        for _ in verified(capture, payload, _CHUNK):
            pass  # it is ours before it is read as anything else
        signed = self._document(capture, sheet)
        if not signed.count:
            raise Refused(f"{payload.file} has no row in which each channel has a value")
        encoding = signed.encoding
        name = urllib.parse.quote(capture.name + encoding.suffix)
        files = [_File(name, encoding.media_type, signed.size, lambda: _unchanged(payload, signed))]
        if self._settings.segments:
            first = sheet.first + max(0, sheet.total - signed.count)  # rows that were left out are at the beginning
            parts = structured_labels(capture, self._settings.label, whole=label, first=first, rows=signed.count)
            if parts:
                labels = {"version": 1, "type": "structured-labels", "structuredLabels": {name: parts}}
                content = json.dumps(labels).encode()
                files.append(
                    _File("structured_labels.labels", "application/json", len(content), lambda: iter((content,)))
                )
        return files

    def _document(self, capture: Capture, sheet: Sheet) -> Document:
        start = capture.document["start"]
        # a date that was corrected later would make another document of what may be there already
        dated = start["clock"] == "synchronised"
        interval = sheet.interval_ms
        payload = {
            "device_name": self._home.device_id,
            "device_type": next((stream["model"] for stream in capture.document["streams"]), "") or "capture-agent",
            "interval_ms": int(interval) if interval == int(interval) else interval,
            "sensors": [{"name": axis.name, "units": axis.units} for axis in sheet.axes],
        }
        return document(
            CBOR if self._settings.encoding == "cbor" else JSON,
            payload,
            sheet.rows,
            key=next(iter(self._hmac_key.headers().values()), ""),
            iat=calendar.timegm(time.strptime(start["wall_time"][:19], "%Y-%m-%dT%H:%M:%S")) if dated else None,
        )

    def _sent(self, files: list[_File], about: Mapping[str, str], progress: Progress) -> dict[str, Any]:
        boundary = uuid.uuid4().hex
        heads = [
            (
                f'--{boundary}\r\nContent-Disposition: form-data; name="data"; filename="{file.name}"\r\n'
                f"Content-Type: {file.media_type}\r\n\r\n"
            ).encode()
            for file in files
        ]
        tail = f"--{boundary}--\r\n".encode()

        def form() -> Body:
            progress.check()
            for head, file in zip(heads, files, strict=True):
                yield head
                for piece in file.content():
                    yield from progress.sending(piece)
                yield b"\r\n"
            yield tail

        size = sum(len(head) + file.size + 2 for head, file in zip(heads, files, strict=True)) + len(tail)
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(size),
            "x-disallow-duplicates": "1",
            **about,
        }
        if self._settings.date_id:
            headers["x-add-date-id"] = "1"
        return _judged(self._asked(self._host, "POST", self._url, headers, form), files[0].name)

    def _asked(self, host: Host, method: str, url: str, headers: Mapping[str, str], body: Callable[[], Body]) -> Answer:
        """One request; a second one where the key is refused and there is a new one."""
        answer = host.send(method, url, {**headers, **self._key.headers()}, body, answer_bytes=_ANSWER_BYTES)
        if answer.status == 401 and self._key.renewed():
            answer = host.send(method, url, {**headers, **self._key.headers()}, body, answer_bytes=_ANSWER_BYTES)
        if answer.status == 404:
            options = "studio_url" if host is self._studio_host else "url and category"
            raise Unreachable(f"{answer}; check the target's {options}")
        return answer if 200 <= answer.status < 300 else _no(answer)


def _no(answer: Answer) -> Answer:
    """Raises what an error means; 200 is no promise either, see `_judged`."""
    match parsed(answer):
        case {"error": str(error)}:
            answer = dataclasses.replace(answer, text=error)
    judge(answer)
    return answer


def _judged(answer: Answer, name: str) -> dict[str, Any]:
    """What became of the first file, which the answer lists first, by place and not by name."""
    match parsed(answer):
        case {"success": True, "files": [{"success": True, **file}, *_]}:
            return {"new": True, "sample": file.get("sampleId"), "project": file.get("projectId")}
        case {"files": [{"success": False, "error": str(error)}, *_]} | {"success": False, "error": str(error)}:
            if there := _THERE.match(error):
                return {"new": False, "sample": there[1]}
            raise Refused(f"{name}: Edge Impulse says: {short(error, 300)}")
    raise Failed(f"{answer}, which does not say what became of {name}")


def _unchanged(payload: Payload, signed: Document) -> Iterator[bytes]:
    try:
        yield from signed.pieces()
    except ValueError as error:
        raise Refused(f"{payload.file}: {error}") from None


def _nothing() -> Body:
    yield from ()
