"""Resumable uploads by tus 1.0: an upload is made, filled piece by piece, and after a cut goes on where the server is.

The protocol: https://tus.io/protocols/resumable-upload, core, with the extensions creation, checksum and expiration.
"""

import base64
import functools
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from agent.targets import Failed, Later, Progress, Unreachable
from agent.targets._credentials import unsigned
from agent.targets._http_files import File
from agent.targets._http_server import Server
from agent.targets._transport import Answer, Body, joined, judge, retry_after_s

_PIECE = 2 << 20
"""Bytes of one PATCH: what a cut can cost, since a server that checks sums forgets a piece that it has not whole."""
_VERSION = {"Tus-Resumable": "1.0.0"}
_GONE = (404, 410)
_LOCKED = 423
_BAD_SUM = 460


class Tus:
    """Uploads files to the creation address that each has. Safe for several threads.

    A tus server knows no names. What an upload is, is told to it in Upload-Metadata: filename, filetype, sha256, and a
    key by which it can recognise what it has already.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sums: str | None = None
        """The hash that the server checks pieces with; empty: none; None: it was not asked yet."""

    def deliver(self, file: File, progress: Progress) -> str:
        """Uploads a file, from where an earlier try came to; the address it has there. Raises as a target's `put`."""
        sums = self._checksums(file.url)
        url, offset = self._begun(file, progress.state.get("tus", {}))
        if not url:
            url = self._made(file)
            progress.save({"tus": {"url": url, "at": file.url, "key": file.key}})
        if offset < file.size:
            self._fill(url, file, offset, sums, progress)
        return url

    def _checksums(self, at: str) -> str:
        """The hash to send with each piece, as the server's OPTIONS say; asked once."""
        if self._sums is None:
            answer = self._server.request("OPTIONS", at, {})
            if answer.status not in (400, 403, 404, 405, 501):  # which only say that it answers no OPTIONS
                judge(answer)
            extensions = _words(answer.headers.get("tus-extension", ""))
            offered = _words(answer.headers.get("tus-checksum-algorithm", "sha1"))  # which every server must know
            known = [name for name in ("sha256", "sha1") if name in offered and "checksum" in extensions]
            self._sums = known[0] if known else ""
        return self._sums

    def _begun(self, file: File, saved: dict[str, Any]) -> tuple[str, int]:
        """(address, bytes that are there) of the upload of an earlier try; no address where there is none any more."""
        url = self._server.own(str(saved.get("url", "")))
        if not url or (saved.get("at"), saved.get("key")) != (file.url, file.key):
            return "", 0
        answer = self._server.request("HEAD", url, _VERSION)
        if answer.status in (*_GONE, 403):  # 403: tus allows it for an upload that has expired
            return "", 0
        _judge(answer)
        offset, length = _number(answer, "upload-offset"), _number(answer, "upload-length")
        if offset is None or offset > file.size or length not in (None, file.size):
            return "", 0
        return url, offset

    def _made(self, file: File) -> str:
        """Makes an upload; its address."""
        metadata = {"filename": file.name, "filetype": file.media_type, "sha256": file.sha256, "key": file.key}
        headers = {
            **_VERSION,
            "Upload-Length": str(file.size),
            "Upload-Metadata": ",".join(f"{key} {_base64(value.encode())}" for key, value in metadata.items()),
            "Idempotency-Key": file.key,
        }
        answer = self._server.request("POST", file.url, headers)
        if answer.status in _GONE:
            raise Unreachable(f"{answer}; check the target's url: no tus uploads are made there")
        _judge(answer)
        location = answer.headers.get("location", "")
        if not location:
            raise Unreachable(f"{answer}, without a Location; check the target's url: it speaks no tus")
        url = self._server.own(joined(answer.url, location))
        if not url:
            raise Unreachable(f"the server makes uploads elsewhere, at {unsigned(location)}; check the target's url")
        return url

    def _fill(self, url: str, file: File, offset: int, sums: str, progress: Progress) -> None:
        for piece in _pieces(file, offset, progress):
            headers = {
                **_VERSION,
                "Upload-Offset": str(offset),
                "Content-Type": "application/offset+octet-stream",
                "Content-Length": str(len(piece)),
            }
            if sums:
                digest = hashlib.new(sums, piece, usedforsecurity=False).digest()
                headers["Upload-Checksum"] = f"{sums} {_base64(digest)}"
            answer = self._server.request("PATCH", url, headers, functools.partial(_body, piece, progress))
            if answer.status in _GONE:
                progress.save({"tus": {}})
                raise Failed(f"{answer}: the upload has expired, and is begun anew")
            _judge(answer)
            offset += len(piece)
            there = _number(answer, "upload-offset")
            if there != offset:
                raise Failed(f"the server has {there} bytes of {file.name}, and should have {offset}")


def _pieces(file: File, offset: int, progress: Progress) -> Iterator[memoryview]:
    """What is left of a file from `offset` on; each piece is good until the next one is asked for."""
    buffer = memoryview(bytearray(min(_PIECE, file.size - offset)))
    filled, skip = 0, offset
    chunks: Iterable[bytes | memoryview] = file.read()
    for chunk in chunks:
        progress.check()
        rest = memoryview(chunk)[min(skip, len(chunk)) :]
        skip -= len(chunk) - len(rest)
        while rest:
            count = min(len(rest), len(buffer) - filled)
            buffer[filled : filled + count] = rest[:count]
            filled, rest = filled + count, rest[count:]
            if filled == len(buffer):
                yield buffer
                filled = 0
    if filled:
        yield buffer[:filled]


def _body(piece: memoryview, progress: Progress) -> Body:
    progress.check()
    yield from progress.sending(piece)


def _judge(answer: Answer) -> None:
    """`judge`, with the statuses of tus."""
    if answer.status == 409:
        raise Failed(f"{answer}: it has another part of the file than we thought")
    if answer.status == 412:
        raise Unreachable(f"{answer}; it speaks another version of tus than 1.0")
    if answer.status == _LOCKED:
        after_s = retry_after_s(answer.headers)
        raise Later(f"{answer}: an earlier try still goes on there", 10.0 if after_s is None else after_s, pending=True)
    if answer.status == _BAD_SUM:
        raise Failed(f"{answer}: a piece was damaged on the way")
    judge(answer)


def _number(answer: Answer, header: str) -> int | None:
    value = answer.headers.get(header, "").strip()
    return int(value) if value.isdecimal() else None


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
