"""A small HTTP receiver that keeps what is put there, and that can be switched off for a while."""

import contextlib
import hashlib
import http.server
import socket
import socketserver
import threading
from pathlib import Path
from typing import Any


class Receiver:
    """Takes PUT on 127.0.0.1, one file per path; counts what came and what came twice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.port = 0
        self.received: dict[str, str] = {}
        """sha256 by file name."""
        self.again = 0
        """Files that came once more with the same bytes."""
        self.different = 0
        """Files that came once more with other bytes: never right."""

    def switch_on(self) -> None:
        """Listens, the second time on the port of the first."""
        self._server = _Server(("127.0.0.1", self.port), self)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="receiver", daemon=True)
        self._thread.start()

    def switch_off(self) -> None:
        """Answers nobody, and hangs up on those being served."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            server.hang_up()
            server.server_close()
            self._thread.join()

    def take(self, name: str, body: bytes) -> None:
        """Keeps one file, atomically."""
        digest = hashlib.sha256(body).hexdigest()
        with self._lock:
            before = self.received.get(name)
            if before is not None:
                self.again += before == digest
                self.different += before != digest
            self.received[name] = digest
        part = self._folder / f"{name}.part"
        part.write_bytes(body)
        part.rename(self._folder / name)


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], receiver: Receiver) -> None:
        super().__init__(address, _Request)
        self.receiver = receiver
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Cuts the connections that are kept alive."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # gone meanwhile
                connection.shutdown(socket.SHUT_RDWR)


class _Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5

    def do_PUT(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            return
        assert isinstance(self.server, _Server)
        self.server.receiver.take(Path(self.path).name, body)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the agent's own log tells of each delivery that failed."""
