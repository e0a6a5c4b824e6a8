"""A Sticky Pi server, version 0.1.1, as its protocol is: what it stores, refuses, overwrites, and does not explain."""

import ast
import base64
import datetime
import hashlib
import io
import json
import math
import secrets
import time
from collections import defaultdict, deque

from PIL import Image

from tests.receiver import Fault, Receiver, Request

MAKE, EXIF_IFD, USER_COMMENT = 0x010F, 0x8769, 0x9286
PAGE = "<!doctype html><title>%s</title><p>The server encountered an internal error"
LIFE_S = 86400
WHAT = ("metadata", "image", "thumbnail", "thumbnail-mini")
NUMBERS = {"T": "temp", "H": "hum", "B": "bat", "L": "lum", "lat": "lat", "lng": "lng", "a": "alt"}
SUFFIXES = ("", ".thumbnail", ".thumbnail-mini")


class StickyPi(Receiver):
    """`rows` by (device in lower case, wire date); `objects` by name: what a bucket holds, whatever the rows say."""

    def __init__(self) -> None:
        super().__init__()
        self.users = {"bay3": "s3cret-passw0rd-0123"}
        self.readers: set[str] = set()
        """Users who may not write."""
        self.admins: set[str] = set()
        """Users who may delete."""
        self.ahead_s = 0.0
        """Of this server's clock."""
        self.tokens: dict[str, tuple[str, float]] = {}
        self.rows: dict[tuple[str, str], dict] = {}
        self.objects: dict[str, bytes] = {}
        self.log: list[str] = []
        """What the client is not told: the cause of each 500."""
        self.largest = 100 << 20
        self.faults_at: defaultdict[str, deque[Fault]] = defaultdict(deque)
        """Faults by path; those of `faults` are for uploads."""

    def fault(self, path: str) -> Fault:
        waiting = self.faults if path == "/_put_new_images" else self.faults_at[path]
        return waiting.popleft() if waiting else Fault()

    def take(self, request: Request, content: bytes, fault: Fault) -> Fault:
        """The answer; with the fault's text where it has one, and its way of getting lost."""
        status, text = self._answer(request, content)
        if status == 200 and request.method == "GET":
            return Fault(200, content=self.objects[request.path.partition("?")[0][1:]])
        return Fault(
            status,
            (("Content-Type", "application/json" if status == 200 else "text/html"), *fault.headers),
            fault.text or text,
            lose_answer=fault.lose_answer,
            truncate=fault.truncate,
        )

    def picture(self, name: str) -> bytes:
        """The bytes in the bucket."""
        return self.objects[f"raw_images/{name.partition('.')[0]}/{name}"]

    def asked(self, path: str) -> int:
        """How often."""
        return sum(request.path == path for request in self.requests)

    def _answer(self, request: Request, content: bytes) -> tuple[int, str]:
        path, _, query = request.path.partition("?")
        if request.method == "GET" and path.startswith("/raw_images/"):
            return (
                (200, "") if "s1gned0123456789abcdef" in query and "authorization" not in request.headers else (403, "")
            )
        _, endpoint, *what = request.path.split("/")
        known = ("get_token", "get_images", "_put_new_images", "delete_images")
        if endpoint not in known or (endpoint == "get_images") != (len(what) == 1):
            return 404, PAGE % "404 Not Found"
        if request.method != "POST":
            return 405, PAGE % "405 Method Not Allowed"
        if len(content) > self.largest:
            return 413, PAGE % "413 Request Entity Too Large"
        user = self._user(request.headers.get("authorization", ""))
        if user is None:
            return 401, "Unauthorized Access"
        if endpoint == "_put_new_images" and user in self.readers:
            return 403, "Unauthorized Access"
        if endpoint == "delete_images" and user not in self.admins:
            return 403, "Unauthorized Access"
        items = None
        if endpoint in ("get_images", "delete_images"):
            if request.headers.get("content-type") != "application/json":
                return 415, PAGE % "415 Unsupported Media Type"
            try:
                items = json.loads(content)
            except ValueError:
                return 400, PAGE % "400 Bad Request"
        try:
            if endpoint == "delete_images":
                return 200, json.dumps(self._delete_images(items))
            if items is not None:
                return 200, json.dumps(self._get_images(what[0], items))
            if endpoint == "get_token":
                return 200, json.dumps(self._get_token(user))
            return 200, json.dumps(self._put_new_images(request.headers["content-type"], content))
        except Exception as error:
            self.log.append(f"{type(error).__name__}: {error}")
            return 500, PAGE % "500 Internal Server Error"

    def _now(self) -> float:
        return time.time() + self.ahead_s

    def _user(self, authorization: str) -> str | None:
        kind, _, code = authorization.partition(" ")
        if kind != "Basic":
            return None
        name, _, password = base64.b64decode(code).decode().partition(":")
        if name in self.tokens:  # whatever the password
            user, issued = self.tokens[name]
            return user if user in self.users and self._now() - issued < LIFE_S else None
        return name if password and self.users.get(name) == password else None

    def _get_token(self, user: str) -> dict:
        token = f"eyJpZCI6MX0.{secrets.token_urlsafe(20)}"
        self.tokens[token] = (user, self._now())
        return {"token": token, "expiration": int(self._now()) + LIFE_S}

    def _get_images(self, what: str, items: list[dict]) -> list[dict]:
        if what not in WHAT or not items:
            raise ValueError(f"{what} of {items}")
        found = []
        for item in items:
            row = self.rows.get((item["device"].lower(), wire_date(item["datetime"])))
            if row is not None:
                where = f"raw_images/{row['device']}/{row['device']}.{stamp(row)}.jpg"
                url = (
                    ""
                    if what == "metadata"
                    else f"{self.url}/{where}?AWSAccessKeyId=a&Signature=s1gned0123456789abcdef&Expires=1"
                )
                whole = {name: None if row[name] is None else round(row[name]) for name in ("bat", "alt")}
                found.append({**row, **whole, "but": row["but"] and int(row["but"]), "url": url})
        return found

    def _delete_images(self, items: list[dict]) -> list[dict]:
        """The rows that went, and with each its objects."""
        gone = []
        for item in items:
            row = self.rows.pop((item["device"].lower(), wire_date(item["datetime"])), None)
            if row is not None:
                gone.append(row)
                for suffix in SUFFIXES:
                    del self.objects[f"raw_images/{row['device']}/{row['device']}.{stamp(row)}.jpg{suffix}"]
        return gone

    def _put_new_images(self, media_type: str, content: bytes) -> list[dict]:
        fields, said = parts(media_type, content), []
        for name, (is_file, jpeg) in fields.items():
            if not is_file:
                continue
            file = name.rpartition("/")[2]
            digest = hashlib.md5(jpeg).hexdigest()
            if f"{name}.md5" in fields and fields[f"{name}.md5"][1].decode() != digest:
                raise ValueError(f"{file}: md5 is {digest}")
            row = parsed(file, jpeg)
            row |= {"md5": digest, "datetime_created": wire(self._now()), "api_version": "0.1.1", "api_user_id": 1}
            for suffix in SUFFIXES:  # first stored
                self.objects[f"raw_images/{row['device']}/{row['device']}.{stamp(row)}.jpg{suffix}"] = jpeg
            self._commit(row)  # and only then asked whether it may be
            said.append({"id": None, **row})
        return said

    def _commit(self, row: dict) -> None:
        key = (row["device"].lower(), row["datetime"])
        if key in self.rows:
            raise LookupError(f"IntegrityError: duplicate {key}")
        numbers = [row[name] for name in NUMBERS.values() if row[name] is not None]
        small = [row[name] for name in ("width", "height", "bat", "alt") if row[name] is not None]
        places = [row[name] for name in ("lat", "lng") if row[name] is not None]
        if not all(map(math.isfinite, numbers)) or any(abs(value) > 32767 for value in small):
            raise ValueError("DataError: out of range")
        if any(abs(value) >= 1000 for value in places) or len(row["device_version"]) > 8:
            raise ValueError("DataError: out of range")
        self.rows[key] = {"id": len(self.rows) + 1, **row}


def parsed(file: str, jpeg: bytes) -> dict:
    """What the server reads from a picture's name and EXIF; any exception means that it cannot."""
    device, date, _ = file.split(".")
    if len(device) != 8:
        raise ValueError(f"device {device}")
    int(device, 16)
    taken = datetime.datetime.strptime(date, "%Y-%m-%d_%H-%M-%S")
    if taken < datetime.datetime(2019, 11, 1):
        raise ValueError(f"{taken} is too early")
    if b"\xff\xd9" not in jpeg[-2:]:
        raise TimeoutError("a worker hangs in its decoder until it is killed")
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
        picture.load()
        exif = picture.getexif()
        width, height = picture.size
    try:
        ast.literal_eval(exif[MAKE])
        raise TypeError("a picture of 2020, and not one")
    except ValueError:
        pass  # so it is of 2022
    comment = exif.get_ifd(EXIF_IFD).get(USER_COMMENT) or exif[USER_COMMENT]
    lines = comment.decode().split("\n")
    assert len(lines) == 2, "Metadata should have exactly two lines"
    columns = dict(zip(*(line.split(",") for line in lines), strict=False))
    row = {"device": device, "datetime": f"{taken:%Y-%m-%dT%H:%M:%SZ}", "md5": ""}
    row |= {"device_version": columns.get("v", "1.0.0"), "width": width, "height": height}
    row |= {name: float(columns[column]) if column in columns else None for column, name in NUMBERS.items()}
    return row | {"but": bool(int(columns["b"])) if "b" in columns else None}


def parts(media_type: str, content: bytes) -> dict[str, tuple[bool, bytes]]:
    """The fields of a form: whether it is a file, and its bytes."""
    kind, _, boundary = media_type.partition("; boundary=")
    assert kind == "multipart/form-data"
    pieces = (b"\r\n" + content).split(b"\r\n--" + boundary.encode())
    assert pieces[-1] == b"--\r\n"
    found = {}
    for piece in pieces[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        name = head.partition(b'; name="')[2].partition(b'"')[0].decode()
        found[name] = (bool(head.partition(b'filename="')[2].partition(b'"')[0]), body)
    return found


def wire_date(text: str) -> str:
    """A date as rows have it; one in any other form than the three that are known matches nothing."""
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d_%H-%M-%S", "%Y-%m-%d %H:%M:%S"):
        try:
            return f"{datetime.datetime.strptime(text, form):%Y-%m-%dT%H:%M:%SZ}"
        except ValueError:
            continue
    return ""


def wire(unix_s: float) -> str:
    return f"{datetime.datetime.fromtimestamp(unix_s, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


def stamp(row: dict) -> str:
    """The date as it stands in names."""
    return f"{row['datetime'][:10]}_{row['datetime'][11:19].replace(':', '-')}"
