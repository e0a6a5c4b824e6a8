"""Real kernels, emulated: the scripts of tests/system that need one; they say what they lack."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SYSTEM = Path(__file__).parent / "system"


@pytest.mark.soak
@pytest.mark.parametrize("script", ["gadget.sh", "webcam.sh", "camera.sh", "service.sh", "pi.sh"])
def test_on_a_real_kernel(script: str) -> None:
    done = subprocess.run(
        [SYSTEM / script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "PYTHON": sys.executable},
    )
    print(done.stdout)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0
