"""Viam's published SDK in tests: its classes as a server, in an interpreter and a process of their own."""

import base64
import contextlib
import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.targets import Home, Target
from agent.targets.viam import Settings
from tests.models.viam import KEY, KEY_ID, PART

_ROOT = Path(__file__).resolve().parents[1]
_PEER = _ROOT / ".peers" / "viam"
_NEEDS = "viam-sdk==0.85.1"


def interpreter() -> Path:
    """Of a virtual environment with the SDK, which is made where there is none. Skips without a network."""
    python, done = _PEER / "bin" / "python", _PEER / f".{_NEEDS}"
    _PEER.parent.mkdir(exist_ok=True)
    with (_PEER.parent / "viam.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if not done.exists():
            subprocess.run([sys.executable, "-m", "venv", _PEER], check=True)
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", _NEEDS]
            made = subprocess.run(pip, capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"no {_NEEDS} to test against: {made.stderr.strip().splitlines()[-1:]}")
            done.touch()
    return python


class Peer:
    """A server of the SDK's classes, and the targets that lead to it; samples go there as files."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process
        self.address = f"127.0.0.1:{int(process.stdout.readline())}"

    @contextlib.contextmanager
    def anew(self, folder: Path) -> Iterator["Peer"]:
        """The same, empty; its targets are closed at the end."""
        self.ask(anew=True)
        self._home = Home("bay3", "0badcafe", folder / "secrets")
        self._home.secrets.mkdir(exist_ok=True)
        (self._home.secrets / "viam-key").write_text(KEY)
        with contextlib.ExitStack() as self._stack:
            yield self

    def open(self, **more) -> Target:
        known = {"part_id": PART, "key_id": KEY_ID, "key_file": "viam-key", "host": self.address, "insecure": True}
        target = Settings(**(known | {"samples": "files"} | more)).open(self._home)
        self._stack.callback(target.close)
        return target

    def ask(self, **said: Any) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(said) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def get(self, name: str) -> Any:
        return self.ask(get=[name])[name]

    def files(self) -> dict[str, bytes]:
        stored = [(each["metadata"].get("file_name"), each["content"]) for each in self.get("stored")]
        found = {name: base64.b64decode(content) for name, content in stored if name}
        assert len(found) == len([name for name, _ in stored if name]), "there twice"
        return found

    def forget(self) -> None:
        self.ask(set={"keep": False})


@contextlib.contextmanager
def serving() -> Iterator[Peer]:
    command = [interpreter(), _ROOT / "tests" / "peers" / "viam_server.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Peer(process)
        finally:
            process.stdin.close()
            process.wait(10)
