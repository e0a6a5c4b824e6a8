"""Many small captures in one POST of a tar, answered for each of them.

The tar has a folder for each capture, called by its uuid, with its payloads and then its sidecar. A capture that turns
out, while all are being sent, to be damaged or gone leaves a hole: a file `void` of zeros, since the length of all was
promised. The answer is JSON, in any order:

    {"results": [{"name": "<uuid>", "status": 201}, {"name": ..., "status": 503, "retry_after": 30, "error": "why"}]}

A status means what it means for a PUT; a capture that is there already, of this uuid and revision, is 200.
"""

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from agent.capture import Capture
from agent.targets import Failed, Later, Progress, Receipt, Refused, Unreachable
from agent.targets._credentials import short
from agent.targets._http_files import File
from agent.targets._http_server import Server, accept
from agent.targets._transport import Answer, Body, judge

log = logging.getLogger(__name__)

Fate = Receipt | Exception
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_ANSWER_BYTES = 1 << 20
_NOWHERE = (404, 405, 410, 415, 501)


@dataclasses.dataclass(frozen=True, slots=True)
class _Slot:
    """The place of one capture in a tar: what is known of it while others are sent."""

    index: int
    uuid: str
    sidecar: Path
    size: int


class Bundles:
    """Sends bundles to one address. Safe for several threads; holds one capture's files in memory at a time."""

    def __init__(self, server: Server, url: str, files: Callable[[Capture], Sequence[File]]) -> None:
        """`files` gives those of a capture that are to be sent, the sidecar last."""
        self._server = server
        self._url = url
        self._files = files

    def put(self, captures: Iterable[Capture], progress: Progress) -> list[Fate]:
        """The fate of each capture, in order. Raises what concerns all of them: Later, Unreachable, Failed, Stopped."""
        fates: dict[int, Fate] = {}
        slots: list[_Slot] = []
        for index, capture in enumerate(captures):
            try:
                size = sum(
                    _padded(len(_head(f"{capture.uuid}/{f.name}", f.size)) + f.size) for f in self._files(capture)
                )
                slots.append(_Slot(index, capture.uuid, capture.sidecar, size))
            except Refused as error:
                fates[index] = error
        if slots:
            holes: dict[int, Exception] = {}
            answer = self._sent(slots, holes, progress)
            fates |= _read(answer, slots) | holes
        for fate in fates.values():
            if isinstance(fate, Exception):
                self._server.censor(fate, progress)
        return [fates[index] for index in sorted(fates)]

    def _sent(self, slots: Sequence[_Slot], holes: dict[int, Exception], progress: Progress) -> Answer:
        def content() -> Body:
            progress.check()
            for slot in slots:
                yield from progress.sending(self._filled(slot, holes))
            yield _END

        headers = {
            "Content-Type": "application/x-tar",
            "Content-Length": str(sum(slot.size for slot in slots) + len(_END)),
        }
        answer = self._server.request("POST", self._url, headers, content, answer_bytes=_ANSWER_BYTES)
        if answer.status in _NOWHERE:
            raise Unreachable(f"{answer}; check bundle_url: no bundles are taken there")
        try:
            judge(answer)
        except Refused as error:
            raise Failed(f"{error}, to all {len(slots)} together") from None  # it may be one of them alone
        return answer

    def _filled(self, slot: _Slot, holes: dict[int, Exception]) -> bytes:
        """A capture's part of the tar, or a hole of the same size, with the reason in `holes`."""
        piece = bytearray()
        holes.pop(slot.index, None)
        try:
            for file in self._files(Capture.load(slot.sidecar)):
                piece += _head(f"{slot.uuid}/{file.name}", file.size)
                for chunk in file.read():
                    piece += chunk
                piece += bytes(-len(piece) % _BLOCK)
            if len(piece) == slot.size:
                return bytes(piece)
            holes[slot.index] = Later("it was amended just now", 1.0, pending=True)
        except FileNotFoundError:
            holes[slot.index] = Refused(f"{slot.sidecar.name} is gone from this device")
        except OSError as error:
            holes[slot.index] = Failed(f"{slot.sidecar.name} cannot be read: {error.strerror}")
        except ValueError as error:
            holes[slot.index] = Refused(f"its sidecar cannot be read any more: {error}")
        except (Refused, Failed) as error:
            holes[slot.index] = error
        return _head("void", slot.size - _BLOCK) + bytes(slot.size - _BLOCK)


def _read(answer: Answer, slots: Sequence[_Slot]) -> dict[int, Fate]:
    """What the server says of each slot. Failed where it says nothing that can be read."""
    try:
        results = json.loads(answer.text)["results"]
        entries = [entry for entry in results if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        said = short(answer.text, 100)
        raise Failed(f"the server's answer to {len(slots)} captures cannot be read: {said}") from None
    told: dict[object, Fate] = {}
    for entry in entries:
        name, fate = str(entry.get("name")), _fate(entry, answer.url)
        if not isinstance(told.get(name), Exception):  # told twice: the worse is believed
            told[name] = fate
    unknown = told.keys() - {slot.uuid for slot in slots}
    if unknown:
        log.warning("%s speaks of %d captures that were not in the bundle", answer.url, len(unknown))
    silent = Failed("the server's answer does not tell what became of it")
    return {slot.index: told.get(slot.uuid, silent) for slot in slots}


def _fate(entry: Mapping[str, object], url: str) -> Fate:
    status, after_s, why = entry.get("status"), entry.get("retry_after"), entry.get("error", "")
    if type(status) is not int or not 200 <= status < 600:
        return Failed(f"the server's answer has no status: {str(dict(entry))[:100]}")
    headers = {}
    if isinstance(after_s, int | float) and math.isfinite(after_s):
        headers["retry-after"] = str(max(0, math.ceil(after_s)))
    try:
        accept(Answer(status, headers, str(why), url))
    except Unreachable as error:
        return Failed(str(error))  # of one alone it is no matter of credentials
    except (Refused, Later, Failed) as error:
        return error
    return {"bundle": url, "status": status}


def _head(name: str, size: int) -> bytes:
    """The head of a file in a tar: of a long name, several blocks (POSIX pax)."""
    import tarfile  # noqa: PLC0415  brings the compressors along

    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return size + -size % _BLOCK
