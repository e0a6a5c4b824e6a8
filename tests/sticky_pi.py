"""Sticky Pi in tests: the server with the targets that lead to it, pictures, and what another client gets."""

import base64
import contextlib
import hashlib
import io
import itertools
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import piexif

from agent import exif
from agent.capture import Capture
from agent.targets import Home
from agent.targets.sticky_pi import Settings
from agent.targets.sticky_pi import StickyPi as Target
from drivers.ports.jpeg import APP0, APP1, segments
from tests.captures import make_capture
from tests.models.sticky_pi import StickyPi
from tests.receiver import Fault

UPLOAD, ASK, LOGIN = "/_put_new_images", "/get_images/metadata", "/get_token"

V1 = bytes.fromhex(
    "762c542c482c422c4c2c6c61742c6c6e672c612c6c2c620a332e312e302c32302e362c34322e362c37322c312e32302c34392e3236313432"
    "2c2d3132332e32353038382c39372e332c313635323831333138322c31"
)
V2 = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/4QCaRXhpZgAATU0AKgAAAAgAAgEPAAIAAAAJAAAAJodpAAQAAAABAAAALwAAAABTdGlja3lQaQAAAZKGAAcA"
    "AABVAAAAPXYsVCxILEIsTCxsYXQsbG5nLGEsbCxiCjMuMS4wLDIwLjYsNDIuNiw3MiwxLjIwLDQ5LjI2MTQyLC0xMjMuMjUwODgsOTcuMywxNjUy"
    "ODEzMTgyLDH/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71////m8H////6/+b9//j/2wBDASst"
    "LTw1PHZBQXb4pYyl+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj/wAARCAAQABADASIAAhEBAxEB/8QA"
    "FQABAQAAAAAAAAAAAAAAAAAAAAT/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QAFQEBAQAAAAAAAAAAAAAAAAAAAgX/xAAUEQEAAAAAAAAAAAAAAAAA"
    "AAAA/9oADAMBAAIRAxEAPwCoBMN//9k="
)
V2_NAME, V2_MD5 = "512858f4.2024-03-05_06-07-08", "da70ba3e3cb37249df8737540540bfc2"
V1_ROW = {"device_version": "3.1.0", "temp": 20.6, "hum": 42.6, "bat": 72.0, "lum": 1.2, "but": True}
V1_ROW |= {"lat": 49.26142, "lng": -123.25088, "alt": 97.3}
JPEG = ("jpeg", "image/jpeg", ".jpg")


def jpeg_around(content: bytes, jpeg: bytes = V2) -> bytes:
    """A picture with `content` in comment segments."""
    at = next(start for marker, start, _ in segments(jpeg) if marker not in (APP0, APP1))
    pieces = [content[n : n + 65000] for n in range(0, len(content), 65000)]
    comments = b"".join(b"\xff\xfe" + (len(piece) + 2).to_bytes(2, "big") + piece for piece in pieces)
    return jpeg[:at] + comments + jpeg[at:]


def with_exif(comment: bytes | None, make: bytes | None = b"StickyPi") -> bytes:
    zeroth = {} if make is None else {piexif.ImageIFD.Make: make}
    ifds = {"0th": zeroth, "Exif": {} if comment is None else {piexif.ExifIFD.UserComment: comment}}
    with io.BytesIO() as made:
        piexif.insert(piexif.dump(ifds), exif.plain(V2), made)
        return made.getvalue()


def picture(folder: Path, jpeg: bytes = V2, name: str = V2_NAME) -> Capture:
    return make_capture(folder, jpeg, name=name, kind=JPEG, recording="photos")


class Server:
    """The model, and the targets that lead to it."""

    def __init__(self, model: StickyPi, folder: Path, stack: contextlib.ExitStack) -> None:
        self.model, self.stack = model, stack
        self.secret = model.users["bay3"]
        self.home = Home("bay3", "512858f4", folder / "secrets")
        self.home.secrets.mkdir(exist_ok=True)
        (self.home.secrets / "password").write_text(self.secret + "\n")

    def open(self, **settings) -> Target:
        given = {"url": self.model.url, "username": "bay3", "password_file": "password", "idle_timeout_s": 0.5}
        target = Settings(**{**given, **settings}).open(self.home)
        self.stack.callback(target.close)
        return target

    def open_patient(self) -> Target:
        return self.open(idle_timeout_s=60)

    def open_elsewhere(self, host: str) -> Target:
        return self.open(url=f"http://{host}")

    def files(self) -> dict[str, bytes]:
        """What rows tell of, with the bytes that the bucket has."""
        found = {}
        for row in self.model.rows.values():
            name = f"{row['device']}.{row['datetime'][:10]}_{row['datetime'][11:19].replace(':', '-')}.jpg"
            found[name] = self.model.picture(name)
            assert hashlib.md5(found[name]).hexdigest() == row["md5"], "the bucket has what the row says"
        return found

    def forget(self):
        raise NotImplementedError

    def lose_answer(self):
        self.model.faults.append(Fault(lose_answer=True))

    def cut(self, after_bytes):
        self.model.faults.append(Fault(cut_after=after_bytes))

    def deny(self):
        for path in (ASK, LOGIN):  # the token, and the password for another one
            self.model.faults_at[path].append(Fault(401, text=f"Unauthorized Access with {self.secret}"))

    def busy(self, status, retry_after):
        self.model.faults.append(Fault(status, (("Retry-After", retry_after),)))

    def slow(self):
        self.model.faults.append(Fault(pause_s=0.002))

    def answer_early(self):
        self.model.faults.append(Fault(413, text=f"too much of {self.secret}", answer_after=1000))

    def truncate_answer(self):
        self.model.faults.append(Fault(truncate=True))

    def misanswer(self, text):
        self.model.faults.append(Fault(text=text or " "))

    def hang(self) -> threading.Event:
        self.model.faults.append(Fault(hang=True))
        return self.model.hanging


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    with StickyPi() as model, contextlib.ExitStack() as stack:
        yield Server(model, folder, stack)


def code(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def form(file: str, jpeg: bytes, md5: str = "") -> tuple[str, bytes]:
    body = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\n\r\n%s\r\n' % (file.encode(), jpeg)
    if md5:
        body += f'--b\r\nContent-Disposition: form-data; name="{file}.md5"\r\n\r\n{md5}\r\n'.encode()
    return "multipart/form-data; boundary=b", body + b"--b--\r\n"


def asked(far: Server, path: str, media_type: str, body: bytes, status: int = 200) -> bytes:
    """What any other client gets."""
    headers = {"Content-Type": media_type, "Authorization": "Basic " + code(f"bay3:{far.secret}")}
    try:
        with urllib.request.urlopen(urllib.request.Request(far.model.url + path, body, headers)) as answer:
            assert answer.status == status
            return answer.read()
    except urllib.error.HTTPError as error:
        with error:
            assert error.code == status
            return error.read()


def kept(model: StickyPi) -> list[tuple[str, bytes]]:
    """Path and content of each request from now on."""
    contents, take = [], model.take

    def also(request, content, fault):
        contents.append((request.path, content))
        return take(request, content, fault)

    model.take = also
    return contents


def hiding(model: StickyPi, times: int):
    """As `take`, but so many questions are answered as if nothing were there yet."""
    left, take = itertools.count(times, -1), model.take

    def hidden(request, content, fault):
        if request.path == ASK and next(left) > 0:
            return Fault(200, text="[]")
        return take(request, content, fault)

    return hidden
