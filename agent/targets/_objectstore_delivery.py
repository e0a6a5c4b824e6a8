"""A capture becomes objects: what is there already stays, what is large goes in parts and resumes with the next one."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from agent.capture import Capture, Payload
from agent.targets import (
    Failed,
    Home,
    Later,
    Progress,
    Receipt,
    Refused,
    Unreachable,
    chosen,
    sidecar_content,
    verified,
)
from agent.targets._inventory import Held
from agent.targets._objectstore_layout import Layout
from agent.targets._objectstore_objects import (
    CHUNK,
    Found,
    Gone,
    InParts,
    Item,
    Store,
    part_content,
    parts,
    whole_content,
)
from agent.targets._transport import Body

_PARTS = 1000
"""A payload has at most so many parts, larger ones where it must be: all that is known of them is saved after each."""


class Far(Protocol):
    """The connections behind a store."""

    def fetch(self, key: str, take: Callable[[bytes], object]) -> None:
        """Gives the content of an object to `take`. Refused where nothing can be fetched."""

    def hidden(self, text: str) -> str:
        """`text` without secrets."""

    def close(self) -> None:
        """Cuts what is under way; may be called twice, from any thread."""


class ObjectStore:
    """Each file of a capture is an object, the sidecar the last. Safe for several threads.

    What is there is asked for first, and a new object is only put where none is: the same content is a delivery, other
    content is Refused. Only a sidecar gives way, to a later revision of itself.
    """

    def __init__(
        self,
        far: Far,
        store: Store,
        layout: Layout,
        *,
        place: Mapping[str, str],
        home: Home,
        part_bytes: int,
        look: bool,
    ) -> None:
        """`place` tells this store from others in what is saved and in receipts. `look` False: nothing is asked for,
        and whatever has the same key is replaced."""
        self.formats: tuple[str, ...] = ()
        self._far = far
        self._store = store
        self._layout = layout
        self._place = place
        self._home = home
        self._part_bytes = part_bytes
        self._look = look

    def put(self, capture: Capture, progress: Progress) -> Receipt:
        """Delivers payloads and sidecar. The receipt has place, key, sha256, ETag and version of each object."""
        payloads = chosen(capture, self.formats)
        progress.check()
        try:
            done = {payload.file: self._payload(capture, payload, progress) for payload in payloads}
            return {"files": done | {capture.sidecar.name: self._sidecar(capture, progress)}}
        except (Refused, Later, Unreachable, Failed) as error:
            progress.check()  # what comes of cutting the connection is no fault
            raise self._clean(error) from None

    def probe(self) -> list[str]:
        """Asks for an object that is not there, and begins an upload that it gives up. Leaves nothing behind."""
        item = self._layout.probe(self._home)
        try:
            found = [] if not self._look or self._store.in_parts is None else ["what is there may be asked for"]
            if self._found(item) is not None:
                found = [f"an object {item.key} is there"]
            return [*found, self._store.probe(item)]
        except (Refused, Later, Unreachable, Failed) as error:
            raise self._clean(error) from None
        except Gone as error:
            raise Failed(self._far.hidden(str(error))) from None

    def inventory(self, asked: Sequence[tuple[Capture, Receipt]]) -> Iterator[Held]:
        """Asks for the size and the hash of each object, by the key that it would have now."""
        if not self._look:
            raise Refused("look = false: these keys may not ask what is there")
        if self._store.in_parts is None:
            raise Refused("an endpoint that gives addresses to put files at tells nobody what is there")
        try:
            for capture, _ in asked:
                for payload in chosen(capture, self.formats):
                    item = self._layout.item(capture, payload, self._home)
                    if (found := self._found(item)) is not None:
                        size = None if found.size < 0 else found.size
                        hash = f"sha256:{found.sha256}" if found.sha256 else ""
                        yield Held(payload.file, size, hash, item.key)
        except (Refused, Later, Unreachable, Failed) as error:
            raise self._clean(error) from None

    def fetch(self, held: Held, take: Callable[[bytes], object]) -> None:
        """Asks for the object of `inventory`."""
        try:
            self._far.fetch(held.id, take)
        except (Refused, Later, Unreachable, Failed) as error:
            raise self._clean(error) from None

    def remove(self, capture: str, receipt: Receipt) -> Sequence[str]:
        """Deletes each object of a receipt that is this capture's still, the sidecar last."""
        files = receipt.get("files")
        if not isinstance(files, dict):
            raise Refused("its receipt names no objects")
        try:
            keys = [self._key(receipt, name) for name in files]
            found = {key: self._store.look(key) if self._look else None for key in keys}
            for key, there in found.items():
                if there is not None and there.capture != capture:
                    raise Refused(f"{key} is not this capture's any more")
            stays = [
                self._store.remove(key, there.version if there else "")
                for key, there in found.items()
                if there is not None or not self._look or self._store.in_parts is None
            ]
        except (Refused, Later, Unreachable, Failed) as error:
            raise self._clean(error) from None
        return [said for said in dict.fromkeys(stays) if said]

    def close(self) -> None:
        """Aborts what hangs and lets the connections go; may be called twice, from any thread."""
        self._far.close()

    def _clean(self, error: Exception) -> Exception:
        error.args = tuple(self._far.hidden(str(text)) for text in error.args)
        return error

    def _payload(self, capture: Capture, payload: Payload, progress: Progress) -> Mapping[str, Any]:
        item = self._layout.item(capture, payload, self._home)
        about = self._about(item)
        for said in (progress.state, progress.receipt):
            known = _file(said, payload.file)
            if about.items() <= known.items():
                return known  # taken in an earlier try, or with an earlier revision
        found = self._found(item)
        if found is not None:
            _same(item, found)
            done: Receipt = {}
        elif self._store.in_parts is not None and payload.size > self._part_bytes:
            done = self._in_parts(self._store.in_parts, item, (capture, payload), progress)
        else:
            done = self._whole(item, lambda: whole_content(verified(capture, payload, CHUNK), progress))
        done = {**about, **done}
        progress.save({"files": progress.state.get("files", {}) | {payload.file: done}, "upload": None})
        return done

    def _sidecar(self, capture: Capture, progress: Progress) -> Mapping[str, Any]:
        content = sidecar_content(capture)
        item = self._layout.sidecar(capture, content, self._home)
        found = self._found(item)
        if found is not None and found.capture != capture.uuid:
            raise Refused(f"{item.key} is there already, and is not this capture's sidecar")
        if found is not None and (found.revision > capture.revision or found.sha256 == item.sha256):
            return self._about(item)
        version = "" if found is None else found.version
        return {**self._about(item), **self._whole(item, lambda: whole_content(iter((content,)), progress), version)}

    def _key(self, receipt: Receipt, name: str) -> str:
        """Of a file that the receipt says is here. Refused where it says that it is elsewhere."""
        file = _file(receipt, name)
        if "key" not in file or any(file.get(about, here) != here for about, here in self._place.items()):
            raise Refused(f"{name} was put elsewhere: {file.get('url')}")
        return str(file["key"])

    def _about(self, item: Item) -> dict[str, Any]:
        """Where an object is, and what."""
        return {**self._place, "key": item.key, "sha256": item.sha256}

    def _found(self, item: Item) -> Found | None:
        return self._store.look(item.key) if self._look else None

    def _whole(self, item: Item, body: Callable[[], Body], replaces: str = "") -> Receipt:
        return self._store.put(item, body, replaces if self._look else "*")

    def _in_parts(self, store: InParts, item: Item, source: tuple[Capture, Payload], progress: Progress) -> Receipt:
        """One large object; each part that is there is remembered, and not sent again."""
        part_bytes = part_size(self._part_bytes, item.size)
        about = {**self._about(item), "part_bytes": part_bytes}
        saved = progress.state.get("upload") or {}
        if {name: saved.get(name) for name in about} != about:
            saved = {**about, "id": store.begin(item), "parts": []}
            progress.save({"upload": saved})
        upload: str = saved["id"]
        there: list[str] = list(saved["parts"])
        try:
            for part in parts(*source, part_bytes, progress):
                if part.number > len(there):
                    there.append(store.part(item, upload, part, lambda: part_content(*source, part, progress)))  # noqa: B023  used before the next
                    progress.save({"upload": {**saved, "parts": there}})
            done = store.complete(item, upload, there, replaces="" if self._look else "*")
        except Gone as error:
            progress.save({"upload": None})
            raise Failed(f"{error}; the upload begins anew") from None
        except Refused:
            with contextlib.suppress(Failed, Later, Unreachable, Refused):  # its parts only cost, and the reason counts
                store.abandon(item, upload)
            raise
        found = self._found(item)
        if found is not None and found.size not in (-1, item.size):
            raise Failed(f"{item.key} has {found.size} bytes there instead of {item.size}")
        return done


def _file(said: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a saved state or a receipt has of one file."""
    files = said.get("files")
    known = files.get(name) if isinstance(files, dict) else None
    return dict(known) if isinstance(known, dict) else {}


def part_size(least: int, size: int) -> int:
    """Bytes of each part but the last of an object of `size` bytes."""
    return max(least, -(-size // _PARTS))


def _same(item: Item, found: Found) -> None:
    """Refused where what is there is not the item."""
    if found.size in (-1, item.size) and found.sha256 == item.sha256:
        return
    what = f"sha256 {found.sha256}" if found.sha256 else "of nobody knows which sha256"
    raise Refused(f"{item.key} is there already, with other content: {found.size} bytes, {what}")
