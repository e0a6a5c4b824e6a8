"""Viam's messages as bytes, written by hand: a dozen small ones, so no generated code and no protobuf at run time.

Field numbers are those of `proto/rpc/v1/auth.proto`, `app/datasync/v1/data_sync.proto` and `app/data/v1/data.proto` of
Viam's API. Absent and empty are the same, but for members of a oneof, which are written even where they are zero.
"""

import dataclasses
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from agent import protobuf
from agent.protobuf import FIXED64, number, part, tag, text

BINARY, TABULAR, FILE = 1, 2, 3
"""DataType."""
EXACT = 1 << 53
"""All numbers of a Struct are doubles, which do not tell integers beyond this from one another."""

Value: TypeAlias = "bool | int | float | str | Sequence[Value] | Mapping[str, Value] | None"

_BY_ANY_TAG = 1
"""TagsFilterType."""


@dataclasses.dataclass(frozen=True)
class UploadMetadata:
    """What an upload is; times are Unix times in nanoseconds."""

    part_id: str
    type: int
    component_type: str = ""
    component_name: str = ""
    method_name: str = ""
    file_name: str = ""
    file_extension: str = ""
    """With its dot."""
    tags: tuple[str, ...] = ()
    dataset_ids: tuple[str, ...] = ()
    mime_type: str = ""
    created_ns: int | None = None
    modified_ns: int | None = None

    def encode(self) -> bytes:
        return b"".join(
            (
                _text(1, self.part_id),
                _text(2, self.component_type),
                _text(3, self.component_name),
                _text(5, self.method_name),
                number(6, self.type),
                _text(7, self.file_name),
                _text(9, self.file_extension),
                *(text(10, each) for each in self.tags),
                *(text(12, each) for each in self.dataset_ids),
                _text(13, self.mime_type),
                b"" if self.created_ns is None else part(14, timestamp(self.created_ns)),
                b"" if self.modified_ns is None else part(15, timestamp(self.modified_ns)),
            )
        )


@dataclasses.dataclass(frozen=True)
class Box:
    """Where something is in a picture, in parts of its width and height, 0 to 1 from the upper left corner."""

    label: str
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    confidence: float | None = None

    def encode(self) -> bytes:
        corners = enumerate((self.x_min, self.y_min, self.x_max, self.y_max), 3)
        sure = b"" if self.confidence is None else _double(7, self.confidence)
        return text(2, self.label) + b"".join(_double(field, value) for field, value in corners if value) + sure


@dataclasses.dataclass(frozen=True)
class Classification:
    """What a picture shows as a whole."""

    label: str
    confidence: float | None = None

    def encode(self) -> bytes:
        return text(1, self.label) + (b"" if self.confidence is None else _double(2, self.confidence))


def authenticate(entity: str, kind: str, payload: str) -> bytes:
    """AuthenticateRequest: `entity` is the id of the key, `payload` the key."""
    return text(1, entity) + part(2, text(1, kind) + text(2, payload))


def access_token(response: bytes) -> str:
    """Of an AuthenticateResponse; empty where it has none."""
    return _said(response, 1)


def timestamp(ns: int) -> bytes:
    """google.protobuf.Timestamp of a Unix time."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return (number(1, seconds) if seconds else b"") + (number(2, rest) if rest else b"")


def annotations(boxes: Iterable[Box], classifications: Iterable[Classification]) -> bytes:
    """Annotations; empty where there are none."""
    return b"".join([part(1, box.encode()) for box in boxes] + [part(2, each.encode()) for each in classifications])


def sensor_metadata(requested_ns: int, received_ns: int, annotations: bytes = b"") -> bytes:
    """SensorMetadata: when a reading was asked for and when it came back."""
    said = part(4, annotations) if annotations else b""
    return part(1, timestamp(requested_ns)) + part(2, timestamp(received_ns)) + said


def structure(values: Mapping[str, Value]) -> bytes:
    """google.protobuf.Struct, its keys in order. ValueError for numbers that there are none of in JSON."""
    return b"".join(entry(key, value_of(value)) for key, value in sorted(values.items()))


def entry(key: str, value: bytes) -> bytes:
    """One field of a Struct."""
    return part(1, text(1, key) + part(2, value))


def value_of(value: Value) -> bytes:
    """google.protobuf.Value."""
    match value:
        case None:
            return number(1, 0)
        case bool():
            return number(4, value)
        case int() | float():
            if not math.isfinite(value):
                raise ValueError(f"{value} is no number that a Struct can tell")
            return _double(2, value)
        case str():
            return text(3, value)
        case Mapping():
            return part(5, structure(value))
    return part(6, b"".join(part(1, value_of(each)) for each in value))


def reading(metadata: bytes, structure: bytes) -> bytes:
    """SensorData of one tabular reading."""
    return part(1, metadata) + part(2, structure)


def image(metadata: bytes, content: bytes) -> bytes:
    """SensorData of one picture, as a whole."""
    return part(1, metadata) + part(3, content)


def capture_upload(metadata: UploadMetadata, sensor_contents: Iterable[bytes]) -> bytes:
    """DataCaptureUploadRequest."""
    return part(1, metadata.encode()) + b"".join(part(2, content) for content in sensor_contents)


def capture_head(metadata: UploadMetadata, sensor: bytes) -> bytes:
    """The first StreamingDataCaptureUploadRequest of a stream."""
    return part(1, part(1, metadata.encode()) + part(2, sensor))


def capture_data(content: bytes) -> bytes:
    """One StreamingDataCaptureUploadRequest of those that follow."""
    return part(2, content)


def file_head(metadata: UploadMetadata) -> bytes:
    """The first FileUploadRequest of a stream."""
    return part(1, metadata.encode())


def file_data(content: bytes) -> bytes:
    """One FileUploadRequest of those that follow; an empty content is one as well."""
    return part(2, part(1, content) if content else b"")


def uploaded(response: bytes) -> tuple[str, str]:
    """(file_id, binary_data_id) of the response to any upload; empty where it has none."""
    return _said(response, 1), _said(response, 2)


def binary_question(part_id: str, tags: Iterable[str], limit: int) -> bytes:
    """BinaryDataByFilterRequest: what that part has with any of these tags, without the contents."""
    return part(1, part(1, _filter(part_id, tags)) + number(2, limit))


def binary_answer(response: bytes) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(binary_data_id, tags) of what a BinaryDataByFilterResponse tells of."""
    for datum in _parts(response, 1):
        for metadata in _parts(datum, 2):
            tags = tuple(each.decode() for about in _parts(metadata, 2) for each in _parts(about, 12))
            yield _said(metadata, 10), tags


def content_question(data_id: str) -> bytes:
    """BinaryDataByIDsRequest: one, with its content."""
    return number(2, 1) + text(4, data_id)


def content_answer(response: bytes) -> bytes | None:
    """The content in a BinaryDataByIDsResponse; None where it tells of nothing."""
    for datum in _parts(response, 1):
        return next(_parts(datum, 1), b"")
    return None


def tabular_question(part_id: str, tags: Iterable[str]) -> bytes:
    """TabularDataByFilterRequest: how many readings that part has with any of these tags."""
    return part(1, part(1, _filter(part_id, tags))) + number(2, 1)


def tabular_answer(response: bytes) -> int:
    """The count in a TabularDataByFilterResponse."""
    return next((value for field, value in protobuf.fields(response) if field == 3 and isinstance(value, int)), 0)


def binary_deletion(ids: Iterable[str]) -> bytes:
    """DeleteBinaryDataByIDsRequest."""
    return b"".join(text(3, each) for each in ids)


def tabular_deletion(organization: str, part_id: str, tag: str) -> bytes:
    """DeleteTabularDataRequest: of any age, of that part, with this tag. The organization alone would mean all of its
    readings, so there is none without the filter."""
    tags = number(1, _BY_ANY_TAG) + text(2, tag)
    return text(1, organization) + part(3, text(3, part_id) + part(7, tags))


def deleted(response: bytes) -> int:
    """The count in the response to either."""
    return next((value for field, value in protobuf.fields(response) if field == 1 and isinstance(value, int)), 0)


def _filter(part_id: str, tags: Iterable[str]) -> bytes:
    return text(9, part_id) + part(14, number(1, _BY_ANY_TAG) + b"".join(text(2, each) for each in tags))


def _text(field: int, content: str) -> bytes:
    return text(field, content) if content else b""


def _double(field: int, value: float) -> bytes:
    return tag(field, FIXED64) + struct.pack("<d", value)


def _said(message: bytes, field: int) -> str:
    """The text of a field, empty where it has none. ValueError where it is no message."""
    return "".join(list(map(bytes.decode, _parts(message, field)))[-1:])


def _parts(message: bytes, wanted: int) -> Iterator[bytes]:
    for field, value in protobuf.fields(message):
        if field == wanted and isinstance(value, bytes):
            yield value
