"""A chip model on a bus in simulated time: transfers take as long as they would, nothing else takes any."""

from types import ModuleType, SimpleNamespace

import pytest

from drivers.ports.virtual.i2c import Chip


class SimulatedBus:
    """Transfers for an `I2cDevice`, straight to a chip model; `modules` see its time instead of the machine's.

    A byte is nine bits on the bus; writing a register is address, register and data, reading it needs the address
    twice.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType, bus_hz: float = 400_000) -> None:
        self.now_ns = 1_000_000_000
        self.chip: Chip
        self._byte_ns = 9e9 / bus_hz
        for module in modules:
            if hasattr(module, "boottime_ns"):
                monkeypatch.setattr(module, "boottime_ns", lambda: self.now_ns)
            if hasattr(module, "time"):
                monkeypatch.setattr(module, "time", SimpleNamespace(sleep=self.sleep))

    def beside(self, chip: Chip) -> "SimulatedBus":
        """Another chip on the same bus, in the same time."""
        other = Neighbour(self)
        other.chip = chip
        return other

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(max(seconds, 0) * 1e9)

    def write(self, register: int, data: bytes) -> None:
        self.now_ns += int((2 + len(data)) * self._byte_ns)
        self.chip.write(register, data)

    def read(self, register: int, count: int) -> bytes:
        answer = self.chip.read(register, count)
        self.now_ns += int((3 + count) * self._byte_ns)
        return answer

    def read_fifo(self, register: int, count: int) -> bytes:
        return self.read(register, count)

    def close(self) -> None:
        pass


class Neighbour(SimulatedBus):
    """Transfers to another chip; the time is the first one's."""

    def __init__(self, first: SimulatedBus) -> None:
        self._first = first
        self._byte_ns = first._byte_ns

    @property
    def now_ns(self) -> int:
        return self._first.now_ns

    @now_ns.setter
    def now_ns(self, now_ns: int) -> None:
        self._first.now_ns = now_ns
