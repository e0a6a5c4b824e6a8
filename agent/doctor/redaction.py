"""What a bug report must not tell: passwords, tokens and keys, whatever they stand in."""

import os
import re
from collections.abc import Collection, Iterable
from typing import Any

from agent.targets import Home, Unreachable

REMOVED = "(removed)"
_SHORTEST = 4
"""A secret of fewer characters is not searched for: it would take too much else with it."""
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?|secret|token|credential|auth|cookie|signature|bearer|private|\bkey\b|api_?key|access_key|"
    r"hmac|key_id|pin\b|dsn|connection_string|webhook",
    re.IGNORECASE,
)
_ADDRESS_LOGIN = re.compile(r"(?<=://)[^\s/?#'\"]*@")
_ADDRESS_QUERY = re.compile(r"(://[^\s?'\"]*\?)[^\s'\"]*")
_HEADER = re.compile(r"(?i)\b((?:authorization|cookie|x-[\w-]*(?:key|token)))(['\"]?\s*[:=]\s*['\"]?)[^'\"\n]+")
_SCHEME = re.compile(r"(?i)\b(bearer|basic)(\s+)[\w+/=.~-]{6,}")
_PAIR = re.compile(
    r"(?i)\b([\w-]*(?:password|passwd|secret|token|api_?key|access_key|private_key|credential|signature))"
    r"(['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&}]+"
)


class Redaction:
    """Takes secrets out of texts and documents: those it knows by their content, the others by where they stand."""

    def __init__(self, secrets: Collection[str]) -> None:
        parts = {part for secret in secrets for part in (secret, *secret.split()) if len(part) >= _SHORTEST}
        self._known = sorted(parts, key=len, reverse=True)

    def text(self, text: str) -> str:
        """A log, an error message."""
        for secret in self._known:
            text = text.replace(secret, REMOVED)
        text = _ADDRESS_LOGIN.sub(f"{REMOVED}@", text)
        text = _ADDRESS_QUERY.sub(rf"\1{REMOVED}", text)
        for pattern in (_HEADER, _SCHEME, _PAIR):
            text = pattern.sub(rf"\1\2{REMOVED}", text)
        return text

    def document(self, value: Any, name: str = "") -> Any:
        """Tables and lists, with every value removed whose name says that it is a secret."""
        if isinstance(value, dict):
            hidden = "headers" in name.lower()
            return {key: REMOVED if hidden else self.document(inner, str(key)) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.document(inner, name) for inner in value]
        if isinstance(value, bool) or value is None:
            return value
        if _SECRET_NAME.search(name) and not name.endswith("_file") and not _counts(name, value):
            return REMOVED
        return self.text(value) if isinstance(value, str) else value


def known_secrets(document: Any, home: Home) -> set[str]:
    """The content of every file that a configuration names as a secret, and of those that targets keep."""
    found = {text for name in _files(document) if (text := _read(home, name))}
    for path in home.secrets.glob("*") if os.access(home.secrets, os.R_OK | os.X_OK) else ():
        try:
            found.add(path.read_text(errors="replace").strip())
        except OSError:
            continue  # nothing that we cannot read can get into the report
    return {piece for text in found for piece in (text, *_strings(text))}


def _counts(name: str, value: object) -> bool:
    """A number that only sounds like a secret: `commands_per_s`, a GPIO's `pin`."""
    return isinstance(value, int | float) and "pass" not in name


def _files(value: Any, name: str = "") -> Iterable[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _files(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _files(inner, name)
    elif isinstance(value, str) and value and name.endswith("_file") and name not in ("ca_file", "cert_file"):
        yield value


def _read(home: Home, name: str) -> str:
    try:
        return home.secret(name)
    except Unreachable:
        return ""


def _strings(text: str) -> Iterable[str]:
    """The values in a secret that is itself JSON or lines, such as a key file that a platform gives."""
    return re.findall(r'"([^"\s]{8,})"', text) + [line.strip() for line in text.splitlines() if len(line.strip()) >= 8]
