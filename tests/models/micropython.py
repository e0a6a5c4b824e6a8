"""MicroPython's own modules on the host: micropython.py SCRIPT runs it; descriptor $CHIP leads to a virtual chip."""

import io
import os
import runpy
import socket
import sys
import time
from types import ModuleType

from drivers.ports.virtual import Wire
from drivers.ports.virtual.i2c import _ANSWER, _READ, _REQUEST, _WRITE


class I2C:
    def __init__(self, number, *, sda, scl, freq) -> None:
        self._wire = Wire(socket.socket(fileno=int(os.environ["CHIP"])))

    def writeto_mem(self, address, register, data) -> None:
        self._transfer(_WRITE, register, len(data), data)

    def readfrom_mem(self, address, register, count) -> bytes:
        return self._transfer(_READ, register, count)

    def _transfer(self, kind, register, count, data=b"") -> bytes:
        self._wire.send(_REQUEST.pack(kind, register, count), data)
        answer = self._wire.receive()
        (code,) = _ANSWER.unpack_from(answer)
        if code:
            raise OSError(code, "bus")
        return answer[_ANSWER.size :]


class Unbuffered:
    """Standard input or output as MicroPython has it."""

    def __init__(self) -> None:
        self.buffer = io.FileIO(0, "r+b", closefd=False)
        self.fileno = self.buffer.fileno


machine = ModuleType("machine")
machine.I2C, machine.Pin = I2C, lambda number: number
sys.modules["machine"] = machine
time.ticks_ms = lambda: time.monotonic_ns() // 1_000_000
time.ticks_add = lambda at, more: at + more
time.ticks_diff = lambda later, earlier: later - earlier
time.sleep_ms = lambda ms: time.sleep(ms / 1000)
sys.stdin = sys.stdout = Unbuffered()
runpy.run_path(sys.argv[1], run_name="__main__")
