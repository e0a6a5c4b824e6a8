"""Real kernels, emulated: the scripts of tests/system that need one; they say what they lack."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SYSTEM = Path(__file__).parent / "system"


@pytest.mark.soak
@pytest.mark.parametrize("script", ["gadget.sh", "webcam.sh", "camera.sh", "service.sh", "pi.sh"])
def test_on_a_real_kernel(script: str) -> None:
    process = subprocess.Popen(
        [SYSTEM / script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHON": sys.executable},
        start_new_session=True,
    )
    try:
        said, _ = process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # where it was interrupted: the emulator, too
    print(said)
    if process.returncode == 77:
        pytest.skip(said.strip().splitlines()[-1])
    assert process.returncode == 0
