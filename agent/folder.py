"""The data folder: its parts, whose it is, and a lock that lets one daemon have it."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
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
        if (owner := self._other()) is not None:
            name = _name(owner.st_uid)
            raise PermissionError(
                f"{self.path} belongs to {name}, who could not use what root makes there: do it as {name} (sudo -u"
                f" {name}), or choose another data folder"
            )
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

    @contextlib.contextmanager
    def as_owner(self) -> Iterator[None]:
        """What root makes meanwhile belongs to the folder's owner, who can use it then; others go on as they are.

        Of the whole process: for one that has a single thread.
        """
        owner = self._other()
        if owner is None:
            yield
            return
        groups, group = os.getgroups(), os.getegid()
        os.setgroups([owner.st_gid])
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(group)
            os.setgroups(groups)

    def _other(self) -> os.stat_result | None:
        """Whose the database is, else the folder, where root works in somebody else's; None otherwise."""
        for path in (self.database, self.path) if os.geteuid() == 0 else ():
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                return found if found.st_uid else None
        return None


@contextlib.contextmanager
def as_caller() -> Iterator[None]:
    """Within `as_owner`: again as whoever called, to read what the owner may not."""
    user = os.geteuid()
    os.seteuid(os.getuid())
    try:
        yield
    finally:
        os.seteuid(user)


def _name(uid: int) -> str:
    import pwd  # noqa: PLC0415  only where it is somebody else's

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
