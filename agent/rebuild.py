"""What is found on the disk and not in the database: all captures after a rebuild, finished files after a kill."""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path

from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.database import Database
from agent.folder import called
from agent.quarantine import set_aside
from agent.sync.owing import Owing

log = logging.getLogger(__name__)

NEVER_THERE = "it was not on the disk yet when the power was cut"
"""Why something of the last seconds before is not whole."""
_BATCH = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a walk through `captures/` found."""

    captures: int
    quarantined: int


def rebuild(
    database: Database,
    catalogue: Catalogue,
    owing: Owing,
    *,
    captures: Path,
    quarantine: Path,
    advance: Callable[[int], None],
) -> Rebuilt:
    """Walks `captures/`, oldest day first: every capture is catalogued and owed again, as far as its targets recognise
    what they have; to others it is owed once a person has asked them.

    Captures whose payloads are gone or have another size, and files that belong to no sidecar, go to quarantine.
    `advance` hears the count so far after each batch; what it raises abandons the walk, and the next start begins it
    again: what is known already stays as it is. New captures may be finished meanwhile.
    """
    found = quarantined = 0

    def record(group: Sequence[Capture]) -> None:
        with database.transaction(durable=False) as connection:
            catalogue.add(connection, group)
            for found_again in (True, False):  # or just being finished, and sent nowhere yet
                owing.owe(connection, [c for c in group if _is_old(c) is found_again], found_again=found_again)

    for folder in sorted(path for path in captures.iterdir() if path.is_dir()):
        settled = _settled(folder)
        claimed: set[str] = set()
        for batch in _batches(sorted(folder.glob("*.json"))):
            whole = [c for c in (_whole(sidecar, quarantine, hashed=False) for sidecar in batch) if c is not None]
            known = _each(whole, record, quarantine)
            claimed.update(path.name for capture in known for path in capture.files)
            found += len(known)
            quarantined += len(batch) - len(known)
            advance(found)
        quarantined += _sweep(folder, settled - claimed, quarantine)
    database.rebuilt()
    return Rebuilt(found, quarantined)


def adopt(recording: Path, *, quarantine: Path) -> list[Capture]:
    """What an earlier run left whole in the recording folder, hashes checked: to be finished now.

    What is not whole goes to quarantine with the reason, a picture without its sidecar for instance. Files of a
    negative that is still there are left alone: it is developed again.
    """
    developing = tuple(
        path.name.removesuffix(".part").removesuffix(".negative") + "."
        for path in recording.iterdir()
        if path.name.endswith((".negative", ".negative.part"))
    )
    left = [path for path in sorted(recording.iterdir()) if path.is_file() and not path.name.startswith(developing)]
    whole = []
    claimed: set[Path] = set()
    for sidecar in left:
        if sidecar.suffix == ".json":
            capture = _whole(sidecar, quarantine, hashed=True)
            if capture is not None:
                whole.append(capture)
                claimed.update(capture.files)
    for path in left:
        if path not in claimed and path.exists():
            if path.stat().st_nlink > 1:
                path.unlink()  # finished, and a kill came before it was gone from here
                continue
            reason = "was being written when the daemon was killed" if path.suffix == ".part" else "it has no sidecar"
            _report(set_aside(quarantine, [path], reason), reason)
    return whole


def _batches(sidecars: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for first in range(0, len(sidecars), _BATCH):
        yield sidecars[first : first + _BATCH]


def _whole(sidecar: Path, quarantine: Path, *, hashed: bool) -> Capture | None:
    """The capture, where it is whole; else None, and its files are in quarantine."""
    try:
        capture = Capture.load(sidecar)
        files, reason = capture.files, capture.damage(whole=hashed)
    except (ValueError, KeyError, TypeError) as error:
        files, reason = tuple(called(sidecar.parent, sidecar.stem)), f"bad sidecar: {error}"
    else:
        if capture.name != sidecar.stem:
            files, reason = (sidecar,), f"is the sidecar of {capture.name}"
    if not reason:
        return capture
    if hashed and any(map(_never_there, (sidecar, *files))):
        reason = NEVER_THERE
    _report(set_aside(quarantine, [sidecar, *(path for path in files if path != sidecar)], reason), reason)
    return None


def _never_there(path: Path) -> bool:
    """Whether a file has a name and perhaps a length, and no content: what a power cut leaves of one that was not
    synced yet."""
    try:
        with path.open("rb") as file:
            return not any(any(piece) for piece in iter(lambda: file.read(1 << 16), b""))
    except FileNotFoundError:
        return False


def _each(
    captures: Sequence[Capture], record: Callable[[Sequence[Capture]], None], quarantine: Path
) -> Sequence[Capture]:
    """Records all at once, or, where one of them is not taken, each for itself; those that were taken."""
    try:
        record(captures)
        return captures
    except ValueError:
        taken = []
    for capture in captures:
        try:
            record([capture])
            taken.append(capture)
        except ValueError as error:
            _report(set_aside(quarantine, [capture.sidecar, *capture.files], str(error)), str(error))
    return taken


def _is_old(capture: Capture) -> bool:
    """Whether it was finished before this walk began: what is being finished has two names."""
    return capture.sidecar.stat().st_nlink == 1


def _settled(folder: Path) -> set[str]:
    """What lies there and is not just being finished: then it has two names until its sidecar is there, too. Asked
    before the sidecars are listed, so that one of these names each of them."""
    with os.scandir(folder) as found:
        return {entry.name for entry in found if _is_settled(entry)}


def _is_settled(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() and os.stat(entry.path).st_nlink == 1
    except FileNotFoundError:  # deleted to make room, or an amendment that has its place now
        return False


def _sweep(folder: Path, strays: Set[str], quarantine: Path) -> int:
    """Sets aside what belongs to no capture of a day's folder; how much that was."""
    count = 0
    for path in sorted(folder / name for name in strays):
        if not path.is_file():
            continue
        if path.name.endswith(".json.part"):
            path.unlink()  # an amendment that was cut off; the sidecar itself is whole
        else:
            _report(set_aside(quarantine, [path], "no sidecar names it"), "no sidecar names it")
            count += 1
    return count


def _report(folder: Path, reason: str) -> None:
    log.error("%s lies in quarantine: %s", folder.name, reason)
