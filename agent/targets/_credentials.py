"""A secret read from its file when it is used, made into the header that carries it, and kept out of every message."""

import base64
import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterable

from agent.targets import Home, Unreachable

_CUT = "…"


def short(text: str, most: int) -> str:
    """`text` in one line of at most so many characters; where it was longer, that shows."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[:most] + _CUT


def unsigned(text: str) -> str:
    """`text` without query and fragment of the URLs in it, which may be signatures."""
    return re.sub(r"[?#][^\s\"'<>]+", "", text)


def without(text: str, secrets: Iterable[str]) -> str:
    """`text` without these secrets, as they are, in JSON or in a URL; nor the beginning of one at which `short` cut."""
    for secret in filter(None, secrets):
        forms = (secret, json.dumps(secret)[1:-1], urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""))
        for form in dict.fromkeys((*forms, urllib.parse.quote_plus(secret))):
            text = text.replace(form, "***")
            for size in range(len(form) - 1, 0, -1) if _CUT in text else ():
                text = text.replace(form[:size] + _CUT, "***" + _CUT)
    return text


class Credentials:
    """One header from one secret file: `Authorization` with a bearer token or a basic login, or a header of any name.

    Safe for several threads. The file is read at first use, and again by `renewed`.
    """

    def __init__(
        self, home: Home, file: str, *, username: str = "", header: str = "", pick: Callable[[str], str] = str
    ) -> None:
        """`file` empty: no credentials. With `username` a basic login, with `header` the bare value, else bearer.

        `pick` takes the secret out of the file's text; a ValueError of it says what is wrong, without the text.
        """
        self._home = home
        self._file = file
        self._username = username
        self._header = header or "Authorization"
        self._bare = bool(header)
        self._pick = pick
        self._lock = threading.Lock()
        self._secret = ""
        self._value = ""

    def headers(self) -> dict[str, str]:
        """What to send along. Unreachable where the secret is missing, or cannot stand in a header."""
        if not self._file:
            return {}
        with self._lock:
            if not self._value:
                self._read()
            return {self._header: self._value}

    def renewed(self) -> bool:
        """Reads the file again, for a server that refuses what it got; whether it holds another secret now."""
        if not self._file:
            return False
        with self._lock:
            before = self._value
            self._read()
            return self._value != before

    def hidden(self, text: str) -> str:
        """`text` without the secret, should a server have repeated it."""
        with self._lock:
            parts = (self._value, self._value.partition(" ")[2], self._secret)
        return without(text, parts)

    def _read(self) -> None:
        try:
            secret = self._pick(self._home.secret(self._file))
        except ValueError as error:
            raise Unreachable(f"secret {self._file!r} {error}") from None
        if not secret or not secret.isascii() or not secret.isprintable():
            raise Unreachable(f"secret {self._file!r} is not one line of ASCII characters")
        if self._username:
            value = "Basic " + base64.b64encode(f"{self._username}:{secret}".encode()).decode()
        else:
            value = secret if self._bare else f"Bearer {secret}"
        self._secret, self._value = secret, value
