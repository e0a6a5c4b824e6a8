"""SSI version 2: decoding per core, and from a pseudo-terminal to the negative on disk, against plain copying."""

import contextlib
import os
import random
import select
import struct
import subprocess
import sys
import tempfile
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import serial

from agent.negative import NegativeWriter, identity_as_json
from bench import Measure
from drivers import Channel, samples_dtype
from drivers._ssi2 import Decoder
from drivers.ports.virtual.motion import Motion
from drivers.ports.virtual.ssi import COLUMNS, announcement, frames
from drivers.ssi import Settings

DTYPE = samples_dtype(tuple(Channel(name) for name in COLUMNS))
PACKETS = 6400
ROWS = 32
FLUSH_S = 0.25
FLAT_OUT_BYTES = 500_000 * (12 * ROWS + 10)
STRUCT_BYTES = 4_000_000
LINES_BYTES = 150_000

FAR_END = """
import os, select, sys, tty
master, slave = os.openpty()
tty.setraw(slave)
print(os.ttyname(slave), flush=True)
data, count = open(sys.argv[1], "rb").read(), int(sys.argv[2])
while not select.select([master], [], [], 0.2)[0]:
    os.write(master, bytes.fromhex(sys.argv[3]))
while count > 0:
    count -= os.write(master, data[: min(len(data), count)])
sys.stdin.read()
"""
"""Announces itself until it hears something, then sends `count` bytes of the data over and over, as fast as it can."""


def measure() -> list[Measure]:
    rows = Motion(1, 100.0).rows(0, PACKETS * ROWS)
    packets = [frame.tobytes() for frame in frames(rows, ROWS, 1)]
    size = len(packets[0])
    single = frames(rows, 1, 1).tobytes()
    measures = [
        _decoding("in calls of 64 packets", b"".join(packets), 64 * size, aim_m=20),
        _decoding("in calls of 4 kB", b"".join(packets), 4096, aim_m=4),
        _decoding("with 1 % of packets damaged", _damaged(packets), 64 * size, aim_m=2),
        _decoding("at one row a packet", single, 1 << 16, aim_m=1, rows=1),
    ]
    whole = b"".join(packets)
    with tempfile.TemporaryDirectory() as folder:
        copied = _cpu_s_per_gb(Path(folder), whole, FLAT_OUT_BYTES, _copy)
        recorded = _cpu_s_per_gb(Path(folder), whole, FLAT_OUT_BYTES, _record)
        by_row = _cpu_s_per_gb(Path(folder), rows.tobytes(), STRUCT_BYTES, _read_and_unpack)
        lines = "".join(",".join(map(str, row)) + "\n" for row in rows[:4000].tolist()).encode()
        by_line = _cpu_s_per_gb(Path(folder), lines, LINES_BYTES, _read_lines)
    return [
        *measures,
        Measure(
            what="SSI v2 from a pseudo-terminal to the negative",
            figure=recorded,
            unit="CPU s/GB",
            against=f"os.read + write: {copied:.3g} CPU s/GB",
            ratio=recorded / copied,
            aim="ratio at most 4",
            met=recorded <= 4 * copied,
        ),
        _peer("pyserial read(12) + struct, a row at a time, not recorded", recorded, by_row),
        _peer("pyserial readline() + split, a line at a time, not recorded", recorded, by_line),
    ]


def _peer(what: str, ours: float, theirs: float) -> Measure:
    return Measure(
        what=f"SSI v2 recorded, against {what}",
        figure=ours,
        unit="CPU s/GB",
        against=f"{theirs:.4g} CPU s/GB",
        ratio=ours / theirs,
        aim="ratio at most 0.1",
        met=ours <= 0.1 * theirs,
    )


def _decoding(how: str, data: bytes, cut: int, *, aim_m: float, rows: int = ROWS) -> Measure:
    """The best of five passes: what the machine's other users take is not the decoder's."""
    best = 0.0
    pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
    for _ in range(5):
        decoder = Decoder(DTYPE, rows, 100.0)
        begun = time.process_time()
        got = sum(block.count for piece in pieces for block in decoder.feed(piece, 0))
        best = max(best, got / (time.process_time() - begun) / 1e6)
        if got < 0.95 * len(data) // (12 * rows + 10) * rows:
            raise RuntimeError(f"only {got} rows were decoded")
    return Measure(
        what=f"SSI v2 decoding {how}",
        figure=best,
        unit="M rows/s",
        against=f"the aim of {aim_m:g} M rows/s",
        ratio=best / aim_m,
        aim=f"at least {aim_m:g} M rows/s",
        met=best >= aim_m,
        lower_is_better=False,
    )


def _damaged(packets: list[bytes]) -> bytes:
    chance = random.Random(1)
    sent = []
    for packet in packets:
        changed = bytearray(packet)
        if chance.random() < 0.01:
            at = chance.randrange(len(packet))
            match chance.randrange(3):
                case 0:
                    changed[at] ^= 0x10
                case 1:
                    del changed[at]
                case _:
                    changed.insert(at, changed[at])
        sent.append(bytes(changed))
    return b"".join(sent)


@contextlib.contextmanager
def _far_end(folder: Path, data: bytes, count: int) -> Iterator[str]:
    """The path of a tty behind which another process sends `count` bytes."""
    (folder / "sent").write_bytes(data)
    command = [sys.executable, "-c", FAR_END, str(folder / "sent"), str(count), announcement(2, 100, ROWS).hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def _cpu_s_per_gb(folder: Path, data: bytes, count: int, read: Callable[[str, Path, int], None]) -> float:
    """CPU seconds (own and system's) of this process for each 1e9 bytes of the line."""
    with _far_end(folder, data, count) as path:
        out = folder / "out"
        begun = time.process_time()
        read(path, out, count)
        used = time.process_time() - begun
        out.unlink(missing_ok=True)
    return used / count * 1e9


def _copy(path: str, out: Path, count: int) -> None:
    """The floor."""
    tty_fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    file_fd = os.open(out, os.O_WRONLY | os.O_CREAT)
    tty.setraw(tty_fd)
    poll = select.poll()
    poll.register(tty_fd, select.POLLIN)
    os.write(tty_fd, b"connect")
    while count > 0:
        poll.poll()
        data = os.read(tty_fd, 1 << 16)
        os.write(file_fd, data)
        count -= len(data)
    os.close(tty_fd)
    os.close(file_fd)


def _record(path: str, out: Path, count: int) -> None:
    driver = Settings(path).open()
    identity = driver.start()
    head = {"uuid": "bench", "streams": [{"name": "mcu", "identity": identity_as_json(identity)}]}
    writer = NegativeWriter(out, head)
    rows, flushed_s = 0, time.monotonic()
    while rows < count // (12 * ROWS + 10) * ROWS:
        block = driver.read(1.0)
        if block is None:
            raise RuntimeError(f"the line stalled after {rows} rows: {driver.counters}")
        writer.write(0, block)
        rows += block.count
        if (now_s := time.monotonic()) - flushed_s > FLUSH_S:
            writer.flush()
            flushed_s = now_s
    writer.finish({})
    driver.close()


def _read_and_unpack(path: str, _: Path, count: int) -> None:
    row = struct.Struct("<6h")
    with serial.Serial(path, 115200, timeout=1) as port:
        port.write(b"connect")
        for _ in range(count // row.size):
            row.unpack(port.read(row.size))


def _read_lines(path: str, _: Path, count: int) -> None:
    with serial.Serial(path, 115200, timeout=1) as port:
        port.write(b"connect")
        got = 0
        while got < count - 1000:
            line = port.readline()
            got += len(line)
            line.split(b",")
