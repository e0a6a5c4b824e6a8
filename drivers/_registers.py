"""The registers of a chip on I2C by the fields of its data sheet, for set-up; streaming reads bursts."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from drivers.ports import DriverError


class Space(Protocol):
    """Where registers are: an `I2cDevice`, or one whose registers lie in banks."""

    def read(self, register: int, count: int) -> bytes: ...

    def write(self, register: int, data: bytes) -> None: ...


class Field(NamedTuple):
    """Some bits of a register."""

    name: str
    width: int
    address: int
    shift: int
    section: str
    """Of the data sheet that the table names."""


class Registers:
    """Fields of one chip. Every method raises DriverError."""

    def __init__(self, device: Space) -> None:
        self._device = device

    def read(self, field: Field) -> int:
        (byte,) = self._device.read(field.address, 1)
        return (byte >> field.shift) & ((1 << field.width) - 1)

    def write(self, fields: Mapping[Field, int]) -> None:
        """Writes whole registers; of each, the bits not named become 0."""
        registers: dict[int, int] = {}
        for field, value in fields.items():
            registers[field.address] = registers.get(field.address, 0) | value << field.shift
        for address, byte in registers.items():
            self._device.write(address, bytes([byte]))

    def keep(self, fields: Mapping[Field, int], model: str) -> None:
        """As `write`, and reads back what was written."""
        self.write(fields)
        for field, value in fields.items():
            if self.read(field) != value:
                raise DriverError(
                    f"{model}: register {field.name} does not keep {value}; "
                    "a bad connection, or a counterfeit chip (check WHO_AM_I and the wiring)"
                )
