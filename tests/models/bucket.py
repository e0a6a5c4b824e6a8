"""An S3 bucket: moto's server, behind one that checks signatures with botocore and misbehaves on request."""

import contextlib
import hashlib
import html
import http.client
import ssl
import subprocess
import sys
import time
import urllib.parse
import uuid
from collections.abc import Iterator

import botocore.auth
import botocore.awsrequest
import botocore.credentials

from tests.receiver import Fault, Receiver, Request

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGION = "eu-central-1"
_ANYBODY = {
    "authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=a, Signature=0"
}
_DROPPED = {"content-length", "connection", "transfer-encoding", "server", "date"}


class Moto:
    """moto's server, in a process of its own; any signature will do for it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, target: str, content: bytes = b"", headers: dict[str, str] | None = None):
        """(status, headers, content) of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, target, content, _ANYBODY | (headers or {}))
            with connection.getresponse() as response:
                return response.status, list(response.getheaders()), response.read()


@contextlib.contextmanager
def moto() -> Iterator[Moto]:
    command = "from moto.server import ThreadedMotoServer as S; import sys; "
    command += "s = S('127.0.0.1', 0, verbose=False); s.start(); "
    command += "print(s.get_host_and_port()[1], flush=True); sys.stdin.read(); s.stop()"
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", command], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    )
    with process:
        yield Moto(int(process.stdout.readline()))
        process.stdin.close()
        process.wait(10)


class Bucket(Receiver):
    """A new bucket. `faults` are for the next PUT or POST, `faults_of_head` for the next HEAD."""

    def __init__(self, behind: Moto, tls: ssl.SSLContext | None = None) -> None:
        self.name = f"b{uuid.uuid4().hex}"
        status, _, content = behind.ask("PUT", f"/{self.name}")
        assert status == 200, content
        super().__init__(tls=tls)
        self.behind = behind
        self.faults_of_head: list[Fault] = []
        self.ahead_s = 0.0
        """Of this server's clock."""
        self.token = ""
        """The session token that has to come along."""

    def fault_of(self, method: str, path: str) -> Fault:
        waiting = self.faults_of_head if method == "HEAD" else self.faults if method != "DELETE" else ()
        return (waiting.pop(0) if isinstance(waiting, list) else waiting.popleft()) if waiting else Fault()

    def take(self, request: Request, content: bytes, fault: Fault) -> Fault:
        """moto's answer, once the signature is right."""
        wrong = self.wrong(request, content)
        if wrong:
            said = (("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + self.ahead_s))),)
            text = f"<Error><Code>{wrong}</Code><Message>m of {request.headers.get('authorization')}</Message></Error>"
            return Fault(403, said, "" if request.method == "HEAD" else text)
        return self.forward(request, content, fault)

    def forward(self, request: Request, content: bytes, fault: Fault) -> Fault:
        """moto's answer."""
        status, headers, answer = self.behind.ask(request.method, request.path, content, request.headers)
        kept = tuple((name, value) for name, value in headers if name.lower() not in _DROPPED)
        if request.method == "HEAD":
            kept = (*kept, *((name, value) for name, value in headers if name.lower() == "content-length"))
        if request.method == "GET" and status == 200:
            return Fault(status, kept, content=answer)
        text = fault.text or answer.decode()
        return Fault(status, kept, text, lose_answer=fault.lose_answer, truncate=fault.truncate)

    def objects(self) -> dict[str, bytes]:
        """All whole objects, by key."""
        _, _, listing = self.behind.ask("GET", f"/{self.name}?list-type=2")
        keys = [html.unescape(piece.partition(b"</Key>")[0].decode()) for piece in listing.split(b"<Key>")[1:]]
        return {key: self.behind.ask("GET", f"/{self.name}/{urllib.parse.quote(key)}")[2] for key in keys}

    def head(self, key: str) -> dict[str, str]:
        """Headers of an object, in lower case."""
        target = f"/{self.name}/{urllib.parse.quote(key)}"
        status, headers, _ = self.behind.ask("HEAD", target, headers={"x-amz-checksum-mode": "ENABLED"})
        assert status == 200
        return {name.lower(): value for name, value in headers}

    def uploads(self) -> int:
        """How many uploads in parts are neither complete nor abandoned."""
        return self.behind.ask("GET", f"/{self.name}?uploads")[2].count(b"<UploadId>")

    def asked(self, method: str, holding: str = "") -> list[Request]:
        return [request for request in self.requests if request.method == method and holding in request.path]

    def wrong(self, request: Request, content: bytes) -> str:
        """The error's code; empty where botocore would have signed the same."""
        headers = request.headers
        moment = headers.get("x-amz-date", "")
        if abs(time.mktime(time.strptime(moment, "%Y%m%dT%H%M%SZ")) - time.timezone - self.now()) > 900:
            return "RequestTimeTooSkewed"
        if headers["x-amz-content-sha256"] != hashlib.sha256(content).hexdigest():
            return "XAmzContentSHA256Mismatch"
        if headers.get("x-amz-security-token", "") != self.token:
            return "InvalidToken"
        proof = headers["authorization"]
        names = proof.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        unsigned = [name for name in headers if name.startswith(("x-amz-", "content-md5")) and name not in names]
        assert not unsigned, f"S3 takes no unsigned {unsigned}"
        url = f"http://{headers['host']}{request.path}"
        again = botocore.awsrequest.AWSRequest(
            request.method, url.partition("?")[0], {name: headers[name] for name in names}, content
        )
        again.params = dict(urllib.parse.parse_qsl(url.partition("?")[2], keep_blank_values=True))
        again.context["timestamp"] = moment
        again.context["payload_signing_enabled"] = True
        signer = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(ACCESS_KEY, SECRET), "s3", REGION)
        text = signer.string_to_sign(again, signer.canonical_request(again))
        return "" if proof.endswith("Signature=" + signer.signature(text, again)) else "SignatureDoesNotMatch"

    def now(self) -> float:
        return time.time() + self.ahead_s
