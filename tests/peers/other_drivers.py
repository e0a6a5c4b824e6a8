"""Drivers by other authors at work, for a test in another process that has the chips: asked over one connection.

other_drivers.py DESCRIPTOR

Runs in a virtual environment that has them. Each question is answered by ("value", plain data), ("object", its number)
or ("error", what happened); in between, their driver uses the bus: ("write", address, data), answered by None, and
("read", address, register, count), answered by bytes; either by an OSError.
"""

import importlib
import sys
import time
import traceback
from multiprocessing.connection import Connection
from types import ModuleType

PLAIN = (bool, int, float, str, bytes, type(None))


class Bus:
    """`busio.I2C` and `smbus.SMBus` at once, over the chips of whoever asks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pointers: dict[int, int] = {}

    def _ask(self, *question: object) -> bytes:
        self._connection.send(question)
        answer = self._connection.recv()
        if isinstance(answer, OSError):
            raise answer
        return answer

    # busio.I2C

    def try_lock(self) -> bool:
        return True

    def unlock(self) -> None:
        pass

    def writeto(self, address, buffer, *, start=0, end=None) -> None:
        data = bytes(buffer[start:end])
        self._ask("write", address, data)
        if data:
            self._pointers[address] = data[0]

    def readfrom_into(self, address, buffer, *, start=0, end=None) -> None:
        end = len(buffer) if end is None else end
        buffer[start:end] = self._ask("read", address, self._pointers[address], end - start)

    def writeto_then_readfrom(self, address, out, into, **ends) -> None:
        self.writeto(address, out, start=ends.get("out_start", 0), end=ends.get("out_end"))
        self.readfrom_into(address, into, start=ends.get("in_start", 0), end=ends.get("in_end"))

    # smbus.SMBus

    def write_byte_data(self, address, register, value) -> None:
        self._ask("write", address, bytes([register, value]))

    def read_byte_data(self, address, register) -> int:
        return self._ask("read", address, register, 1)[0]

    def read_word_data(self, address, register) -> int:
        return int.from_bytes(self._ask("read", address, register, 2), "little")

    def read_i2c_block_data(self, address, register, length) -> list[int]:
        return list(self._ask("read", address, register, length))


def stand_in(bus: Bus) -> None:
    """For modules that want a real board as soon as they are imported."""
    for board, names in (("busio", ("I2C", "SPI", "UART")), ("digitalio", ("DigitalInOut",))):
        sys.modules[board] = ModuleType(board)
        for name in names:
            setattr(sys.modules[board], name, type(name, (), {}))
    sys.modules["smbus"] = ModuleType("smbus")
    sys.modules["smbus"].SMBus = lambda number: bus


class Answers:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._bus = Bus(connection)
        self._objects: list[object] = [self._bus]
        stand_in(self._bus)

    def run(self) -> None:
        while (question := self._connection.recv()) is not None:
            try:
                found = getattr(self, question[0])(*question[1:])
            except Exception:
                self._connection.send(("error", traceback.format_exc()))
            else:
                self._connection.send(self._said(found))

    def module(self, name):
        return importlib.import_module(name)

    def hurry(self):
        """Their drivers sleep no more."""
        time.sleep = lambda seconds: None

    def get(self, number, name):
        return getattr(self._objects[number], name)

    def set(self, number, name, value):
        setattr(self._objects[number], name, self._meant(value))

    def call(self, number, positional, named):
        named = {name: self._meant(value) for name, value in named.items()}
        return self._objects[number](*map(self._meant, positional), **named)

    def _meant(self, value):
        kind, value = value
        return self._objects[value] if kind == "object" else value

    def _said(self, found):
        if isinstance(found, (tuple, list)) and all(type(each) in PLAIN for each in found):
            return "value", tuple(found)
        if type(found) in PLAIN or (type(found) is dict and all(type(each) in PLAIN for each in found.values())):
            return "value", found
        self._objects.append(found)
        return "object", len(self._objects) - 1


if __name__ == "__main__":
    Answers(Connection(int(sys.argv[1]))).run()
