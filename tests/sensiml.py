"""SensiML in tests: the server with the targets that lead to it, and captures that it takes."""

import contextlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.capture import Capture
from agent.targets import Home
from agent.targets.sensiml import Sensiml, Settings
from tests.captures import make_capture
from tests.receiver import Fault
from tests.sensiml_projects import Project
from tests.sensiml_server import SensimlServer

CSV = b"sequence,AccelerometerX\n7,1\n8,2\n9,3\n"
BLOCK = b"".join(b"%d,1234567890123456789\n" % n for n in range(1000))


def sheet(content: bytes) -> bytes:
    """A CSV that differs where `content` does and is at least as long; of much content, only the length counts."""
    if len(content) > 1 << 20:
        return b"sequence,Value\n" + BLOCK * (len(content) // len(BLOCK) + 1)
    cells = [int.from_bytes(content[at : at + 7], "big") for at in range(0, len(content), 7)]
    columns = [cells[at::4] for at in range(4)]
    rows = [",".join(str(c[n]) if n < len(c) else "" for c in columns) for n in range(len(columns[0]))]
    lines = ["sequence,A,B,C,D", f"100,{len(content)},0,0,0", *(f"{101 + n},{row}" for n, row in enumerate(rows))]
    return ("\n".join(lines) + "\n").encode()


def recorded(folder: Path, content: bytes = CSV, **more: Any) -> Capture:
    """A capture of three rows, samples 7 to 9, with what a sidecar says of its one stream."""
    channel = {"name": "AccelerometerX", "unit": "g", "dtype": "<i2", "scale": 0.000244, "offset": 0.0}
    stream = {
        "name": "imu",
        "driver": "mpu6050",
        "model": "MPU-6050",
        "serial": "",
        "first": 7,
        "samples": 3,
        "rate_hz": {"nominal": 104.0, "measured": 103.97, "ppm": -288.0, "residual_s": 1e-5},
        "lost": {"samples": 0, "exact": True},
        "gaps": [],
        "channels": [channel],
    }
    return make_capture(folder, content, **{"streams": [stream], **more})


class Server:
    """The model, and the targets that lead to it."""

    def __init__(self, model: SensimlServer, folder: Path, stack: contextlib.ExitStack) -> None:
        self.model, self.stack = model, stack
        self.secret = model.users["bay3"]
        self.home = Home("bay3", "0badcafe", folder / "secrets")
        self.home.secrets.mkdir(exist_ok=True)
        (self.home.secrets / "password").write_text(self.secret + "\n")
        (self.home.secrets / "client").write_text(model.clients["agent"])
        (self.home.secrets / "key").write_text("web-ui-key-4711\n")

    def open(self, **settings: Any) -> Sensiml:
        given = {"url": self.model.url, "project": "bay vibration", "secret_file": "password", "idle_timeout_s": 0.5}
        given |= {"username": "bay3", "client_id": "agent", "client_secret_file": "client"}
        target = Settings(**{**given, **settings}).open(self.home)
        self.stack.callback(target.close)
        return target

    def open_patient(self) -> Sensiml:
        return self.open(idle_timeout_s=60.0)

    def open_elsewhere(self, host: str) -> Sensiml:
        return self.open(url=f"http://{host}")

    def files(self) -> dict[str, bytes]:
        named = [c["name"] for p in self.model.projects.values() for c in p.captures.values()]
        assert len(named) == len(set(named)), "nothing is there twice"
        return {name: capture["file"] for name, capture in self.model.captures().items()}

    def forget(self) -> None:
        self.model.keep = False

    def lose_answer(self) -> None:
        self.model.faults.append(Fault(lose_answer=True))

    def cut(self, after_bytes: int) -> None:
        self.model.faults.append(Fault(cut_after=after_bytes))

    def deny(self) -> None:
        """The tokens are over, and neither the refresh token nor the password gets another."""
        self.model.access.clear()
        said = json.dumps({"error": "invalid_grant", "error_description": f"who is {self.secret}?"})
        self.model.faults_at["token"] += [Fault(400, text=said), Fault(400, text=said)]

    def busy(self, status: int, retry_after: str) -> None:
        self.model.faults.append(Fault(status, (("Retry-After", retry_after),)))

    def slow(self) -> None:
        self.model.faults.append(Fault(pause_s=0.0005))

    def answer_early(self) -> None:
        self.model.faults.append(Fault(413, text=f"too much of {self.secret}", answer_after=1000))

    def truncate_answer(self) -> None:
        self.model.faults.append(Fault(truncate=True))

    def misanswer(self, text: str) -> None:
        self.model.faults.append(Fault(text=text or " "))

    def hang(self) -> threading.Event:
        self.model.faults.append(Fault(hang=True))
        return self.model.hanging

    # what is there

    @property
    def project(self) -> Project:
        (project,) = self.model.projects.values()
        return project

    def capture(self, name: str) -> dict[str, Any]:
        return self.model.captures()[name]

    def metadata(self, name: str) -> dict[str, str]:
        """What is attached to a capture, in words."""
        return dict(self._words(item) for item in self.capture(name)["metadata-relationship"].values())

    def segments(self, name: str) -> set[tuple[str, str, int, int, str]]:
        """Label, value, first, last and session of each."""
        sessions = {s["id"]: s["name"] for s in self.project.segmenters.values()}
        return {
            (
                *self._words(item),
                item["capture_sample_sequence_start"],
                item["capture_sample_sequence_end"],
                sessions[item["segmenter"]],
            )
            for item in self.capture(name)["label-relationship"].values()
        }

    def _words(self, item: dict[str, Any]) -> tuple[str, str]:
        name = self.project.names[item["label"]]
        return name["name"], name["label_values"][item["label_value"]]["value"]


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    with SensimlServer() as model, contextlib.ExitStack() as stack:
        yield Server(model, folder, stack)


def asked(far: Server, method: str, path: str, document: Any = None, **headers: str) -> tuple[int, Any]:
    """What any other client gets: status, and the object or bytes."""
    far.model.keys.add("another-client")
    body = document if isinstance(document, bytes) else None if document is None else json.dumps(document).encode()
    known = {"Authorization": "Bearer another-client", "Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"{far.model.url}/{path}", body, known, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            status, content = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, content = error.code, error.read()
    try:
        return status, json.loads(content)
    except ValueError:
        return status, content


def form(name: str, content: bytes, file: str = "x.csv") -> tuple[bytes, dict[str, str]]:
    body = b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n%s\r\n' % name.encode()
    body += b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n--b--\r\n' % (
        file.encode(),
        content,
    )
    return body, {"Content-Type": "multipart/form-data; boundary=b"}


def upload(far, name: str, content: bytes, file: str = "x.csv") -> tuple[int, dict]:
    """What another client gets for a file in the project that is there."""
    body, headers = form(name, content, file)
    return asked(far, "POST", f"project/{far.project.facts['uuid']}/capture/", body, **headers)


def posts(far) -> int:
    return len(far.model.asked("POST", "/capture"))
