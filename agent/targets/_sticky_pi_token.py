"""Sticky Pi's token, and what the server's answers mean to a picture."""

import base64
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from agent.targets import Failed, Progress, Refused, Unreachable
from agent.targets._alone import alone
from agent.targets._credentials import Credentials, without
from agent.targets._transport import Answer, Body, judge
from drivers import boottime_ns

_TOKEN_S = 86400 - 60
"""The server lets a token live for a day. Counted here in boot time and not by the `expiration` that comes with it,
because a wall clock may be wrong."""


class Token:
    """The token that stands for name and password, because checking a password costs the server half a second.

    It is only kept in memory: after a start, another one is a single request.
    """

    def __init__(self, password: Credentials, login: Callable[[Mapping[str, str]], Answer]) -> None:
        self._password = password
        self._login = login
        self._lock = threading.Lock()
        self._header = ""
        self._until_ns = 0
        self._told: deque[str] = deque(maxlen=8)
        """Of the last tokens, what an answer could repeat."""

    def header(self, progress: Progress, refused: str = "") -> str:
        """The value of Authorization: of a new token where there is none, it is too old, or it is `refused`."""
        with alone(self._lock, progress):
            if self._header in ("", refused) or boottime_ns() > self._until_ns:
                self._renew(progress)
            return self._header

    def hidden(self, text: str) -> str:
        """`text` without password and token, should the server have repeated them."""
        return without(self._password.hidden(text), tuple(self._told))

    def _renew(self, progress: Progress) -> None:
        progress.sent(0)
        self._header, begun_ns = "", boottime_ns()
        answer = self._login(self._password.headers())
        if answer.status == 401 and self._password.renewed():
            progress.sent(0)
            answer = self._login(self._password.headers())
        accepted(answer)
        match parsed(answer):
            case {"token": str(token)} if token and token.isascii():
                code = base64.b64encode(f"{token}:".encode()).decode()
                self._told.extend((token, code))
                self._header, self._until_ns = f"Basic {code}", begun_ns + _TOKEN_S * 1_000_000_000
            case _:  # whatever it is, it may hold a secret
                raise Failed("the server's answer to get_token has no token: is it Sticky Pi's?")


def accepted(answer: Answer) -> None:
    """`judge`, for a server whose 4xx say nothing of a picture."""
    if answer.status == 403:
        raise Unreachable(f"{answer}; the user's role has to allow writing, or the target needs another user")
    if answer.status == 404:
        raise Unreachable(f"{answer}; check the target's url")
    try:
        judge(answer)
    except Refused as error:
        raise Failed(str(error)) from None


def parsed(answer: Answer) -> Any:
    """None where it is none."""
    try:
        return json.loads(answer.text)
    except (ValueError, RecursionError):
        return None


def once(content: bytes) -> Body:
    """A body of one piece."""
    if content:
        yield content
