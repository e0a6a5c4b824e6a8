"""Sticky Pi: pictures, each asked for before it is sent, because the server stores first and refuses afterwards."""

import contextlib
import dataclasses
import json
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

from agent import exif
from agent.capture import Capture, Payload
from agent.targets import Failed, Home, Later, Plan, Progress, Receipt, Refused, Unreachable, chosen, verified
from agent.targets._alone import alone
from agent.targets._credentials import Credentials, without
from agent.targets._inventory import Held
from agent.targets._sticky_pi_shot import NAME, ORIGIN, Shot
from agent.targets._sticky_pi_token import Token, accepted, once, parsed
from agent.targets._transport import Answer, Body, Host, Line, judge
from drivers.settings import check, option

_CHUNK = 1 << 16
_WORD = 16
"""Characters of what in an address is no secret."""
_ERRORS = 8
"""So often the server may answer 500 for a picture that it then does not have; then it is set aside."""
_LARGEST = 99 << 20
"""The server's proxy takes 100 MiB a request; the form around the picture is some hundred bytes."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of a `sticky_pi` target."""

    formats: ClassVar[tuple[str, ...]] = ("jpeg",)

    url: str = option("address of the server's API", example="https://api.sticky-pi.com")
    username: str = option("user of the API, who may write", example="bay3")
    password_file: str = option(
        "its password: name of a credential or secret, or path of a file", example="sticky-pi-password"
    )
    ca_file: str = option("certificates (PEM) to trust instead of the system's", "")
    proxy: str = option("proxy URL; empty: http_proxy, https_proxy and no_proxy of the environment", "")
    connect_timeout_s: float = option("longest wait for a connection, seconds", 10.0, at_least=0.1, at_most=300)
    idle_timeout_s: float = option("longest wait without any progress, seconds", 60.0, at_least=0.1, at_most=600)

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        parts = urllib.parse.urlsplit(self.url)
        if "@" in parts.netloc:
            mistakes.append(("url", "(not shown)", "no password: use username and password_file"))
        elif parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            mistakes.append(("url", self.url, "http://HOST or https://HOST, with a port or a path where needed"))
        if not self.username or ":" in self.username:
            mistakes.append(("username", self.username, "a name without a colon"))
        if not self.password_file:
            mistakes.append(("password_file", "", "where the password is"))
        if self.proxy and not self.proxy.startswith(("http://", "https://")):
            mistakes.append(("proxy", self.proxy, "http://HOST:PORT"))
        check(self, *mistakes)

    def mistakes(self, plan: Plan) -> Iterator[tuple[str, object, str]]:
        """Pictures under another name than the server reads."""
        if plan.pictures and plan.picture_name != "second":
            yield "picture_name", plan.picture_name, '"second", since Sticky Pi takes device and time from the name'

    def open(self, home: Home) -> "StickyPi":
        """Makes the target; reads no secret and touches no network."""
        return StickyPi(self, home)


class StickyPi:
    """Takes the JPEG of each capture that has one. Safe for several threads.

    There is no place for a sidecar, and it is not sent: the server takes what it knows of a picture from its name and
    its EXIF, where the uuids of capture and configuration stand shortened. Labels and metadata stay on the device.

    The server replaces what it has stored before it looks whether it may, and says 500 for everything. So it is
    asked before each upload what it has of that device and second, and nothing is sent where it has anything.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self.formats = settings.formats
        self._device_id = home.device_id
        self._url = settings.url.rstrip("/") + "/"
        self._line = line = Line(
            connect_s=settings.connect_timeout_s,
            idle_s=settings.idle_timeout_s,
            ca_file=settings.ca_file,
            proxy=settings.proxy,
        )
        self._host = Host(urllib.parse.urljoin(self._url, "/"), line)
        self._token = Token(Credentials(home, settings.password_file, username=settings.username), self._login)
        self._checking = threading.Lock()

    def put(self, capture: Capture, progress: Progress) -> Receipt:
        """Delivers the picture. The receipt has the server, what it knows the picture by, its md5 and if it was new."""
        payload = chosen(capture, self.formats)[0]
        shot = Shot.of(payload)
        if payload.size > _LARGEST:
            raise Refused(f"{payload.file} has {payload.size} bytes, and Sticky Pi takes {_LARGEST}")
        progress.check()
        try:
            new = self._deliver(capture, payload, shot, progress)
        except (Refused, Later, Unreachable, Failed) as error:
            progress.check()  # what comes of cutting the connection is no fault
            error.args = tuple(self._token.hidden(str(text)) for text in error.args)
            raise
        known_by = {"device": shot.device, "datetime": shot.datetime, "md5": payload.md5}
        return {"url": self._url, **known_by, "new": new, "final": True}

    def probe(self) -> list[str]:
        """Logs in, and asks for a picture of this device that there cannot be. Whether it may write, nobody tells."""
        try:
            self._stored(Shot(self._device_id, f"{ORIGIN:%Y-%m-%dT%H:%M:%SZ}"), Progress())
        except (Later, Unreachable, Failed) as error:
            error.args = tuple(self._token.hidden(str(text)) for text in error.args)
            raise
        return [f"{self._url} lets us in and tells of device {self._device_id}; if we may write shows with a picture"]

    def inventory(self, asked: Sequence[tuple[Capture, Receipt]]) -> Iterator[Held]:
        """Asks for each picture. The server tells the md5 of what it was once sent, and not what its bucket has now."""
        try:
            for capture, _ in asked:
                payload = chosen(capture, self.formats)[0]
                shot = Shot.of(payload)
                if md5 := self._stored(shot, Progress()):
                    yield Held(payload.file, None, f"md5:{md5}", f"{shot.device} {shot.datetime}")
        except (Refused, Later, Unreachable, Failed) as error:
            error.args = tuple(self._token.hidden(str(text)) for text in error.args)
            raise

    def fetch(self, held: Held, take: Callable[[bytes], object]) -> None:
        """Asks for the picture's address in the server's bucket, which is signed and not told, and gets it there."""
        device, _, taken = held.id.partition(" ")
        content = json.dumps([dataclasses.asdict(Shot(device, taken))]).encode()
        signature: list[str] = []
        try:
            answer = self._ask("get_images/image", content, Progress())
            accepted(answer)
            match parsed(answer):
                case [{"url": str(url)}] if urllib.parse.urlsplit(url).scheme in ("https", self._url.partition(":")[0]):
                    said = urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query)
                    signature = [text for _, text in said if len(text) > _WORD]
                    with contextlib.closing(Host(urllib.parse.urljoin(url, "/"), self._line)) as bucket:
                        judge(bucket.send("GET", url, {"Content-Length": "0"}, lambda: once(b""), take=take))
                    return
            raise Failed(f"the server's answer has no address of {held.file}")
        except (Refused, Later, Unreachable, Failed) as error:
            error.args = tuple(without(self._token.hidden(str(text)), signature) for text in error.args)
            raise

    def remove(self, capture: str, receipt: Receipt) -> Sequence[str]:
        """Deletes the picture, where what the server has is this one; with it go the annotations that others made."""
        shot, md5 = Shot(str(receipt.get("device")), str(receipt.get("datetime"))), receipt.get("md5")
        if receipt.get("url") != self._url or not (NAME.fullmatch(shot.file) and md5):
            raise Refused(f"it was not delivered to {self._url}")
        try:
            if there := self._stored(shot, Progress()):
                if there != md5:
                    raise Refused(f"Sticky Pi has another picture of {shot.device} at {shot.datetime} by now")
                self._delete(shot)
        except (Refused, Later, Unreachable, Failed) as error:
            error.args = tuple(self._token.hidden(str(text)) for text in error.args)
            raise
        return ()

    def close(self) -> None:
        """Aborts what hangs and lets the connections go; may be called twice, from any thread."""
        self._host.close()

    def _deliver(self, capture: Capture, payload: Payload, shot: Shot, progress: Progress) -> bool:
        """Whether the picture had to be sent."""
        if self._has(shot, payload, progress):
            return False
        self._check(capture, payload, progress)
        answer = self._upload(capture, payload, progress)
        if answer.status == 500:  # there already, never to be taken, or the server is ill: its rows tell
            other = "whose file this one may have replaced: it came between question and upload"
            if self._has(shot, payload, progress, other=other):
                return True
            why = f"{answer}; it does not have {payload.file}, and only its own log says why"
            errors = int(progress.state.get("errors", 0)) + 1
            progress.save({"errors": errors})
            raise Failed(why) if errors < _ERRORS else Refused(f"{why}, {errors} times by now")
        if answer.status == 413:
            raise Refused(f"{answer}; {payload.file} has {payload.size} bytes")
        accepted(answer)
        if (md5 := _md5(answer, shot)) != payload.md5:
            raise Failed(f"the server says that it stored md5 {md5 or 'of nothing'} and not {payload.md5}")
        return True

    def _has(
        self, shot: Shot, payload: Payload, progress: Progress, *, other: str = "whose file this one would replace"
    ) -> bool:
        """Whether the server has this picture. Refused where it has an `other` one of that device and second."""
        md5 = self._stored(shot, progress)
        if md5 and md5 != payload.md5:
            raise Refused(
                f"{payload.file}: Sticky Pi has another picture of this device and second "
                f"(md5 {md5}, not {payload.md5}), {other}"
            )
        return bool(md5)

    def _stored(self, shot: Shot, progress: Progress) -> str:
        """The md5 of what the server has of a device and second; empty where it has nothing."""
        answer = self._ask("get_images/metadata", json.dumps([dataclasses.asdict(shot)]).encode(), progress)
        accepted(answer)
        return _md5(answer, shot)

    def _delete(self, shot: Shot) -> None:
        """Of that device and second alone: a row without both would mean many."""
        answer = self._ask("delete_images", json.dumps([dataclasses.asdict(shot)]).encode(), Progress())
        if answer.status == 403:
            raise Refused(f"{answer}: only an administrator of Sticky Pi may delete")
        accepted(answer)
        if self._stored(shot, Progress()):
            raise Failed(f"{answer}, and Sticky Pi still has {shot.file}")

    def _check(self, capture: Capture, payload: Payload, progress: Progress) -> None:
        """Refused where the picture cannot be decoded to its end: the server's decoder may hang in such a one."""
        with alone(self._checking, progress):  # one at a time: of 12 megapixels, a decoded picture is 36 MB
            progress.check()  # may have waited for the others
            jpeg = b"".join(bytes(chunk) for chunk in verified(capture, payload, _CHUNK))
            wrong = exif.whole(jpeg, decode=True) or _unreadable(jpeg)
        if wrong:
            raise Refused(f"{payload.file} {wrong}")

    def _upload(self, capture: Capture, payload: Payload, progress: Progress) -> Answer:
        """The field's name is what the server reads; the form is that of its own client."""
        boundary, file = uuid.uuid4().hex, payload.file
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{file}"; filename="{file}"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode()
        tail = (
            f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="{file}.md5"\r\n\r\n'
            f"{payload.md5}\r\n--{boundary}--\r\n"
        ).encode()

        def form() -> Body:
            yield head
            for chunk in verified(capture, payload, _CHUNK):
                yield from progress.sending(chunk)
            yield tail

        size = len(head) + payload.size + len(tail)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(size)}
        return self._post("_put_new_images", headers, form, progress)

    def _ask(self, path: str, content: bytes, progress: Progress) -> Answer:
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        return self._post(path, headers, lambda: once(content), progress)

    def _post(self, path: str, headers: Mapping[str, str], body: Callable[[], Body], progress: Progress) -> Answer:
        """One request, before which it shows life; a second one where the server does not know the token any more."""
        token = self._token.header(progress)
        progress.sent(0)
        answer = self._host.send("POST", self._url + path, {**headers, "Authorization": token}, body)
        if answer.status == 401:
            token = self._token.header(progress, refused=token)
            progress.sent(0)
            answer = self._host.send("POST", self._url + path, {**headers, "Authorization": token}, body)
        return answer

    def _login(self, headers: Mapping[str, str]) -> Answer:
        return self._host.send("POST", self._url + "get_token", {"Content-Length": "0", **headers}, lambda: once(b""))


def _md5(answer: Answer, shot: Shot) -> str:
    """The md5 that the server has of a shot, from its answer with one row or none; empty where none."""
    match parsed(answer):
        case []:
            return ""
        case [{"device": str(device), "datetime": shot.datetime, "md5": str(md5)}] if md5:
            if device.lower() == shot.device:
                return md5
    raise Failed(f"{answer}, which is no row of {shot.device} at {shot.datetime}")


def _unreadable(jpeg: bytes) -> str:
    """Why the server could not read the picture's EXIF; empty where it can."""
    try:
        found = exif.read(jpeg)
    except ValueError as error:
        return f"has no EXIF that Sticky Pi reads: {error}"
    if len(found.get("make", "").split()) != 1:
        return "has no EXIF that Sticky Pi reads: Make has to be one word"
    return "" if "comment" in found else "has no EXIF that Sticky Pi reads: UserComment is missing"
