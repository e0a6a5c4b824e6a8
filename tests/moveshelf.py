"""Moveshelf in tests: the server with the targets that lead to it, and captures that say whose they are."""

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

from agent.capture import Capture
from agent.targets import Home
from agent.targets.moveshelf import Moveshelf as Target
from agent.targets.moveshelf import Settings
from tests.captures import make_capture
from tests.moveshelf_server import Moveshelf
from tests.receiver import Fault

SUBJECT = "Jane Döe-17"


class Server:
    """The API and its store, and the targets that lead there."""

    def __init__(self, api: Moveshelf, folder: Path, stack: contextlib.ExitStack) -> None:
        self.api, self.store, self.shelf, self.stack = api, api.store, api.shelf, stack
        self.secret = api.key
        self.idle_s = 10.0
        """After which targets give up."""
        self.home = Home("bay3", "0badcafe", folder / "secrets")
        self.home.secrets.mkdir(exist_ok=True)
        self.write_key(api.key)

    def write_key(self, key: str) -> None:
        document = {"application": "gait", "secretKey": key}
        (self.home.secrets / "mvshlf-api-key.json").write_text(json.dumps(document, indent=2))

    def settings(self, **settings) -> Settings:
        given = {"project": "clinic/gait", "key_file": "mvshlf-api-key.json", "url": self.api.url + "/graphql"}
        return Settings(**{**given, "idle_timeout_s": self.idle_s, **settings})

    def open(self, **settings) -> Target:
        target = self.settings(**settings).open(self.home)
        self.stack.callback(target.close)
        return target

    def open_patient(self) -> Target:
        return self.open(idle_timeout_s=60)

    def open_elsewhere(self, host: str) -> Target:
        return self.open(url=f"http://{host}/graphql")

    def empty(self) -> None:
        """Whatever was there has gone, but for the projects."""
        self.shelf.rows = {row["id"]: row for row in self.shelf.of_type("Project")}

    def files(self) -> dict[str, bytes]:
        """What is complete; all else that there is must be there once, too."""
        found: dict[str, bytes] = {}
        for row in self.shelf.of_type("AdditionalData"):
            if row["arrived"] == "Complete":
                assert row["originalFileName"] not in found, "a file is there twice"
                found[row["originalFileName"]] = self.store.contents[row["id"]]
        assert len(self.places()) == len(set(self.places())), "a subject, session or trial is there twice"
        return found

    def all_there_once(self, *captures: Capture) -> None:
        """These captures and nothing else, not even a record without content."""
        assert self.files() == {path.name: path.read_bytes() for capture in captures for path in capture.files}
        assert [name for name, became in self.records() if became != "Complete"] == [], "nothing is left over"

    def places(self) -> list[tuple[str, ...]]:
        """All subjects, sessions and trials, by their names."""
        subjects = [("subject", row["name"]) for row in self.shelf.of_type("Patient")]
        sessions = [("session", row["projectPath"]) for row in self.shelf.of_type("Session")]
        trials = [("trial", row["projectPath"], row["title"]) for row in self.shelf.of_type("MocapClip")]
        return [*subjects, *sessions, *trials]

    def records(self) -> list[tuple[str, str | None]]:
        """All additional data there is: file name, and what became of its content."""
        return [(row["originalFileName"], row["arrived"]) for row in self.shelf.of_type("AdditionalData")]

    def forget(self):
        self.store.keep = False

    def lose_answer(self):
        self.store.faults.append(Fault(lose_answer=True))

    def cut(self, after_bytes):
        self.store.faults.append(Fault(cut_after=after_bytes))

    def deny(self):
        self.api.faults.append(Fault(401, text=f"who is {self.secret}?"))

    def busy(self, status, retry_after):
        self.store.faults.append(Fault(status, (("Retry-After", retry_after),)))

    def slow(self):
        self.store.faults.append(Fault(pause_s=0.002))

    def answer_early(self):
        self.store.faults.append(Fault(413, text=f"too much of {self.secret}", answer_after=1000))

    def truncate_answer(self):
        self.store.faults.append(Fault(truncate=True))

    def misanswer(self, text):
        self.api.faults_at["createAdditionalData"].append(Fault(text=text or " "))

    def hang(self) -> threading.Event:
        self.store.faults.append(Fault(hang=True))
        return self.store.hanging


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    with Moveshelf() as api, contextlib.ExitStack() as stack:
        yield Server(api, folder, stack)


def of_subject(folder: Path, content: bytes = b"sequence,AccelerometerX\n0,1\n", **more) -> Capture:
    """A capture of `SUBJECT`, unless its metadata says otherwise."""
    return make_capture(folder, content, **{"metadata": {"subject": SUBJECT}, **more})
