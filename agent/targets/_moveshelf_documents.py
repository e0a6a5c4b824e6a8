"""What goes to Moveshelf of a capture: its files, each with the CRC-32C that has to be known before it is sent."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Sequence

from agent.capture import Capture, Payload
from agent.targets import Progress, sidecar_content, verified
from agent.targets._moveshelf_crc32c import Checksum, as_text
from agent.targets._transport import Body

_CHUNK = 1 << 16
_KINDS = {
    "video": (".mp4", ".mov", ".mpg", ".avi", ".mkv"),
    "motion": (".bvh", ".fbx", ".trc", ".glb", ".mox", ".c3d", ".xlsx"),
    "doc": (".pdf",),
    "data": (".csv", ".json", ".txt"),
    "img": (".png", ".jpg", ".jpeg", ".webp"),
    "camera": (".xcp",),
}


@dataclasses.dataclass(frozen=True)
class Document:
    """One file on its way."""

    name: str
    size: int
    crc32c: str
    """In base64."""
    sha256: str
    read: Callable[[], Body]
    changes: bool = False
    """The sidecar may be there in another revision; payloads never change."""

    @property
    def kind(self) -> str:
        """Moveshelf's dataType."""
        suffix = "." + self.name.lower().rpartition(".")[2]
        return next((kind for kind, suffixes in _KINDS.items() if suffix in suffixes), "raw")


def documents(capture: Capture, payloads: Sequence[Payload], progress: Progress) -> list[Document]:
    """The payloads, then the sidecar. What has no CRC-32C in the sidecar is read for it.

    Refused where a payload is gone or has another size, so that nothing is made for it at Moveshelf.
    """
    found = [_payload(capture, payload, progress) for payload in payloads]
    content = sidecar_content(capture)
    checksum = Checksum()
    checksum.update(content)
    digest = hashlib.sha256(content).hexdigest()
    sidecar = Document(
        capture.sidecar.name, len(content), checksum.text(), digest, lambda: _once(content), changes=True
    )
    return [*found, sidecar]


def _payload(capture: Capture, payload: Payload, progress: Progress) -> Document:
    def read() -> Body:
        yield from verified(capture, payload, _CHUNK)

    if payload.crc32c:
        crc32c = as_text(payload.crc32c)
        with contextlib.closing(read()) as chunks:
            next(chunks, None)
    else:
        checksum = Checksum()
        for chunk in read():
            checksum.update(chunk)
            progress.sent(0)  # a large one takes its time
        crc32c = checksum.text()
    return Document(payload.file, payload.size, crc32c, payload.sha256, read)


def _once(content: bytes) -> Body:
    yield content
