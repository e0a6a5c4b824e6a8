"""The files of a trial: a record for each, its content put at the signed address that comes with it, and a look at what
became of it, because a store that says 200 has accepted nothing yet."""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.targets import Failed, Later, Progress, Refused
from agent.targets._moveshelf_api import Api, identity, rows, within
from agent.targets._moveshelf_contents import FILES, TRIAL, Row, is_complete, same
from agent.targets._moveshelf_documents import Document
from agent.targets._transport import Answer, Body, judge

_CREATE = "mutation($i:CreateAdditionalDataInput){createAdditionalData(input:$i){uploadUrl data{id}}}"
_DELETE = "mutation($id:ID!){deleteAdditionalData(id:$id){ok}}"
_UPDATE = "mutation($i:UpdateClipInput!){updateClip(clipData:$i){clip{id}}}"

_OVER = (400, 401, 403, 404, 410)
"""What a store says of a signed address whose time is over."""
_BROKEN = ("fail", "error", "invalid", "corrupt", "reject", "mismatch")
"""Parts of an uploadStatus of what will never be `Complete`; any other one may still become it."""
_MISSING = "missing"
_LOOKS, _LOOK_S, _REST_S = 100, 5.0, 300.0
"""So often it is looked whether a file is complete, after 5 s, 10, 20 ... 300 s: some eight hours. Then it is sent
again."""


class Trial:
    """One trial during one `put`. `progress.state` has id, address and checksum of each record, so that a later `put`
    goes on with it: the same bytes put again at the same address are there once."""

    def __init__(self, api: Api, trial: str, documents: Sequence[Document], progress: Progress, *, empty: bool) -> None:
        """`documents`: what is to be in it; `empty`: it was made just now."""
        self._api = api
        self._id = trial
        self._documents = documents
        self._progress = progress
        self._kept: dict[str, dict[str, Any]] = {name: dict(kept) for name, kept in self._state("files", {}).items()}
        self._rows: dict[str, list[Row]] | None = {} if empty else None
        self._node: Row = {}

    def deliver(self) -> dict[str, str]:
        """The id of each file's record, once all are complete. Later where they are still worked on there; Failed where
        some never will be, which are then sent again."""
        documents = self._documents
        sent = [document.name for document in documents if self._bring(document)]
        if sent:
            self._progress.state["looks"] = 0
            self._look()
        looks = self._state("looks", 0)
        waiting = [(each, status) for each in documents if (status := self._status(each)) != "Complete"]
        broken = [(each, status) for each, status in waiting if looks >= _LOOKS or _broken(status)]
        told = ", ".join(f"{each.name} ({status})" for each, status in broken or waiting)
        for each, status in broken:
            self._drop(each, there=status != _MISSING)
        if broken:
            raise Failed(f"Moveshelf does not complete {told}, which is sent again")
        if waiting:
            self._save(looks=looks + 1)
            raise Later(f"Moveshelf is not done with {told}", min(_LOOK_S * 2.0**looks, _REST_S), pending=True)
        for document in documents:
            self._clear(document)
        return {document.name: str(self._kept[document.name]["id"]) for document in documents}

    @property
    def unread(self) -> list[str]:
        """Files that were there already and could not be compared: taken for ours by their names alone."""
        return [each.name for each in self._documents if self._kept.get(each.name, {}).get("unread")]

    def describe(self, capture: str, metadata: Mapping[str, Any]) -> None:
        """Says anew what the trial is, where it was said of this capture (its uuid) and is another thing by now."""
        if self._rows is None:
            self._look()
        there = self._node.get("description")
        if capture in str(there) and there != metadata["description"]:
            # its name and path may have been changed by a person, and are given because it is not known what is kept
            stays = {key: self._node.get(key) for key in ("title", "projectPath")}
            clip = {"id": self._id, "metadata": {**metadata, **stays}, "customOptions": None}
            data = self._api.ask(_UPDATE, self._progress, i=clip)
            identity(data, "updateClip", "clip", "id")

    def _bring(self, document: Document) -> bool:
        """Whether the file had to be sent."""
        kept = self._kept.get(document.name, {})
        there = self._named(document.name)
        mine = [row for row in there if row["id"] == kept.get("id") and kept.get("crc32c") == document.crc32c]
        mine = mine or self._adopted(document, there)
        if mine:
            kept = self._kept[document.name]
            if kept.get("sent") or is_complete(mine[0]):
                return False
            if self._put(document, kept):
                return True
        for row in there:  # of an earlier try, and nobody has the address any more
            if not is_complete(row):
                self._delete(row["id"])
        kept = self._create(document)
        if not self._put(document, kept):
            self._drop(document)
            raise Failed(f"the store does not take {document.name} at the address that Moveshelf has just given")
        return True

    def _adopted(self, document: Document, there: Sequence[Row]) -> list[Row]:
        """The record of a delivery that this one knows nothing of. Only a complete one: of any other, nobody can tell
        whether it has a content."""
        whole = [row for row in there if is_complete(row)]
        for row in whole:
            ours = same(self._api, row, document, self._progress)
            if ours is not False:
                kept = {"id": row["id"], "crc32c": document.crc32c, "sent": True}
                self._kept[document.name] = kept if ours else {**kept, "unread": True}
                return [row]
        if whole and not document.changes:
            raise Refused(
                f"{document.name}: its trial has another file of that name ({whole[0]['id']}), with other content"
            )
        return []

    def _create(self, document: Document) -> dict[str, Any]:
        """A new record, committed before anything is sent to it."""
        data = self._api.ask(
            _CREATE,
            self._progress,
            i={
                "clipId": self._id,
                "clientId": document.name,
                "crc32c": document.crc32c,
                "filename": document.name,
                "dataType": document.kind,
            },
        )
        self._kept[document.name] = kept = {
            "id": identity(data, "createAdditionalData", "data", "id"),
            "url": identity(data, "createAdditionalData", "uploadUrl"),
            "crc32c": document.crc32c,
        }
        self._save()
        return kept

    def _put(self, document: Document, kept: dict[str, Any]) -> bool:
        """Sends the content; False where the record's address is over."""

        def body() -> Body:
            for chunk in document.read():
                yield from self._progress.sending(chunk)

        url = str(kept.get("url", ""))
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(document.size)}
        try:
            answer = self._api.transfer("PUT", url, headers, body, progress=self._progress)
            if answer.status in _OVER:
                return False
            judge(answer)
        except Refused:
            self._drop(document)
            raise
        stored = _stored_crc32c(answer)
        if stored and stored != document.crc32c:
            self._drop(document)
            raise Failed(f"the store has CRC-32C {stored} of {document.name}, and not {document.crc32c}")
        kept["sent"] = True
        kept.pop("url")
        return True

    def _status(self, document: Document) -> str:
        """What Moveshelf says of our record; `missing` where it has none any more."""
        record = self._kept[document.name]["id"]
        return next(
            (str(row.get("uploadStatus")) for row in self._named(document.name) if row["id"] == record), _MISSING
        )

    def _clear(self, document: Document) -> None:
        """Deletes other records of the file's name, such as of an earlier revision."""
        for row in self._named(document.name):
            if row["id"] != self._kept[document.name]["id"]:
                self._delete(row["id"])

    def _named(self, name: str) -> list[Row]:
        if self._rows is None:
            self._look()
        return (self._rows or {}).get(name, [])

    def _look(self) -> None:
        """Asks for the records, by file name."""
        found: dict[str, list[Row]] = {document.name: [] for document in self._documents}

        def keep(row: Row) -> None:
            if (name := str(row.get("originalFileName"))) in found:
                found[name].append(row)

        node = self._api.ask(TRIAL, self._progress, (FILES, keep), id=self._id).get("node")
        if node is None:
            self._progress.save({"place": None, "files": {}})
            raise Failed("its trial has gone from Moveshelf; the next try looks for it by name")
        rows(node, "additionalData")
        self._rows, self._node = found, node

    def _drop(self, document: Document, *, there: bool = True) -> None:
        """Deletes our record, whose content is not what it should be, and forgets it."""
        kept = self._kept.pop(document.name)
        if there:
            self._delete(kept["id"])
        self._save(looks=0)

    def _delete(self, record: str) -> None:
        if within(self._api.ask(_DELETE, self._progress, id=record), "deleteAdditionalData", "ok") is not True:
            raise Failed(f"Moveshelf does not delete its record {record}, which has no content or an old one")

    def _save(self, **more: Any) -> None:
        self._progress.save({"files": self._kept, **more})

    def _state(self, key: str, default: Any) -> Any:
        return self._progress.state.get(key, default)


def _broken(status: str) -> bool:
    return status == _MISSING or any(part in status.lower() for part in _BROKEN)


def _stored_crc32c(answer: Answer) -> str:
    """What Google's store says that it has; empty where it says nothing."""
    for part in answer.headers.get("x-goog-hash", "").split(","):
        name, _, value = part.strip().partition("=")
        if name == "crc32c":
            return value
    return ""
