"""The files of a capture on their way by HTTP: the address and idempotency key of each, its digests, how to read it."""

import base64
import dataclasses
import hashlib
import urllib.parse
from collections.abc import Callable, Iterable

from agent.capture import Capture, Payload
from agent.targets import Home, Progress, Refused, chosen, placeholders, placeholders_of, sidecar_content, verified
from agent.targets._transport import Body

CHUNK = 1 << 16
"""Bytes read from disk and sent at once."""


@dataclasses.dataclass(frozen=True)
class File:
    """One file of a capture: its address, who it is, and how to read it."""

    name: str
    url: str
    key: str
    """Idempotency key, the same for each try; a sidecar's changes with its revision."""
    media_type: str
    size: int
    sha256: str
    read: Callable[[], Iterable[bytes | memoryview]]

    def headers(self) -> dict[str, str]:
        """What it is, for the head of a request or of a part of a form."""
        digest = base64.b64encode(bytes.fromhex(self.sha256)).decode()
        return {
            "Content-Type": self.media_type,
            "Content-Digest": f"sha-256=:{digest}:",  # RFC 9530
            "X-Content-SHA256": self.sha256,
        }

    def content(self, progress: Progress) -> Body:
        """Its bytes, and `progress` hears of each chunk that went out."""
        progress.check()
        for chunk in self.read():
            yield from progress.sending(chunk)


class Addresses:
    """Where each file of a capture goes, by a URL with placeholders."""

    def __init__(self, url: str, home: Home) -> None:
        self._url = url
        self._home = home
        self._placeholders = placeholders_of(url)

    def files(self, capture: Capture, formats: tuple[str, ...]) -> list[File]:
        """The payloads that a target with these `formats` gets, then the sidecar. Refused where there is none."""
        return [*(self._payload(capture, payload) for payload in chosen(capture, formats)), self._sidecar(capture)]

    def _payload(self, capture: Capture, payload: Payload) -> File:
        return File(
            payload.file,
            self._address(capture, payload.file, payload.format),
            f"{capture.uuid}/{payload.file}",
            payload.media_type,
            payload.size,
            payload.sha256,
            lambda: verified(capture, payload, CHUNK),
        )

    def _sidecar(self, capture: Capture) -> File:
        content = sidecar_content(capture)
        name = capture.sidecar.name
        return File(
            name,
            self._address(capture, name, "json"),
            f"{capture.uuid}/{name}/{capture.revision}",
            "application/json",
            len(content),
            hashlib.sha256(content).hexdigest(),
            lambda: (content,),
        )

    def _address(self, capture: Capture, file: str, format: str) -> str:
        values = placeholders(capture, self._home, file, format)
        needed = {key: quoted(values[key]) for key in self._placeholders}
        if {".", ".."} & set(needed.values()):
            raise Refused(f"{capture.name} has names that would lead to another address")
        return self._url.format_map(needed)


def quoted(text: str) -> str:
    """`text` as one part of a path, or within the quotes of a header."""
    return urllib.parse.quote(text, safe="")
