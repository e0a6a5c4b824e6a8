"""What systemd hears: one datagram a message, on the socket it names; silence where it names none."""

import os
import socket
from pathlib import Path

import pytest

from agent.notify import Notify


@pytest.mark.parametrize("abstract", [False, True])
def test_it_is_said_on_the_socket_that_systemd_names(tmp_path: Path, abstract: bool) -> None:
    name = f"@capture-agent-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        systemd.settimeout(5)
        Notify({"NOTIFY_SOCKET": name})(READY="1", STATUS="recording imu")
        assert systemd.recv(1000) == b"READY=1\nSTATUS=recording imu"


def test_without_systemd_nothing_is_said() -> None:
    Notify({})(READY="1")


def test_the_watchdog_is_fed_only_by_the_process_it_watches() -> None:
    assert Notify({"WATCHDOG_USEC": "30000000"}).watchdog_s == 30
    assert Notify({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 30
    assert Notify({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert Notify({}).watchdog_s is None
