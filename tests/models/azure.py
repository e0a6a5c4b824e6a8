"""An Azure storage container: block blobs whole or in blocks, conditions, and both ways to prove who asks."""

import base64
import hashlib
import hmac
import re
import urllib.parse
import uuid

from tests.receiver import Fault, Receiver, Request

ACCOUNT, KEY = "bay", base64.b64encode(b"s3cret-key-of-an-account-0123456").decode()
SAS = "sp=rcw&st=2026-11-21T08:00:00Z&se=2027-11-21T08:00:00Z&sv=2023-11-03&sr=c&sig=s3cretSAS%2B0123456789abcdef%3D"
_MODIFIED = "Sat, 21 Nov 2026 10:15:00 GMT"
_LINES = (
    "content-encoding content-language content-length content-md5 content-type date if-modified-since if-match"
    " if-none-match if-unmodified-since range"
)


class Container(Receiver):
    """`blobs`: (content, headers) by path. `faults` are for puts, `faults_of_head` for questions."""

    def __init__(self) -> None:
        super().__init__()
        self.blobs: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.blocks: dict[str, dict[str, bytes]] = {}
        self.sizes: dict[str, int] = {}
        """Of blocks, also where contents are not kept."""
        self.faults_of_head: list[Fault] = []
        self.name = "captures"
        self.soft = False
        """Whether what is deleted is kept for some days."""

    def fault_of(self, method: str, path: str) -> Fault:
        if method != "PUT":
            return self.faults_of_head.pop(0) if self.faults_of_head else Fault()
        return super().fault_of(method, path)

    def take(self, request: Request, content: bytes, fault: Fault) -> Fault:
        path, _, query_text = request.path.partition("?")
        query = dict(urllib.parse.parse_qsl(query_text))
        status, code, headers = self._answer(request, path, query, content)
        if code:
            headers = {"x-ms-error-code": code}
        text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>because</Message></Error>' if code else ""
        if request.method == "GET" and not code:
            headers.pop("Content-Length")
            return Fault(200, tuple(headers.items()), content=self.blobs[path][0])
        text = "" if request.method == "HEAD" else text
        return Fault(status, tuple(headers.items()), text, lose_answer=fault.lose_answer, truncate=fault.truncate)

    def _answer(self, request: Request, path: str, query: dict, content: bytes) -> tuple[int, str, dict[str, str]]:
        headers = request.headers
        if not self._known(request, path, query):
            return 403, "AuthenticationFailed", {}
        if not path.startswith(f"/{self.name}/"):
            return 404, "ContainerNotFound", {}
        there = self.blobs.get(path)
        if request.method in ("HEAD", "GET"):
            if there is None:
                return 404, "BlobNotFound", {}
            return 200, "", {**there[1], "Last-Modified": _MODIFIED}
        if request.method == "DELETE":
            if there is None:
                return 404, "BlobNotFound", {}
            if headers.get("if-match", there[1]["ETag"]) != there[1]["ETag"]:
                return 412, "ConditionNotMet", {}
            del self.blobs[path]
            return 202, "", {"x-ms-delete-type-permanent": "false" if self.soft else "true"}
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        if self.keep and headers.get("content-md5", md5) != md5:
            return 400, "Md5Mismatch", {}
        if query.get("comp") == "block":
            known = self.blocks.setdefault(path, {})
            if any(len(block) != len(query["blockid"]) for block in known):
                return 400, "InvalidBlobOrBlock", {}
            known[query["blockid"]] = content
            self.sizes[path + query["blockid"]] = request.body_bytes
            return 201, "", {"Content-MD5": md5}
        if headers.get("if-none-match") == "*" and there is not None:
            return 409, "BlobAlreadyExists", {}
        if "if-match" in headers and (there is None or headers["if-match"] != there[1]["ETag"]):
            return 412, "ConditionNotMet", {}
        kept = {name: value for name, value in headers.items() if name.startswith(("x-ms-meta-", "x-ms-tags"))}
        kept |= {"x-ms-access-tier": headers.get("x-ms-access-tier", "Hot"), "ETag": f'"0x{uuid.uuid4().hex[:15]}"'}
        if query.get("comp") == "blocklist":
            ids = re.findall("<(?:Uncommitted|Latest)>([^<]*)</", content.decode())
            blocks = self.blocks.get(path, {})
            if any(block not in blocks for block in ids):
                return 400, "InvalidBlockList", {}
            content = b"".join(blocks[block] for block in ids)
            kept["Content-Length"] = str(sum(self.sizes[path + block] for block in ids))
            self.blocks.pop(path, None)
            kept |= {"Content-Type": headers.get("x-ms-blob-content-type", "application/octet-stream")}
            kept |= {"Content-MD5": headers.get("x-ms-blob-content-md5", "")}
        elif headers.get("x-ms-blob-type") == "BlockBlob":
            kept |= {"Content-Type": headers.get("content-type", "application/octet-stream"), "Content-MD5": md5}
            kept["Content-Length"] = str(request.body_bytes)
        else:
            return 400, "MissingRequiredHeader", {}
        self.blobs[path] = (content, kept)
        return 201, "", {"ETag": kept["ETag"]}

    def _known(self, request: Request, path: str, query: dict[str, str]) -> bool:
        """By learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key."""
        headers, proof = request.headers, request.headers.get("authorization", "")
        if "sig" in query:
            wanted = dict(urllib.parse.parse_qsl(SAS))
            return not proof and {name: query.get(name) for name in wanted} == wanted
        own = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-ms-"))
        lines = [
            {"content-length": headers.get("content-length", "")}.get(name) or headers.get(name, "")
            for name in _LINES.split()
        ]
        lines[2] = "" if lines[2] == "0" else lines[2]
        resource = f"/{ACCOUNT}{path}" + "".join(f"\n{name.lower()}:{query[name]}" for name in sorted(query))
        text = "\n".join((request.method, *lines, own + resource))
        right = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), "sha256")).decode()
        return proof == f"SharedKey {ACCOUNT}:{right}"
