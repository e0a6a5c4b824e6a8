"""Whose the data folder is: members of its group read it, and root leaves nothing there that its owner cannot use."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.folder import DataFolder
from tests.recorded import SECOND, STARTED_NS, make_data_folder, make_negative, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a while")

OWNER, GROUP, MEMBER = 64001, 64002, 64003
DAY = 86400 * SECOND
DAEMON = """
import sys
from pathlib import Path
from agent.database import Database
with Database(Path(sys.argv[1]), quarantine=Path(sys.argv[2])) as database:
    with database.transaction(durable=True) as connection:
        connection.execute("INSERT INTO note VALUES ('test', 'x')")
    print("open", flush=True)
    sys.stdin.read()
"""


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


@contextlib.contextmanager
def member() -> Iterator[None]:
    """As one of the group."""
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(GROUP)
    os.seteuid(MEMBER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


@contextlib.contextmanager
def opened(place: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the database open as the daemon has it."""
    command = [sys.executable, "-c", DAEMON, str(place / "agent.db"), str(place / "quarantine")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("daemon", ["stopped", "running", "killed"])
def test_a_member_of_the_group_reads_and_changes_nothing(place: Path, daemon: str) -> None:
    reading = [("status",), ("outbox", "list"), ("captures", "list"), ("datasets", "list"), ("captures", "stats")]
    writing = [
        ("outbox", "drop", "--target", "lab", "--yes"),
        ("outbox", "retry"),
        ("datasets", "add", "training", "--label", "activity"),
        ("captures", "delete", "--label", "activity", "--owed", "--yes"),
    ]
    seen = {command: run(*command, "--json", "--data", place).output for command in reading}  # what is needed is there
    with contextlib.ExitStack() as stack:
        if daemon != "stopped":
            process = stack.enter_context(opened(place))
            if daemon == "killed":
                process.kill()
                process.wait()
        there = sorted(place.rglob("*"))
        with member():
            for command in reading[1:]:
                assert run(*command, "--json", "--data", place).output == seen[command]
            for command in writing:
                said = run(*command, "--data", place, code=1).output
                assert "only its owner and root" in said and len(said.splitlines()) <= 2, said
            assert not json.loads(run("status", "--json", "--data", place).output)["running"]
        assert sorted(place.rglob("*")) == there


def test_what_is_nobody_elses_to_see_is_one_line(place: Path) -> None:
    run("outbox", "list", "--data", place)
    give(place, OWNER)
    place.chmod(0o700)
    with member():
        said = run("outbox", "list", "--data", place, code=1).output
    assert "Permission denied" in said and len(said.splitlines()) == 1


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


def test_root_recovers_with_a_program_that_only_root_may_read(place: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    for package in ("agent", "drivers"):
        shutil.copytree(Path(__file__).parent.parent / package, program / package)
    program.chmod(0o700)
    negative = make_negative(tmp_path, recording="lost", wall_ns=STARTED_NS + 7 * DAY, labels={}, formats=["csv"])
    command = [sys.executable, "-m", "agent.cli", "recover", str(negative), "--data", str(place)]
    done = subprocess.run(command, cwd=program, capture_output=True, text=True, check=False)
    assert (done.returncode, "with 1 payloads" in done.stdout) == (0, True), done.stderr


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
