"""What an object store is asked for: objects that are there, objects to be put, whole or in parts."""

import base64
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from agent.capture import Capture, Payload
from agent.targets import Failed, Progress, Receipt, Refused, verified
from agent.targets._transport import Body

CHUNK = 1 << 16


class Gone(Exception):
    """The store knows nothing of this upload any more: it has to begin anew."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One object to be put. Its metadata `capture`, `revision` and `sha256` tell later what it is."""

    key: str
    media_type: str
    size: int
    sha256: str
    md5: str
    metadata: Mapping[str, str]
    tags: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Found:
    """An object that is there. Empty: the store does not say."""

    size: int
    sha256: str
    capture: str
    revision: int
    version: str
    """What a condition may ask for, so that only this one is replaced."""

    @classmethod
    def of(cls, headers: Mapping[str, str], prefix: str, version: str) -> "Found":
        """`prefix` of the headers that carry metadata."""
        size, revision = headers.get("content-length", ""), headers.get(f"{prefix}revision", "")
        return cls(
            int(size) if size.isdecimal() else -1,
            headers.get(f"{prefix}sha256", ""),
            headers.get(f"{prefix}capture", ""),
            int(revision) if revision.isdecimal() else 0,
            version,
        )


@dataclasses.dataclass(frozen=True)
class Part:
    """A piece of a payload, by its place in the file; `number` counts from 1."""

    number: int
    offset: int
    size: int
    sha256: str
    md5: str


class InParts(Protocol):
    """The requests for an object that comes in parts."""

    def begin(self, item: Item) -> str:
        """The id of an upload in parts."""

    def part(self, item: Item, upload: str, part: Part, body: Callable[[], Body]) -> str:
        """What `complete` has to know of a part that is there now. Raises Gone."""

    def complete(self, item: Item, upload: str, parts: Sequence[str], *, replaces: str) -> Receipt:
        """Makes one object of the parts. Raises Gone; Refused where something is there that it may not replace."""

    def abandon(self, item: Item, upload: str) -> None:
        """Gives up an upload, and the room that its parts take."""


class Store(Protocol):
    """The requests of one kind of store."""

    in_parts: InParts | None
    """None: it takes whole objects only."""

    def look(self, key: str) -> Found | None:
        """What is there; None where nothing is, or nobody can say."""

    def put(self, item: Item, body: Callable[[], Body], replaces: str) -> Receipt:
        """One object in one request. `replaces` is the version that it may replace; empty: none, "*": any.

        Refused where something else is there.
        """

    def probe(self, item: Item) -> str:
        """Tries what a put needs as far as that leaves nothing behind; what was found, in a line."""

    def remove(self, key: str, version: str) -> str:
        """Deletes an object, which may be gone, where the store can make that depend on it only of this `version`
        (empty: of any). What stays of it, in words. Refused where these keys, or this kind of store, delete nothing."""


def tried(store: InParts, item: Item) -> str:
    """Begins an upload, sends one byte of it, and gives it up: nothing that anybody could see is left."""
    content = b"?"
    sha256, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content, usedforsecurity=False).hexdigest()
    upload = store.begin(item)
    try:
        store.part(item, upload, Part(1, 0, len(content), sha256, md5), once(content))
    finally:
        store.abandon(item, upload)
    return "an upload could be begun, and was given up again"


def parts(capture: Capture, payload: Payload, part_bytes: int, progress: Progress) -> Iterator[Part]:
    """The parts of a payload, each hashed. The last one only comes once the whole has proved to be the sidecar's."""
    number, offset, size = 1, 0, 0
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    for chunk in verified(capture, payload, CHUNK):
        while chunk:
            piece, chunk = chunk[: part_bytes - size], chunk[part_bytes - size :]
            sha256.update(piece)
            md5.update(piece)
            size += len(piece)
            if size == part_bytes or offset + size == payload.size:
                yield Part(number, offset, size, sha256.hexdigest(), md5.hexdigest())
                number, offset, size = number + 1, offset + size, 0
                sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
                progress.sent(0)  # a sign of life: on resuming, a large file is only read for a long time


def part_content(capture: Capture, payload: Payload, part: Part, progress: Progress) -> Body:
    """The bytes of one part, streamed; the store itself compares them with the part's hashes."""
    progress.check()
    try:
        with capture.path(payload).open("rb", buffering=0) as file:
            file.seek(part.offset, os.SEEK_SET)
            buffer = memoryview(bytearray(CHUNK))
            left = part.size
            while left:
                count = file.readinto(buffer[: min(left, CHUNK)])
                if not count:
                    raise Refused(f"{payload.file} has changed: it became shorter while it was read")
                left -= count
                yield from progress.sending(buffer[:count])
    except FileNotFoundError:
        raise Refused(f"{payload.file} is gone from this device") from None
    except OSError as error:
        raise Failed(f"{payload.file} cannot be read: {error.strerror}") from None


def whole_content(chunks: Iterator[bytes | memoryview], progress: Progress) -> Body:
    """`chunks`, with a sign of life after each."""
    progress.check()
    for chunk in chunks:
        yield from progress.sending(chunk)


def no_content() -> Body:
    """Nothing."""
    yield from ()


def once(content: bytes) -> Callable[[], Body]:
    """`content` as a body."""

    def body() -> Body:
        yield content

    return body


def as_base64(hexadecimal: str) -> str:
    """A hash as stores write it."""
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def receipt(headers: Mapping[str, str], version: str) -> dict[str, Any]:
    """What the store says of an object that it took: its ETag, and its version where it keeps several (`version` is
    that header's name)."""
    said = {"etag": headers.get("etag", ""), "version": headers.get(version, "")}
    return {name: value for name, value in said.items() if value}
