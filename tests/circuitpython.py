"""Lets unmodified CircuitPython drivers by other authors read a chip model: a second opinion on both."""

import importlib
import sys
from types import ModuleType
from typing import Any

import pytest

from drivers.ports.virtual.i2c import Chip


class Bus:
    """`busio.I2C` as those drivers use it, over chip models by address."""

    def __init__(self, **chips: Chip) -> None:
        """`_0x53=chip` puts a chip at 0x53."""
        self._chips = {int(name[1:], 16): chip for name, chip in chips.items()}
        self._pointers: dict[int, int] = {}

    def try_lock(self) -> bool:
        return True

    def unlock(self) -> None:
        pass

    def writeto(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        data = bytes(buffer[start:end])
        if address not in self._chips:
            raise OSError("nobody answers")
        if data:
            self._pointers[address] = data[0]
        if data[1:]:
            self._chips[address].write(data[0], data[1:])

    def readfrom_into(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        end = len(buffer) if end is None else end
        buffer[start:end] = self._chips[address].read(self._pointers[address], end - start)

    def writeto_then_readfrom(self, address: int, out: Any, into: Any, **ends: Any) -> None:
        self.writeto(address, out, start=ends.get("out_start", 0), end=ends.get("out_end"))
        self.readfrom_into(address, into, start=ends.get("in_start", 0), end=ends.get("in_end"))


def theirs(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Their module, or a skipped test; `busio` and `digitalio` want a real board and are stood in for."""
    for board, names in (("busio", ("I2C", "SPI", "UART")), ("digitalio", ("DigitalInOut",))):
        module = ModuleType(board)
        for each in names:
            setattr(module, each, type(each, (), {}))
        monkeypatch.setitem(sys.modules, board, module)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"{name} is not installed (pip install '.[second-opinion]'): {error}")
