"""The far end of an SSI line as a test plays it: damaged packets, and a device that sends exactly given bytes."""

import os
import random
import select
import threading
import tty
from collections.abc import Callable, Sequence

import numpy as np

from drivers import Block, Channel, samples_dtype
from drivers.ports.virtual.motion import Motion
from drivers.ports.virtual.ssi import COLUMNS, announcement, frames

DTYPE = samples_dtype(tuple(Channel(name) for name in COLUMNS))
KINDS = ("flip", "drop", "double")


def packets(count: int, rows: int, *, sequence: int = 1, seed: int = 3) -> list[bytes]:
    """`count` frames of motion; packet k has the rows from k * rows on."""
    return [frame.tobytes() for frame in frames(Motion(seed, 100.0).rows(0, count * rows), rows, sequence)]


def damaged(packet: bytes, kind: str, at: int, change: int = 0x10) -> bytes:
    """The packet with its byte `at` changed, lost or doubled."""
    if kind == "flip":
        return packet[:at] + bytes([packet[at] ^ change]) + packet[at + 1 :]
    return packet[:at] + (b"" if kind == "drop" else packet[at : at + 1] * 2) + packet[at + 1 :]


def one_in_ten(whole: Sequence[bytes], chance: random.Random, kinds: Sequence[str]) -> tuple[list[bytes], set[int]]:
    """One byte damaged in about a tenth of the packets, and which those are."""
    sent, bad = list(whole), {n for n in range(len(whole)) if chance.random() < 0.1}
    for n in bad:
        sent[n] = damaged(whole[n], chance.choice(kinds), chance.randrange(len(whole[n])), chance.randrange(1, 256))
    return sent, bad


def one_percent(whole: Sequence[bytes], chance: random.Random) -> tuple[list[bytes], set[int]]:
    """About 1 % of all bytes damaged, and in which packets."""
    sent, bad = [], set()
    for n, packet in enumerate(whole):
        hit = [at for at in range(len(packet)) if chance.random() < 0.01]
        for at in reversed(hit):
            packet = damaged(packet, chance.choice(KINDS), at, chance.randrange(1, 256))
        sent.append(packet)
        if hit:
            bad.add(n)
    return sent, bad


class Tally:
    """What became of each of the packets that were sent, by the indexes of the blocks that came."""

    def __init__(self, whole: Sequence[bytes], bad: set[int], blocks: Sequence[Block], rows: int) -> None:
        """The blocks' first row may be that of any packet: it is the one that fits most of them."""
        self.blocks = blocks
        payloads = {packet[9:-1]: n for n, packet in enumerate(whole)}
        got = [
            (block.first // rows + n, block.samples[n * rows : (n + 1) * rows].tobytes())
            for block in blocks
            for n in range(block.count // rows)
        ]
        offsets = [payloads[payload] - place for place, payload in got if payload in payloads]
        self.base = max(set(offsets), key=offsets.count)
        payload_of = {n: packet[9:-1] for n, packet in enumerate(whole)}
        right = {self.base + n for n, payload in got if payload_of.get(self.base + n) == payload}
        self.missing = set(range(len(whole))) - bad - right
        self.invented = [self.base + n for n, _ in got if self.base + n not in right]
        self.accepted = len({self.base + n for n, _ in got} & bad)
        self.end = self.base + blocks[-1].end // rows

    def counts_on(self) -> bool:
        """Whether the indexes jump by what is lost, and by nothing else."""
        ends = [0, *(block.end for block in self.blocks)]
        return all(b.first == end + b.lost and b.exact for end, b in zip(ends, self.blocks, strict=False))


class ScriptedDevice:
    """A tty whose far end announces itself, and after each `connect` sends the next of `streams`, byte for byte."""

    def __init__(
        self,
        *streams: bytes,
        rows: int,
        version: int = 2,
        rate_hz: float = 100,
        line: bytes | None = None,
        deaf: bool = False,
    ) -> None:
        """`line`: what it sends instead of its announcement; `deaf`: no command reaches it."""
        self.heard = b""
        self._line = announcement(version, rate_hz, rows) if line is None else line
        self._streams = list(streams)
        self._deaf = deaf
        self._connected = False
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._stop, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, name="scripted device")

    def __enter__(self) -> "ScriptedDevice":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._wake)
        self._thread.join()
        self.unplug()
        os.close(self._stop)

    def unplug(self) -> None:
        if self._master >= 0:
            os.close(self._master)
            os.close(self._slave)
            self._master = -1

    def reboot(self) -> None:
        """Streams no longer, and announces itself again."""
        self._connected = False

    def _run(self) -> None:
        unsent = b""
        while True:
            poll = select.poll()
            poll.register(self._stop, select.POLLIN | select.POLLHUP)
            poll.register(self._master, select.POLLIN | (select.POLLOUT if unsent else 0))
            events = dict(poll.poll(50))
            if self._stop in events:
                return
            if events.get(self._master, 0) & select.POLLOUT:
                unsent = unsent[self._try(lambda data=unsent: os.write(self._master, data)) or 0 :]
            if events.get(self._master, 0) & select.POLLIN:
                command = os.read(self._master, 100)
                self.heard += command
                if command == b"connect" and not (self._connected or self._deaf):
                    self._connected, unsent = True, self._streams.pop(0) if self._streams else b""
                elif command == b"disconnect":
                    self._connected, unsent = False, b""
            elif not self._connected and not unsent:
                unsent = self._line

    @staticmethod
    def _try(write: Callable[[], int]) -> int:
        try:
            return write()
        except BlockingIOError:
            return 0


def as_samples(packets: Sequence[bytes]) -> np.ndarray:
    """The rows of undamaged frames."""
    return np.frombuffer(b"".join(packet[9:-1] for packet in packets), DTYPE)
