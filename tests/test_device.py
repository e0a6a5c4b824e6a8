"""Which device this is: the board's serial number where there is one, and something that stays the same elsewhere."""

import re
import socket
from pathlib import Path

import pytest

from agent.device import identify

PI = """\
Hardware\t: BCM2835
Revision\t: c03114
Serial\t\t: 10000000512858F4
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("proc/device-tree", "etc"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_a_raspberry_pi_is_known_by_its_serial_number(root: Path) -> None:
    (root / "proc/cpuinfo").write_text(PI)
    (root / "proc/device-tree/model").write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    device = identify("bay3", root=root)
    assert device.as_json() == {"name": "bay3", "id": "512858f4", "model": "Raspberry Pi 4 Model B Rev 1.4"}


@pytest.mark.parametrize("cpuinfo", ["processor\t: 0\n", "Serial\t\t: 0000000000000000\n"])
def test_another_board_has_an_id_that_stays_with_its_system(root: Path, cpuinfo: str) -> None:
    (root / "proc/cpuinfo").write_text(cpuinfo)
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    first, second = identify(root=root), identify(root=root)
    assert first == second
    assert re.fullmatch("[0-9a-f]{8}", first.id)
    assert first.name == socket.gethostname()
    (root / "etc/machine-id").write_text("another\n")
    assert identify(root=root).id != first.id


def test_what_the_configuration_says_goes_first_and_nothing_else_is_needed(tmp_path: Path) -> None:
    device = identify("bay3", "0badcafe", root=tmp_path)
    assert device.as_json() == {"name": "bay3", "id": "0badcafe", "model": "unknown board"}
