"""How power cuts are judged, without a machine: what was promised and is gone is found; a tool that lacks is named."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.power_cut import LONGEST_S, Cuts
from tests.system.power_cut_machine import Ticks

ROOT = Path(__file__).parent.parent


@pytest.fixture
def cuts(tmp_path: Path) -> Iterator[Cuts]:
    found = Cuts(tmp_path, random.Random(1))
    with found.one, found.two:
        yield found


def told(folder: Path, *ticks: tuple[float, int]) -> Ticks:
    """What a guest says that has read so many rows of each stream by these seconds."""
    lines = [{"t": 1, "boot_id": "b"}]
    for at_s, rows in ticks:
        streams = {name: {"samples": rows, "lost": 0, "reopened": 0} for name in ("imu", "mcu", "cam")}
        recordings = {name: {"dropped": 0, "unrecorded": 0} for name in ("imu", "mcu", "photos")}
        lines.append({"t": int(at_s * 1e9), "streams": streams, "recordings": recordings})
    path = folder / "ticks"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"t": 99')  # cut off in the midst of a line
    found = Ticks(path)
    found.look()
    return found


def test_what_was_promised_and_is_gone_is_found(tmp_path: Path, cuts: Cuts) -> None:
    cuts.note(told(tmp_path, (5.0, 100), (10.0, 600), (10.0 + LONGEST_S, 900)), "power cut")
    assert cuts.promised == [{"imu": 600, "mcu": 600, "cam": 600}]
    assert cuts.lost("imu", cuts.lives[0]) == [(600, 1 << 62)]
    account, costs = cuts.judge({})
    assert len(account.complaints) == 3
    assert all("600 of" in text and "0 kept" in text for text in account.complaints)
    assert costs == []


def test_nothing_is_promised_within_the_last_seconds(tmp_path: Path, cuts: Cuts) -> None:
    cuts.note(told(tmp_path, (10.0, 600), (10.0 + LONGEST_S - 0.5, 900)), "power cut")
    assert cuts.judge({})[0].complaints == []


def test_a_guest_that_heard_nothing_of_the_daemon_has_no_life_to_judge(tmp_path: Path, cuts: Cuts) -> None:
    cuts.note(Ticks(tmp_path / "none"), "power cut")
    assert cuts.lives == []


@pytest.mark.skipif(os.geteuid() != 0, reason="without root it says that first")
def test_what_is_missing_is_named_and_skipped(tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "id"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    script = ROOT / "tests" / "system" / "power_cut.sh"
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    ran = subprocess.run(["/bin/bash", script], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 77, ran.stderr
    assert "skipped, because qemu-system-x86_64 is not installed (Debian: qemu-system-x86" in ran.stdout
