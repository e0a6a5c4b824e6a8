"""Viam's cloud, as its protocol is: what it knows, takes, stores twice, and tells; whatever classes speak for it.

Its messages are protobuf's, of any origin: the tests' own, or those of the published SDK.
"""

import base64
import dataclasses
import hashlib
import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from google.protobuf.json_format import MessageToDict

KEY_ID, KEY = "01234567-89ab-cdef-0123-456789abcdef", "viam-k3y-that-nobody-may-see"
PART = "11111111-2222-3333-4444-555555555555"
OK, UNKNOWN, INVALID, NOT_FOUND, DENIED, EXHAUSTED, UNAVAILABLE, UNAUTHENTICATED = 0, 2, 3, 5, 7, 8, 14, 16
LARGEST = 1 << 25
"""Bytes of a message that the server's library takes."""


class Refusal(Exception):
    """A status other than OK."""

    def __init__(self, code: int, text: str, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(text)
        self.code, self.text, self.metadata = code, text, metadata


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens to one call instead of what should."""

    code: int = OK
    text: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    after: int = 0
    """Bytes of content after which it happens; at the end where there are fewer."""
    store: bool = False
    """Store what came, and then."""
    cut: bool = False
    """Cut the connection."""
    hang: bool = False
    """Never answer."""
    truncate: bool = False
    """Store it, and cut the connection in the middle of the answer."""
    early: bool = False
    """Say OK before everything is there."""
    answer: bytes | None = None
    """Store it, and answer this."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """A picture or a file. `content` is a hash where the cloud keeps none."""

    method: str
    metadata: dict
    sensor: dict
    content: bytes
    size: int
    chunks: tuple[int, ...]
    id: str


class Cloud:
    """`stored` has pictures and files, `readings` (metadata, reading) of each sensor, in order of arrival."""

    def __init__(self) -> None:
        self.keys = {KEY_ID: KEY}
        self.parts = {PART}
        self.life_s: float | None = None
        """Of a token; the library in the wild sets no end."""
        self.ahead_s = 0.0
        """Of this cloud's clock."""
        self.forgets_tokens = False
        self.may_read = True
        self.may_delete = True
        self.knows_filters = True
        """Whether DeleteTabularData does."""
        self.organization = "org"
        self.keep = True
        self.tokens: dict[str, float | None] = {}
        self.calls: list[str] = []
        self.metadata: list[dict[str, str]] = []
        """Of each call."""
        self.stored: list[Stored] = []
        self.readings: list[tuple[dict, dict]] = []
        self.sizes: list[int] = []
        """Bytes of each request with readings."""
        self.torn = 0
        """Streams that ended before their end."""
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        """By method; those of `uploads` are for any upload."""
        self._lock = threading.Lock()
        self._made = 0

    def fault(self, method: str) -> Fault:
        for name in (method, "uploads") if method.endswith("Upload") else (method,):
            if self.faults[name]:
                return self.faults[name].popleft()
        return Fault()

    def authenticate(self, request, metadata: dict[str, str]) -> str:
        self.note("Authenticate", metadata)
        if "authorization" in metadata:
            raise Refusal(INVALID, "already authenticated; cannot re-authenticate")
        if request.credentials.type != "api-key":
            raise Refusal(INVALID, f"unknown credential type {request.credentials.type}")
        if self.keys.get(request.entity) != request.credentials.payload:
            raise Refusal(DENIED, f"failed to authenticate: {request.credentials.payload} is not the key")
        now, number = time.time() + self.ahead_s, len(self.calls)
        claims = {"sub": request.entity, "aud": ["app.viam.com"], "iat": int(now), "jti": number}
        if self.life_s is not None:
            claims["exp"] = int(now + self.life_s)
        parts = ({"alg": "none", "kid": "1"}, claims, {"signature": number})
        token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        self.tokens[token] = None if self.life_s is None else now + self.life_s
        return token

    def note(self, method: str, metadata: dict[str, str]) -> None:
        self.calls.append(method)
        self.metadata.append(metadata)

    def admit(self, method: str, metadata: dict[str, str]) -> None:
        self.note(method, metadata)
        said = metadata.get("authorization")
        if said is None:
            raise Refusal(UNAUTHENTICATED, "authentication required")
        if not said.startswith("Bearer "):
            raise Refusal(UNAUTHENTICATED, "expected authorization header with prefix: Bearer ")
        with self._lock:
            if self.forgets_tokens:
                self.forgets_tokens = False
                self.tokens.clear()
            end = self.tokens.get(said[7:], 0.0)
        if end is not None and end < time.time() + self.ahead_s:
            raise Refusal(UNAUTHENTICATED, f"unauthenticated: token {said[7:]} is expired")

    def part(self, part_id: str) -> None:
        if part_id not in self.parts:
            raise Refusal(UNKNOWN, "no robot part found")

    def capture(self, request) -> tuple[str, str]:
        """DataCaptureUpload: readings, or one picture."""
        if request.ByteSize() > LARGEST:
            raise Refusal(EXHAUSTED, f"grpc: received message larger than max ({request.ByteSize()} vs. {LARGEST})")
        self.part(request.metadata.part_id)
        metadata = plain(request.metadata)
        if metadata["type"] == "DATA_TYPE_TABULAR_SENSOR":
            self.sizes.append(request.ByteSize())
            self.readings += [(metadata, plain(content)) for content in request.sensor_contents]
            return self._next_ids()
        (content,) = request.sensor_contents
        for box in content.metadata.annotations.bboxes:
            corners = (box.x_min_normalized, box.y_min_normalized, box.x_max_normalized, box.y_max_normalized)
            if not all(0 <= corner <= 1 for corner in corners):
                raise Refusal(INVALID, "bounding box out of range")
        size = len(content.binary)
        return self._store("DataCaptureUpload", metadata, plain(content.metadata), content.binary, (size,))

    def stream(self, method: str) -> "Taking":
        return Taking(self, method)

    def binary(self, request) -> list[tuple[str, dict]]:
        """(id, metadata) of what a BinaryDataByFilterRequest asks for."""
        if not self.may_read:
            raise Refusal(DENIED, "not allowed to read data")
        assert not request.include_binary
        wanted = request.data_request.filter
        assert wanted.tags_filter.type == 1
        found = [
            (each.id, each.metadata)
            for each in self.stored
            if each.metadata["part_id"] == wanted.part_id and set(each.metadata["tags"]) & set(wanted.tags_filter.tags)
        ]
        return found[: request.data_request.limit]

    def contents(self, request) -> list[tuple[str, bytes]]:
        """(id, content) of what a BinaryDataByIDsRequest asks for."""
        if not self.may_read:
            raise Refusal(DENIED, "not allowed to read data")
        assert request.include_binary
        return [(each.id, each.content) for each in self.stored if each.id in request.binary_data_ids]

    def tabular(self, request) -> int:
        """The count that a TabularDataByFilterRequest asks for."""
        if not self.may_read:
            raise Refusal(DENIED, "not allowed to read data")
        assert request.count_only
        wanted = request.data_request.filter
        return sum(
            metadata["part_id"] == wanted.part_id and bool(set(metadata["tags"]) & set(wanted.tags_filter.tags))
            for metadata, _ in self.readings
        )

    def delete_binary(self, request) -> int:
        """How many of a DeleteBinaryDataByIDsRequest there were."""
        return self._deleted(self.stored, lambda each: each.id in request.binary_data_ids)

    def delete_tabular(self, request) -> int:
        """How many readings a DeleteTabularDataRequest means; without a filter that is known here, all there are."""
        if not self.organization == request.organization_id:
            raise Refusal(DENIED, "not your organization")
        assert not request.delete_older_than_days
        wanted = request.filter
        if not self.knows_filters or not request.HasField("filter"):
            return self._deleted(self.readings, lambda each: True)
        assert wanted.tags_filter.type == 1
        return self._deleted(
            self.readings,
            lambda each: each[0]["part_id"] == wanted.part_id and {*each[0]["tags"]} & {*wanted.tags_filter.tags},
        )

    def _deleted(self, those: list, meant: Callable[[Any], object]) -> int:
        if not self.may_delete:
            raise Refusal(DENIED, "not allowed to delete data")
        count = len(those)
        those[:] = [each for each in those if not meant(each)]
        return count - len(those)

    def files(self) -> dict[str, bytes]:
        """What came as files, by name."""
        found = [(each.metadata["file_name"], each.content) for each in self.stored if "file_name" in each.metadata]
        assert len(dict(found)) == len(found), f"there twice: {sorted(name for name, _ in found)}"
        return dict(found)

    def _store(self, method: str, metadata: dict, sensor: dict, content: bytes, chunks: tuple[int, ...]) -> tuple:
        with self._lock:
            ids = self._next_ids()
            size = sum(chunks)
            self.stored.append(Stored(method, metadata, sensor, content, size, chunks, ids[1]))
            return ids

    def _next_ids(self) -> tuple[str, str]:
        self._made += 1
        return f"f{self._made}", f"{self.organization}/location/f{self._made}"


class Taking:
    """One stream that is coming in."""

    def __init__(self, cloud: Cloud, method: str) -> None:
        self._cloud = cloud
        self._method = method
        self._metadata: dict | None = None
        self._sensor: dict = {}
        self._content = bytearray()
        self._digest = hashlib.sha256()
        self._chunks: list[int] = []
        self._spoke = False

    @property
    def size(self) -> int:
        return sum(self._chunks)

    def take(self, message) -> None:
        """The next message."""
        if message.HasField("metadata"):
            assert self._metadata is None, "metadata comes once, and first"
            head = message.metadata
            upload = head if self._method == "FileUpload" else head.upload_metadata
            self._cloud.part(upload.part_id)
            self._metadata = plain(upload)
            if self._method != "FileUpload":
                self._sensor = plain(head.sensor_metadata)
            return
        if self._metadata is None:
            raise Refusal(INVALID, "first message must be metadata")
        data = message.file_contents.data if self._method == "FileUpload" else message.data
        self._chunks.append(len(data))
        self._digest.update(data)
        if self._cloud.keep:
            self._content += data

    def finish(self) -> tuple[str, str]:
        if self._metadata is None or not self._chunks:
            raise Refusal(INVALID, "neither metadata nor contents")
        content = bytes(self._content) if self._cloud.keep else self._digest.hexdigest().encode()
        return self._cloud._store(self._method, self._metadata, self._sensor, content, tuple(self._chunks))


def plain(message) -> dict:
    return MessageToDict(message, preserving_proto_field_name=True)
