"""Unmodified drivers by other authors read a chip model: a second opinion on both, in an interpreter of their own."""

import fcntl
import socket
import subprocess
import sys
import tomllib
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from drivers.ports.virtual.i2c import Chip

_ROOT = Path(__file__).resolve().parents[1]
_PEER = _ROOT / ".peers" / "second-opinion"


def interpreter() -> Path:
    """Of a virtual environment with the extra `second-opinion`, made where there is none. Skips without a network."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    needs = project["optional-dependencies"]["second-opinion"]
    python, done = _PEER / "bin" / "python", _PEER / ".installed"
    _PEER.parent.mkdir(exist_ok=True)
    with (_PEER.parent / "second-opinion.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if not done.exists() or done.read_text() != "\n".join(needs):
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", _PEER], check=True)
            pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
            pip += ["--disable-pip-version-check", "--retries", "1", *needs]
            made = subprocess.run(pip, capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"no drivers by others to compare with: {made.stderr.strip().splitlines()[-1:]}")
            done.write_text("\n".join(needs))
    return python


class Theirs:
    """Their modules, in a process that ends with `close`; their bus has the chips that `plug` puts there."""

    def __init__(self) -> None:
        ours, others = socket.socketpair()
        with others:
            command = [interpreter(), _ROOT / "tests" / "peers" / "other_drivers.py", str(others.fileno())]
            self._process = subprocess.Popen(command, pass_fds=(others.fileno(),))
        self._connection = Connection(ours.detach())
        self._chips: dict[int, Chip] = {}

    def __call__(self, module: str) -> Any:
        """A module of theirs: what it has is got, set and called as if it were here."""
        return self.ask("module", module)

    def plug(self, **chips: Chip) -> "Distant":
        """The bus, with `_0x53=chip` at 0x53."""
        self._chips |= {int(name[1:], 16): chip for name, chip in chips.items()}
        return Distant(self, 0)

    def hurry(self) -> None:
        """Their drivers sleep no more, because the chip's time is not the machine's."""
        self.ask("hurry")

    def ask(self, *question: Any) -> Any:
        self._connection.send(question)
        while True:
            kind, *said = self._connection.recv()
            if kind == "error":
                raise AssertionError(f"their driver failed:\n{said[0]}")
            if kind in ("value", "object"):
                return Distant(self, said[0]) if kind == "object" else said[0]
            self._connection.send(self._transfer(kind, *said))

    def _transfer(self, kind: str, address: int, *said: Any) -> bytes | OSError | None:
        if address not in self._chips:
            return OSError("nobody answers")
        chip = self._chips[address]
        if kind == "read":
            return chip.read(*said)
        if said[0][1:]:
            chip.write(said[0][0], said[0][1:])
        return None

    def close(self) -> None:
        self._connection.send(None)
        self._connection.close()
        self._process.wait(10)


class Distant:
    """Something of theirs in the other process."""

    def __init__(self, theirs: Theirs, number: int) -> None:
        vars(self).update(_theirs=theirs, _number=number)

    def __getattr__(self, name: str) -> Any:
        return self._theirs.ask("get", self._number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._theirs.ask("set", self._number, name, _meant(value))

    def __call__(self, *positional: Any, **named: Any) -> Any:
        said = {name: _meant(value) for name, value in named.items()}
        return self._theirs.ask("call", self._number, [_meant(value) for value in positional], said)


def _meant(value: Any) -> tuple[str, Any]:
    return ("object", value._number) if isinstance(value, Distant) else ("value", value)
