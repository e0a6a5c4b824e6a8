"""A disk that is full for long: the daemon lives, says so once, keeps what is owed, and goes on when there is room.

`make soak-load ARGS="-k full_disk_for_long"` lasts an hour; FULL_MINUTES shortens it.
"""

import contextlib
import os
import random
import shutil
import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.__main__ import arrive
from tests.soak.ledger import balance
from tests.soak.process_faults import full_disk, records_again
from tests.soak.voyage import Voyage

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small disk needs root"),
    pytest.mark.alone,
]


def live_through(folder: Path, disk: str, seconds: float) -> None:
    log = folder / "daemon.log"
    voyage = Voyage(folder, random.Random(1), disk=disk)
    for server in (voyage.one, voyage.two):
        server.misbehave(("503",), 1e9)  # from the beginning: what one has taken is owed until that is noted
    with voyage:
        voyage.look(lambda status: status["targets"]["one"]["owed"] >= 2)
        before = {name: voyage.look()["targets"][name]["owed"] for name in ("one", "two")}
        with full_disk(voyage):
            begun, said = time.monotonic(), len(log.read_text())
            while time.monotonic() - begun < seconds:
                status = voyage.look()  # EOFError where it has ended
                time.sleep(min(1.0, seconds / 4))
            assert all(
                "No space left" in one["error"] or "full" in one["error"] for one in status["recordings"].values()
            )
            lines = Counter(log.read_text()[said:].splitlines())
            assert set(lines.values()) == {1}, f"said again and again: {lines.most_common(5)}"
        assert records_again(voyage) <= 10
        owed = voyage.look()["targets"]
        assert all(owed[name]["owed"] >= many for name, many in before.items()), (
            f"what is owed is kept: {before}, {owed}"
        )
        for server in (voyage.one, voyage.two):
            server.misbehave(("503",), 0)
        status = arrive(voyage)
        assert voyage.end() == 0
        with contextlib.closing(sqlite3.connect(voyage.data / "agent.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert len(voyage.lives) == 1
        voyage.life.troubled.add("disk_full")
        assert balance(voyage, status).complaints == []


def test_a_full_disk_is_lived_through(tmp_path: Path) -> None:
    live_through(tmp_path / "sea", "tmpfs", 4)


@pytest.mark.soak
@pytest.mark.parametrize("disk", ["ext4", "tmpfs"])
def test_a_full_disk_for_long_is_lived_through(tmp_path: Path, disk: str) -> None:
    live_through(tmp_path / "sea", disk, 60 * float(os.environ.get("FULL_MINUTES", "60")))
