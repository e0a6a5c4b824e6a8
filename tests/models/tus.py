"""A tus 1.0 server with creation, checksum and expiration, which holds the client to the protocol."""

import base64
import binascii
import dataclasses
import hashlib
import itertools
import re

from tests.receiver import Fault, Receiver, Request

UPLOAD = re.compile(r"/uploads/(\d+)")


@dataclasses.dataclass
class Upload:
    length: int
    metadata: dict[str, str]
    content: bytearray = dataclasses.field(default_factory=bytearray)
    offset: int = 0


class TusServer(Receiver):
    """Uploads are made by POST /uploads. Faults are for PATCH alone. `whole` has what was completed, by file name."""

    def __init__(self, *, checksums: str = "sha1,md5", options: int = 204) -> None:
        """`checksums`: what the extension offers, empty: the server has not got it. `options`: status of OPTIONS."""
        super().__init__()
        self.checksums = checksums
        self.options = options
        self.uploads: dict[str, Upload] = {}
        self.whole: dict[str, bytes] = {}
        self.location = "{url}{path}"
        """Of a new upload."""
        self.creation = Fault(201)
        """Answer to the next creations."""
        self._numbers = itertools.count(1)

    def expire(self) -> None:
        """Forgets the uploads that are not complete."""
        self.uploads.clear()

    def fault(self, path: str) -> Fault:
        return super().fault(path) if UPLOAD.fullmatch(path) else Fault()

    def torn(self, request: Request, content: bytes) -> None:
        upload = self.uploads.get(request.path)
        if upload is not None and not self.checksums:  # a sum can only be checked of a whole piece
            self._append(upload, content, len(content))

    def take(self, request: Request, content: bytes, fault: Fault) -> Fault:
        status, headers = self._answer(request, content)
        return dataclasses.replace(fault, status=status, headers=(("Tus-Resumable", "1.0.0"), *headers.items()))

    def _answer(self, request: Request, content: bytes) -> tuple[int, dict[str, str]]:
        headers = request.headers
        if request.method == "OPTIONS":
            extensions = "creation,expiration" + (",checksum" if self.checksums else "")
            given = {"Tus-Version": "1.0.0", "Tus-Extension": extensions, "Tus-Checksum-Algorithm": self.checksums}
            return self.options, given if self.options < 300 else {}
        if headers.get("tus-resumable") != "1.0.0":
            return 412, {"Tus-Version": "1.0.0"}
        if request.method == "POST" and request.path.startswith("/uploads"):
            return self._create(headers)
        upload = self.uploads.get(request.path)
        if upload is None:
            return 404, {}
        if request.method == "HEAD":
            sizes = {"Upload-Offset": str(upload.offset), "Upload-Length": str(upload.length)}
            return 200, {**sizes, "Cache-Control": "no-store"}
        assert request.method == "PATCH"
        return self._patch(upload, request, content)

    def _create(self, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
        if self.creation.status != 201:
            return self.creation.status, dict(self.creation.headers)
        pairs = [pair.split(" ") for pair in headers["upload-metadata"].split(",")]
        metadata = {key: base64.b64decode(value, validate=True).decode() for key, value in pairs}
        path = f"/uploads/{next(self._numbers)}"
        self.uploads[path] = Upload(int(headers["upload-length"]), metadata)
        self._append(self.uploads[path], b"", 0)
        return 201, {"Location": self.location.format(url=self.url, path=path)} if self.location else {}

    def _patch(self, upload: Upload, request: Request, content: bytes) -> tuple[int, dict[str, str]]:
        headers = request.headers
        if headers.get("content-type") != "application/offset+octet-stream":
            return 415, {}
        if headers["upload-offset"] != str(upload.offset):
            return 409, {}
        if "upload-checksum" in headers:
            name, _, digest = headers["upload-checksum"].partition(" ")
            if name not in self.checksums.split(","):
                return 400, {}
            try:
                said = base64.b64decode(digest, validate=True)
            except binascii.Error:
                return 400, {}
            if self.keep and hashlib.new(name, content).digest() != said:
                return 460, {}
        self._append(upload, content, request.body_bytes)
        return 204, {"Upload-Offset": str(upload.offset)}

    def _append(self, upload: Upload, content: bytes, size: int) -> None:
        upload.offset += size
        upload.content += content if self.keep else b""
        assert upload.offset <= upload.length
        if upload.offset == upload.length:
            if self.keep:
                assert hashlib.sha256(upload.content).hexdigest() == upload.metadata["sha256"]
            self.whole[upload.metadata["filename"]] = bytes(upload.content)
