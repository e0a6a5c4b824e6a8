"""A real daemon as a process of its own: started on a configuration, asked over its socket, ended or killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent import control
from agent.capture import Capture

HEAD = """\
[agent]
device = "test"
device_id = "00000001"
data_dir = "{data}"
free_floor_bytes = 0
free_floor_percent = 0
date_wait_s = 0
durable_every_s = 0.5

"""


class Running:
    """Entering starts the daemon and waits until each stream has samples; leaving kills what is left of it."""

    def __init__(self, folder: Path, config: str, *, prefix: tuple[str, ...] = (), **environment: str) -> None:
        """`config` follows on an [agent] table; {folder} in it is the folder."""
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(exist_ok=True)
        self.config = folder / "config.toml"
        self.config.write_text(HEAD.format(data=self.data) + config.replace("{folder}", str(folder)))
        self._prefix = prefix
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        self.until(sampling)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def start(self) -> None:
        command = [*self._prefix, sys.executable, "-m", "agent.cli", "run", "--config", str(self.config)]
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(command, env={**os.environ, **self.environment}, stdout=log, stderr=log)

    def ask(self, command: str, **arguments: Any) -> Any:
        return control.ask(self.data, command, **arguments)

    def until(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 30.0) -> dict[str, Any]:
        """The first status of which the condition holds; AssertionError with the log where that never comes."""
        deadline = time.monotonic() + seconds
        status: dict[str, Any] | None = None
        while time.monotonic() < deadline:
            try:
                status = self.ask("status")
            except (control.NoDaemon, control.CommandError, OSError):
                assert self.process is not None
                assert self.process.poll() is None, f"the daemon ended\n{self.log()}"
            if status is not None and condition(status):
                return status
            time.sleep(0.02)
        raise AssertionError(f"waited {seconds} s in vain; last status {status}\n{self.log()}")

    def finish(self, seconds: float = 60.0) -> dict[str, Any]:
        """Ends all recordings and waits until everything is developed and delivered; the status by then."""
        for name in self.ask("status")["recordings"]:
            self.ask("stop", recording=name)
        self.ask("sync")
        return self.until(done, seconds)

    def terminate(self, seconds: float = 15.0) -> tuple[int, float]:
        """SIGTERM; (exit code, seconds it took)."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        return code, time.monotonic() - begun

    def log(self) -> str:
        return (self.folder / "daemon.log").read_text()[-6000:]

    def captures(self, recording: str = "") -> list[Capture]:
        """In the order of their names."""
        found = [Capture.load(path) for path in sorted((self.data / "captures").rglob("*.json"))]
        return [capture for capture in found if recording in ("", capture.recording)]


def sampling(status: dict[str, Any]) -> bool:
    """Every stream has brought something."""
    return all(stream["samples"] for stream in status["streams"].values())


def done(status: dict[str, Any]) -> bool:
    """Nothing is being recorded, developed or owed."""
    recording = any(one["state"] == "recording" for one in status["recordings"].values())
    left = status["developer"]["queued"] + status["disk"]["sync_queued"]
    return not recording and not left and not any(target["owed"] for target in status["targets"].values())
