"""Edge Impulse's ingestion service and the Studio's API, as their documentation and published clients know them."""

import dataclasses
import email.parser
import email.policy
import hashlib
import hmac
import json
import struct
import urllib.parse

from tests.receiver import Fault, Receiver, Request

KEY, HMAC_KEY = "ei_s3cret0123456789abcdef", "fed53116f20684c067774ebf9e7bcbdc"
CATEGORIES = ("training", "testing", "split", "validation", "anomaly")
TYPES = ("application/cbor", "application/json", "audio/wav", "image/jpeg")


@dataclasses.dataclass
class Sample:
    id: int
    category: str
    name: str
    label: str | None
    metadata: dict[str, str]
    content: bytes
    document: dict | None
    labels: list | None


class EdgeImpulse(Receiver):
    """`samples` by their hash. `faults` are for uploads."""

    def __init__(self) -> None:
        super().__init__()
        self.key = KEY
        self.samples: dict[str, Sample] = {}
        self.made = 0
        self.project = 4711
        self.tells = True
        """Whether the key may do more than send."""
        self.tells_metadata = True
        self.says = ""
        """What is wrong with the next file."""

    def take(self, request: Request, content: bytes, fault: Fault) -> Fault:
        status, answer = self._answer(request, content)
        text = fault.text or (answer if isinstance(answer, str) else json.dumps(answer))
        return Fault(status, text=text, lose_answer=fault.lose_answer, truncate=fault.truncate)

    def _answer(self, request: Request, content: bytes) -> tuple[int, dict | str]:
        if request.headers.get("x-api-key") != self.key:
            return 401, {"success": False, "error": "Invalid API key"}
        if request.path.startswith("/v1/"):
            return 200, self._studio(request)
        _, api, category, endpoint = request.path.split("/")
        if request.method != "POST" or api != "api" or category not in CATEGORIES or endpoint != "files":
            return 404, "Not found"
        if not self.keep:
            return 200, {"success": True, "files": [{"success": True}]}
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + content)
        parts = [
            (part.get_filename(), part.get_content_type(), part.get_payload(decode=True)) for part in form.iter_parts()
        ]
        assert all(part.get_param("name", header="content-disposition") == "data" for part in form.iter_parts())
        files = [part for part in parts if not part[0].endswith(".labels")]
        labels = next((json.loads(part[2]) for part in parts if part[0] == "structured_labels.labels"), None)
        return 200, {"success": True, "files": [self._file(request, category, file, labels) for file in files]}

    def _studio(self, request: Request) -> dict:
        """Always 200, whatever happens."""
        path, _, query = request.path.partition("?")
        asked = {name: values[0] for name, values in urllib.parse.parse_qs(query).items()}
        match request.method, path.split("/")[3:]:
            case "GET", ["projects"]:
                return {"success": True, "projects": [{"id": self.project, "name": "walks"}]}
            case _, [number, *_] if number != str(self.project) or not self.tells:
                return {"success": False, "error": "You do not have permission to do this"}
            case "GET", [_, "raw-data"] if asked["category"] == "all":
                found = [s for s in reversed(self.samples.values()) if asked["filename"] in s.name]
                begin = int(asked["offset"])
                page = [
                    {"id": s.id, "filename": f"{s.name}.4d8a", "category": s.category, "label": s.label}
                    | ({"metadata": s.metadata} if self.tells_metadata else {})
                    for s in found[begin : begin + int(asked["limit"])]
                ]
                return {"success": True, "samples": page, "totalCount": len(found)}
            case "DELETE", [_, "raw-data", sample]:
                for digest, each in list(self.samples.items()):
                    if each.id == int(sample):
                        del self.samples[digest]
                        return {"success": True}
        return {"success": False, "error": "Not found"}

    def _file(self, request: Request, category: str, file: tuple[str, str, bytes], labels: dict | None) -> dict:
        headers, (name, media_type, content) = request.headers, file
        if self.says or media_type not in TYPES:
            says, self.says = self.says or "Invalid mimetype", ""
            return {"success": False, "error": says}
        digest = hashlib.md5(content).hexdigest()
        if digest in self.samples and "x-disallow-duplicates" in headers:
            there = self.samples[digest].id
            return {"success": False, "error": f"An item with this hash already exists (ids: {there})"}
        label: str | None = urllib.parse.unquote(headers.get("x-label", ""))
        if not label:
            label = None if headers.get("x-no-label") == "1" else name.partition(".")[0]
        try:
            document = parsed(content, media_type)
            metadata = json.loads(headers.get("x-metadata", "{}"))
        except (ValueError, KeyError, IndexError) as error:
            return {"success": False, "error": f"Invalid message: {error}"}
        if not all(isinstance(value, str) for value in metadata.values()):
            return {"success": False, "error": "Invalid metadata"}
        segments = labels and labels["structuredLabels"][name]
        self.made += 1
        number = self.made
        self.samples[digest] = Sample(number, category, name, label, metadata, content, document, segments)
        return {"success": True, "projectId": 4711, "sampleId": number, "fileName": f"{name}.{digest[:8]}"}


def parsed(content: bytes, media_type: str) -> dict | None:
    """A data acquisition document, checked as the specification says; None for other files."""
    if media_type not in ("application/cbor", "application/json"):
        return None
    if media_type == "application/json":
        document = json.loads(content)
    else:
        document, end = decoded(content, 0)
        if end != len(content):
            raise ValueError("more than one item")
    protected, payload = document["protected"], document["payload"]
    if protected["ver"] != "v1" or protected["alg"] not in ("HS256", "none"):
        raise ValueError("protected")
    if protected["alg"] == "HS256":
        zeros = content.replace(document["signature"].encode(), b"0" * 64, 1)
        if hmac.digest(HMAC_KEY.encode(), zeros, "sha256").hex() != document["signature"]:
            raise ValueError("signature")
    if not payload["device_type"] or payload["interval_ms"] <= 0:
        raise ValueError("payload")
    if any(len(row) != len(payload["sensors"]) for row in payload["values"]):
        raise ValueError("values")
    return document


def decoded(data: bytes, at: int):
    """(value, end) of one CBOR item (RFC 8949), as far as documents have them."""
    kind, low = data[at] >> 5, data[at] & 31
    at += 1
    if kind == 7:
        size, code = {25: (2, ">e"), 26: (4, ">f"), 27: (8, ">d")}[low]
        return struct.unpack(code, data[at : at + size])[0], at + size
    if low == 31:
        assert kind == 4
        items = []
        while data[at] != 0xFF:
            item, at = decoded(data, at)
            items.append(item)
        return items, at + 1
    size = 0 if low < 24 else 1 << (low - 24)
    number = low if low < 24 else int.from_bytes(data[at : at + size], "big")
    at += size
    if kind == 0:
        return number, at
    if kind == 3:
        return data[at : at + number].decode(), at + number
    items = []
    for _ in range(number * (kind - 3)):
        item, at = decoded(data, at)
        items.append(item)
    return (items, at) if kind == 4 else (dict(zip(items[::2], items[1::2], strict=True)), at)
