"""Proofs of who asks: a request to an object store becomes one that carries its signature."""

import base64
import binascii
import dataclasses
import hashlib
import hmac
import time
import urllib.parse
from collections.abc import Mapping
from email.utils import formatdate
from typing import Protocol

from agent.targets import Unreachable
from agent.targets._credentials import Credentials, without

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclasses.dataclass(frozen=True)
class Request:
    """One request before it is signed. `path` is quoted already; `headers` must not hold Host."""

    method: str
    host: str
    path: str
    query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    size: int = 0
    sha256: str = EMPTY_SHA256
    """Of the content: the store takes no other."""

    @property
    def query_text(self) -> str:
        """The query as both the wire and the signature have it: sorted, quoted by RFC 3986."""
        pairs = ((_quoted(name), _quoted(value)) for name, value in self.query.items())
        return "&".join(f"{name}={value}" for name, value in sorted(pairs))

    def target(self, more: str = "") -> str:
        """Path and query, with `more` at its end."""
        query = "&".join(filter(None, (self.query_text, more)))
        return f"{self.path}?{query}" if query else self.path


class Signature(Protocol):
    """What proves who asks."""

    def signed(self, request: Request, now_s: float) -> tuple[str, dict[str, str]]:
        """Path with query, and all headers, of the signed request. Unreachable where a secret is missing."""

    def renewed(self) -> bool:
        """Reads the secrets again; whether one of them has changed."""

    def hidden(self, text: str) -> str:
        """`text` without the secrets, should a server have repeated them."""


@dataclasses.dataclass(frozen=True)
class Dialect:
    """The words of a signature of version 4."""

    name: str
    """Begins the algorithm's name, and the first key."""
    service: str
    prefix: str
    """Of the store's own headers."""

    @property
    def algorithm(self) -> str:
        return f"{self.name}-HMAC-SHA256"

    @property
    def end(self) -> str:
        return f"{self.name.lower()}_request"


AMAZON = Dialect("AWS4", "s3", "x-amz-")
GOOGLE = Dialect("GOOG4", "storage", "x-goog-")


class Version4:
    """AWS Signature Version 4 in headers (docs.aws.amazon.com, "Signature Calculations for the Authorization
    Header"), and Google's V4 with an HMAC key (cloud.google.com/storage/docs/authentication/signatures), which is the
    same in other words.
    """

    def __init__(
        self, dialect: Dialect, region: str, access_key: str, *, secret: Credentials, token: Credentials
    ) -> None:
        """`secret` and `token` (of a session, may be none) give their bare value."""
        self.dialect = dialect
        self._region = region
        self._access_key = access_key
        self._secrets = (secret, token)

    def signed(self, request: Request, now_s: float) -> tuple[str, dict[str, str]]:
        dialect = self.dialect
        secret, token = (_value(credentials) for credentials in self._secrets)
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
        headers = {
            "host": request.host,
            f"{dialect.prefix}date": moment,
            f"{dialect.prefix}content-sha256": request.sha256,
            **{name.lower(): " ".join(value.split()) for name, value in request.headers.items()},
        }
        if token:
            headers[f"{dialect.prefix}security-token"] = token
        names = ";".join(sorted(headers))
        lines = [request.method, request.path, request.query_text]
        lines += [*(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, request.sha256]
        scope = f"{moment[:8]}/{self._region}/{dialect.service}/{dialect.end}"
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        key = (dialect.name + secret).encode()
        for word in scope.split("/"):
            key = _mac(key, word)
        signature = _mac(key, "\n".join((dialect.algorithm, moment, scope, digest))).hex()
        credential = f"{self._access_key}/{scope}"
        proof = f"{dialect.algorithm} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return request.target(), headers | {"authorization": proof, "content-length": str(request.size)}

    def renewed(self) -> bool:
        return any(tuple(credentials.renewed() for credentials in self._secrets))  # each is read

    def hidden(self, text: str) -> str:
        for credentials in self._secrets:
            text = credentials.hidden(text)
        return text


_AZURE_VERSION = "2023-11-03"
_AZURE_LINES = (
    "content-encoding content-language content-length content-md5 content-type date if-modified-since if-match"
    " if-none-match if-unmodified-since range"
).split()


class SharedKey:
    """Azure's "Authorize with Shared Key": an HMAC over the request with the account's key."""

    def __init__(self, account: str, secret: Credentials) -> None:
        self._account = account
        self._secret = secret

    def signed(self, request: Request, now_s: float) -> tuple[str, dict[str, str]]:
        try:
            key = base64.b64decode(_value(self._secret), validate=True)
        except binascii.Error:
            raise Unreachable("the secret is not the key of an Azure storage account, which is Base64") from None
        headers = _azure(request, now_s)
        headers["content-length"] = str(request.size)
        own = sorted(name for name in headers if name.startswith("x-ms-"))
        lines = [request.method, *(headers.get(name, "") for name in _AZURE_LINES)]
        lines[3] = "" if not request.size else lines[3]  # no content is no length, since version 2015-02-21
        lines += [f"{name}:{headers[name]}" for name in own]
        lines += [f"/{self._account}{request.path}"]
        lines += [f"{name}:{request.query[name]}" for name in sorted(request.query)]
        proof = base64.b64encode(_mac(key, "\n".join(lines))).decode()
        return request.target(), headers | {"host": request.host, "authorization": f"SharedKey {self._account}:{proof}"}

    def renewed(self) -> bool:
        return self._secret.renewed()

    def hidden(self, text: str) -> str:
        return self._secret.hidden(text)


class SharedAccess:
    """Azure's shared access signature: a query made elsewhere that allows what it says until it ends."""

    def __init__(self, secret: Credentials) -> None:
        self._secret = secret
        self._used = ""

    def signed(self, request: Request, now_s: float) -> tuple[str, dict[str, str]]:
        headers = _azure(request, now_s) | {"host": request.host, "content-length": str(request.size)}
        self._used = _value(self._secret).lstrip("?")
        return request.target(self._used), headers

    def renewed(self) -> bool:
        return self._secret.renewed()

    def hidden(self, text: str) -> str:
        text = self._secret.hidden(text)
        for name, value in urllib.parse.parse_qsl(self._used):
            if name == "sig":
                text = without(text, (value, _quoted(value)))
        return text


def _azure(request: Request, now_s: float) -> dict[str, str]:
    headers = {name.lower(): " ".join(value.split()) for name, value in request.headers.items()}
    return {"x-ms-date": formatdate(now_s, usegmt=True), "x-ms-version": _AZURE_VERSION, **headers}


def _value(credentials: Credentials) -> str:
    """The bare secret; empty where none is configured."""
    return next(iter(credentials.headers().values()), "")


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="-_.~")
