"""What the objects of a capture are called, and what stands beside them: key, metadata, tags."""

import dataclasses
import hashlib
import re
import urllib.parse
from collections.abc import Iterator, Mapping

from agent.capture import Capture, Payload
from agent.targets import Home, Refused, placeholders, placeholders_of, template_mistake
from agent.targets._objectstore_objects import Item

_KEY_BYTES = 1024
_NAME = re.compile("[a-z][a-z0-9_]{0,63}")
"""Of metadata: what all stores take, Azure being the strictest."""
_OURS = ("capture", "revision", "sha256")
_MAY_LEAD_ELSEWHERE = {"", ".", ".."}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Templates with the placeholders of `agent.targets`."""

    key: str
    metadata: Mapping[str, str]
    tags: Mapping[str, str]

    def item(self, capture: Capture, payload: Payload, home: Home) -> Item:
        """The object that a payload becomes. Refused where no key can be made for it."""
        hashes = (payload.size, payload.sha256, payload.md5)
        return self._item(capture, home, (payload.file, payload.format, payload.media_type), hashes)

    def sidecar(self, capture: Capture, content: bytes, home: Home) -> Item:
        """The object that the sidecar becomes."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        hashes = (len(content), hashlib.sha256(content).hexdigest(), md5)
        return self._item(capture, home, (capture.sidecar.name, "json", "application/json"), hashes)

    def _item(self, capture: Capture, home: Home, file: tuple[str, str, str], hashes: tuple[int, str, str]) -> Item:
        values = placeholders(capture, home, *file[:2])
        template = self.key if "{file}" in self.key else self.key.replace("{name}", "{file}")
        key = template.format_map({name: value.replace("/", "-") for name, value in values.items()})
        if _MAY_LEAD_ELSEWHERE & set(key.split("/")) or not key.isprintable():
            raise Refused(f"{key!r} is no key: it has parts that are empty, dots, or cannot be printed")
        if len(key.encode()) > _KEY_BYTES:
            raise Refused(f"{key} is longer than {_KEY_BYTES} bytes, and no store takes such a key")
        ours = {"capture": capture.uuid, "revision": str(capture.revision), "sha256": hashes[1]}
        metadata = {name: _ascii(value.format_map(values)) for name, value in self.metadata.items()}
        tags = {name: value.format_map(values) for name, value in self.tags.items()}
        return Item(key, file[2], *hashes, metadata | ours, tags)

    def probe(self, home: Home) -> Item:
        """An object that is never completed, in the folder where the keys begin."""
        before = self.key.partition("{")[0].rpartition("/")
        key = f"{before[0]}{before[1]}{urllib.parse.quote(home.device_id, safe='')}.probe"
        md5, sha256 = hashlib.md5(b"?", usedforsecurity=False).hexdigest(), hashlib.sha256(b"?").hexdigest()
        return Item(key, "application/octet-stream", 1, sha256, md5, {}, {})

    def mistakes(self, *, by_name_alone: bool) -> Iterator[tuple[str, object, str]]:
        """(option, value, what is allowed) of all that is wrong. `by_name_alone`: nobody asks what is there first."""
        parts = self.key.split("/")
        if mistake := template_mistake(self.key):
            yield "key", self.key, mistake
        elif _MAY_LEAD_ELSEWHERE & set(parts):
            yield "key", self.key, "names between slashes, and none at its ends"
        elif not {"file", "name"} & set(placeholders_of(self.key)):
            yield "key", self.key, "{file} or {name} somewhere, so that each file has its own key"
        elif by_name_alone and "uuid" not in placeholders_of(self.key):
            yield "key", self.key, "{uuid} somewhere, where look = false: no capture's object is another's then"
        for option, texts in (("metadata", self.metadata), ("tags", self.tags)):
            for name, text in texts.items():
                if mistake := template_mistake(text):
                    yield option, f"{name} = {text}", mistake
        for name in self.metadata:
            if not _NAME.fullmatch(name) or name in _OURS:
                yield "metadata", name, f"names of a-z, 0-9 and _, other than {', '.join(_OURS)}"


def _ascii(text: str) -> str:
    """`text` as a header takes it: all but printable ASCII quoted as in a URL."""
    return urllib.parse.quote(text, safe="".join(map(chr, range(0x20, 0x7F))).replace("%", "")).strip()
