"""A SensiML server as its protocol is: what it stores, refuses, rewrites, loses, and answers 500 for."""

import base64
import json
import secrets
import threading
import urllib.parse
from collections import defaultdict, deque
from typing import Any

from tests.receiver import Fault, Receiver, Request
from tests.sensiml_projects import Project, Refusal, missing, named, paged

PAGE = "<!doctype html><html><title>Not Found</title></html>"
FUNCTION = {
    "uuid": "f1",
    "name": "Mean",
    "type": "Feature Generator",
    "subtype": "Statistical",
    "description": "Mean of a column.",
    "input_contract": [],
    "has_c_version": True,
    "library_pack": None,
    "automl_available": True,
}
"""One of those that the platform's own client wants to list before it does anything."""
PROJECTS = r"[a-zA-Z0-9_ .-]*"


class SensimlServer(Receiver):
    """`projects` by uuid, each with all that is in it; `take` answers under one lock, as a database would commit."""

    def __init__(self) -> None:
        super().__init__()
        self.users = {"bay3": "s3cret-passw0rd-0123"}
        self.clients = {"agent": "client-s3cret"}
        """Secrets by id; empty: a public client. Without any, every client is known."""
        self.keys: set[str] = set()
        self.access: dict[str, str] = {}
        """Refresh token by access token."""
        self.refresh: set[str] = set()
        self.projects: dict[str, Project] = {}
        self.blind = 0
        """So often the check for a name sees nothing: what two requests at once meet."""
        self.task_states: deque[str] = deque()
        """What `task_state` is at the next looks at a capture; then null."""
        self.faults_at: defaultdict[str, deque[Fault]] = defaultdict(deque)
        """Faults by the last part of the path; those of `faults` are for uploads."""
        self._one = threading.Lock()

    def length(self, headers: dict[str, str]) -> int:
        """What comes in chunks is not read: it looks empty."""
        return int(headers.get("content-length", "0"))

    def fault(self, path: str) -> Fault:
        last = path.partition("?")[0].strip("/").rpartition("/")[2]
        waiting = self.faults if last == "capture" else self.faults_at[last]
        return waiting.popleft() if waiting else Fault()

    def take(self, request: Request, content: bytes, fault: Fault) -> Fault:
        """The answer; with the fault's text where it has one, and its way of getting lost."""
        headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"), *fault.headers)
        with self._one:
            try:
                status, answer = self._answer(request, content)
            except Refusal as refusal:
                status, answer = refusal.status, refusal.document or PAGE
                if status == 401:
                    headers += (("WWW-Authenticate", 'Bearer realm="api"'),)
                if status == 301:
                    headers += (("Location", request.path + "/"),)
        body = answer if isinstance(answer, bytes) else b""
        text = "" if body or answer is None else answer if isinstance(answer, str) else json.dumps(answer)
        return Fault(
            status,
            headers,
            fault.text or text,
            body if not fault.text else b"",
            lose_answer=fault.lose_answer,
            truncate=fault.truncate,
        )

    def asked(self, method: str, last: str) -> list[Request]:
        """The requests to a path that ends so."""
        return [r for r in self.requests if r.method == method and r.path.strip("/").endswith(last)]

    def captures(self) -> dict[str, dict[str, Any]]:
        """By name, of all projects."""
        return {c["name"]: c for project in self.projects.values() for c in project.captures.values()}

    # who may

    def _enter(self, request: Request) -> None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or (token not in self.access and token not in self.keys):
            raise Refusal(401, detail="Authentication credentials were not provided.", status=401)

    def _token(self, request: Request, content: bytes) -> tuple[int, Any]:
        form = {k: v[0] for k, v in urllib.parse.parse_qs(content.decode()).items()}
        if request.headers.get("content-type", "") != "application/x-www-form-urlencoded":
            raise Refusal(400, error="unsupported_grant_type")
        client, secret = form.get("client_id", ""), form.get("client_secret", "")
        kind, _, code = request.headers.get("authorization", "").partition(" ")
        if kind == "Basic":
            client, _, secret = base64.b64decode(code).decode().partition(":")
        if self.clients and self.clients.get(client) not in ("", secret):
            raise Refusal(401, error="invalid_client")
        if form.get("grant_type") == "refresh_token":
            if form["refresh_token"] not in self.refresh:
                raise Refusal(400, error="invalid_grant")
            self.refresh.remove(form["refresh_token"])
            self.access = {a: r for a, r in self.access.items() if r != form["refresh_token"]}
        elif form.get("grant_type") != "password":
            raise Refusal(400, error="unsupported_grant_type")
        elif self.users.get(form.get("username", "")) != form.get("password"):
            raise Refusal(400, error="invalid_grant", error_description="Invalid credentials given.")
        access, refresh = secrets.token_hex(15), secrets.token_hex(15)
        self.access[access] = refresh
        self.refresh.add(refresh)
        pair = {"access_token": access, "refresh_token": refresh}
        return 200, {**pair, "expires_in": 36000, "token_type": "Bearer", "scope": "read write"}

    # what there is

    def _answer(self, request: Request, content: bytes) -> tuple[int, Any]:
        path, _, query = request.path.partition("?")
        method = request.method
        if path == "/platforms/v2":
            return 200, []
        if not path.endswith("/"):
            raise Refusal(301)
        document: Any = None
        if request.headers.get("content-type") == "application/json" and content:
            document = json.loads(content)
        match path.strip("/").split("/"):
            case ["health"]:
                return 200, {"server": "up", "redis": "up"}
            case ["version"]:
                return 200, {"Piccollo Engine": "2023.3.0"}
            case ["oauth", "token"]:
                return self._token(request, content)
            case ["transform"]:
                return 200, [FUNCTION]
        if path.strip("/").removeprefix("v2/").split("/")[0] != "project":
            raise Refusal(404)
        self._enter(request)
        match path.strip("/").removeprefix("v2/").split("/"):
            case ["project"] if method == "GET":
                return 200, paged([p.shown() for p in self.projects.values()], query)
            case ["project"]:
                named(document, PROJECTS, [p.facts for p in self.projects.values()], "team, name")
                project = Project(self, document["name"])
                self.projects[project.facts["uuid"]] = project
                return 201, project.shown()
            case ["project", identity, *rest] if identity in self.projects:
                answer = self.projects[identity].answer(method, rest, (request, content, document, query))
                if self.projects[identity].deleted:
                    del self.projects[identity]
                return answer
            case ["project", *_]:
                raise missing()
        raise Refusal(404)
