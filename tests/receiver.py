"""A small HTTP server that keeps what it is sent, and misbehaves on request: a real socket, one thread a connection."""

import dataclasses
import hashlib
import socket
import ssl
import sys
import threading
import time
from collections import deque
from types import TracebackType


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens to one request, instead of 201 and the file being stored."""

    status: int = 201
    headers: tuple[tuple[str, str], ...] = ()
    text: str = ""
    content: bytes = b""
    """The answer's, where it is no text."""
    cut_after: int | None = None
    """Body bytes after which the connection is cut, without an answer."""
    answer_after: int | None = None
    """Body bytes after which the answer is sent and the connection closed, without reading on."""
    hang: bool = False
    """Take the body (up to `cut_after` bytes of it) and never answer."""
    lose_answer: bool = False
    """Store the file, then cut the connection."""
    truncate: bool = False
    """Store the file, then send an answer that is shorter than its Content-Length."""
    pause_s: float = 0.0
    """Wait before each read of the body, and read little."""


@dataclasses.dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body_bytes: int


class Receiver:
    """`with Receiver() as receiver`: `files` has what was stored, by path; `faults` what is to come."""

    def __init__(
        self, *, authorization: str = "", tls: ssl.SSLContext | None = None, keep: bool = True, port: int = 0
    ) -> None:
        """`authorization`: the only value of that header that is let in. `keep` False: hashes instead of all but the
        smallest contents."""
        self.authorization = authorization
        self.files: dict[str, bytes] = {}
        self.stores: list[str] = []
        """Each path as often as it was stored."""
        self.requests: list[Request] = []
        self.faults: deque[Fault] = deque()
        self.hanging = threading.Event()
        """Set once a request hangs."""
        self._tls = tls
        self.keep = keep
        self.small = 256
        """Bytes of a content that is kept in any case."""
        self._listener = socket.create_server(("127.0.0.1", port))
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()
        scheme = "http" if tls is None else "https"
        self.port = self._listener.getsockname()[1]
        self.url = f"{scheme}://{'127.0.0.1' if tls is None else 'localhost'}:{self.port}"

    def __enter__(self) -> "Receiver":
        self._spawn(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            _cut(connection)
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, target, *arguments) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True, name="receiver")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                plain, connection = connection, self._tls.wrap_socket(connection, server_side=True)
                self._open.discard(plain)
                self._open.add(connection)
            with connection.makefile("rb") as stream:
                while self._request(connection, stream):
                    pass
        except (OSError, ValueError):
            pass  # the client has gone, or the test is over
        finally:
            self._open.discard(connection)
            connection.close()

    def fault(self, path: str) -> Fault:
        """What happens to this request."""
        return self.faults.popleft() if self.faults else Fault()

    def fault_of(self, method: str, path: str) -> Fault:
        """As `fault`, for servers to whom the method matters."""
        return self.fault(path)

    def length(self, headers: dict[str, str]) -> int:
        """Bytes of the body. A server that reads chunks as something else has its own."""
        assert "transfer-encoding" not in headers, "bodies come with their length"
        return int(headers.get("content-length", "0"))

    def torn(self, request: Request, content: bytes) -> None:
        """Hears of what came before a connection was cut."""

    def take(self, request: Request, content: bytes, fault: Fault) -> Fault:
        """Keeps what was sent; its answer. A server that judges what it gets has its own."""
        if request.method == "HEAD":
            content = self.files.get(request.path)
            return Fault(404) if content is None else Fault(200, (("Content-Length", str(len(content))),))
        if request.method == "GET":
            found = self.files.get(request.path)
            return Fault(404) if found is None else Fault(200, content=found)
        if request.method == "DELETE":
            return Fault(404 if self.files.pop(request.path, None) is None else 204)
        self.stores.append(request.path)
        self.files[request.path] = content
        return fault

    def _request(self, connection: socket.socket, stream) -> bool:
        """Answers one request; False when the connection is to be closed."""
        line = stream.readline().split()
        if len(line) != 3:
            return False
        method, path, _ = (part.decode() for part in line)
        headers: dict[str, str] = {}
        while (header := stream.readline().decode()) not in ("\r\n", ""):
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        length = self.length(headers)
        fault = self.fault_of(method, path)
        if self.authorization and headers.get("authorization") != self.authorization:
            fault = Fault(401, text="who are you, " + headers.get("authorization", "stranger") + "?")
        until = length if fault.cut_after is None else min(length, fault.cut_after)
        if fault.answer_after is not None:
            until = min(length, fault.answer_after)
        keep = self.keep or length < self.small
        body, digest, got = bytearray(), hashlib.sha256(), 0
        while got < until:
            if fault.pause_s:
                time.sleep(fault.pause_s)
            chunk = stream.read1(min(1 << 16, until - got) if not fault.pause_s else 64)
            if not chunk:
                return False
            got += len(chunk)
            digest.update(chunk)
            if keep:
                body += chunk
        request = Request(method, path, headers, got)
        self.requests.append(request)
        if fault.hang:
            self.hanging.set()
            self._closed.wait()
            return False
        if fault.cut_after is not None:
            self.torn(request, bytes(body))
            _cut(connection)
            return False
        if fault.answer_after is None and 200 <= fault.status < 300:
            fault = self.take(request, bytes(body) if keep else digest.hexdigest().encode(), fault)
        if fault.lose_answer:
            _cut(connection)
            return False
        text = fault.content or fault.text.encode()
        promised = len(text) + (100 if fault.truncate else 0)
        lines = [f"HTTP/1.1 {fault.status} Something"]
        if method != "HEAD" or all(name.lower() != "content-length" for name, _ in fault.headers):
            lines.append(f"Content-Length: {promised}")
        lines += [f"{name}: {value}" for name, value in fault.headers]
        connection.sendall("\r\n".join((*lines, "", "")).encode() + text)
        return fault.answer_after is None and not fault.truncate


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # gone already


if __name__ == "__main__":  # for the benchmark, whose CPU time must not hold the server's
    with Receiver(keep=False) as receiver:
        print(receiver.url, flush=True)
        sys.stdin.read()
