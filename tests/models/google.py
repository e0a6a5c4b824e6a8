"""Google Cloud Storage by its XML API: moto's S3 in Google's words, with generations and Google's signature."""

import dataclasses
import hashlib
import hmac
import zlib

from tests.models.bucket import ACCESS_KEY, SECRET, Bucket
from tests.receiver import Fault, Request

_SCOPE = "auto/storage/goog4_request"


class GoogleBucket(Bucket):
    def take(self, request: Request, content: bytes, fault: Fault) -> Fault:
        if wrong := self.wrong(request, content):
            return Fault(403, text=f"<Error><Code>{wrong}</Code></Error>")
        headers = dict(request.headers)
        assert not [name for name in headers if name.startswith("x-amz-")], "Google takes no mixture"
        del headers["authorization"]  # moto knows only Amazon's
        asked = headers.pop("x-goog-if-generation-match", None)
        if asked is not None and asked != self._generation(request.path.partition("?")[0]):
            return Fault(412, text="<Error><Code>PreconditionFailed</Code><Message>generation</Message></Error>")
        again = Request(request.method, request.path, {_amazon(n): v for n, v in headers.items()}, request.body_bytes)
        answer = self.forward(again, content, fault)
        words = tuple((name.replace("x-amz-", "x-goog-"), value) for name, value in answer.headers)
        if 200 <= answer.status < 300 and "?" not in request.path:
            words += (("x-goog-generation", self._generation(request.path)),)
        return dataclasses.replace(answer, headers=words)

    def wrong(self, request: Request, content: bytes) -> str:
        """By cloud.google.com/storage/docs/authentication/signatures and .../canonical-requests."""
        headers, moment = request.headers, request.headers["x-goog-date"]
        _, credential, names, signature = headers["authorization"].replace(",", " ").split()
        names = names.partition("=")[2].split(";")
        assert credential == f"Credential={ACCESS_KEY}/{moment[:8]}/{_SCOPE}"
        assert names == sorted(names) and {name for name in headers if name.startswith("x-goog-")} < {*names}
        if headers["x-goog-content-sha256"] != hashlib.sha256(content).hexdigest():
            return "XGoogContentSHA256Mismatch"
        path, _, query = request.path.partition("?")
        listed = "".join(f"{name}:{headers[name]}\n" for name in names)
        canonical = "\n".join((request.method, path, query, listed, ";".join(names), headers["x-goog-content-sha256"]))
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        key = f"GOOG4{SECRET}".encode()
        for word in (moment[:8], *_SCOPE.split("/")):
            key = hmac.digest(key, word.encode(), "sha256")
        text = f"GOOG4-HMAC-SHA256\n{moment}\n{moment[:8]}/{_SCOPE}\n{digest}"
        right = hmac.digest(key, text.encode(), "sha256").hex()
        return "" if signature == f"Signature={right}" else "SignatureDoesNotMatch"

    def _generation(self, path: str) -> str:
        status, headers, _ = self.behind.ask("HEAD", path)
        etag = dict(headers).get("ETag", "")
        return str(zlib.crc32(etag.encode())) if status == 200 else "0"


def _amazon(name: str) -> str:
    return name.replace("x-goog-", "x-amz-") if name.startswith("x-goog-") else name
