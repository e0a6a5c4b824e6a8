"""`python -m bench._sink PORT RATE`: an HTTP server that takes what is put, at RATE bytes a second, and keeps nothing.

RATE 0: as fast as it comes. It ends with its standard input, and says how many files and bytes there were.
"""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 16


class Link:
    """What all connections share: so many bytes a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_s = time.monotonic()
        self.files = self.bytes = 0

    def carry(self, size: int) -> None:
        """Returns when so many bytes more would have come over the line."""
        with self._lock:
            self.bytes += size
            if not self._rate:
                return
            self._free_s = max(self._free_s, time.monotonic()) + size / self._rate
            wait_s = self._free_s - time.monotonic()
        time.sleep(max(0.0, wait_s))

    def arrived(self) -> None:
        """A file is whole."""
        with self._lock:
            self.files += 1


def _serve(port: int, link: Link) -> http.server.ThreadingHTTPServer:
    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            left = int(self.headers["Content-Length"])
            while left:
                data = self.rfile.read(min(left, _CHUNK))
                if not data:
                    return
                left -= len(data)
                link.carry(len(data))
            link.arrived()
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Answers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Sink:
    """Such a server in a process of its own."""

    def __init__(self, port: int, rate: float = 0.0) -> None:
        self._command = [sys.executable, "-m", "bench._sink", str(port), str(rate)]
        self.files = self.bytes = 0
        """After it ended."""

    @contextlib.contextmanager
    def listening(self) -> Iterator["Sink"]:
        """While it is entered."""
        root = Path(__file__).parent.parent
        with subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                yield self
            finally:
                said, _ = process.communicate()
                self.files, self.bytes = json.loads(said)


def main() -> None:
    link = Link(float(sys.argv[2]))
    server = _serve(int(sys.argv[1]), link)
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    print(json.dumps([link.files, link.bytes]), flush=True)
    os._exit(0)  # whoever is still connected is of no interest any more


if __name__ == "__main__":
    main()
