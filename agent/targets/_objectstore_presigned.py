"""Uploads without keys on the device: an endpoint of the user gives an address for each file, good for that one."""

import json
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any

from agent.targets import Failed, Home, Receipt, Refused, Unreachable
from agent.targets._credentials import Credentials, without
from agent.targets._objectstore_objects import Found, InParts, Item, as_base64, once
from agent.targets._objectstore_requests import accepted
from agent.targets._transport import Answer, Body, Host, Line, judge

_NO_ADDRESS = "the endpoint's answer has neither url nor there: is it one for upload addresses?"


class Presigned:
    """Asks the endpoint with a POST, and puts to what it answers.

    The question is JSON: device, device_id, key, size, sha256, md5, media_type and metadata. The answer is
    `{"url": ..., "headers": {...}}` for the PUT, or `{"there": true}` where the endpoint knows that this very content
    is there already; 409 where another one is, which must not be replaced. An answer is at most 4 kB long.
    """

    def __init__(self, url: str, line: Line, credentials: Credentials, home: Home) -> None:
        self.in_parts: InParts | None = None
        self._url = url
        self._line = line
        self._credentials = credentials
        self._who = {"device": home.device, "device_id": home.device_id}
        self._endpoint = Host(urllib.parse.urljoin(url, "/"), line)
        self._lock = threading.Lock()
        self._hosts: dict[str, Host] = {}
        self._closed = False

    def look(self, key: str) -> Found | None:
        """Nobody can say: the endpoint is asked with the put."""
        return None

    def put(self, item: Item, body: Callable[[], Body], replaces: str) -> Receipt:
        """One object in one request; the store compares it with Content-MD5. Refused where another one is there."""
        match self._asked(item):
            case {"there": True}:
                return {}
            case {"url": str(url), **more} if isinstance(headers := more.get("headers", {}), dict):
                return self._put(item, url, {str(name): str(value) for name, value in headers.items()}, body)
        raise Failed(f"{item.key}: {_NO_ADDRESS}")

    def probe(self, item: Item) -> str:
        match self._asked(item):
            case {"there": True}:
                return "the endpoint says that the probe's object is there"
            case {"url": str(url)}:
                return f"the endpoint gives addresses of {urllib.parse.urlsplit(url).hostname}; none was used"
        raise Failed(f"{item.key}: {_NO_ADDRESS}")

    def fetch(self, key: str, take: Callable[[bytes], object]) -> None:
        raise Refused("an endpoint that gives addresses to put files at gives none to get them from")

    def remove(self, key: str, version: str) -> str:
        raise Refused("an endpoint that gives addresses to put files at deletes nothing")

    def hidden(self, text: str) -> str:
        return self._credentials.hidden(text)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            hosts = [self._endpoint, *self._hosts.values()]
        for host in hosts:
            host.close()

    def _asked(self, item: Item) -> Any:
        question = {
            **self._who,
            "key": item.key,
            "size": item.size,
            "sha256": item.sha256,
            "md5": item.md5,
            "media_type": item.media_type,
            "metadata": dict(item.metadata),
        }
        content = json.dumps(question).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        answer = self._ask(headers, content)
        if answer.status == 401 and self._credentials.renewed():
            answer = self._ask(headers, content)
        if answer.status == 404:
            raise Unreachable(f"{answer}; check the target's url")
        judge(answer)
        try:
            return json.loads(answer.text)
        except (ValueError, RecursionError):
            return None

    def _ask(self, headers: dict[str, str], content: bytes) -> Answer:
        return self._endpoint.send("POST", self._url, headers | self._credentials.headers(), once(content))

    def _put(self, item: Item, url: str, headers: dict[str, str], body: Callable[[], Body]) -> Receipt:
        parts = urllib.parse.urlsplit(url)
        safe = ("https",) if self._url.startswith("https:") else ("https", "http")
        if parts.scheme not in safe or not parts.hostname:
            raise Unreachable(f"the endpoint gives an address that is not {' or '.join(safe)}; check the endpoint")
        given = {name.lower() for name in headers}
        usual = {"content-type": item.media_type, "content-md5": as_base64(item.md5), "content-length": str(item.size)}
        headers = {name: value for name, value in usual.items() if name not in given} | headers
        try:
            answer = self._host(f"{parts.scheme}://{parts.netloc}/").send("PUT", url, headers, body)
            accepted(answer, item.key)
        except (Refused, Unreachable, Failed) as error:
            error.args = tuple(_without_query(str(text), parts.query) for text in error.args)
            raise
        return {"etag": etag} if (etag := answer.headers.get("etag", "")) else {}

    def _host(self, origin: str) -> Host:
        """The store that an address leads to; an endpoint knows few."""
        with self._lock:
            host = self._hosts.setdefault(origin, Host(origin, self._line))
            if self._closed:
                host.close()
            return host


def _without_query(text: str, query: str) -> str:
    """`text` without the signature of an address, should the store have repeated it."""
    for _, value in urllib.parse.parse_qsl(query):
        if len(value) > 16:
            text = without(text, (value,))
    return text
