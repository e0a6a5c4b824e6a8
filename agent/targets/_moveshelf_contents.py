"""What Moveshelf has in a trial: its files, and their contents, which are fetched, or compared with ours."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from agent.targets import Failed, Progress
from agent.targets._moveshelf_api import Api, identity, rows
from agent.targets._moveshelf_documents import Document
from agent.targets._transport import Body, judge

TRIAL = (
    "query($id:ID!){node(id:$id){...on MocapClip"
    "{title projectPath description additionalData{id uploadStatus originalFileName originalDataDownloadUri}}}}"
)
FILES = ("node", "additionalData")
"""Where in the answer they are."""
_COMPARED_BYTES = 10 << 20
"""A file that is there already is fetched and compared up to this size, as Moveshelf's own client does."""

Row = Mapping[str, Any]


class _Longer(Exception):
    """There is more of it than there should be; it is not read on."""


def complete(api: Api, trial: str) -> dict[str, str]:
    """The ids of the files that a trial has, whole, by name; none where there is no such trial (any more)."""
    found: dict[str, str] = {}

    def keep(row: Row) -> None:
        if is_complete(row):
            found[str(row.get("originalFileName"))] = str(row["id"])

    _each(api, trial, keep)
    return found


def fetch(api: Api, trial: str, record: str, take: Callable[[bytes], object]) -> None:
    """Gives the content of a trial's file to `take`."""
    found: list[Row] = []

    def keep(row: Row) -> None:
        if row["id"] == record and is_complete(row):
            found.append(row)

    _each(api, trial, keep)
    if not found:
        raise Failed(f"Moveshelf has no file {record} in the trial {trial} any more")
    url = identity(found[0], "originalDataDownloadUri")
    judge(api.transfer("GET", url, {"Content-Length": "0"}, _nothing, progress=Progress(), take=take))


def same(api: Api, row: Row, document: Document, progress: Progress) -> bool | None:
    """Whether a complete record has this document's content; None where that is too much to be looked at, or nobody
    may. What changes is then no longer the same: to send it again costs little."""
    url, unknown = row.get("originalDataDownloadUri"), False if document.changes else None
    if not isinstance(url, str) or not url or document.size > _COMPARED_BYTES:
        return unknown
    digest, size = hashlib.sha256(), 0

    def take(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        if size > document.size:
            raise _Longer
        digest.update(piece)

    try:
        answer = api.transfer("GET", url, {"Content-Length": "0"}, _nothing, progress=progress, take=take)
    except _Longer:
        return False
    if answer.status >= 500 or answer.status in (408, 429):
        judge(answer)
    return digest.hexdigest() == document.sha256 if answer.status == 200 else unknown


def is_complete(row: Row) -> bool:
    """Whether a record has all of its content, as Moveshelf says."""
    return bool(row.get("uploadStatus") == "Complete")


def _each(api: Api, trial: str, keep: Callable[[Row], object]) -> None:
    node = api.ask(TRIAL, Progress(), (FILES, keep), id=trial).get("node")
    if node is not None:
        rows(node, "additionalData")


def _nothing() -> Body:
    yield from ()
