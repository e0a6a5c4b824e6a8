"""The UART port on pseudo-terminals: bulk reads, plug and unplug, and messages that say what to do."""

import errno
import os
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers import DriverError, boottime_ns
from drivers.ports.uart import Uart, explained, open_uart
from drivers.ports.virtual.uart import VirtualLine
from drivers.ssi import VirtualSsi


class FarEnd:
    """The other end of a tty, for the test to write and read."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.path = os.ttyname(self.slave)

    def unplug(self) -> None:
        if self.master >= 0:
            os.close(self.master)
            os.close(self.slave)
            self.master = -1


@pytest.fixture
def far_end() -> Iterator[FarEnd]:
    end = FarEnd()
    yield end
    end.unplug()


@pytest.fixture
def uart(far_end: FarEnd) -> Iterator[Uart]:
    opened = open_uart(far_end.path, 115200, device="", virtual={})
    yield opened
    opened.close()


def test_what_is_written_is_read(far_end: FarEnd, uart: Uart) -> None:
    everything = bytes(range(256))  # nothing is translated, echoed or taken for flow control
    os.write(far_end.master, everything)
    before_ns = boottime_ns()
    data, observed_ns = uart.read(1.0)
    assert data == everything
    assert before_ns <= observed_ns <= boottime_ns()
    uart.write(everything)
    assert os.read(far_end.master, 1000) == everything


def test_a_silent_line_gives_nothing_in_time(uart: Uart) -> None:
    begun_s = time.monotonic()
    assert uart.read(0.05)[0] == b""
    assert uart.read(0)[0] == b""
    assert 0.05 <= time.monotonic() - begun_s < 5


def test_a_full_line_is_drained_in_bulk(far_end: FarEnd, uart: Uart) -> None:
    sent = os.urandom(2_000_000)

    def write() -> None:
        at = 0
        while at < len(sent):
            at += os.write(far_end.master, sent[at : at + 65536])

    writer = threading.Thread(target=write)
    writer.start()
    got, reads = bytearray(), 0
    while len(got) < len(sent):
        data, _ = uart.read(5.0)
        assert data, "it has stalled"
        assert len(data) < 2 * 65536
        got += data
        reads += 1
    writer.join()
    assert bytes(got) == sent
    assert reads < len(sent) / 2000


def collected(far_end: FarEnd, uart: Uart, piece: bytes, every_s: float, count: int) -> list[tuple[int, float]]:
    """(bytes, seconds since the read before) of each read, while `piece` came `count` times."""

    def write() -> None:
        for _ in range(count):
            os.write(far_end.master, piece)
            time.sleep(every_s)

    writer = threading.Thread(target=write)
    writer.start()
    reads, before_s = list[tuple[int, float]](), time.monotonic()
    while sum(size for size, _ in reads) < count * len(piece):
        size = len(uart.read(1.0)[0])
        now_s = time.monotonic()
        reads.append((size, now_s - before_s))
        before_s = now_s
    writer.join()
    return reads


@pytest.mark.alone
def test_bytes_at_a_low_rate_are_left_to_collect_and_longer_where_they_keep_coming(far_end: FarEnd, uart: Uart) -> None:
    reads = collected(far_end, uart, b"x", 0.001, 200)
    assert len(reads) <= 100, "the process is not woken for each byte"
    assert min(seconds for _, seconds in reads[1:4]) >= 0.009
    assert min(seconds for _, seconds in reads[5:-1]) >= 0.024


@pytest.mark.alone
def test_a_packet_now_and_then_does_not_wait_for_others(far_end: FarEnd, uart: Uart) -> None:
    begun_s = list[float]()

    def write() -> None:
        for _ in range(20):
            time.sleep(0.015)
            begun_s.append(time.monotonic())
            os.write(far_end.master, b"packet")

    writer = threading.Thread(target=write)
    writer.start()
    got, waited_s = 0, list[float]()
    while got < 20:
        size = len(uart.read(1.0)[0]) // 6
        waited_s += [time.monotonic() - sent_s for sent_s in begun_s[got : got + size]]
        got += size
    writer.join()
    assert sorted(waited_s)[10] < 0.008


def test_at_a_higher_rate_it_does_not_wait_until_the_tty_is_full(far_end: FarEnd, uart: Uart) -> None:
    sizes = sorted(size for size, _ in collected(far_end, uart, bytes(100), 0.001, 200))
    assert sizes[len(sizes) // 2] <= 2048


def test_unplugged(far_end: FarEnd, uart: Uart) -> None:
    os.write(far_end.master, b"last words")
    assert uart.read(1.0)[0] == b"last words"
    far_end.unplug()
    for _ in range(2):
        with pytest.raises(DriverError, match=r"the device is gone.*cable.*EIO"):
            uart.read(1.0)
    with pytest.raises(DriverError, match="the device is gone"):
        uart.write(b"hello")
    uart.close()
    uart.close()
    with pytest.raises(DriverError, match="closed"):
        uart.read(0)


def test_a_port_is_ours_alone(far_end: FarEnd, uart: Uart) -> None:
    with pytest.raises(DriverError, match=r"another program has it.*fuser"):
        open_uart(far_end.path, 115200, device="", virtual={})
    uart.close()
    open_uart(far_end.path, 460800, device="", virtual={}).close()


def test_a_missing_port_lists_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DriverError, match=r"no such port.*plugged in"):
        open_uart("/dev/serial/by-id/usb-Nobody", 115200, device="", virtual={})
    (tmp_path / "usb-Arduino_Nano33-if00").touch()
    monkeypatch.setattr("drivers.ports.uart._BY_ID", tmp_path)
    with pytest.raises(DriverError, match=r"plugged in now: .*usb-Arduino_Nano33-if00"):
        open_uart("/dev/ttyACM9", 115200, device="", virtual={})


@pytest.mark.parametrize(
    ("path", "message"),
    [("/dev/null", r"no serial port.*ENOTTY"), ("/dev", r"a folder.*EISDIR")],
)
def test_what_is_no_port_is_said_to_be_none(path: str, message: str) -> None:
    with pytest.raises(DriverError, match=message):
        open_uart(path, 115200, device="", virtual={})


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.EACCES, "group dialout"),
        (errno.EBUSY, "another program"),
        (errno.ENODEV, "unplugged"),
        (errno.ENOSPC, "dmesg"),
    ],
)
def test_errors_say_what_to_try(code: int, message: str) -> None:
    error = explained(OSError(code, os.strerror(code)), "/dev/ttyACM0")
    assert message in str(error)
    assert "/dev/ttyACM0" in str(error)
    assert errno.errorcode[code] in str(error)


def test_a_line_that_takes_nothing_is_an_error(far_end: FarEnd, uart: Uart) -> None:
    with pytest.raises(DriverError, match="does not take what we send"):
        for _ in range(1000):
            uart.write(bytes(4096))


def test_a_virtual_line_comes_back_at_the_same_path() -> None:
    line = VirtualLine("ssi", VirtualSsi().document())
    try:
        uart = open_uart(line.path, 115200, device="", virtual={})
        assert uart.read(5.0)[0]
        line.inject("unplug", 0.3)
        with pytest.raises(DriverError, match="gone"):
            for _ in range(100):
                uart.read(0.1)
        uart.close()
        with pytest.raises(DriverError, match="no such port"):
            open_uart(line.path, 115200, device="", virtual={})
        deadline = time.monotonic() + 10
        while not Path(line.path).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        uart = open_uart(line.path, 115200, device="", virtual={})
        assert uart.read(5.0)[0]
        uart.close()
    finally:
        line.close()
    assert not Path(line.path).parent.exists(), "nothing is left behind"
