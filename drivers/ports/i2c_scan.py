"""Who is on an I2C bus: looks without writing more than the number of the register that is read next."""

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from drivers.ports.i2c import Transfers, transfers_for

if TYPE_CHECKING:
    from smbus2 import SMBus

FIRST, LAST = 0x08, 0x77
"""The addresses of chips; those beyond are reserved (NXP UM10204, table 4)."""
NOBODY = frozenset({errno.EREMOTEIO, errno.ENXIO, errno.ENODEV, errno.EIO})
"""What adapters answer where no chip does (kernel: i2c/fault-codes, and what drivers do instead)."""


class Bus(Protocol):
    """One open bus. `answers` and `read` raise OSError: one of NOBODY, or what is wrong with the bus as a whole."""

    def answers(self, address: int) -> bool:
        """Whether a chip acknowledges a read of one byte. Not for chips whose FIFO that byte could come from."""

    def read(self, address: int, register: int, count: int) -> bytes:
        """Registers of the chip at `address`."""

    def close(self) -> None:
        """Lets the bus go; may be called twice."""


class RealBus:
    """A bus of /dev. It goes to chips that a driver of the kernel has, too: leave those out."""

    def __init__(self, bus: "SMBus") -> None:
        self._bus = bus
        self._chips: dict[int, Transfers] = {}

    @classmethod
    def open(cls, path: Path) -> Self:
        """OSError where it cannot be opened, or is no bus."""
        from smbus2 import SMBus  # noqa: PLC0415  only where there is a real bus

        opened = SMBus()
        try:
            opened.open(str(path))
            transfers_for(opened, FIRST)
        except OSError:
            opened.close()
            raise
        return cls(opened)

    def answers(self, address: int) -> bool:
        try:
            self._bus.read_byte(address)
        except OSError as error:
            if error.errno in NOBODY:
                return False
            raise
        return True

    def read(self, address: int, register: int, count: int) -> bytes:
        if address not in self._chips:
            self._chips[address] = transfers_for(self._bus, address)
        return self._chips[address].read(register, count)

    def close(self) -> None:
        self._bus.close()
