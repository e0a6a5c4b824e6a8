"""The virtual UART: a pseudo-terminal behind a path that stays, whose far end is a model in a child process.

Messages to the child are faults to be turned on now, as text "KIND SECONDS"; each is answered by an empty message.
"""

import contextlib
import errno
import os
import random
import select
import shutil
import tempfile
import termios
import tty
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from drivers.ports import boottime_ns
from drivers.ports.virtual import Child, Faults, Wire

_GARBLED = 0.01
"""Share of the bytes that a garbling line changes."""
_LONGEST_WAIT_S = 0.5


class VirtualLine:
    """The near end: starts the model of a device in a child process; `path` is a tty to open."""

    def __init__(self, model: str, document: Mapping[str, Any]) -> None:
        self._child = Child(model, document)
        self.path = self._child.ready.decode()

    def inject(self, kind: str, seconds: float) -> None:
        """Turns a fault on now: unplug, garble or stall."""
        self._child.wire.send(f"{kind} {seconds}".encode())
        self._child.wire.receive()

    def close(self) -> None:
        """Ends the child; may be called twice."""
        self._child.close()
        shutil.rmtree(Path(self.path).parent, ignore_errors=True)  # where the child was killed before it could


class Pty:
    """The far end of the line, as the device has it: it never waits, and what does not fit is not sent."""

    def __init__(self, name: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="capture-agent-")) / name
        self._master = self._slave = -1
        self.unsent = b""
        """What has been begun and waits for room."""

    @property
    def plugged(self) -> bool:
        return self._master >= 0

    @property
    def opened(self) -> bool:
        """Whether a host has set the line up: pyserial asks for reads that never wait."""
        return self.plugged and termios.tcgetattr(self._master)[6][termios.VMIN] in (0, b"\0")

    def fileno(self) -> int:
        return self._master

    def plug(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)  # kept open, so that the line outlives each of its readers
        os.set_blocking(self._master, False)
        self.path.symlink_to(os.ttyname(self._slave))

    def unplug(self) -> None:
        """As when the plug is pulled: the reader's end fails, the path is gone. May be called twice."""
        if self.plugged:
            self.path.unlink()
            os.close(self._master)
            os.close(self._slave)
        self._master = self._slave = -1
        self.unsent = b""

    def read(self) -> bytes:
        """What the host has sent; empty where nothing."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._master, 4096)
        return b""

    def send(self, data: bytes) -> bool:
        """Sends all of `data`, now or as soon as there is room; False, and not a byte of it, where there is none."""
        if not self.flush():
            return False
        self.begin(data)
        begun = len(self.unsent) < len(data)
        if not begun:
            self.unsent = b""
        return begun

    def begin(self, data: bytes) -> None:
        """Sends `data` now or as soon as there is room."""
        self.unsent += data
        self.flush()

    def flush(self) -> bool:
        """Sends what was begun; True when all of that is out."""
        try:
            while self.unsent:
                self.unsent = self.unsent[os.write(self._master, self.unsent) :]
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return False
        return True

    def close(self) -> None:
        self.unplug()
        self.path.parent.rmdir()


class Device(Protocol):
    """A model at the far end of a line."""

    def power_on(self, now_ns: int) -> None:
        """As after being plugged in."""

    def hear(self, data: bytes, now_ns: int) -> None:
        """Bytes from the host."""

    def due_ns(self) -> int | None:
        """When it next has something to send; None: as soon as there is room."""

    def pieces(self, now_ns: int) -> list[bytes]:
        """What it sends now. Where `due_ns` is a time, each piece is sent whole or, without room for it, not at all."""


def serve_line(
    wire: Wire, document: Mapping[str, Any], name: str, device: Device, *, reset_by_opening: bool = False
) -> None:
    """Runs a device behind a pseudo-terminal until its parent is gone. `name` is the file name of its path.

    With `reset_by_opening` it is powered on when the line is first opened, as boards do that DTR resets: so a host
    hears a device that never waits for it from its first byte on.
    """
    faults = Faults(tuple(document["faults"]), document["begun_ns"])
    line = Line(Pty(name), device, faults, random.Random(document["seed"]))  # noqa: S311  to be repeatable
    line.awaited = reset_by_opening
    try:
        line.step()
        wire.send(str(line.pty.path).encode())
        while True:
            if line.wait(wire):
                kind, seconds = (wire.receive() or b"").decode().split()
                faults.inject(kind, float(seconds))
                wire.send(b"")
            line.step()
    finally:
        line.pty.close()


class Line:
    """The line between a device and a pseudo-terminal, with its faults."""

    def __init__(self, pty: Pty, device: Device, faults: Faults, chance: random.Random) -> None:
        self.pty = pty
        self._device = device
        self._faults = faults
        self._chance = chance
        self.awaited = False
        """Whether the device begins only when the line is opened, also after it has been plugged in again."""
        self._running = False

    def step(self) -> None:
        """Does what is due now."""
        if self._faults.active("unplug"):
            self.pty.unplug()
            self._running = False
            return
        now_ns = boottime_ns()
        if not self.pty.plugged:
            self.pty.plug()
        if not self._running:
            if self.awaited and not self.pty.opened:
                return
            self._running = True
            self._device.power_on(now_ns)
        stalled = self._faults.active("stall")
        if not stalled and (heard := self.pty.read()):
            self._device.hear(heard, now_ns)
        if self._device.due_ns() is not None:
            for piece in self._device.pieces(now_ns):
                if not stalled:
                    self.pty.send(self._garbled(piece))
        elif not stalled and self.pty.flush():
            self.pty.begin(self._garbled(b"".join(self._device.pieces(now_ns))))
        self.pty.flush()

    def wait(self, wire: Wire) -> bool:
        """Waits until something is due; True when there is a message on the wire."""
        poll = select.poll()
        poll.register(wire, select.POLLIN)
        due_ns, wait_s = self._device.due_ns(), _LONGEST_WAIT_S
        if self._faults.active("unplug") or self._faults.active("stall"):
            wait_s = 0.01
        elif not self._running:
            wait_s = 0.005
        elif self.pty.plugged:
            more = due_ns is None or self.pty.unsent
            poll.register(self.pty, select.POLLIN | (select.POLLOUT if more else 0))
            if due_ns is not None:
                wait_s = min(wait_s, max(0.0, (due_ns - boottime_ns()) / 1e9))
        return any(number == wire.fileno() for number, _ in poll.poll(wait_s * 1000))

    def _garbled(self, piece: bytes) -> bytes:
        if not self._faults.active("garble"):
            return piece
        chance = self._chance
        return bytes(b ^ chance.randrange(1, 256) if chance.random() < _GARBLED else b for b in piece)
