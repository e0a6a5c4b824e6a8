"""Quarantine: what could not be read is moved aside with the reason, and stops nobody."""

import os
from collections.abc import Sequence
from pathlib import Path

from agent.capture import sync_directory


def set_aside(quarantine: Path, files: Sequence[Path], reason: str) -> Path:
    """Moves `files` (those that exist, in this order) into a new folder of the quarantine, with `reason.txt`.

    The folder is called after the first file. The quarantine must be on the same file system. Returns the folder.
    """
    quarantine.mkdir(parents=True, exist_ok=True)
    folder, count = quarantine / files[0].name, 1
    while True:
        try:
            folder.mkdir()
            break
        except FileExistsError:
            count += 1
            folder = quarantine / f"{files[0].name}.{count}"
    try:
        with (folder / "reason.txt").open("w") as text:
            text.write(reason + "\n")
            text.flush()
            os.fsync(text.fileno())
    except OSError:
        (folder / "reason.txt").unlink(missing_ok=True)
        folder.rmdir()  # or a full disk would leave one at every try
        raise
    for file in files:
        try:
            file.rename(folder / file.name)
        except FileNotFoundError:
            continue  # a payload that is gone is often the very reason
    sync_directory(folder)
    sync_directory(quarantine)
    return folder
