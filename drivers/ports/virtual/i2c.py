"""The virtual I2C bus: both ends of a wire that carries one transfer a message.

to the chip      offset 0     1         2       4             kind 0: write data, 1: read count bytes,
                        kind  register  count   data ...      2: count milliseconds of the fault named by data
                        u8    u8        u16     (little endian)

from the chip    offset 0       2
                        errno   data ...                      errno 0: the transfer went well
                        u16
"""

import errno
import os
import random
import struct
import time
from collections.abc import Mapping
from typing import Any, Protocol

from drivers.ports import boottime_ns
from drivers.ports.virtual import Child, Faults, Wire

ADAPTER_TIMEOUT_S = 1.0
"""How long a Linux I2C adapter waits for a stretched clock before ETIMEDOUT."""

_ANSWER_S = 10.0
_GARBLED = 0.1
"""Share of the bytes read that a garbling line changes."""
_WRITE, _READ, _FAULT = range(3)
_REQUEST = struct.Struct("<BBH")
_ANSWER = struct.Struct("<H")


class VirtualTransfers:
    """The master's end: moves bytes to and from a chip in a child process; OSError as an adapter would raise it."""

    def __init__(self, model: str, document: Mapping[str, Any]) -> None:
        self._child = Child(model, document)
        self._answer_s = _ANSWER_S + float(document.get("delay_s", 0.0))

    def write(self, register: int, data: bytes) -> None:
        self._transfer(_WRITE, register, len(data), data)

    def read(self, register: int, count: int) -> bytes:
        return self._transfer(_READ, register, count)

    def read_fifo(self, register: int, count: int) -> bytes:
        return self._transfer(_READ, register, count)

    def inject(self, kind: str, seconds: float) -> None:
        """Turns a fault on now: unplug, nack, garble or stall; brownout: the chip forgets all, and answers on."""
        self._transfer(_FAULT, 0, int(seconds * 1e3), kind.encode())

    def close(self) -> None:
        self._child.close()

    def _transfer(self, kind: int, register: int, count: int, data: bytes = b"") -> bytes:
        wire = self._child.wire
        wire.send(_REQUEST.pack(kind, register, count), data)
        try:
            answer = wire.receive(self._answer_s, likely=_ANSWER.size + (count if kind == _READ else 0))
        except EOFError:
            raise OSError(errno.ENODEV, "the virtual chip's process has ended") from None
        if answer is None:
            self.close()  # an answer that came later would be taken for the next one
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        (code,) = _ANSWER.unpack_from(answer)
        if code:
            raise OSError(code, os.strerror(code))
        return answer[_ANSWER.size :]


class Chip(Protocol):
    """A register-level model of one chip."""

    def power_on(self) -> None:
        """All registers as after power-up."""

    def write(self, register: int, data: bytes) -> None: ...

    def read(self, register: int, count: int) -> bytes: ...


def serve_chip(wire: Wire, chip: Chip, document: Mapping[str, Any]) -> None:
    """The chip's end: answers transfers, or misbehaves, until the other end is gone.

    `document` is a `Virtual`'s. Unplugged or with NACK nobody acknowledges the address, and after an unplug the chip
    has forgotten all; a stall holds the clock until the adapter gives up; a garbling line changes bytes that are read.
    """
    faults = Faults(tuple(document["faults"]), document["begun_ns"])
    chance = random.Random(document["seed"])  # noqa: S311  noise, no secret
    delay_s = float(document["delay_s"])
    unplugged = dipped = False
    wire.send(b"ready")
    while True:
        request = wire.receive()
        assert request is not None  # without a time-out a message came, or EOFError
        kind, register, count = _REQUEST.unpack_from(request)
        data = request[_REQUEST.size :]
        if kind == _FAULT:
            faults.inject(data.decode(), count / 1e3)
            wire.send(_ANSWER.pack(0))
            continue
        stalled_ns = faults.until_ns("stall") - boottime_ns()
        if stalled_ns > 0:
            time.sleep(min(stalled_ns / 1e9, ADAPTER_TIMEOUT_S))
            wire.send(_ANSWER.pack(errno.ETIMEDOUT))
            continue
        if faults.active("unplug"):
            unplugged = True
        elif unplugged:
            chip.power_on()
            unplugged = False
        if faults.active("brownout") and not dipped:
            chip.power_on()
        dipped = faults.active("brownout")
        if unplugged or faults.active("nack"):
            wire.send(_ANSWER.pack(errno.EREMOTEIO))
        elif kind == _WRITE:
            chip.write(register, data)
            wire.send(_ANSWER.pack(0))
        else:
            if delay_s:
                time.sleep(chance.uniform(0, delay_s))
            answer = chip.read(register, count)
            if faults.active("garble"):
                answer = bytes(b ^ chance.randrange(1, 256) if chance.random() < _GARBLED else b for b in answer)
            wire.send(_ANSWER.pack(0), answer)
