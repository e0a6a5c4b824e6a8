"""An object store: Amazon S3 and its like, Google Cloud Storage, Azure, or whatever an endpoint gives addresses of."""

import dataclasses
import urllib.parse
from collections.abc import Iterator, Mapping

from agent.targets import Home
from agent.targets._credentials import Credentials
from agent.targets._objectstore_azure import Azure
from agent.targets._objectstore_delivery import Far, ObjectStore
from agent.targets._objectstore_layout import Layout
from agent.targets._objectstore_objects import Store
from agent.targets._objectstore_presigned import Presigned
from agent.targets._objectstore_requests import Requests
from agent.targets._objectstore_s3 import S3
from agent.targets._objectstore_signature import AMAZON, GOOGLE, SharedAccess, SharedKey, Signature, Version4
from agent.targets._transport import Host, Line
from drivers.settings import check, option


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of an `objectstore` target."""

    url: str = option(
        "bucket or container, as https://BUCKET.s3.REGION.amazonaws.com, https://storage.googleapis.com/BUCKET, "
        "https://ACCOUNT.blob.core.windows.net/CONTAINER; of presigned: the endpoint that gives addresses",
        example="https://captures.s3.eu-central-1.amazonaws.com",
    )
    access_key: str = option(
        'id of the access key (s3) or HMAC key (gcs); name of the account (azure), "" with a shared access signature; '
        '"" for presigned',
        example="AKIAIOSFODNN7EXAMPLE",
    )
    secret_file: str = option(
        "its secret; shared access signature (azure); bearer token of the endpoint, or empty (presigned): name of a "
        "credential or secret, or path of a file",
        example="objectstore-secret",
    )
    service: str = option(
        "s3 (and all that speak it), gcs, azure; presigned: no keys here, an endpoint gives an address for each file",
        "s3",
        choices=("s3", "gcs", "azure", "presigned"),
    )
    key: str = option(
        "name of an object; may hold {device} {device_id} {date} {recording} {name} {file} {uuid} {format}",
        "{device}/{date}/{file}",
    )
    region: str = option("region of the bucket (s3)", "us-east-1")
    session_token_file: str = option("session token of temporary keys (s3)", "")
    storage_class: str = option("storage class (s3, gcs) or access tier (azure); empty: the bucket's", "")
    metadata: Mapping[str, str] = option("metadata of each object; values may hold what key may", factory=dict)
    tags: Mapping[str, str] = option("tags of each object (s3, azure); values may hold what key may", factory=dict)
    part_mib: int = option(
        "larger files go in parts of so many MiB, and resume with the next part (not presigned)",
        5,
        at_least=5,
        at_most=4000,
    )
    checksums: bool = option("the store keeps a SHA-256 with each object (s3); false where it knows none", True)
    look: bool = option("ask what is there first; false for keys that may only write: then key needs {uuid}", True)
    ca_file: str = option("certificates (PEM) to trust instead of the system's", "")
    proxy: str = option("proxy URL; empty: http_proxy, https_proxy and no_proxy of the environment", "")
    connect_timeout_s: float = option("longest wait for a connection, seconds", 10.0, at_least=0.1, at_most=300)
    idle_timeout_s: float = option("longest wait without any progress, seconds", 30.0, at_least=0.1, at_most=600)
    formats: tuple[str, ...] = option("deliver only the first of these formats that a capture has; empty: all", ())

    def __post_init__(self) -> None:
        asked = self.look or self.service == "presigned"
        check(self, *self._wrong(), *self._layout.mistakes(by_name_alone=not asked))

    def open(self, home: Home) -> ObjectStore:
        """Makes the target; reads no secret and touches no network."""
        line = Line(self.connect_timeout_s, self.idle_timeout_s, ca_file=self.ca_file, proxy=self.proxy)
        far: Far
        store: Store
        if self.service == "presigned":
            far = store = Presigned(self.url, line, Credentials(home, self.secret_file), home)
        else:
            host = Host(urllib.parse.urljoin(self.url, "/"), line)
            far = requests = Requests(self.url.rstrip("/"), host, self._signature(home))
            if self.service == "azure":
                store = Azure(requests, self.storage_class)
            else:
                dialect = AMAZON if self.service == "s3" else GOOGLE
                store = S3(requests, dialect, self.storage_class, self.checksums)
        target = ObjectStore(
            far,
            store,
            self._layout,
            place={"url": self.url.rstrip("/"), "service": self.service},
            home=home,
            part_bytes=self.part_mib << 20,
            look=self.look or far is store,
        )
        target.formats = self.formats
        return target

    @property
    def _layout(self) -> Layout:
        return Layout(self.key, self.metadata, self.tags)

    def _signature(self, home: Home) -> Signature:
        secret = Credentials(home, self.secret_file, header="secret")
        if self.service == "azure":
            return SharedKey(self.access_key, secret) if self.access_key else SharedAccess(secret)
        if self.service == "gcs":
            return Version4(GOOGLE, "auto", self.access_key, secret=secret, token=Credentials(home, ""))
        token = Credentials(home, self.session_token_file, header="token")
        return Version4(AMAZON, self.region, self.access_key, secret=secret, token=token)

    def _wrong(self) -> Iterator[tuple[str, object, str]]:
        parts, service = urllib.parse.urlsplit(self.url), self.service
        if "@" in parts.netloc:
            yield "url", "(not shown)", "no password: use access_key and secret_file"
        elif parts.query:
            yield "url", "(not shown)", "no query: a shared access signature belongs into secret_file"
        elif parts.scheme not in ("http", "https") or not parts.hostname or "{" in self.url or parts.fragment:
            yield "url", self.url, "https://HOST or https://HOST/BUCKET, without braces"
        if service == "presigned":
            if self.access_key:
                yield "access_key", self.access_key, "none: where addresses are presigned, the endpoint has the keys"
        else:
            for name in ("access_key", "secret_file"):
                if not getattr(self, name) and (name, service) != ("access_key", "azure"):
                    yield name, "", f"needed for {service}"
        for name, services in (
            ("session_token_file", ("s3",)),
            ("tags", ("s3", "azure")),
            ("storage_class", ("s3", "gcs", "azure")),
        ):
            if getattr(self, name) and service not in services:
                yield name, getattr(self, name), f"only with service {' or '.join(services)}"
        if self.tags and len(self.tags) > 10:
            yield "tags", len(self.tags), "at most 10 tags"
        if self.proxy and not self.proxy.startswith(("http://", "https://")):
            yield "proxy", self.proxy, "http://HOST:PORT"
