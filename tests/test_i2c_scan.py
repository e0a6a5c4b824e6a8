"""A real bus looked at: by either kind of adapter, and not where a driver of the kernel has the chip."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from smbus2 import I2cFunc

from drivers.ports.i2c_scan import RealBus
from tests.test_i2c import ADDRESS, SMBUS_BLOCKS, Adapter, Memory


class Scanned(Adapter):
    """What smbus2 offers of a bus with one chip at 0x68, and a kernel driver at 0x76."""

    def read_byte(self, address: int) -> int:
        if address == 0x76:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if address != ADDRESS:
            raise OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))
        return 0


@pytest.mark.parametrize("funcs", [I2cFunc.I2C, SMBUS_BLOCKS])
def test_a_bus_of_either_kind_is_looked_at(funcs: int) -> None:
    adapter: Any = Scanned(Memory(), funcs)
    bus = RealBus(adapter)
    assert [address for address in range(0x60, 0x70) if bus.answers(address)] == [ADDRESS]
    assert bus.read(ADDRESS, 0x75, 1) == b"\x75" and bus.read(ADDRESS, 0x10, 3) == b"\x10\x11\x12"
    with pytest.raises(OSError, match="busy"):
        bus.answers(0x76)
    bus.close()
    assert adapter.closed


def test_what_is_no_bus_is_not_opened(tmp_path: Path) -> None:
    for path in (tmp_path / "i2c-9", Path("/dev/null")):
        with pytest.raises(OSError, match=r"No such file|ioctl"):
            RealBus.open(path)
