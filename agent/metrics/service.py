"""The service: one thread that answers GET /metrics and GET /healthz, one caller after the other, each in seconds."""

import http.server
import io
import json
import logging
import socket
import socketserver
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from agent.metrics.exposition import MEDIA_TYPE, exposition
from agent.metrics.settings import MetricsSettings
from agent.worker import Worker
from drivers.ports import boottime_ns

log = logging.getLogger(__name__)

_TURN_S = 0.25
_CALLER_S = 2.0
"""What one caller may take to ask, and again to hear."""
_LONGEST_HEAD = 8192
_PAUSE_S = 0.05
"""After each caller: a flood of them waits in the kernel, or is turned away there, and costs a recording nothing."""
_FRESH_NS = 500_000_000
"""How long a status is told again: however many ask, the daemon is asked no more often."""
_REST_S = 1.0


class Metrics:
    """`status` asks the daemon. Where the address is taken by another it is tried again, and `health` says so."""

    def __init__(self, settings: MetricsSettings, status: Callable[[], Mapping[str, Any]]) -> None:
        self._settings = settings
        self._status = status
        self._error = ""
        self._asked_ns = 0
        self._known: Mapping[str, Any] = {}

    def start(self, failed: Callable[[str, BaseException], None]) -> Worker:
        """Starts the thread."""
        return Worker("metrics", self.run, failed, silence_s=60.0).start()

    def health(self) -> dict[str, Any]:
        return {"listen": self._settings.listen, "error": self._error}

    def run(self, worker: Worker) -> None:
        """Listens, and answers, until the worker stops."""
        address = self._settings.address
        assert address is not None, "nobody starts it without one"
        while not worker.stopping.is_set():
            try:
                server = _Server(address, self._answer)
            except OSError as error:
                if not self._error:
                    log.error("metrics: %s cannot be listened on: %s", self._settings.listen, error.strerror)
                self._error = error.strerror or str(error)
                worker.wait(_REST_S)
                continue
            self._error = ""
            with server:
                while not worker.stopping.is_set():
                    worker.beat()
                    if server.answered_one():
                        worker.stopping.wait(_PAUSE_S)

    def _answer(self, path: str) -> tuple[HTTPStatus, str, str]:
        """(status, media type, text) for a path."""
        if path not in ("/metrics", "/healthz"):
            return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", "There is /metrics and /healthz.\n"
        try:
            status = self._fresh()
        except OSError as error:  # the database is busy
            return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", f"{error}\n"
        if path == "/metrics":
            return HTTPStatus.OK, MEDIA_TYPE, exposition(status)
        problems = status["problems"]
        text = json.dumps({"status": "problems" if problems else "ok", "problems": problems}, indent=1) + "\n"
        return HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK, "application/json", text

    def _fresh(self) -> Mapping[str, Any]:
        now = boottime_ns()
        if not self._known or now - self._asked_ns > _FRESH_NS:
            self._known, self._asked_ns = self._status(), now
        return self._known


class _Server(socketserver.TCPServer):
    """One request, one connection; who comes meanwhile waits in the kernel's queue, which is short."""

    allow_reuse_address = True
    timeout = _TURN_S
    request_queue_size = 8

    def __init__(self, address: tuple[str, int], answer: Callable[[str], tuple[HTTPStatus, str, str]]) -> None:
        self.answer = answer
        self._waited_in_vain = False
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Request)

    def answered_one(self) -> bool:
        """Waits a moment for a caller; whether there was one."""
        self._waited_in_vain = False
        self.handle_request()
        return not self._waited_in_vain

    def handle_timeout(self) -> None:
        self._waited_in_vain = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller who left, or was too slow, has only that; anything else is ours, and loud."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            raise error
        log.debug("metrics: a caller has gone", exc_info=True)


class _Request(http.server.BaseHTTPRequestHandler):
    """One question, which has no body, and its answer."""

    server: _Server
    server_version = "capture-agent"
    sys_version = ""
    timeout = _CALLER_S

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BytesIO(_head(self.connection))

    def do_GET(self) -> None:
        status, media_type, text = self.server.answer(self.path.partition("?")[0])
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line each time would fill the journal."""


def _head(connection: socket.socket) -> bytes:
    """What comes up to the empty line. TimeoutError where that takes too long, drop by drop or not at all."""
    end_ns = boottime_ns() + int(_CALLER_S * 1e9)
    head = bytearray()
    while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) < _LONGEST_HEAD:
        left_s = (end_ns - boottime_ns()) / 1e9
        if left_s <= 0:
            raise TimeoutError("the question took too long")
        connection.settimeout(left_s)
        chunk = connection.recv(_LONGEST_HEAD - len(head))
        if not chunk:
            break
        head += chunk
    connection.settimeout(_CALLER_S)
    return bytes(head)
