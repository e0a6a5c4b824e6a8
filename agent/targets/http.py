"""Any server that takes files by HTTP: a PUT or POST for each file, or one form for the whole capture."""

import base64
import dataclasses
import hashlib
import urllib.parse
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from agent.capture import Capture, Payload
from agent.targets import (
    Failed,
    Home,
    Later,
    Progress,
    Receipt,
    Refused,
    Unreachable,
    chosen,
    placeholders,
    placeholders_of,
    sidecar_content,
    template_mistake,
    verified,
)
from agent.targets._credentials import Credentials
from agent.targets._transport import Answer, Body, Host, Line, judge, retry_after_s
from drivers.settings import check, option

_CHUNK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of an `http` target."""

    url: str = option(
        "where a file goes; may hold {device} {device_id} {date} {recording} {name} {file} {uuid} {format}",
        example="https://lab.example/captures/{device}/{date}/{name}",
    )
    method: str = option(
        "PUT or POST: one request per file, payloads first; form: one multipart POST with all files of a capture",
        "PUT",
        choices=("PUT", "POST", "form"),
    )
    token_file: str = option("bearer token: name of a credential or secret, or path of a file", "")
    username: str = option("user of basic authentication", "")
    password_file: str = option("its password: name of a credential or secret, or path of a file", "")
    header_name: str = option("name of a header that carries the secret, such as X-Api-Key", "")
    header_file: str = option("its value: name of a credential or secret, or path of a file", "")
    ca_file: str = option("certificates (PEM) to trust instead of the system's", "")
    certificate_file: str = option("client certificate (PEM)", "")
    key_file: str = option("key of the client certificate (PEM), where it is not in the same file", "")
    proxy: str = option("proxy URL; empty: http_proxy, https_proxy and no_proxy of the environment", "")
    connect_timeout_s: float = option("longest wait for a connection, seconds", 10.0, at_least=0.1, at_most=300)
    idle_timeout_s: float = option("longest wait without any progress, seconds", 30.0, at_least=0.1, at_most=600)
    formats: tuple[str, ...] = option("deliver only the first of these formats that a capture has; empty: all", ())

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        parts = urllib.parse.urlsplit(self.url)
        if mistake := template_mistake(self.url):
            mistakes.append(("url", self.url, mistake))
        elif parts.scheme not in ("http", "https") or not parts.hostname or "{" in parts.netloc:
            mistakes.append(("url", self.url, "http://HOST/... or https://HOST/..., HOST without braces"))
        elif "@" in parts.netloc:
            mistakes.append(("url", "(not shown)", "no password: use username and password_file"))
        elif self.method == "PUT" and "{file}" not in self.url and "{name}" not in self.url:
            mistakes.append(("url", self.url, "{file} or {name} somewhere, so that each file has its own address"))
        given = [name for name in ("token_file", "password_file", "header_file") if getattr(self, name)]
        if len(given) > 1:
            mistakes.append((given[1], getattr(self, given[1]), f"not together with {given[0]}"))
        for one, other in (("username", "password_file"), ("header_name", "header_file")):
            if bool(getattr(self, one)) != bool(getattr(self, other)):
                mistakes.append((other, getattr(self, other), f"given if and only if {one} is"))
        if self.key_file and not self.certificate_file:
            mistakes.append(("certificate_file", "", "the certificate that key_file belongs to"))
        if self.proxy and not self.proxy.startswith(("http://", "https://")):
            mistakes.append(("proxy", self.proxy, "http://HOST:PORT"))
        check(self, *mistakes)

    def open(self, home: Home) -> "Http":
        """Makes the target; reads no secret and touches no network."""
        return Http(self, home)


@dataclasses.dataclass(frozen=True)
class _File:
    """One file of a capture on its way: its address, who it is, and how to read it."""

    name: str
    url: str
    key: str
    """Idempotency key, the same for each try; a sidecar's changes with its revision."""
    media_type: str
    size: int
    sha256: str
    read: Callable[[], Iterable[bytes | memoryview]]

    def headers(self) -> dict[str, str]:
        digest = base64.b64encode(bytes.fromhex(self.sha256)).decode()
        return {
            "Content-Type": self.media_type,
            "Content-Digest": f"sha-256=:{digest}:",  # RFC 9530
            "X-Content-SHA256": self.sha256,
        }

    def content(self, progress: Progress) -> Body:
        progress.check()
        for chunk in self.read():
            yield chunk
            progress.sent(len(chunk))


class Http:
    """Streams from disk with Content-Length, hash and idempotency key. Safe for several threads.

    A file is there when the server answers 2xx; or 409 together with the file's sha256, in X-Content-SHA256 or ETag. A
    409 with Retry-After means that an earlier try is still being worked on: Later. Any other 409: Refused.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self.formats = settings.formats
        self._home = home
        self._method = settings.method
        # one request per file needs an address per file: then {name} has its suffix
        one_each = settings.method != "form" and "{file}" not in settings.url
        self._url = settings.url.replace("{name}", "{file}") if one_each else settings.url
        self._placeholders = placeholders_of(self._url)
        self._credentials = Credentials(
            home,
            settings.token_file or settings.password_file or settings.header_file,
            username=settings.username,
            header=settings.header_name,
        )
        line = Line(
            connect_s=settings.connect_timeout_s,
            idle_s=settings.idle_timeout_s,
            ca_file=settings.ca_file,
            certificate_file=settings.certificate_file,
            key_file=settings.key_file,
            proxy=settings.proxy,
        )
        self._host = Host(urllib.parse.urljoin(settings.url, "/"), line)

    def put(self, capture: Capture, progress: Progress) -> Receipt:
        """Delivers payloads and sidecar. The receipt has address and status of each file, or of the form."""
        payloads = [self._payload(capture, payload) for payload in chosen(capture, self.formats)]
        files = [*payloads, self._sidecar(capture)]
        try:
            if self._method == "form":
                return self._form(capture, files, progress)
            return self._one_by_one(files, progress)
        except (Refused, Later, Unreachable, Failed) as error:
            progress.check()  # what comes of cutting the connection is no fault
            error.args = tuple(self._credentials.hidden(str(text)) for text in error.args)
            raise

    def probe(self) -> list[str]:
        """Asks, with the credentials, for the headers of the folder that is in no braces: nothing is sent or changed.

        Whether files are taken shows with the first capture: only 401, 403, 407 and 5xx tell something beforehand.
        """
        url = self._url.partition("{")[0].rpartition("/")[0] + "/"
        try:
            answer = self._request(url, {"Content-Length": "0"}, _nothing, method="HEAD")
            if answer.status in (401, 403, 407) or answer.status >= 500:
                judge(answer)
        except (Later, Unreachable, Failed) as error:
            error.args = tuple(self._credentials.hidden(str(text)) for text in error.args)
            raise
        return [f"{url} is there and does not refuse us: it answers {answer.status} to HEAD"]

    def close(self) -> None:
        """Aborts what hangs and lets the connections go; may be called twice, from any thread."""
        self._host.close()

    def _one_by_one(self, files: list[_File], progress: Progress) -> Receipt:
        accepted: dict[str, dict[str, Any]] = dict(progress.state.get("files", {}))
        for file in files:
            done = accepted.get(file.name, {})
            if (done.get("key"), done.get("url")) == (file.key, file.url):
                continue  # taken in an earlier try, at this address
            answer = self._send(file, progress)
            accepted[file.name] = {"url": file.url, "key": file.key, "status": answer.status}
            if file is not files[-1]:
                progress.save({"files": accepted})
        return {"files": {file.name: accepted[file.name] for file in files}}

    def _send(self, file: _File, progress: Progress) -> Answer:
        headers = file.headers() | {"Content-Length": str(file.size), "Idempotency-Key": file.key}
        if self._method == "POST":
            headers["Content-Disposition"] = f'attachment; filename="{_quoted(file.name)}"'
        answer = self._request(file.url, headers, lambda: file.content(progress))
        if answer.status == 409:
            has = (answer.headers.get("x-content-sha256", ""), answer.headers.get("etag", "").strip('W/"'))
            if file.sha256 in (text.lower() for text in has):
                return answer
        _judge(answer)
        return answer

    def _form(self, capture: Capture, files: list[_File], progress: Progress) -> Receipt:
        boundary = f"capture-{uuid.uuid4().hex}"
        heads = []
        for file in files:
            field = "sidecar" if file is files[-1] else "file"
            place = f'form-data; name="{field}"; filename="{_quoted(file.name)}"'
            lines = {"Content-Disposition": place, **file.headers()}
            text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            heads.append(f"--{boundary}\r\n{text}\r\n".encode())
        tail = f"--{boundary}--\r\n".encode()
        size = sum(len(head) + file.size + 2 for head, file in zip(heads, files, strict=True)) + len(tail)

        def form() -> Body:
            for head, file in zip(heads, files, strict=True):
                yield head
                yield from file.content(progress)
                yield b"\r\n"
            yield tail

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(size),
            "Idempotency-Key": f"{capture.uuid}/{capture.revision}",
        }
        answer = self._request(files[0].url, headers, form)
        _judge(answer)
        return {"url": answer.url, "status": answer.status, "files": [file.name for file in files]}

    def _request(self, url: str, headers: dict[str, str], body: Callable[[], Body], method: str = "") -> Answer:
        """One request; a second one where the server refuses our secret and there is a new one."""
        method = method or ("PUT" if self._method == "PUT" else "POST")
        answer = self._host.send(method, url, headers | self._credentials.headers(), body)
        if answer.status == 401 and self._credentials.renewed():
            answer = self._host.send(method, url, headers | self._credentials.headers(), body)
        return answer

    def _payload(self, capture: Capture, payload: Payload) -> _File:
        return _File(
            payload.file,
            self._address(capture, payload.file, payload.format),
            f"{capture.uuid}/{payload.file}",
            payload.media_type,
            payload.size,
            payload.sha256,
            lambda: verified(capture, payload, _CHUNK),
        )

    def _sidecar(self, capture: Capture) -> _File:
        content = sidecar_content(capture)
        name = capture.sidecar.name
        return _File(
            name,
            self._address(capture, name, "json"),
            f"{capture.uuid}/{name}/{capture.revision}",
            "application/json",
            len(content),
            hashlib.sha256(content).hexdigest(),
            lambda: (content,),
        )

    def _address(self, capture: Capture, file: str, format: str) -> str:
        values = placeholders(capture, self._home, file, format)
        needed = {key: _quoted(values[key]) for key in self._placeholders}
        if {".", ".."} & set(needed.values()):
            raise Refused(f"{capture.name} has names that would lead to another address")
        return self._url.format_map(needed)


def _nothing() -> Body:
    yield from ()


def _judge(answer: Answer) -> None:
    """`judge`, with the two meanings of 409: still at it (with Retry-After), or another one is there."""
    if answer.status == 409 and (after_s := retry_after_s(answer.headers)) is not None:
        raise Later(str(answer), after_s)
    judge(answer)


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")
