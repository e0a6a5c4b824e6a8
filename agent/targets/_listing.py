"""A JSON answer of any length, taken a piece at a time: what its lists hold is given away, only the rest is kept."""

import codecs
import json
from collections.abc import Callable, Generator
from typing import Any

LONGEST = 4 << 20
"""Characters of one element, and of all that is kept."""
ANY = "*"
_AFTER = ("", ",", ":", "]", "}", " ", "\t", "\r", "\n")

_Reading = Generator[None, None, Any]
"""Goes on whenever there is more text; its value is what was read."""


class Overlong(ValueError):
    """More than `LONGEST` at once."""


class Listing:
    """Reads one document. `path` leads to a list by keys, and by `ANY` into each element of a list on the way.

    Each element is given to `keep`, with the number of lists it is in, less one, as soon as it is whole: of a list on
    the way, without what was given away before of what is in it.
    """

    def __init__(self, path: tuple[str, ...], keep: Callable[[int, Any], object]) -> None:
        self._path = path
        self._keep = keep
        self._decoder = json.JSONDecoder()
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._left = ""
        self._at = 0
        self._kept = 0
        self._over = False
        self._ended = False
        self._document: Any = None
        self._reading = self._value(0)

    def take(self, piece: bytes) -> None:
        """The next bytes. ValueError, RecursionError where they are none of such a document; and what `keep` raises."""
        self._left = self._left[self._at :] + self._text.decode(piece)
        self._at = 0
        self._go_on()
        if len(self._left) - self._at > LONGEST and not self._ended:
            raise Overlong(f"an element is longer than {LONGEST} characters")

    def end(self) -> Any:
        """The document, in which the lists are empty. ValueError where it is not whole."""
        self._over = True
        self._go_on()
        if not self._ended:
            raise ValueError("the document is not whole")
        return self._document

    def _go_on(self) -> None:
        if not self._ended:
            try:
                next(self._reading)
            except StopIteration as end:
                self._ended, self._document = True, end.value

    def _value(self, depth: int) -> _Reading:
        opening = yield from self._mark()
        step = self._path[depth] if depth < len(self._path) else None
        if opening == "[" and step == ANY:
            return (yield from self._list(depth))
        if opening == "{" and step not in (None, ANY):
            return (yield from self._object(depth))
        return (yield from self._whole())

    def _list(self, depth: int) -> _Reading:
        level = self._path[:depth].count(ANY)
        self._at += 1
        if (yield from self._mark()) == "]":
            self._at += 1
            return []
        while True:
            kept = self._kept
            value = yield from self._value(depth + 1)
            self._kept = kept
            self._keep(level, value)
            if not (yield from self._more("]")):
                return []

    def _object(self, depth: int) -> _Reading:
        found: dict[str, Any] = {}
        self._at += 1
        if (yield from self._mark()) == "}":
            self._at += 1
            return found
        while True:
            yield from self._mark()
            key = yield from self._whole()
            if (yield from self._mark()) != ":" or not isinstance(key, str):
                raise ValueError("an object has no key")
            self._at += 1
            found[key] = yield from self._value(depth + 1 if key == self._path[depth] else len(self._path))
            if not (yield from self._more("}")):
                return found

    def _more(self, closing: str) -> Generator[None, None, bool]:
        mark = yield from self._mark()
        self._at += 1
        if mark not in (",", closing):
            raise ValueError(f"{mark!r} is neither a comma nor {closing!r}")
        return mark == ","

    def _mark(self) -> Generator[None, None, str]:
        """The next character that is no blank, which stays."""
        while True:
            while self._at < len(self._left) and self._left[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._left):
                return self._left[self._at]
            yield

    def _whole(self) -> _Reading:
        """What begins here, once what follows shows that it has ended: a number may go on."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._left, self._at)
            except ValueError:
                pass  # not whole yet, or never
            else:
                if self._left[end : end + 1] in _AFTER and (end < len(self._left) or self._over):
                    break
            yield
        self._kept += end - self._at
        if self._kept > LONGEST:
            raise Overlong(f"more than {LONGEST} characters are no part of a list")
        self._at = end
        return value
