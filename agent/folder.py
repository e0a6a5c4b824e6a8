"""The data folder: its parts, and a lock that lets one daemon have it."""

import fcntl
import os
import shutil
from pathlib import Path
from typing import Self


def called(folder: Path, stem: str) -> list[Path]:
    """The files in a folder whose names are `stem`, a point, and more. (`glob` would keep a pattern for each stem.)"""
    return sorted(folder / name for name in os.listdir(folder) if name.startswith(f"{stem}."))


class Busy(Exception):
    """Another daemon runs on this data folder."""


class DataFolder:
    """Entering makes what is missing and takes the lock, which ends with the process at the latest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "agent.db"
        self.recording = path / "recording"
        self.captures = path / "captures"
        self.quarantine = path / "quarantine"
        self.secrets = path / "secrets"
        self.scratch = path / "scratch"
        """What is made for one delivery and not kept: empty at the start."""
        self.calibration = path / "calibration"

    def __enter__(self) -> Self:
        for folder in (self.recording, self.captures, self.quarantine):
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.secrets.mkdir(mode=0o700, exist_ok=True)
        self.secrets.chmod(0o700)
        self._lock = os.open(self.path / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Busy(f"another capture-agent runs on {self.path}") from None
        shutil.rmtree(self.scratch, ignore_errors=True)
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._lock)
