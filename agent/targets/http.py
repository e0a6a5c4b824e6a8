"""Any server that takes files by HTTP: a PUT, POST or resumable upload for each file, or one form for a capture."""

import dataclasses
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from agent.capture import Capture
from agent.targets import Bundle, Home, Progress, Receipt, Refused, placeholders_of, template_mistake
from agent.targets._credentials import Credentials
from agent.targets._http_bundle import Bundles
from agent.targets._http_files import Addresses, File, quoted
from agent.targets._http_server import Server, accept, origin
from agent.targets._http_tus import Tus
from agent.targets._inventory import Held
from agent.targets._transport import Answer, Body, Host, Line
from drivers.settings import check, option


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of an `http` target."""

    url: str = option(
        "where a file goes; may hold {device} {device_id} {date} {recording} {name} {file} {uuid} {format}",
        example="https://lab.example/captures/{device}/{date}/{name}",
    )
    method: str = option(
        "PUT or POST: a request per file, payloads first; form: one multipart POST with all files of a capture;"
        " tus: resumable uploads (tus.io 1.0), made at url",
        "PUT",
        choices=("PUT", "POST", "form", "tus"),
    )
    bundle_url: str = option(
        "where many small captures go together, as a tar, on the same server; may hold {device} {device_id};"
        " empty: each goes alone",
        "",
        example="https://lab.example/bundles",
    )
    bundle_captures: int = option("captures in one bundle, at most", 400, at_least=2, at_most=1000)
    bundle_capture_kb: float = option("captures of more kilobytes go alone", 256.0, at_least=1, at_most=4096)
    bundle_mb: float = option("megabytes in one bundle, at most", 8.0, at_least=0.1, at_most=1000)
    token_file: str = option("bearer token: name of a credential or secret, or path of a file", "")
    username: str = option("user of basic authentication", "")
    password_file: str = option("its password: name of a credential or secret, or path of a file", "")
    header_name: str = option("name of a header that carries the secret, such as X-Api-Key", "")
    header_file: str = option("its value: name of a credential or secret, or path of a file", "")
    ca_file: str = option(
        "certificates (PEM) to trust instead of the system's: name of a credential or secret, or path of a file", ""
    )
    certificate_file: str = option("client certificate (PEM), likewise", "")
    key_file: str = option("key of the client certificate (PEM), likewise, where it is not in the same file", "")
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
        if self.bundle_url and (mistake := self._bundle_mistake()):
            mistakes.append(("bundle_url", self.bundle_url, mistake))
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

    @property
    def recognises(self) -> bool:
        """Only an address that each file has for itself makes the same of it twice; what a server makes of our keys,
        nobody knows."""
        return self.method == "PUT"

    def _bundle_mistake(self) -> str:
        if template_mistake(self.bundle_url) or not {*placeholders_of(self.bundle_url)} <= {"device", "device_id"}:
            return "no placeholders but {device} and {device_id}"
        return "" if origin(self.bundle_url) == origin(self.url) else "the same scheme, host and port as url"

    def open(self, home: Home) -> "Http":
        """Makes the target; reads no secret and touches no network."""
        return Http(self, home)


class Http:
    """Streams from disk with Content-Length, hash and idempotency key. Safe for several threads.

    A file is there when the server answers 2xx; or 409 together with the file's sha256, in X-Content-SHA256 or ETag. A
    409 with Retry-After means that an earlier try is still being worked on: Later. Any other 409: Refused.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self.formats = settings.formats
        self._method = settings.method
        # one request per file needs an address per file: then {name} has its suffix
        one_each = settings.method in ("PUT", "POST") and "{file}" not in settings.url
        self._addresses = Addresses(settings.url.replace("{name}", "{file}") if one_each else settings.url, home)
        line = Line(
            connect_s=settings.connect_timeout_s,
            idle_s=settings.idle_timeout_s,
            ca_file=settings.ca_file,
            certificate_file=settings.certificate_file,
            key_file=settings.key_file,
            proxy=settings.proxy,
            find=home.path,
        )
        credentials = Credentials(
            home,
            settings.token_file or settings.password_file or settings.header_file,
            username=settings.username,
            header=settings.header_name,
        )
        self._server = Server(Host(urllib.parse.urljoin(settings.url, "/"), line), credentials)
        self._top = settings.url.partition("{")[0].rpartition("/")[0] + "/"
        self._tus = Tus(self._server)
        self.bundle: Bundle | None = None
        if settings.bundle_url:
            kilobyte, megabyte = 1000, 1_000_000
            self.bundle = Bundle(
                settings.bundle_captures,
                int(settings.bundle_capture_kb * kilobyte),
                int(settings.bundle_mb * megabyte),
            )
        at = settings.bundle_url.format(device=quoted(home.device), device_id=quoted(home.device_id))
        self._bundles = Bundles(self._server, self._server.own(at), self._files)

    def put(self, capture: Capture, progress: Progress) -> Receipt:
        """Delivers payloads and sidecar. The receipt has address and status of each file, or of the form."""
        files = self._files(capture)
        try:
            if self._method == "form":
                return self._form(capture, files, progress)
            return self._one_by_one(files, progress)
        except Exception as error:
            self._server.censor(error, progress)
            raise

    def put_many(self, captures: Iterable[Capture], progress: Progress) -> Sequence[Receipt | Exception]:
        """Delivers captures as one tar; see `Bundling`. A receipt has the address and the status."""
        try:
            return self._bundles.put(captures, progress)
        except Exception as error:
            self._server.censor(error, progress)
            raise

    def probe(self) -> list[str]:
        """Asks, with the credentials, for the headers of the folder above all that stands in braces.

        Whether files are taken there shows with the first capture.
        """
        return [f"{self._top} is there and does not refuse us: it answers {self._server.look(self._top)} to HEAD"]

    def inventory(self, asked: Sequence[tuple[Capture, Receipt]]) -> Iterator[Held]:
        """Asks with HEAD for each payload, at its own address, and takes the size, and a hash where it is told."""
        if self._method not in ("PUT", "POST"):
            raise Refused("what goes as a form, or as a resumable upload, has no address of its own to ask for")
        for capture, receipt in asked:
            if self.bundle is not None and "files" not in receipt:
                raise Refused("what went in a bundle has no address of its own to ask for")
            for file in self._files(capture)[:-1]:
                if (found := self._server.held(file.url)) is not None:
                    yield Held(file.name, found[0], found[1], file.url)

    def fetch(self, held: Held, take: Callable[[bytes], object]) -> None:
        """Asks with GET for what HEAD told of."""
        try:
            accept(self._server.request("GET", held.id, {}, take=take))
        except Exception as error:
            self._server.censor(error, Progress())
            raise

    def remove(self, capture: str, receipt: Receipt) -> Sequence[str]:
        """Asks with DELETE for each file that went alone to its own address, the sidecar last."""
        files = receipt.get("files")
        if self._method not in ("PUT", "POST") or not isinstance(files, dict):
            raise Refused("what went as a form, in a bundle or as a resumable upload has no address of its own")
        try:
            for name, file in files.items():
                url = self._server.own(str(file.get("url"))) if isinstance(file, dict) else ""
                if not url:
                    raise Refused(f"{name} went to another server")
                answer = self._server.request("DELETE", url, {})
                if answer.status in (403, 405, 501):
                    raise Refused(f"the server takes no DELETE of {name}: {answer.status}")
                if answer.status not in (404, 410):
                    accept(answer)
        except Exception as error:
            self._server.censor(error, Progress())
            raise
        return ()

    def close(self) -> None:
        """Aborts what hangs and lets the connections go; may be called twice, from any thread."""
        self._server.close()

    def _files(self, capture: Capture) -> list[File]:
        return self._addresses.files(capture, self.formats)

    def _one_by_one(self, files: list[File], progress: Progress) -> Receipt:
        said, told = progress.receipt.get("files"), "upload" if self._method == "tus" else "status"
        accepted: dict[str, dict[str, Any]] = {}
        if isinstance(said, dict):  # else it went otherwise then: as a form, in a bundle, to a target of another kind
            accepted = {name: done for name, done in said.items() if isinstance(done, dict)}
        accepted |= progress.state.get("files", {})
        for file in files:
            done = accepted.get(file.name, {})
            if told in done and (done.get("sha256"), done.get("url")) == (file.sha256, file.url):
                continue  # taken at this address, in an earlier try or with an earlier revision
            accepted[file.name] = {"url": file.url, "sha256": file.sha256}
            if self._method == "tus":
                accepted[file.name][told] = self._tus.deliver(file, progress)
            else:
                accepted[file.name][told] = self._send(file, progress).status
            if file is not files[-1]:
                progress.save({"files": accepted})
        return {"files": {file.name: accepted[file.name] for file in files}}

    def _send(self, file: File, progress: Progress) -> Answer:
        headers = file.headers() | {"Content-Length": str(file.size), "Idempotency-Key": file.key}
        if self._method == "POST":
            headers["Content-Disposition"] = f'attachment; filename="{quoted(file.name)}"'
        answer = self._server.request(self._method, file.url, headers, lambda: file.content(progress))
        if answer.status == 409:
            has = (answer.headers.get("x-content-sha256", ""), answer.headers.get("etag", "").strip('W/"'))
            if file.sha256 in (text.lower() for text in has):
                return answer
        accept(answer)
        return answer

    def _form(self, capture: Capture, files: list[File], progress: Progress) -> Receipt:
        boundary = f"capture-{uuid.uuid4().hex}"
        at, sums, sidecar = files[0].url, {file.name: file.sha256 for file in files}, files[-1]
        had = progress.receipt.get("sha256", {}) if progress.receipt.get("at") == at else {}
        files = [file for file in files if file is sidecar or had.get(file.name) != file.sha256]
        heads = []
        for file in files:
            field = "sidecar" if file is sidecar else "file"
            place = f'form-data; name="{field}"; filename="{quoted(file.name)}"'
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
        answer = self._server.request("POST", at, headers, form)
        accept(answer)
        return {"url": answer.url, "at": at, "status": answer.status, "files": list(sums), "sha256": sums}
