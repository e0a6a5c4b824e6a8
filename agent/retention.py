"""Retention: keeps the disk from filling by deleting what was delivered, oldest first, and says when to stop."""

import logging
import math
import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.catalogue import Catalogue, Entry
from agent.outbox import Outbox

log = logging.getLogger(__name__)

_BATCH = 200
"""Captures that are considered at once."""
_BATCHES = 50
"""Of one step, so that the thread shows life."""
_MARGIN = 0.1
"""Deleting begins this share of a bound before recording would have to stop, and goes on for as much again."""
_GIVEN_UP = "given up to make room"


def disk_space(folder: Path) -> tuple[int, int]:
    """(free for us, total) bytes of the file system that holds `folder`."""
    usage = os.statvfs(folder)
    return usage.f_bavail * usage.f_frsize, usage.f_blocks * usage.f_frsize


class Retention:
    """Holds two bounds: a floor of free space, and (where max_bytes is not 0) what all payloads together may take.

    `floor` gives the bytes that have to stay free on a disk of so many in all.
    Delivered captures go first, oldest first. Those owed to nobody are the only copy, and go only with
    `delete_unowed`; undelivered and refused ones only with `give_up_undelivered`, and then every second one.
    `keep_rows` rows of deleted captures, with their receipts, stay in the database.
    """

    def __init__(
        self,
        *,
        floor: Callable[[int], float],
        catalogue: Catalogue,
        outbox: Outbox,
        captures: Path,
        max_bytes: int = 0,
        give_up_undelivered: bool = False,
        delete_unowed: bool = False,
        keep_rows: int = 100_000,
        space: Callable[[Path], tuple[int, int]] = disk_space,
    ) -> None:
        self._floor = floor
        self._max_bytes = max_bytes
        self._catalogue = catalogue
        self._outbox = outbox
        self._captures = captures
        self._give_up_undelivered = give_up_undelivered
        self._delete_unowed = delete_unowed
        self._keep_rows = keep_rows
        self._space = space
        self._kept_bytes = 0
        self._why = ""
        self._deleted = 0
        self._deleted_bytes = 0
        self._given_up = 0

    def step(self, needed_bytes: int = 0) -> int:
        """Deletes until the bounds hold with room for `needed_bytes` (to develop what is open), or nothing more may
        be deleted. How many captures went."""
        self._catalogue.resume_deletions()
        self._catalogue.forget(self._keep_rows)
        self._count()
        before = self._deleted
        wanted = self._wanted(needed_bytes, _MARGIN) > 0
        for _ in range(_BATCHES):
            missing = self._wanted(needed_bytes, 2 * _MARGIN) if wanted else 0
            if missing <= 0 or not (self._delete(missing) or self._thin_out(missing)):
                break
            self._count()
        return self._deleted - before

    def must_stop(self, needed_bytes: int = 0) -> str:
        """Why recording has to stop, or may not go on yet; empty where there is room. Touches no database.

        Once it has stopped, there has to be a margin more before it goes on.
        """
        free, total = self._space(self._captures)
        if self._wanted(needed_bytes, _MARGIN if self._why else 0.0) <= 0:
            self._why = ""
        elif not self._why:
            self._why = (
                f"the disk is full: {free / 1e6:.0f} MB free, {self._floor(total) / 1e6:.0f} MB of it have to stay"
                if free < self._floor(total) + needed_bytes
                else f"the captures take {self._kept_bytes / 1e6:.0f} MB, and may take {self._max_bytes / 1e6:.0f} MB"
            )
            log.error("recording stops: %s", self._why)
        return self._why

    def health(self) -> dict[str, Any]:
        """Counters since the start; what was given up undelivered is in the outbox's `dropped`, too."""
        return {
            "kept_bytes": self._kept_bytes,
            "deleted": self._deleted,
            "deleted_bytes": self._deleted_bytes,
            "given_up": self._given_up,
            "stopped": self._why,
        }

    def _wanted(self, needed_bytes: int, margin: float) -> int:
        """Bytes that have to go until both bounds hold with that margin; 0 or less where they do."""
        free, total = self._space(self._captures)
        wanted = self._floor(total) * (1 + margin) + needed_bytes - free
        if self._max_bytes:
            wanted = max(wanted, self._kept_bytes + needed_bytes - self._max_bytes * (1 - margin))
        return math.ceil(wanted)

    def _count(self) -> None:
        stats = self._catalogue.stats()
        gone = ("deleted", "forgotten")
        self._kept_bytes = sum(
            size for of in stats.values() for standing, (_, size) in of.items() if standing not in gone
        )

    def _delete(self, missing: int) -> bool:
        """Deletes the oldest that nobody is owed, up to `missing` bytes; whether there was any."""
        for standing in ("delivered", "kept") if self._delete_unowed else ("delivered",):
            chosen = []
            for entry in self._catalogue.oldest(standing, _BATCH):
                if missing > 0:
                    chosen.append(entry)
                    missing -= entry.size
            if chosen:
                count, size = self._catalogue.make_room([entry.uuid for entry in chosen], standing)
                self._deleted += count
                self._deleted_bytes += size
                return True
        return False

    def _thin_out(self, missing: int) -> bool:
        """Gives up every second of each recording's oldest undelivered captures; whether it came any further."""
        if not self._give_up_undelivered:
            return False
        oldest = self._catalogue.oldest("owed", _BATCH)
        spared: list[Entry] = []
        chosen: list[Entry] = []
        seen: Counter[str] = Counter()
        for entry in oldest:
            if missing <= 0:
                break
            seen[entry.recording] += 1
            if seen[entry.recording] % 2:
                spared.append(entry)
            else:
                chosen.append(entry)
                missing -= entry.size
        if not chosen and len(oldest) < _BATCH:
            return False  # one is left of each recording

        def drop(connection: sqlite3.Connection) -> None:
            self._outbox.give_up(connection, [entry.uuid for entry in chosen], _GIVEN_UP)

        count, size = self._catalogue.make_room(
            [e.uuid for e in chosen], "owed", spared=[e.uuid for e in spared], also=drop
        )
        self._deleted += count
        self._deleted_bytes += size
        self._given_up += count
        if count:
            log.warning(
                "%d captures (%d bytes) from %s to %s were deleted undelivered, every second one, to make room",
                count,
                size,
                chosen[0].name,
                chosen[-1].name,
            )
        return True
