"""Moveshelf's GraphQL: one question and its data, and every way of not getting it told apart."""

import contextlib
import dataclasses
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agent.targets import Failed, Home, Progress, Refused, Unreachable
from agent.targets._credentials import Credentials, short
from agent.targets._listing import ANY, LONGEST, Listing, Overlong
from agent.targets._transport import Answer, Body, Host, Line, judge

_ANSWER_BYTES = 1 << 20
"""Of an answer that is no list of any length: of some hundred projects, or of an error."""

Each = tuple[tuple[str, ...], Callable[[dict[str, Any]], object]]
"""Where in the data a list is, and what takes the things in it, which all have an id, one at a time."""


class Api:
    """One address and key, and the stores that it sends us to. Safe for several threads.

    Each request shows life on a delivery's `progress` before it waits for the server.
    """

    def __init__(self, url: str, key_file: str, home: Home, line: Line) -> None:
        self.url = url
        self._line = line
        self._key = Credentials(home, key_file, pick=_secret_key)
        self._lock = threading.Lock()
        self._closed = False
        self._hosts: dict[str, Host] = {}

    def ask(self, query: str, progress: Progress, each: Each | None = None, **variables: Any) -> dict[str, Any]:
        """The data of the answer. One with errors has none, whatever its status and whatever else it holds.

        Of a list that may have any length, `each` gets the rows as they come, and the data have none of them; what it
        was given counts once this returns. Unreachable, Later, Failed as `judge`, but a 404 is the address's fault, and
        nothing is ever Refused.
        """
        content = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        answer, document = self._post(headers, content, progress, each)
        if answer.status == 401 and self._key.renewed():
            answer, document = self._post(headers, content, progress, each)
        wrong = _errors(document)
        if wrong:
            answer = dataclasses.replace(answer, text=wrong)
        if answer.status == 404:
            raise Unreachable(f"{answer}; check the target's region or url")
        try:
            judge(answer)
        except Refused as error:
            raise Failed(str(error)) from None
        if wrong:
            raise Failed(f"Moveshelf answers with errors: {wrong}")
        match document:
            case {"data": dict(data)}:
                return data
        # what it says instead may be the names of people
        if len(answer.text) >= _ANSWER_BYTES:
            raise Failed(f"Moveshelf's answer is longer than {_ANSWER_BYTES} bytes")
        raise Failed(f"the answer ({answer.status}) has no data: is it Moveshelf's?")

    def transfer(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Callable[[], Body],
        *,
        progress: Progress,
        take: Callable[[bytes], object] | None = None,
    ) -> Answer:
        """One request to a store, at a signed address: without our key. Failed where the address is none for us."""

        def taken(piece: bytes) -> None:
            progress.sent(0)
            if take is not None:
                take(piece)

        try:
            parts = urllib.parse.urlsplit(url)
            good = bool(parts.hostname) and parts.scheme in ("https", urllib.parse.urlsplit(self.url).scheme)
        except ValueError:
            good = False
        if not good or not url.isascii() or not url.isprintable() or " " in url or "@" in parts.netloc:
            raise Failed("Moveshelf sends us to an address that is none, or not a safe one")
        progress.sent(0)
        return self._host(url).send(method, url, headers, body, take=taken if take else None)

    def hidden(self, text: str) -> str:
        """`text` without the key."""
        return self._key.hidden(text)

    def close(self) -> None:
        """Cuts what is under way; may be called twice, from any thread."""
        with self._lock:
            self._closed = True
            hosts = list(self._hosts.values())
        for host in hosts:
            host.close()

    def _post(
        self, headers: Mapping[str, str], content: bytes, progress: Progress, each: Each | None
    ) -> tuple[Answer, Any]:
        """The answer, and the document in it: None where it is none."""
        path, keep = each or ((), lambda row: None)

        def give(_: int, row: Any) -> None:
            identity(row, "id")
            keep(row)

        def take(piece: bytes) -> None:
            progress.sent(0)
            with _read():
                document.take(piece)

        progress.sent(0)
        document = Listing(("data", *path, ANY), give)
        headers = {**headers, **self._key.headers()}
        answer = self._host(self.url).send(
            "POST",
            self.url,
            headers,
            lambda: _once(content),
            answer_bytes=_ANSWER_BYTES,
            take=take if each else None,
        )
        if not each or not 200 <= answer.status < 300:
            return answer, _json(answer)
        with _read():
            return answer, document.end()

    def _host(self, url: str) -> Host:
        origin = urllib.parse.urljoin(url, "/")
        with self._lock:
            if origin not in self._hosts:
                self._hosts[origin] = Host(origin, self._line)
                if self._closed:
                    self._hosts[origin].close()
            return self._hosts[origin]


def within(data: Any, *path: str) -> Any:
    """What stands at a path of an answer. Failed where there is nothing, as Moveshelf says of what is gone."""
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
        if data is None:
            raise Failed(f"Moveshelf's answer has no {'.'.join(path)}")
    return data


def identity(data: Any, *path: str) -> str:
    """As `within`, for an id: a text that is not empty."""
    found = within(data, *path)
    if not isinstance(found, str) or not found:
        raise Failed(f"Moveshelf's answer has no {'.'.join(path)} that is one")
    return found


def rows(data: Any, *path: str) -> list[dict[str, Any]]:
    """As `within`, for a list of things that each have an id."""
    found = within(data, *path)
    if not isinstance(found, list):
        raise Failed(f"Moveshelf's answer has no {'.'.join(path)} that is a list")
    for row in found:
        identity(row, "id")
    return found


def _secret_key(text: str) -> str:
    """Out of the key file as it was downloaded. ValueError, which never repeats it."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    match document:
        case {"secretKey": str(key)} if key:
            return key
    raise ValueError('is not the key file that Moveshelf gives: {"application": ..., "secretKey": ...}') from None


def _errors(document: Any) -> str:
    """What is wrong, in the server's words; empty where nothing is."""
    errors = document.get("errors") if isinstance(document, dict) else None
    if not errors:
        return ""
    told = [error.get("message") if isinstance(error, dict) else error for error in _listed(errors)]
    return short("; ".join(str(text) for text in told), 300)


def _listed(errors: Any) -> list[Any]:
    return errors if isinstance(errors, list) else [errors]


def _json(answer: Answer) -> Any:
    """None where it is none."""
    try:
        return json.loads(answer.text)
    except (ValueError, RecursionError):
        return None


@contextlib.contextmanager
def _read() -> Iterator[None]:
    """What is wrong with a document as it is read; it is not shown, for there may be names of people in it."""
    try:
        yield
    except Overlong:
        raise Failed(f"Moveshelf's answer is longer than {LONGEST} bytes") from None
    except (ValueError, RecursionError):
        raise Failed("the answer has no data: is it Moveshelf's?") from None


def _once(content: bytes) -> Body:
    yield content
