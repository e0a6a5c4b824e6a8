"""Moveshelf in tests: its API, and a store of its own that takes content at signed addresses and knows no key."""

import base64
import functools
import json
import secrets
import threading
from collections import defaultdict, deque
from types import TracebackType

import google_crc32c
from graphql import DocumentNode, GraphQLError, execute, parse, validate

from tests.models.moveshelf import SCHEMA, Shelf
from tests.receiver import Fault, Receiver, Request

BESIDE = "errors beside the data"
"""Text of a fault that does what was asked, and answers with both."""


class Store(Receiver):
    """Google's, with one file at each address. The first thing to say about a content is 200, whatever it is."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: dict[str, dict] = {}
        """The API's rows, by the path that leads to their content."""
        self.contents: dict[str, bytes] = {}
        """By the rows' ids; hashes, where `keep` is False."""
        self.spoils = False
        """Whether another first byte is stored than came."""
        self.tells = True
        """Whether an answer has the hash of what was stored."""

    def sign(self, row: dict) -> str:
        path = f"/bucket/{row['id']}?X-Goog-Expires=3600&X-Goog-Signature={secrets.token_hex(16)}"
        self.addresses[path] = row
        return self.url + path

    def fault_of(self, method: str, path: str) -> Fault:
        return self.fault(path) if method == "PUT" else Fault()

    def take(self, request: Request, content: bytes, fault: Fault) -> Fault:
        row = self.addresses.get(request.path)
        if row is None or "authorization" in request.headers:
            return Fault(403, text="<Error><Code>SignatureDoesNotMatch</Code></Error>")
        if request.method == "GET":
            return Fault(200, content=self.contents[row["id"]])
        if self.spoils:
            content = b"\0" + content[1:]
        self.contents[row["id"]] = content
        crc32c = base64.b64encode(google_crc32c.Checksum(content).digest()).decode() if self.keep else row["crc32c"]
        row["arrived"] = "Complete" if crc32c == row["crc32c"] else "Failed"
        told = (("x-goog-hash", f"crc32c={crc32c},md5=1B2M2Y8AsgTpgAmY7PhCfg=="),) if self.tells else ()
        return Fault(200, told, lose_answer=fault.lose_answer, truncate=fault.truncate)


class Moveshelf(Receiver):
    """The API. Its faults, and those of the store, come by their own queues."""

    def __init__(self) -> None:
        self.key = secrets.token_hex(32)
        super().__init__(authorization=f"Bearer {self.key}")
        self.store = Store()
        self.shelf = Shelf(self.store.sign)
        self.operations: list[str] = []
        """Root fields, as often as they were done."""
        self.faults_at: defaultdict[str, deque[Fault]] = defaultdict(deque)
        """By root field: how the answer goes wrong. With `cut_after`, or a status of 300 and more, nothing was done."""
        self._executing = threading.Lock()

    def __enter__(self) -> "Moveshelf":
        self.store.__enter__()
        super().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        self.store.__exit__(kind, error, at)

    def take(self, request: Request, content: bytes, fault: Fault) -> Fault:
        if request.path != "/graphql" or request.method != "POST":
            return Fault(404, text="<html>Not Found</html>")
        asked = json.loads(content)
        assert set(asked) == {"query", "variables"} and request.headers["content-type"] == "application/json"
        document, wrong = understood(asked["query"])
        if wrong:
            return Fault(400, text=json.dumps({"errors": [error.formatted for error in wrong]}))
        (field,) = (selection.name.value for selection in document.definitions[0].selection_set.selections)
        waiting = self.faults_at[field]
        fault = waiting.popleft() if waiting else fault
        if fault.cut_after is not None:
            return Fault(lose_answer=True)
        if fault.status >= 300:
            return fault
        with self._executing:
            self.operations.append(field)
            done = execute(SCHEMA, document, self.shelf, variable_values=asked["variables"])
        text = fault.text or json.dumps(done.formatted)
        if fault.text == BESIDE:
            text = json.dumps({"data": done.data, "errors": [{"message": "because"}]})
        return Fault(200, text=text, lose_answer=fault.lose_answer, truncate=fault.truncate)


@functools.cache
def understood(query: str) -> tuple[DocumentNode, list[GraphQLError]]:
    """A query, and what is wrong with it by the schema."""
    document = parse(query)
    return document, validate(SCHEMA, document)
