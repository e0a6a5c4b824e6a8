"""Single uploads to Viam, each with its tags, and questions for what is there with a tag."""

import dataclasses
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from agent.capture import Capture, Payload
from agent.targets import Failed, Progress, Refused, verified
from agent.targets import _viam_wire as wire
from agent.targets._viam_calls import Status
from agent.targets._viam_readings import wall_ns
from agent.targets._viam_session import Session
from agent.targets._viam_status import unasked
from drivers import boottime_ns

Parsed = TypeVar("Parsed")

log = logging.getLogger(__name__)

_CHUNK = 1 << 16
_ENOUGH = 100
"""Found at once: a capture has a few files, and a sidecar for each revision."""
_UNASKED_S = 3600
"""For so long a question is not asked again that is not for us."""
_DATA, _SYNC = "/viam.app.data.v1.DataService", "/viam.app.datasync.v1.DataSyncService"


@dataclasses.dataclass(frozen=True)
class Part:
    """Who sends: a part of a machine, and what its captures are there."""

    id: str
    component_name: str
    """Empty: the recording's name."""
    component_type: str
    """Of readings."""
    camera_type: str
    tags: tuple[str, ...]
    label_tags: bool
    dataset_ids: tuple[str, ...]


class Uploads:
    """What a part sends. Safe for several threads."""

    def __init__(self, session: Session, part: Part) -> None:
        self.part = part
        self._session = session
        self._again_ns: dict[str, int] = {}
        """When a method that is not for us may be tried again."""

    def picture(self, capture: Capture, payload: Payload, tag: str, progress: Progress) -> str:
        """Sends a payload as what a camera gave, with what is known to be in it; its id there."""
        metadata = wire.UploadMetadata(
            self.part.id,
            wire.BINARY,
            component_type=self.part.camera_type,
            component_name=self.part.component_name or capture.recording,
            method_name="GetImages",
            file_extension=Path(payload.file).suffix,
            tags=self._all_tags(capture, tag),
            dataset_ids=self.part.dataset_ids,
            mime_type=payload.media_type,
        )
        taken_ns = wall_ns(capture)
        sensor = wire.sensor_metadata(taken_ns, taken_ns, _annotations(capture))
        if payload.size <= _CHUNK:  # of one chunk, it is one message
            content = b"".join(bytes(chunk) for chunk in verified(capture, payload, _CHUNK))
            request = wire.capture_upload(metadata, [wire.image(sensor, content)])
            progress.sent(len(content))  # before: what is stored then is known to be, whatever comes
            response = self._session.send(f"{_SYNC}/DataCaptureUpload", request, progress)
        else:
            head = wire.capture_head(metadata, sensor)
            response = self._session.stream(
                f"{_SYNC}/StreamingDataCaptureUpload",
                lambda: _stream(head, wire.capture_data, verified(capture, payload, _CHUNK), progress),
                progress,
            )
        return _id(response)

    def file(self, capture: Capture, payload: Payload, tag: str, progress: Progress) -> str:
        """Sends a payload as a file; its id there."""
        metadata = dataclasses.replace(self._file(capture, payload.file, (tag,)), mime_type=payload.media_type)
        return self._stream_file(metadata, lambda: verified(capture, payload, _CHUNK), progress)

    def sidecar(self, capture: Capture, content: bytes, tags: tuple[str, ...], progress: Progress) -> str:
        """Sends the sidecar as a file; its id there."""
        metadata = dataclasses.replace(self._file(capture, capture.sidecar.name, tags), mime_type="application/json")
        return self._stream_file(metadata, lambda: iter((content,)), progress)

    def readings(self, capture: Capture, contents: tuple[bytes, ...], tag: str, progress: Progress) -> None:
        """Sends readings, as one request. Data sets are for binary data alone."""
        metadata = wire.UploadMetadata(
            self.part.id,
            wire.TABULAR,
            component_type=self.part.component_type,
            component_name=self.part.component_name or capture.recording,
            method_name="Readings",
            tags=self._all_tags(capture, tag),
        )
        request = wire.capture_upload(metadata, contents)
        progress.sent(len(request))
        _parsed(wire.uploaded, self._session.send(f"{_SYNC}/DataCaptureUpload", request, progress))

    def stored(self, tags: tuple[str, ...], progress: Progress) -> dict[str, str] | None:
        """The ids of pictures and files that are there, by their tags; None where we may not ask."""
        response = self._asked("BinaryDataByFilter", wire.binary_question(self.part.id, tags, _ENOUGH), progress)
        if response is None:
            return None
        found = _parsed(lambda response: list(wire.binary_answer(response)), response)
        return {tag: data_id for data_id, all_tags in found for tag in all_tags if tag in tags}

    def count(self, tag: str, progress: Progress) -> int:
        """How many readings with a tag are there; 0 where we may not ask."""
        return self.counted(tag, progress) or 0

    def counted(self, tag: str, progress: Progress) -> int | None:
        """The same; None where we may not ask."""
        response = self._asked("TabularDataByFilter", wire.tabular_question(self.part.id, (tag,)), progress)
        return None if response is None else _parsed(wire.tabular_answer, response)

    def ids(self, tag: str) -> list[str] | None:
        """The ids of pictures and files with a tag, the first hundred; None where we may not ask."""
        question = wire.binary_question(self.part.id, (tag,), _ENOUGH)
        response = self._asked("BinaryDataByFilter", question, Progress())
        if response is None:
            return None
        return [data_id for data_id, _ in _parsed(lambda response: list(wire.binary_answer(response)), response)]

    def content(self, data_id: str) -> bytes:
        """Of a picture or a file, in one piece, as Viam gives it. Refused where we may not ask."""
        try:
            response = self._session.ask(f"{_DATA}/BinaryDataByIDs", wire.content_question(data_id), Progress())
        except Status as status:
            if unasked(status):
                raise Refused(f"BinaryDataByIDs: Viam answers {status}: may the API key read data?") from None
            raise self._session.meaning(status) from None
        content = _parsed(wire.content_answer, response)
        if content is None:
            raise Failed(f"Viam has no {data_id} any more")
        return content

    def delete(self, method: str, request: bytes) -> int:
        """How many were deleted. Refused where that is not for us."""
        try:
            return _parsed(wire.deleted, self._session.ask(f"{_DATA}/{method}", request, Progress()))
        except Status as status:
            if unasked(status):
                raise Refused(f"{method}: Viam answers {status}: may the API key delete data?") from None
            raise self._session.meaning(status) from None

    def _asked(self, method: str, request: bytes, progress: Progress) -> bytes | None:
        if boottime_ns() < self._again_ns.get(method, 0):
            return None
        try:
            return self._session.ask(f"{_DATA}/{method}", request, progress)
        except Status as status:
            if not unasked(status):
                raise self._session.meaning(status) from None
            self._again_ns[method] = boottime_ns() + _UNASKED_S * 1_000_000_000
            log.warning(
                "Viam does not say what part %s has, and %s says why: %s. What it stored before an answer got lost is "
                "sent again",
                self.part.id,
                method,
                self._session.hidden(str(status)),
            )
            return None

    def _stream_file(
        self, metadata: wire.UploadMetadata, read: Callable[[], Iterator[bytes | memoryview]], progress: Progress
    ) -> str:
        head = wire.file_head(metadata)

        def messages() -> Generator[bytes, None, None]:
            return _stream(head, wire.file_data, read(), progress)

        return _id(self._session.stream(f"{_SYNC}/FileUpload", messages, progress))

    def _file(self, capture: Capture, name: str, tags: Iterable[str]) -> wire.UploadMetadata:
        begun_ns = wall_ns(capture)
        return wire.UploadMetadata(
            self.part.id,
            wire.FILE,
            file_name=name,
            file_extension=Path(name).suffix,
            tags=self._all_tags(capture, *tags),
            dataset_ids=self.part.dataset_ids,
            created_ns=begun_ns,
            modified_ns=begun_ns + round(float(capture.document["duration_s"]) * 1e9),
        )

    def _all_tags(self, capture: Capture, *own: str) -> tuple[str, ...]:
        labels = capture.document["labels"] if self.part.label_tags else {}
        said = [f"{name}:{_text(value)}" for name, value in labels.items()]
        said += capture.document.get("tags", ())
        if capture.document["start"]["clock"] == "unsynchronised":
            said.append("clock:unsynchronised")  # its dates are wrong, and stay so there
        return tuple(dict.fromkeys((*self.part.tags, *said, capture_tag(capture), *own)))


def capture_tag(capture: Capture) -> str:
    """What everything of a capture has."""
    return tag_of(capture.uuid)


def tag_of(uuid: str) -> str:
    """The same by its uuid."""
    return f"capture:{uuid}"


def _stream(
    head: bytes, data: Callable[[bytes], bytes], chunks: Iterator[bytes | memoryview], progress: Progress
) -> Generator[bytes, None, None]:
    """The messages of one stream; an empty content is one, too."""
    yield head
    empty = True
    for chunk in chunks:
        empty = False
        for piece in progress.sending(chunk):
            yield data(bytes(piece))
    if empty:
        yield data(b"")


def _annotations(capture: Capture) -> bytes:
    """Of the sidecar. Refused where Viam would not take them."""
    said = capture.document.get("annotations", {})
    try:
        boxes = [wire.Box(**box) for box in said.get("boxes", ())]
        classifications = [wire.Classification(**each) for each in said.get("classifications", ())]
    except TypeError as error:
        raise Refused(f"{capture.name}: its annotations are not as the sidecar's schema has them: {error}") from None
    for box in boxes:
        corners = (box.x_min, box.y_min, box.x_max, box.y_max)
        if not all(0 <= corner <= 1 for corner in corners):
            raise Refused(f"{capture.name}: the box {box.label!r} is at {corners}, and Viam takes 0 to 1")
    return wire.annotations(boxes, classifications)


def _id(response: bytes) -> str:
    file_id, binary_data_id = _parsed(wire.uploaded, response)
    if not (binary_data_id or file_id):
        raise Failed("the server took it and did not say under which id: is it Viam's?")
    return binary_data_id or file_id


def _parsed(parse: Callable[[bytes], Parsed], response: bytes) -> Parsed:
    try:
        return parse(response)
    except ValueError as error:
        raise Failed(f"the server's answer cannot be read ({error}): is it Viam's?") from None


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
