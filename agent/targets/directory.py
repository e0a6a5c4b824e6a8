"""A folder as a target: the embedded default and the reference; also a share, or a stick that comes and goes."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from agent.capture import Capture, Payload, safe_name
from agent.targets import (
    Home,
    Progress,
    Receipt,
    Refused,
    Unreachable,
    chosen,
    placeholders,
    sidecar_content,
    template_mistake,
    verified,
)
from agent.targets._inventory import Held
from drivers.settings import check, option

_CHUNK = 1 << 20

_THIS_CAPTURE_ALONE = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EISDIR, errno.EFBIG, errno.ELOOP}
"""Errors of the far side that come of this capture's names or size: Refused. All others (full, read-only, unplugged, a
share whose server is away, no permission) would meet every parcel alike: Unreachable."""

_NO_DIRECTORY_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
"""How FAT and some network file systems say that they cannot sync a directory."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of a `directory` target."""

    path: str = option("folder that gets the captures; it must exist and is never created", example="/mnt/nas")
    layout: str = option("place of a file in the folder: {device} {device_id} {date} ... {file}", "{date}/{file}")
    fsync: bool = option("sync each file before it counts as delivered", True)
    require_mount: bool = option("only write while something is mounted at `path`, or at a folder above it", False)
    formats: tuple[str, ...] = option("deliver only the first of these formats that a capture has; empty: all", ())

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        if not os.path.isabs(self.path):
            mistakes.append(("path", self.path, "an absolute path"))
        parts = self.layout.split("/")
        if mistake := template_mistake(self.layout):
            mistakes.append(("layout", self.layout, mistake))
        elif parts[-1] != "{file}" or not all(map(_plain, parts)):
            mistakes.append(("layout", self.layout, "folders below `path`, then {file}, such as {date}/{file}"))
        check(self, *mistakes)

    def open(self, home: Home) -> "Directory":
        """Makes the target; looks at no disk."""
        return Directory(self, home)


class Directory:
    """Copies under another name, verified by length and hash on the way, synced and renamed: whole or not there.

    A file that is there already with the same content is left alone; with other content the capture is Refused. Only
    a sidecar gives way, to a later revision of itself.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self.formats = settings.formats
        self._settings = settings
        self._home = home

    def put(self, capture: Capture, progress: Progress) -> Receipt:
        """Delivers payloads, then the sidecar. The receipt has the place of each file and what was new."""
        settings, place, payloads = self._settings, self._place(capture), chosen(capture, self.formats)
        files: dict[str, str] = {}
        try:
            with self._folder(place) as folder:
                waiting: list[tuple[str, str]] = []  # written and synced under another name, to be renamed
                try:
                    for payload in payloads:
                        progress.check()
                        if not self._have(folder, payload, progress):
                            part = _part(payload.file, capture)
                            waiting.append((part, payload.file))
                            self._write(folder, part, _source(capture, payload), progress)
                        files[payload.file] = "/".join((*place, payload.file))
                    if not self._have_sidecar(folder, capture):
                        part = _part(capture.sidecar.name, capture)
                        waiting.append((part, capture.sidecar.name))
                        self._write(folder, part, [sidecar_content(capture)], progress)
                    files[capture.sidecar.name] = "/".join((*place, capture.sidecar.name))
                    new = [name for _, name in waiting]
                    while waiting:
                        os.rename(*waiting[0], src_dir_fd=folder, dst_dir_fd=folder)
                        waiting.pop(0)
                    if new and settings.fsync:
                        _sync_names(folder)
                finally:
                    for part, _ in waiting:
                        with contextlib.suppress(OSError):  # the far side may be gone; the next try overwrites it
                            os.unlink(part, dir_fd=folder)
        except OSError as error:
            kind = Refused if error.errno in _THIS_CAPTURE_ALONE else Unreachable
            raise kind(f"{settings.path}: {error.strerror} ({'/'.join(place)})") from None
        return {"path": settings.path, "files": files, "new": new}

    def probe(self) -> list[str]:
        """Writes a file of one byte, and removes it. Unreachable where that cannot be done."""
        path, name = self._settings.path, f".{self._home.device_id}.probe.part"
        try:
            with self._folder(()) as folder:
                try:
                    self._write(folder, name, [b"?"], Progress())
                finally:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
                space = os.fstatvfs(folder)
        except OSError as error:
            raise Unreachable(f"{path}: {error.strerror}") from None
        return [f"{path} takes files; {space.f_bavail * space.f_frsize / 1e9:,.1f} GB are free"]

    def remove(self, capture: str, receipt: Receipt) -> Sequence[str]:
        """Deletes the files of a receipt, the sidecar last, which has to be this capture's still."""
        path, files = self._settings.path, receipt.get("files")
        if receipt.get("path") != path or not isinstance(files, dict):
            raise Refused(f"it was not delivered to {path}")
        places = {name: tuple(str(place).split("/")) for name, place in files.items()}
        if not all(_plain(part) for place in places.values() for part in place):
            raise Refused(f"its receipt names no files below {path}")
        try:
            with self._folder((), make=False):
                self._remove(capture, list(places.values()))
        except FileNotFoundError:
            raise Refused(f"it is not in {path}: somebody removed it, or something else was mounted there") from None
        except OSError as error:
            raise Unreachable(f"{path}: {error.strerror}") from None
        return ()

    def _remove(self, capture: str, places: list[tuple[str, ...]]) -> None:
        """The last is the sidecar's."""
        with self._folder(places[-1][:-1], make=False) as folder:
            with _reading(places[-1][-1], folder) as fd, open(fd, "rb", closefd=False) as file:
                try:
                    known = json.loads(file.read()).get("uuid")
                except (ValueError, AttributeError):
                    known = None
            if known != capture:
                raise Refused(f"{places[-1][-1]} is not this capture's sidecar any more")
            for place in places:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(place[-1], dir_fd=folder)
            if self._settings.fsync:
                _sync_names(folder)

    def inventory(self, asked: Sequence[tuple[Capture, Receipt]]) -> Iterator[Held]:
        """Reads every file to its end, for its hash."""
        for capture, receipt in asked:
            place = self._place(capture)
            folder = Path(self._settings.path, *place)
            with self._folder(()):
                pass  # Unreachable where the whole folder has gone, and not only what was in it
            names = dict.fromkeys([*(path.name for path in capture.files), *receipt.get("files", {})])
            for path in (folder / name for name in names if _plain(name)):
                try:
                    found = Payload.of(path, format="", media_type="")
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except OSError as error:
                    raise Unreachable(f"{path}: {error.strerror}") from None
                yield Held(path.name, found.size, f"sha256:{found.sha256}", "/".join((*place, path.name)))

    def fetch(self, held: Held, take: Callable[[bytes], object]) -> None:
        """Reads a file of the folder, and nothing outside of it."""
        *place, name = held.id.split("/")
        if not all(map(_plain, (*place, name))):
            raise Refused(f"{held.id!r} leads elsewhere")
        try:
            with Path(self._settings.path, *place, name).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    take(chunk)
        except OSError as error:
            raise Unreachable(f"{self._settings.path}: {error.strerror} ({held.id})") from None

    def close(self) -> None:
        """Nothing is held between two parcels."""

    def _place(self, capture: Capture) -> tuple[str, ...]:
        """The folders below `path`, checked: whatever stands in a sidecar, nothing lands outside of `path`."""
        values = placeholders(capture, self._home, "", "")
        values |= {key: safe_name(values[key]) for key in ("device", "recording")}
        for name in (capture.sidecar.name, *(payload.file for payload in capture.payloads)):
            if not _plain(name):
                raise Refused(f"{name!r} is not a plain file name")
        folders = [folder.format_map(values) for folder in self._settings.layout.split("/")[:-1]]
        for folder in folders:
            if not _plain(folder):
                raise Refused(f"{folder!r} is not a plain folder name")
        return tuple(folders)

    @contextlib.contextmanager
    def _folder(self, place: tuple[str, ...], *, make: bool = True) -> Iterator[int]:
        """A descriptor of the folder `place`, made where needed; else FileNotFoundError.

        Everything goes through descriptors: when the stick is pulled out, we meet an error, not the folder beneath.
        """
        path = self._settings.path
        if self._settings.require_mount and not _mounted(path):
            raise Unreachable(f"{path}: nothing is mounted there")
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            raise Unreachable(f"{path}: no such folder; make it, or mount what belongs there") from None
        try:
            for name in place:
                made = False
                with contextlib.suppress(FileExistsError):
                    if make:
                        os.mkdir(name, dir_fd=folder)
                        made = True
                if made and self._settings.fsync:
                    _sync_names(folder)
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    def _write(self, folder: int, part: str, chunks: Iterable[bytes | memoryview], progress: Progress) -> None:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644, dir_fd=folder)
        try:
            for chunk in chunks:
                left = memoryview(chunk)
                while left:
                    left = left[os.write(fd, left) :]
                progress.sent(len(chunk))
            if self._settings.fsync:
                os.fsync(fd)
        finally:
            os.close(fd)

    def _have(self, folder: int, payload: Payload, progress: Progress) -> bool:
        """Whether this very file is there. Refused where another one of that name is."""
        with contextlib.suppress(FileNotFoundError), _reading(payload.file, folder) as fd:
            digest = hashlib.sha256()
            size = os.fstat(fd).st_size
            if not size and payload.size:
                return False  # what a power cut leaves on FAT: a name without content
            same = size == payload.size
            while same and (chunk := os.read(fd, _CHUNK)):
                digest.update(chunk)
                progress.check()
            if same and digest.hexdigest() == payload.sha256:
                return True
            raise Refused(f"{payload.file} is already in {self._settings.path}, with other content")
        return False

    def _have_sidecar(self, folder: int, capture: Capture) -> bool:
        """Whether this sidecar, or a later revision, is there. Refused where another capture's is."""
        with contextlib.suppress(FileNotFoundError), _reading(capture.sidecar.name, folder) as fd:
            with open(fd, "rb", closefd=False) as file:
                content = file.read()
            if not content:
                return False
            try:
                there = json.loads(content)
                uuid, revision = there["uuid"], int(there["revision"])
            except (ValueError, KeyError, TypeError):
                uuid, revision = None, 0
            if uuid != capture.uuid:
                name = capture.sidecar.name
                raise Refused(f"{name} is already in {self._settings.path}, and is not this capture's sidecar")
            return revision >= capture.revision
        return False


@contextlib.contextmanager
def _reading(name: str, folder: int) -> Iterator[int]:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


def _source(capture: Capture, payload: Payload) -> Iterator[memoryview]:
    return verified(capture, payload, _CHUNK)


def _part(name: str, capture: Capture) -> str:
    """The same name at every try, so that a try which was cut off leaves nothing behind once another succeeds."""
    return f".{name}.{capture.uuid[:8]}.part"


def _plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _mounted(path: str) -> bool:
    """Whether `path`, or a folder above it other than the root, is a mount point."""
    return any(os.path.ismount(folder) for folder in (Path(path), *Path(path).parents) if folder != Path("/"))


def _sync_names(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
