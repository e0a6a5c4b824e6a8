"""Amazon S3 and everything that speaks like it, and Google Cloud Storage by its XML API, which is S3 in other words."""

import hashlib
import urllib.parse
from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from agent.targets import Failed, Receipt, Refused, Unreachable
from agent.targets._objectstore_objects import Found, Gone, InParts, Item, Part, as_base64, once, receipt, tried
from agent.targets._objectstore_requests import Requests, accepted, code, element, readable
from agent.targets._objectstore_signature import AMAZON, Dialect
from agent.targets._transport import Body


class S3:
    """A bucket. The store compares what arrives with the signed sha256 and with Content-MD5."""

    def __init__(self, requests: Requests, dialect: Dialect, storage_class: str, checksums: bool) -> None:
        """`checksums`: the store is to keep a SHA-256 with each object, as only Amazon's dialect can say."""
        self.in_parts: InParts | None = self
        self._requests = requests
        self._amazon = dialect is AMAZON
        self._prefix = dialect.prefix
        self._version = "x-amz-version-id" if self._amazon else "x-goog-generation"
        self._storage_class = storage_class
        self._checksums = checksums and self._amazon

    def look(self, key: str) -> Found | None:
        answer = self._requests.send("HEAD", key, {})
        if answer.status == 404:
            return None
        if answer.status in (400, 403):  # and says no more, because the answer to HEAD has no content
            raise Unreachable(
                f"the server answers {answer.status} to the question what is there; check the target's credentials "
                "and region: s3:PutObject, s3:GetObject and s3:ListBucket have to be allowed (without the last, what "
                "is missing looks forbidden), or set look = false"
            )
        accepted(answer, key)
        headers = answer.headers
        version = headers.get("etag" if self._amazon else self._version, "")
        return Found.of(headers, f"{self._prefix}meta-", version)

    def put(self, item: Item, body: Callable[[], Body], replaces: str) -> Receipt:
        headers = self._described(item) | self._condition(replaces) | self._hashes(item.sha256, item.md5)
        answer = self._requests.send("PUT", item.key, headers, content=(item.size, item.sha256, body))
        accepted(answer, item.key)
        return receipt(answer.headers, self._version)

    def probe(self, item: Item) -> str:
        return tried(self, item)

    def remove(self, key: str, version: str) -> str:
        headers = {} if self._amazon or not version else {"x-goog-if-generation-match": version}
        answer = self._requests.send("DELETE", key, headers)
        if answer.status == 404 and "Bucket" not in code(answer):
            return ""
        if answer.status == 403:
            raise Refused(f"the server answers {readable(answer)} to the deletion of {key}: these keys may not delete")
        accepted(answer, key)
        kept = answer.headers.get("x-amz-delete-marker") == "true"
        return "earlier versions, which the bucket keeps until somebody or its lifecycle ends them" if kept else ""

    def begin(self, item: Item) -> str:
        headers = self._described(item)
        if self._checksums:
            headers |= {"x-amz-checksum-algorithm": "SHA256"}
        answer = self._requests.send("POST", item.key, headers, query={"uploads": ""})
        accepted(answer, item.key)
        upload = element(answer, "UploadId")
        if not upload:
            raise Failed(f"{item.key}: the server's answer has no UploadId: {answer}")
        return upload

    def part(self, item: Item, upload: str, part: Part, body: Callable[[], Body]) -> str:
        query = {"partNumber": str(part.number), "uploadId": upload}
        headers = self._hashes(part.sha256, part.md5)
        answer = self._requests.send("PUT", item.key, headers, query=query, content=(part.size, part.sha256, body))
        accepted(answer, item.key)
        etag = answer.headers.get("etag", "")
        if not etag:
            raise Failed(f"{item.key}: the server's answer to a part has no ETag")
        return f"{etag} {part.sha256}"

    def complete(self, item: Item, upload: str, parts: Sequence[str], *, replaces: str) -> Receipt:
        rows = []
        for number, known in enumerate(parts, 1):
            etag, _, sha256 = known.rpartition(" ")
            checksum = f"<ChecksumSHA256>{as_base64(sha256)}</ChecksumSHA256>" if self._checksums else ""
            rows.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag>{checksum}</Part>")
        content = f"<CompleteMultipartUpload>{''.join(rows)}</CompleteMultipartUpload>".encode()
        headers = {"content-type": "application/xml"} | (self._condition(replaces) if self._amazon else {})
        body = (len(content), hashlib.sha256(content).hexdigest(), once(content))
        answer = self._requests.send("POST", item.key, headers, query={"uploadId": upload}, content=body)
        accepted(answer, item.key)
        etag = element(answer, "ETag")
        if not etag:  # S3 begins its 200 before it has finished
            raise Failed(f"{item.key}: the server's answer does not say that the parts were put together: {answer}")
        return {"etag": etag} | receipt(answer.headers, self._version)

    def abandon(self, item: Item, upload: str) -> None:
        answer = self._requests.send("DELETE", item.key, {}, query={"uploadId": upload})
        try:
            accepted(answer, item.key)
        except Gone:
            return

    def _described(self, item: Item) -> dict[str, str]:
        headers = {"content-type": item.media_type}
        headers |= {f"{self._prefix}meta-{name}": value for name, value in item.metadata.items()}
        if self._storage_class:
            headers[f"{self._prefix}storage-class"] = self._storage_class
        if item.tags:
            headers["x-amz-tagging"] = urllib.parse.urlencode(item.tags, quote_via=urllib.parse.quote)
        return headers

    def _hashes(self, sha256: str, md5: str) -> dict[str, str]:
        headers = {"content-md5": as_base64(md5)}
        if self._checksums:
            headers["x-amz-checksum-sha256"] = as_base64(sha256)
        return headers

    def _condition(self, replaces: str) -> dict[str, str]:
        if replaces == "*":
            return {}
        if not self._amazon:
            return {"x-goog-if-generation-match": replaces or "0"}
        return {"if-match": replaces} if replaces else {"if-none-match": "*"}
