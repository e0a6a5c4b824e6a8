"""The auxiliary I2C master of an IMU: registers of the magnetometer behind it, and its samples into the FIFO."""

import time
from typing import NamedTuple

from drivers._registers import Field, Registers
from drivers.ports import DriverError

LAST_S = 0.002
"""How long the last transfer may take after the master was switched off. The IMU is reset after that: a chip behind it
that is left in the midst of a transfer may hang."""
_WAIT_S, _WAITS = 0.002, 50
_TRIES, _RESET_S = 5, 0.01
_READ = 0x80
"""Of an address that is read from."""


class Slots(NamedTuple):
    """Where a chip keeps the registers of its master: slot 4 for single bytes, slot 0 for each sample."""

    master_enable: Field
    master_reset: Field
    """In the same register; clears itself. Only while no transfer is under way."""
    done: Field
    refused: Field
    """Slot 4 was not acknowledged."""
    single_address: Field
    single_register: Field
    single_out: Field
    single_enable: Field
    single_in: Field
    each_address: Field
    each_register: Field
    each_enable: Field
    each_length: Field


class Auxiliary:
    """One chip behind the master, which must be enabled. A byte takes a period of the IMU's rate as it is set then."""

    def __init__(self, registers: Registers, slots: Slots, *, chip: str, address: int) -> None:
        self._registers, self._slots = registers, slots
        self._chip, self._address = chip, address

    def identity(self, register: int, expected: int) -> int:
        """What the chip says of itself. Until that is `expected` the master is reset, a few times: a transfer that was
        cut off may have left one of the two hanging. DriverError where nobody is there.
        """
        slots, registers = self._slots, self._registers
        for _ in range(_TRIES - 1):
            if self._moved(_READ | self._address, register) and registers.read(slots.single_in) == expected:
                return expected
            registers.write({slots.master_enable: 1, slots.master_reset: 1})
            time.sleep(_RESET_S)
        return self.read(register)

    def read(self, register: int) -> int:
        """One register. DriverError where nobody is there."""
        self._transfer(_READ | self._address, register)
        return self._registers.read(self._slots.single_in)

    def write(self, register: int, value: int) -> None:
        """One register. DriverError where nobody is there."""
        self._registers.write({self._slots.single_out: value})
        self._transfer(self._address, register)

    def sample(self, register: int, count: int) -> None:
        """From now on the master reads `count` bytes from `register` on with each sample of the IMU."""
        slots = self._slots
        self._registers.write({slots.each_address: _READ | self._address, slots.each_register: register})
        self._registers.write({slots.each_enable: 1, slots.each_length: count})

    def _transfer(self, address: int, register: int) -> None:
        if not self._moved(address, register):
            raise DriverError(
                f"{self._chip}: its magnetometer does not answer at 0x{self._address:02x} behind it; switch the chip"
                " off and on; where that does not help it has none, or a broken one: set magnetometer = false"
            )

    def _moved(self, address: int, register: int) -> bool:
        """Whether slot 4 moved its byte; if not, it was not acknowledged, or nothing happened."""
        slots, registers = self._slots, self._registers
        registers.read(slots.done)  # forgets the one before
        registers.write({slots.single_address: address, slots.single_register: register})
        registers.write({slots.single_enable: 1})
        for _ in range(_WAITS):
            time.sleep(_WAIT_S)
            status = registers.read(slots.done._replace(width=8, shift=0))  # reading clears it, so all at once
            if status >> slots.refused.shift & 1:
                return False
            if status >> slots.done.shift & 1:
                return True
        return False
