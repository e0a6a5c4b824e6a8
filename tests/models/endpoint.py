"""An endpoint that gives addresses for uploads, and the store that they lead to: the one has the keys, the other the
objects."""

import base64
import hashlib
import json
import secrets
import urllib.parse

from tests.receiver import Fault, Receiver, Request


class Endpoint(Receiver):
    """`faults` are for puts, `faults_of_question` for questions."""

    def __init__(self, token: str) -> None:
        super().__init__(authorization="")
        self.small = 2048
        self.token = f"Bearer {token}"
        self.keys: dict[str, str] = {}
        """What each address is good for, by its signature."""
        self.objects: dict[str, bytes] = {}
        self.questions: list[dict] = []
        self.faults_of_question: list[Fault] = []
        self.knows = True
        """Whether it looks what is there."""
        self.headers: dict[str, str] = {}
        """To be sent along."""

    def fault_of(self, method: str, path: str) -> Fault:
        if method == "POST":
            return self.faults_of_question.pop(0) if self.faults_of_question else Fault()
        return super().fault_of(method, path)

    def take(self, request: Request, content: bytes, fault: Fault) -> Fault:
        status, text = (self._asked if request.method == "POST" else self._put)(request, content)
        return Fault(status, text=fault.text or text, lose_answer=fault.lose_answer, truncate=fault.truncate)

    def _asked(self, request: Request, content: bytes) -> tuple[int, str]:
        if request.headers.get("authorization") != self.token:
            return 401, "who are you?"
        question = json.loads(content)
        self.questions.append(question)
        key = question["key"]
        there = self.objects.get(key) if self.knows else None
        if there is not None:
            if hashlib.sha256(there).hexdigest() == question["sha256"]:
                return 200, '{"there": true}'
            if question["media_type"] != "application/json":
                return 409, "another object has this key"
        signature = secrets.token_hex(16)
        self.keys[signature] = key
        url = f"{self.url}/bucket/{urllib.parse.quote(key)}?X-Amz-Expires=900&X-Amz-Signature={signature}"
        return 200, json.dumps({"url": url, "headers": self.headers})

    def _put(self, request: Request, content: bytes) -> tuple[int, str]:
        path, _, query = request.path.partition("?")
        signature = query.rpartition("X-Amz-Signature=")[2]
        key = urllib.parse.unquote(path.removeprefix("/bucket/"))
        if request.headers.get("authorization") or self.keys.get(signature) != key:
            return 403, f"<Error><Code>SignatureDoesNotMatch</Code><Message>{request.path}</Message></Error>"
        if any(request.headers.get(name.lower()) != value for name, value in self.headers.items()):
            return 403, "<Error><Code>SignatureDoesNotMatch</Code><Message>headers</Message></Error>"
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        if self.keep and request.headers["content-md5"] != md5:
            return 400, "<Error><Code>BadDigest</Code></Error>"
        self.objects[key] = content
        return 200, ""
