"""Memory that the daemon frees goes back to the kernel, though smaller things lie between."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from agent import memory

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

if sys.argv[1] == "compact":
    assert memory.compact()
bytearray(30 << 20)  # freed at once: from now on glibc itself would keep blocks up to this size
before = resident_mib()
blocks, between = [], []
for _ in range(200):
    blocks.append(bytearray(200 << 10))
    between.append(bytearray(2000))
del blocks
print(resident_mib() - before)
"""


@pytest.mark.skipif("linux" not in sys.platform, reason="reads /proc")
def test_freed_blocks_are_given_back() -> None:
    kept = {
        how: float(subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True).stdout)
        for how in ("compact", "as it is")
    }
    assert kept["compact"] < 5
    assert kept["as it is"] > 20, "or this test shows nothing"
