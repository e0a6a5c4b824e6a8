"""Virtual hardware: models behind the ports, each in a child process so that its cost is not the daemon's.

A model is a module here with a `main(wire, document)`; `Child` starts it and talks to it over a socket pair in
messages of bytes. A child ends when its socket does, so a killed daemon leaves none behind.
"""

import contextlib
import dataclasses
import functools
import json
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from drivers.ports import DriverError, boottime_ns
from drivers.settings import check, option

_LENGTH = struct.Struct("<I")


@dataclasses.dataclass(frozen=True)
class Virtual:
    """Options that every virtual device has, as `[stream.NAME.virtual]`."""

    seed: int = option("seed of the synthetic motion, the noise and the faults", 1)
    replay: str = option("CSV file with the columns ax_g ... gz_dps to replay, row by row, again from its start", "")
    replay_accel_scale: float = option("factor on the replayed accelerations, so that they fit the range", 1.0)
    clock_ppm: float = option("how much faster than nominal the device's own clock runs, in ppm", 0.0)
    delay_s: float = option("longest random delay between a sample and its delivery, seconds", 0.0, at_least=0)
    faults: tuple[str, ...] = option(
        'faults by schedule: "AT KIND FOR" in seconds since first opened, "5 unplug 2"', ()
    )

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        try:
            Faults(self.faults)
        except ValueError as error:
            mistakes.append(("faults", self.faults, str(error)))
        if self.replay and not Path(self.replay).is_file():
            mistakes.append(("replay", self.replay, "a CSV file that is there"))
        check(self, *mistakes)

    @functools.cached_property
    def begun_ns(self) -> int:
        """When the device was first opened: a schedule of faults goes on when it is opened again."""
        return boottime_ns()

    def document(self) -> dict[str, Any]:
        """What the model in the child gets: the options, and `begun_ns`."""
        return {**dataclasses.asdict(self), "begun_ns": self.begun_ns}


class Faults:
    """Misbehaviour by schedule or on command: which faults are on now. Times are CLOCK_BOOTTIME."""

    KINDS = ("unplug", "nack", "garble", "stall")

    def __init__(self, schedule: tuple[str, ...] = (), begun_ns: int | None = None) -> None:
        """The schedule's seconds count from `begun_ns`, or from now. ValueError where a line is not understood."""
        begun_ns = boottime_ns() if begun_ns is None else begun_ns
        self._windows: list[tuple[str, int, int]] = []
        for line in schedule:
            try:
                at, kind, seconds = line.split()
                window = (kind, begun_ns + int(float(at) * 1e9), begun_ns + int((float(at) + float(seconds)) * 1e9))
            except (ValueError, OverflowError):
                kind = ""
            if kind not in self.KINDS:
                raise ValueError(f"{line!r} is not AT KIND FOR, with KIND one of {', '.join(self.KINDS)}")
            self._windows.append(window)

    def inject(self, kind: str, seconds: float, after_s: float = 0.0) -> None:
        """Turns a fault on for `seconds`, now or in `after_s`."""
        begin = boottime_ns() + int(after_s * 1e9)
        self._windows.append((kind, begin, begin + int(seconds * 1e9)))

    def active(self, kind: str) -> bool:
        return self.until_ns(kind) > 0

    def until_ns(self, kind: str) -> int:
        """When the fault that is on now ends; 0 where none is."""
        if not self._windows:
            return 0
        now = boottime_ns()
        return max((end for name, begin, end in self._windows if name == kind and begin <= now < end), default=0)


class Wire:
    """Whole messages over one end of a stream socket; used by one thread."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._poll = select.poll()  # select.select fails from the 1024th descriptor on
        self._poll.register(end, select.POLLIN)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, *parts: bytes | bytearray | memoryview) -> None:
        self._socket.sendall(b"".join((_LENGTH.pack(sum(map(len, parts))), *parts)))

    def receive(self, timeout: float | None = None, *, likely: int = 0) -> bytes | None:
        """One message; None when none came in time. EOFError when the other end is gone.

        `likely`: how many bytes it will probably have, where no other can follow it.
        """
        if timeout is not None and not self._poll.poll(timeout * 1000):
            return None
        data = self._socket.recv(_LENGTH.size + likely)
        if not data:
            raise EOFError("the other end is gone")
        if len(data) < _LENGTH.size:
            data += self._exactly(_LENGTH.size - len(data))
        (size,) = _LENGTH.unpack_from(data)
        message = data[_LENGTH.size :]
        return message if len(message) == size else message + self._exactly(size - len(message))

    def _exactly(self, size: int) -> bytes:
        data = bytearray(size)
        view, got = memoryview(data), 0
        while got < size:
            count = self._socket.recv_into(view[got:])
            if not count:
                raise EOFError("the other end is gone")
            got += count
        return bytes(data)

    def close(self) -> None:
        self._socket.close()


class Child:
    """A model in a process of its own. Its first message says that it is ready (and may say more)."""

    def __init__(self, model: str, document: Mapping[str, Any], *, ready_s: float = 30.0) -> None:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        try:
            ours, theirs = socket.socketpair()
            with theirs, contextlib.ExitStack() as undone:
                undone.callback(ours.close)
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "drivers.ports.virtual", model, str(theirs.fileno()), json.dumps(document)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=environment,
                    start_new_session=True,
                )
                undone.pop_all()
        except OSError as error:  # no descriptor or no memory is left just now
            raise DriverError(f"the process of {model} cannot be started: {error}") from None
        self.wire = Wire(ours)
        try:
            ready = self.wire.receive(ready_s)
        except EOFError:
            ready = None
        if ready is None:
            self.close()
            raise DriverError(f"the process of {model} did not start; its own message stands above")
        self.ready = ready

    def close(self) -> None:
        """Ends the process; may be called twice."""
        self.wire.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(model: Callable[[Wire, Mapping[str, Any]], None], descriptor: int, document: str) -> None:
    """Runs a model in the child until its parent is gone."""
    wire = Wire(socket.socket(fileno=descriptor))
    try:
        model(wire, json.loads(document))
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        pass  # the daemon has gone: that is how a child ends
