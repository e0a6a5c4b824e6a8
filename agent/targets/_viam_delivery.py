"""One delivery to Viam: what of a capture goes there, in which order, and what is there already."""

import functools
import uuid
from collections.abc import Callable
from typing import Any

from agent.capture import Capture, Payload
from agent.formats import Format
from agent.targets import Progress, Receipt, sidecar_content, verified
from agent.targets._viam_readings import batches
from agent.targets._viam_uploads import Uploads, capture_tag

_CHUNK = 1 << 18
_NAMESPACE = uuid.UUID("3d0f3a1e-7c52-5b0e-8f55-6a2d9f0c41b8")
"""Of the UUIDv5 in tags: what is there is known by them, so it never changes."""


class Delivery:
    """A capture on its way. What was accepted in an earlier try is in the parcel's state, and what was of an earlier
    revision in its receipt; or else Viam is asked for it."""

    def __init__(self, uploads: Uploads, capture: Capture, progress: Progress) -> None:
        self._uploads = uploads
        self._capture = capture
        self._progress = progress
        self._earlier = progress.receipt
        ids, tags = self._earlier.get("files", {}), self._earlier.get("tags", {})
        self._accepted: dict[str, dict[str, str]] = {
            **{name: {"tag": tag, "id": ids[name]} for name, tag in tags.items() if name in ids},
            **progress.state.get("files", {}),
        }
        self._there: dict[str, str] = {}

    def deliver(
        self, payloads: tuple[Payload, ...], source: tuple[Payload, Format] | None, readings_hz: float
    ) -> Receipt:
        """Sends `payloads` as pictures and files, the samples of `source` as readings, and the sidecar, last.

        The sidecar bears the tag of the readings: where it is, all of them are.
        """
        capture, progress, uploads = self._capture, self._progress, self._uploads
        content = sidecar_content(capture)
        readings = self._tag("readings", source[0].sha256, f"{readings_hz:g}") if source else ""
        tags = {payload.file: self._tag(payload.sha256) for payload in payloads}
        tags[capture.sidecar.name] = self._tag("sidecar", str(capture.revision))
        self._look(tags, readings)
        for payload in payloads:
            send = uploads.picture if payload.media_type.startswith("image/") else uploads.file
            tag = tags[payload.file]
            self._once(payload.file, tag, functools.partial(send, capture, payload, tag, progress))
        receipt: dict[str, Any] = {"part_id": uploads.part.id}
        if source:
            receipt["readings_tag"] = readings
            if self._earlier.get("readings_tag") == readings:
                receipt["readings"] = self._earlier.get("readings")
            else:
                receipt["readings"] = None if readings in self._there else self._readings(source, readings_hz, readings)
        tag = tags[capture.sidecar.name]
        own = (tag, readings) if readings else (tag,)
        self._once(capture.sidecar.name, tag, functools.partial(uploads.sidecar, capture, content, own, progress))
        receipt["files"] = {name: self._accepted[name]["id"] for name in tags}
        receipt["tags"] = tags
        return receipt

    def there(
        self, payloads: tuple[Payload, ...], source: tuple[Payload, Format] | None, readings_hz: float
    ) -> dict[str, str] | None:
        """The ids of `payloads` that are there, by file name, and under the name of `source` that of the sidecar which
        says that all readings are; None where the key may not ask."""
        tags = {payload.file: self._tag(payload.sha256) for payload in payloads}
        if source:
            tags.setdefault(source[0].file, self._tag("readings", source[0].sha256, f"{readings_hz:g}"))
        found = self._uploads.stored(tuple(tags.values()), self._progress)
        return None if found is None else {file: found[tag] for file, tag in tags.items() if tag in found}

    def _look(self, tags: dict[str, str], readings: str) -> None:
        """Asks, in one question, for all that is not known to be there."""
        wanted = [tag for name, tag in tags.items() if self._accepted.get(name, {}).get("tag") != tag]
        if wanted:
            asked = (*wanted, readings) if readings else tuple(wanted)
            self._there = self._uploads.stored(asked, self._progress) or {}

    def _once(self, name: str, tag: str, send: Callable[[], str]) -> None:
        """Sends it, unless it is there."""
        if self._accepted.get(name, {}).get("tag") == tag:
            return
        self._progress.check()
        self._accepted[name] = {"tag": tag, "id": self._there[tag] if tag in self._there else send()}
        self._progress.save({"files": self._accepted})

    def _readings(self, source: tuple[Payload, Format], rate_hz: float, whole: str) -> int:
        """Sends the readings that are not there; how many there are.

        Saved is up to which sample they were acknowledged, and up to which sample the batch goes that is on its way.
        """
        payload, _ = source
        for _ in verified(self._capture, payload, _CHUNK):
            self._progress.check()
        saved: dict[str, Any] = self._progress.state.get("readings", {})
        saved = saved if saved.get("tag") == whole else {}
        start, count = int(saved.get("samples", 0)), int(saved.get("count", 0))
        if saved.get("sending", 0) > start:
            stored = self._uploads.count(self._batch_tag(whole, start), self._progress)
            start, count = int(saved["sending"]) if stored else start, count + stored
        # nothing saved: from before the database was made anew, or of an earlier revision
        doubtful = not saved and self._uploads.count(capture_tag(self._capture), self._progress) > 0
        end = start
        for batch in batches(self._capture, source, rate_hz, start):
            self._progress.sent(0)  # a sign of life: it may be all questions and nothing sent
            tag, end = self._batch_tag(whole, batch.first), batch.end
            stored = self._uploads.count(tag, self._progress) if doubtful else 0
            if not stored:
                doubtful = False  # they are sent in order
                self._save(whole, batch.first, count, sending=batch.end)
                self._uploads.readings(self._capture, batch.contents, tag, self._progress)
            count += stored or len(batch.contents)
        self._save(whole, end, count)
        return count

    def _save(self, whole: str, samples: int, count: int, sending: int = 0) -> None:
        self._progress.save({"readings": {"tag": whole, "samples": samples, "count": count, "sending": sending}})

    def _tag(self, *what: str) -> str:
        return _tag(self._capture.uuid, self._uploads.part.id, *what)

    def _batch_tag(self, whole: str, first: int) -> str:
        return _tag(whole, str(first))


def _tag(*what: str) -> str:
    """The tag of something that is sent, the same for each try."""
    return f"outbox:{uuid.uuid5(_NAMESPACE, '/'.join(what))}"
