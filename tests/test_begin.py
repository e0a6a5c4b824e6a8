"""A daemon whose disk does not let it begin waits for it, says why once, and can be stopped."""

import signal
import time
from pathlib import Path

import pytest

from agent.database import Database
from agent.folder import DataFolder
from tests.running import Running, sampling

CONFIG = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"

[recording.imu]
streams = ["imu"]
"""

FULL = """
mount -t tmpfs -o size=2m none "$0" || exit 99
cp -a "$1/." "$0"
cat /dev/zero > "$0/filler" 2>/dev/null
shift
exec "$@"
"""


def waiting(tmp_path) -> Running:
    """A daemon whose data folder is, for now, a file."""
    running = Running(tmp_path, CONFIG)
    running.data.rmdir()
    running.data.write_text("")
    running.start()
    until_said(running)
    return running


def until_said(running: Running) -> None:
    assert running.process is not None
    deadline = time.monotonic() + 20
    while "cannot begin" not in running.log():
        if running.process.poll() == 99 or "unshare:" in running.log():
            pytest.skip(f"no mounting here: {running.log().strip()}")
        assert running.process.poll() is None, f"it has ended\n{running.log()}"
        assert time.monotonic() < deadline, running.log()
        time.sleep(0.02)


def test_it_begins_when_the_disk_is_back(tmp_path) -> None:
    running = waiting(tmp_path)
    try:
        running.process.send_signal(signal.SIGHUP)  # which tries at once
        time.sleep(0.2)
        running.data.unlink()
        running.data.mkdir()
        running.process.send_signal(signal.SIGHUP)
        running.until(sampling)
        assert running.log().count("cannot begin") == 1, "said once"
        assert str(running.data) in running.log()
        assert running.terminate()[0] == 0
    finally:
        running.__exit__(None, None, None)


def test_it_can_be_stopped_while_it_waits(tmp_path) -> None:
    running = waiting(tmp_path)
    try:
        code, seconds = running.terminate()
        assert (code, seconds < 5) == (0, True)
    finally:
        running.__exit__(None, None, None)


def test_it_begins_with_its_database_when_a_full_disk_has_room_again(tmp_path) -> None:
    with DataFolder(tmp_path / "made") as folder, Database(folder.database, quarantine=folder.quarantine) as database:
        database.rebuilt()
    mounted = tmp_path / "data"
    running = Running(
        tmp_path, CONFIG, prefix=("unshare", "-rm", "sh", "-c", FULL, str(mounted), str(tmp_path / "made"))
    )
    running.start()
    try:
        until_said(running)
        assert running.process is not None
        running.data = Path(f"/proc/{running.process.pid}/root{mounted}")  # as the daemon sees it
        (running.data / "filler").unlink()
        running.process.send_signal(signal.SIGHUP)
        running.until(sampling)
        assert "agent.db: disk I/O error" in running.log()
        assert "rebuilt" not in running.log() and not list((running.data / "quarantine").iterdir())
        assert running.terminate()[0] == 0
    finally:
        running.__exit__(None, None, None)
