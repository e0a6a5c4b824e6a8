"""Azure Blob Storage: a block blob in one request, or in blocks that a list makes one blob of."""

import base64
import hashlib
import urllib.parse
from collections.abc import Callable, Sequence

from agent.targets import Receipt, Refused, Unreachable
from agent.targets._objectstore_objects import Found, InParts, Item, Part, as_base64, once, receipt, tried
from agent.targets._objectstore_requests import Requests, accepted, readable
from agent.targets._transport import Body


class Azure:
    """A container. The store compares what arrives with Content-MD5, and keeps the md5 of the whole."""

    def __init__(self, requests: Requests, access_tier: str) -> None:
        self.in_parts: InParts | None = self
        self._requests = requests
        self._access_tier = access_tier

    def look(self, key: str) -> Found | None:
        answer = self._requests.send("HEAD", key, {})
        if answer.status == 404 and answer.headers.get("x-ms-error-code", "BlobNotFound") == "BlobNotFound":
            return None
        if answer.status in (400, 403):
            raise Unreachable(
                f"{readable(answer)} to the question what is there; check the target's credentials: reading, creating "
                "and writing have to be allowed, or set look = false"
            )
        accepted(answer, key)
        return Found.of(answer.headers, "x-ms-meta-", answer.headers.get("etag", ""))

    def put(self, item: Item, body: Callable[[], Body], replaces: str) -> Receipt:
        headers = {"x-ms-blob-type": "BlockBlob", "content-type": item.media_type, "content-md5": as_base64(item.md5)}
        headers |= self._described(item) | _condition(replaces)
        answer = self._requests.send("PUT", item.key, headers, content=(item.size, item.sha256, body))
        accepted(answer, item.key)
        return receipt(answer.headers, "x-ms-version-id")

    def probe(self, item: Item) -> str:
        return tried(self, item)

    def remove(self, key: str, version: str) -> str:
        answer = self._requests.send("DELETE", key, {"if-match": version} if version else {})
        if answer.status == 404 and answer.headers.get("x-ms-error-code", "BlobNotFound") == "BlobNotFound":
            return ""
        if answer.status == 403:
            raise Refused(f"the server answers {readable(answer)} to the deletion of {key}: these keys may not delete")
        accepted(answer, key)
        kept = answer.headers.get("x-ms-delete-type-permanent") == "false"
        return "deleted blobs, which the account keeps for as long as it is set to" if kept else ""

    def begin(self, item: Item) -> str:
        return item.sha256[:8]  # blocks have no upload of their own; those of another content must not mix with ours

    def part(self, item: Item, upload: str, part: Part, body: Callable[[], Body]) -> str:
        block = base64.b64encode(f"{upload}-{part.number:06}".encode()).decode()
        query, headers = {"comp": "block", "blockid": block}, {"content-md5": as_base64(part.md5)}
        answer = self._requests.send("PUT", item.key, headers, query=query, content=(part.size, part.sha256, body))
        accepted(answer, item.key)
        return block

    def complete(self, item: Item, upload: str, parts: Sequence[str], *, replaces: str) -> Receipt:
        rows = "".join(f"<Uncommitted>{block}</Uncommitted>" for block in parts)
        content = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{rows}</BlockList>'.encode()
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        headers = {
            "content-type": "application/xml",
            "content-md5": as_base64(md5),
            "x-ms-blob-content-type": item.media_type,
            "x-ms-blob-content-md5": as_base64(item.md5),
            **self._described(item),
            **_condition(replaces),
        }
        body = (len(content), hashlib.sha256(content).hexdigest(), once(content))
        answer = self._requests.send("PUT", item.key, headers, query={"comp": "blocklist"}, content=body)
        accepted(answer, item.key)
        return receipt(answer.headers, "x-ms-version-id")

    def abandon(self, item: Item, upload: str) -> None:
        """Azure forgets blocks that are not in a list after a week."""

    def _described(self, item: Item) -> dict[str, str]:
        headers = {f"x-ms-meta-{name}": value for name, value in item.metadata.items()}
        if self._access_tier:
            headers["x-ms-access-tier"] = self._access_tier
        if item.tags:
            headers["x-ms-tags"] = urllib.parse.urlencode(item.tags, quote_via=urllib.parse.quote)
        return headers


def _condition(replaces: str) -> dict[str, str]:
    if replaces == "*":
        return {}
    return {"if-match": replaces} if replaces else {"if-none-match": "*"}
