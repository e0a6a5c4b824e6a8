"""Before a daemon runs: who waits for a folder that another has, and what a thread of a failed start brings down."""

import signal
import socket
from pathlib import Path

import pytest

from agent.folder import DataFolder
from agent.main_thread import EXIT_FAILED, MainThread
from agent.notify import Notify
from tests.running import Running, sampling

CONFIG = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"
"""


def test_under_systemd_a_folder_that_another_has_is_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        running = Running(tmp_path, CONFIG, NOTIFY_SOCKET=str(tmp_path / "notify"))
        try:
            with DataFolder(running.data):
                running.start()
                status, extended = systemd.recv(1000).decode().splitlines()
                assert status == f"STATUS=cannot begin: another capture-agent runs on {running.data}"
                assert extended.startswith("EXTEND_TIMEOUT_USEC=")
            assert running.process is not None and running.process.poll() is None
            running.process.send_signal(signal.SIGHUP)  # which tries at once
            running.until(sampling)
            assert running.terminate()[0] == 0
        finally:
            running.__exit__(None, None, None)


def test_a_thread_that_fails_while_nothing_can_begin_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    main = MainThread()
    main.failed("disk-sync", OSError("no disk"))
    assert not main.rest(0.01), "it is tried again"
    assert main.exit_code == 0 and "no disk" in caplog.text
    main.failed("disk-sync", OSError("no disk"))
    main.stop()
    assert main.rest(10), "asked to end, it does"
    assert main.exit_code == 0


def test_a_thread_that_fails_in_a_running_daemon_is_its_end() -> None:
    main = MainThread()
    main.failed("disk-sync", OSError("no disk"))
    main.wait(Notify({}), list, lambda: ("", False))
    assert main.exit_code == EXIT_FAILED
