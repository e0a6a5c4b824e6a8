"""The firmware in docs/firmware, on the host: its packets byte for byte, and its samples through the SSI driver."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.mpu6050 import VirtualMpu
from drivers.ports.virtual import Child
from drivers.ports.virtual.motion import Motion
from drivers.ssi import Settings
from tests.contracts.driver import read_blocks
from tests.test_ssi_frames import VECTORS

ROOT = Path(__file__).parents[1]
FIRMWARE = ROOT / "docs" / "firmware"
SCRIPT = FIRMWARE / "ssi_mpu6050.py"
ANNOUNCED = {
    "version": 2,
    "sample_rate": 100,
    "samples_per_packet": 8,
    "column_location": {
        name: at for at, name in enumerate(f"{s}{a}" for s in ("Accelerometer", "Gyroscope") for a in "XYZ")
    },
}


@pytest.fixture(scope="module")
def sketch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler: apt-get install g++")
    program, models = tmp_path_factory.mktemp("sketch") / "sketch", ROOT / "tests" / "models" / "arduino"
    includes = f"-I{models}", f"-I{FIRMWARE / 'ssi_mpu6050'}"
    rules = "-std=c++17", "-Wall", "-Wextra", "-Werror"
    subprocess.run([compiler, *rules, *includes, "-o", program, models / "main.cpp"], check=True)
    return program


@contextmanager
def on_a_board(command: Sequence[Any], **virtual: Any) -> Iterator[tuple[str, subprocess.Popen]]:
    """The path of a serial port at whose far end `command` runs, with a virtual MPU-6050 on its bus."""
    ours, port = os.openpty()
    tty.setraw(port)
    with closing(Child("mpu6050", VirtualMpu(**virtual).document())) as chip:
        board = subprocess.Popen(
            command,
            stdin=ours,
            pass_fds=(chip.wire.fileno(),),
            env={**os.environ, "CHIP": str(chip.wire.fileno()), "PYTHONPATH": str(ROOT)},
        )
        try:
            yield os.ttyname(port), board
        finally:
            board.kill()
            board.wait()
            os.close(ours)
            os.close(port)


def commands(name: str, sketch: Path) -> list[Any]:
    return [sketch] if name == "sketch" else [sys.executable, ROOT / "tests" / "models" / "micropython.py", SCRIPT]


def parts(vector: str) -> tuple[int, int, bytes]:
    framed = bytes.fromhex(vector)
    return framed[4], int.from_bytes(framed[5:9], "little"), framed[9:-1]


def test_the_sketch_makes_the_vendors_packets(sketch: Path) -> None:
    wanted = [vector for vector, *_ in VECTORS]
    given = [word for vector in wanted for word in _words(*parts(vector))]
    assert subprocess.run([sketch, *given], capture_output=True, text=True, check=True).stdout.split() == wanted


def _words(channel: int, sequence: int, payload: bytes) -> tuple[str, str, str]:
    return str(channel), str(sequence), payload.hex()


@pytest.mark.parametrize("vector", [vector for vector, *_ in VECTORS])
def test_the_script_makes_the_vendors_packets(vector: str) -> None:
    assert runpy.run_path(str(SCRIPT))["frame"](*parts(vector)).hex() == vector


@pytest.mark.parametrize("name", ["sketch", "script"])
def test_an_idle_board_announces_itself(name: str, sketch: Path) -> None:
    with on_a_board(commands(name, sketch)) as (port, _), open(port, "rb", buffering=0) as line:
        heard = b""
        while heard.count(b"\n") < 2:
            heard += line.read(256)
    assert [json.loads(each) for each in heard.split(b"\n")[:2]] == [ANNOUNCED] * 2


@pytest.mark.parametrize("name", ["sketch", "script"])
def test_the_driver_reads_what_the_chip_measured(name: str, sketch: Path) -> None:
    with on_a_board(commands(name, sketch)) as (port, _):
        for _ in range(2):  # and again, after a disconnect
            driver = Settings(port, accel_lsb_per_g=8192, gyro_lsb_per_dps=65.5).open()
            with closing(driver):
                identity = driver.start()
                blocks = read_blocks(driver, 3)
            assert (identity.model, identity.rate_hz) == ("SSI v2 device", 100)
            assert [block.lost for block in blocks] == [0] * 3
            samples = np.concatenate([block.samples for block in blocks])
            got = np.stack([samples[channel] for channel in samples.dtype.names], axis=1)
            sent = Motion(1, 100.0, lsb=(8192.0, 65.5)).rows(0, 3000)
            begin = int(np.flatnonzero((sent == got[0]).all(axis=1))[0])
            assert np.array_equal(got, sent[begin : begin + len(got)])


@pytest.mark.parametrize("name", ["sketch", "script"])
def test_what_the_chip_could_not_keep_is_missing_in_the_sequence(name: str, sketch: Path) -> None:
    with on_a_board(commands(name, sketch)) as (port, board), closing(Settings(port).open()) as driver:
        driver.start()
        read_blocks(driver, 1)
        board.send_signal(signal.SIGSTOP)
        time.sleep(1.2)  # the FIFO has room for 0.85 s
        board.send_signal(signal.SIGCONT)
        blocks = read_blocks(driver, 1)
        while not blocks[-1].lost:
            blocks += read_blocks(driver, 1)
    lost, after = blocks[-1].lost, blocks[-1].samples
    assert 100 <= lost <= 200, "about as many as there were in that time"
    sent = Motion(1, 100.0, lsb=(8192.0, 65.5)).rows(0, 3000)
    got = np.stack([after[channel] for channel in after.dtype.names], axis=1)
    assert (sent == got[0]).all(axis=1).any(), "no value is one half of another"
