"""A server on loopback that takes PUTs of those who know the word, and keeps them: server.py FOLDER WORD."""

import http.server
import pathlib
import sys

FOLDER, WORD = pathlib.Path(sys.argv[1]), sys.argv[2]


class Take(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers["Authorization"] == f"Bearer {WORD}"
        if known:
            (FOLDER / pathlib.Path(self.path).name).write_bytes(content)
        self.send_response(201 if known else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


FOLDER.mkdir(exist_ok=True)
http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Take).serve_forever()
