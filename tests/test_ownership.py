"""Whose the data folder is: root leaves nothing there that its owner cannot use."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.folder import DataFolder
from tests.recorded import SECOND, STARTED_NS, make_data_folder, make_negative, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a while")

OWNER, GROUP = 64001, 64002
DAY = 86400 * SECOND


def give(place: Path, user: int) -> None:
    """As the service's folder is: all of it the user's, and of the group to read."""
    for path in (place, *place.rglob("*")):
        os.chown(path, user, GROUP)
        path.chmod(0o750 if path.is_dir() else 0o640)


@pytest.fixture
def place() -> Iterator[Path]:
    """Somebody else's data folder, in a folder that all may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        make_data_folder(Path(folder) / "data")
        give(Path(folder) / "data", OWNER)
        yield Path(folder) / "data"


def test_what_root_recovers_belongs_to_the_owner_of_the_folder(place: Path, tmp_path: Path) -> None:
    labels = {"activity": "found"}
    negative, other = (
        make_negative(tmp_path, recording="lost", wall_ns=STARTED_NS + days * DAY, labels=labels, formats=["csv"])
        for days in (7, 8)
    )
    run("recover", other, "--output", tmp_path / "out")
    for path in (negative, *(tmp_path / "out").iterdir()):
        path.chmod(0o600)
    for file in (negative, *(tmp_path / "out").glob("*.json")):
        run("recover", file, "--data", place)
    assert len(json.loads(run("captures", "list", "--label", "activity=found", "--json", "--data", place).output)) == 2
    assert {(path.stat().st_uid, path.stat().st_gid) for path in place.rglob("*")} == {(OWNER, GROUP)}
    assert os.geteuid() == 0


def test_what_root_says_of_a_capture_does_too(place: Path) -> None:
    name = json.loads(run("captures", "list", "--json", "--data", place).output)[0]["name"]
    run("annotate", name, "activity=sleeping", "--data", place)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in place.rglob("*")} == {(OWNER, GROUP)}


def test_a_daemon_of_roots_does_not_begin_in_anothers_folder(place: Path) -> None:
    with pytest.raises(PermissionError, match=f"belongs to #{OWNER}"), DataFolder(place):
        pass
    give(place, 0)
    with DataFolder(place):
        pass
