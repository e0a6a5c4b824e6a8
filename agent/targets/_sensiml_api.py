"""SensiML's interface: JSON asked and answered, lists of any length, and what its errors mean to a parcel."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from agent.targets import Failed, Progress, Refused, Unreachable
from agent.targets._listing import ANY, Listing
from agent.targets._sensiml_tokens import Pass
from agent.targets._transport import Answer, Body, Host, judge

_LARGEST = 1 << 20
"""Bytes of one object; those that are asked for have some hundred."""

_BAD_FILE = re.compile(r'"(ParserError|UnicodeDecodeError|DataError|ValueError|Error|EOFError): ')
"""Exceptions that come out as 500 and that this very file, or value, will meet each time."""

_NOT_THERE = re.compile(r"Project does not exist|matching query does not exist|object does not exist")
"""How it says, by 400 or 500, that what a request refers to is gone: project, configuration, name, value, session."""

TAKEN = re.compile(r"must make a unique set|already contains a file|duplicate key value violates unique constraint")
"""How the server says, by 400 or (two at once) by 500, that something of this name is there."""


class Gone(Failed):
    """What was there before, a project or something in it, is not any more: to be found or made anew."""


class Api:
    """Requests of one server's interface, below its URL; renews the token where it is refused. For several threads.

    Each shows life on a delivery's `progress` before it waits for the server.
    """

    def __init__(self, url: str, host: Host, entry: Pass) -> None:
        """`url` ends in a slash, as all paths do: without it the server redirects, and the content is lost."""
        self.url = url
        self._host = host
        self._entry = entry

    def ask(self, method: str, path: str, document: Any = None, *, progress: Progress) -> tuple[Answer, Any]:
        """The answer and, of a 2xx, the object in it: None where it is none."""
        body, headers = b"", {}
        if document is not None:
            body, headers = json.dumps(document).encode(), {"Content-Type": "application/json"}
        headers |= {"Content-Length": str(len(body))}
        return self.exchange(method, path, headers, lambda: once(body), progress=progress)

    def exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: Callable[[], Body], *, progress: Progress
    ) -> tuple[Answer, Any]:
        """The same with any content."""
        answer = self.send(method, path, headers, body, progress=progress)
        if len(answer.text) >= _LARGEST:
            raise Failed(f"the server's answer to {method} {path} does not end")
        try:
            return answer, json.loads(answer.text) if 200 <= answer.status < 300 and answer.text else None
        except (ValueError, RecursionError):
            return answer, None

    def each(
        self,
        path: str,
        keep: Callable[[dict[str, Any]], object],
        *,
        progress: Progress,
        within: tuple[str, Callable[[dict[str, Any]], object]] | None = None,
    ) -> None:
        """Gives every object of a list to `keep`, one at a time, however many there are; `within`: the name of a list
        in each of them, whose objects, as many as they may be, go before it to a `keep` of their own.

        In one piece: the server's pages have no order, so that between two of them something may be missed.
        """
        inner, *keeps = (within[0], keep, within[1]) if within else ("", keep)

        def give(level: int, item: Any) -> None:
            if not isinstance(item, dict):
                raise wrong("list of objects")
            try:
                keeps[level](item)
            except (KeyError, TypeError, ValueError):
                raise wrong("list of what was asked for") from None

        def take(piece: bytes) -> None:
            progress.sent(0)
            try:
                items.take(piece)
            except (ValueError, RecursionError):
                raise wrong("list of objects") from None

        items = Listing((ANY, inner, ANY) if inner else (ANY,), give)
        meaning(self.send("GET", path, {"Content-Length": "0"}, lambda: once(b""), take, progress=progress))
        try:
            whole = items.end() == []
        except (ValueError, RecursionError):
            whole = False
        if not whole:
            raise wrong("list")

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Callable[[], Body],
        take: Callable[[bytes], object] | None = None,
        *,
        progress: Progress,
    ) -> Answer:
        """One request; a second one where the server does not know the token any more."""
        token = self._entry.header(progress)
        progress.sent(0)
        answer = self._host.send(
            method, self.url + path, {**headers, "Authorization": token}, body, answer_bytes=_LARGEST, take=take
        )
        if answer.status == 401:
            token = self._entry.header(progress, refused=token)
            progress.sent(0)
            answer = self._host.send(
                method, self.url + path, {**headers, "Authorization": token}, body, answer_bytes=_LARGEST, take=take
            )
        return answer


def once(content: bytes) -> Body:
    """A body of one piece."""
    if content:
        yield content


def meaning(answer: Answer) -> None:
    """`judge`, for a server that tells the client's own mistakes with 500, and pages that are not its with HTML.

    404 with JSON, and what says that something referred to is not there: Gone.
    """
    text = answer.text
    if answer.status == 404:
        if "<html" in text.lower():
            raise Unreachable("the server answers 404 with a page: check the target's url")
        raise Gone(str(answer))
    if answer.status in (400, 500) and _NOT_THERE.search(text):
        raise Gone(str(answer))
    if answer.status == 403:
        raise Unreachable(f"{answer}; the user's rights or plan do not allow this: check the target's credentials")
    if answer.status == 500 and _BAD_FILE.search(text):
        raise Refused(str(answer))
    judge(answer)


def wrong(what: str) -> Failed:
    """For an answer of the wrong shape; it is not shown, for it may be of a hotel's login page."""
    return Failed(f"the server's answer is no {what}: is it SensiML's?")
