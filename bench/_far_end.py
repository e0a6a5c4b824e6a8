"""A process that sends bytes over a pseudo-terminal without end, as fast as they are read; the usual readers."""

import contextlib
import os
import select
import struct
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import serial

_FAR_END = """
import os, select, sys, tty
master, slave = os.openpty()
tty.setraw(slave)
print(os.ttyname(slave), flush=True)
data, hello = open(sys.argv[1], "rb").read(), bytes.fromhex(sys.argv[2])
while hello and not select.select([master], [], [], 0.2)[0]:
    os.write(master, hello)
while True:
    os.write(master, data)
"""
"""Says hello until it hears something (where there is anything to say), then sends the data over and over."""


@contextlib.contextmanager
def far_end(folder: Path, data: bytes, hello: bytes = b"") -> Iterator[str]:
    """The path of a tty behind which another process sends `data`, again and again."""
    (folder / "sent").write_bytes(data)
    command = [sys.executable, "-c", _FAR_END, str(folder / "sent"), hello.hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def copied_cpu_s(path: str, out: Path, count: int) -> float:
    """The floor: CPU seconds of bringing `count` bytes from the tty to a file, unseen."""
    tty_fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    file_fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        tty.setraw(tty_fd)
        poll = select.poll()
        poll.register(tty_fd, select.POLLIN)
        begun = time.process_time()
        while count > 0:
            poll.poll()
            data = os.read(tty_fd, 1 << 16)
            os.write(file_fd, data)
            count -= len(data)
        return time.process_time() - begun
    finally:
        os.close(tty_fd)
        os.close(file_fd)


def unpacked_cpu_s(path: str, row: struct.Struct, rows: int) -> float:
    """CPU seconds of reading so many rows as tutorials do with binary ones: not checked, not kept."""
    with _port(path) as port:

        def read() -> None:
            for _ in range(rows):
                row.unpack(port.read(row.size))

        return _spent(read)


def split_cpu_s(path: str, rows: int) -> float:
    """CPU seconds of reading so many rows as tutorials do with lines: split at commas, not even made numbers."""
    with _port(path) as port:

        def read() -> None:
            for _ in range(rows):
                port.readline().split(b",")

        return _spent(read)


def _port(path: str) -> serial.Serial:
    return serial.Serial(path, 115200, timeout=1)


def _spent(work: Callable[[], None]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun
