"""The log: one entry an event, with priority and fields; what repeats is counted; a hanging journal delays nobody."""

import logging
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.journal import JournalHandler, Sparing


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "journal"))
        end.settimeout(10)
        yield end


def entry(datagram: bytes) -> dict[str, str]:
    """The fields of one datagram in journald's own format."""
    fields = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        (size,) = struct.unpack("<Q", rest[:8])
        fields[name.decode()] = rest[8 : 8 + size].decode()
        assert rest[8 + size : 9 + size] == b"\n"
        datagram = rest[9 + size :]
    return fields


def record(message: str, *args: object, level: int = logging.INFO, name: str = "agent.stream") -> logging.LogRecord:
    return logging.LogRecord(name, level, "stream.py", 7, message, args, None, "run")


def test_an_entry_has_priority_and_fields_and_a_traceback_is_one_entry(tmp_path: Path, journald: socket.socket) -> None:
    handler = JournalHandler(tmp_path / "journal")
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        failed = record("thread %s failed", "read imu", level=logging.CRITICAL)
        failed.exc_info = sys.exc_info()
    handler.handle(failed)
    handler.close()
    found = entry(journald.recv(1 << 17))
    assert found["MESSAGE"].startswith("thread read imu failed\nTraceback")
    assert found["MESSAGE"].endswith("ZeroDivisionError: division by zero")
    expected = {"PRIORITY": "2", "SYSLOG_IDENTIFIER": "capture-agent", "LOGGER": "agent.stream", "CODE_LINE": "7"}
    assert expected.items() <= found.items()


@pytest.mark.parametrize(
    ("level", "priority"), [(logging.ERROR, "3"), (logging.WARNING, "4"), (logging.INFO, "6"), (logging.DEBUG, "7")]
)
def test_levels_are_the_priorities_of_syslog(
    tmp_path: Path, journald: socket.socket, level: int, priority: str
) -> None:
    handler = JournalHandler(tmp_path / "journal")
    handler.handle(record("said\nin two lines", level=level))
    handler.close()
    found = entry(journald.recv(1 << 17))
    assert (found["PRIORITY"], found["MESSAGE"]) == (priority, "said\nin two lines")


def test_a_journal_that_takes_nothing_delays_nobody_and_hears_later_how_much_it_missed(
    tmp_path: Path, journald: socket.socket
) -> None:
    handler = JournalHandler(tmp_path / "journal")
    for number in range(2000):  # far more than the socket holds; nobody reads
        handler.handle(record("line %d", number))
    heard = 0
    journald.setblocking(False)
    while True:
        try:
            journald.recv(1 << 17)
        except BlockingIOError:
            break
        heard += 1
    handler.handle(record("again"))
    handler.close()
    missed = 2000 - heard
    assert missed > 0
    assert f"again ({missed} lines before this one were lost" in entry(journald.recv(1 << 17))["MESSAGE"]


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


class Time:
    now_ns = 1

    def __call__(self) -> int:
        return self.now_ns


def test_a_line_that_comes_each_second_is_said_once_a_minute_with_its_count() -> None:
    lines, now = Lines(), Time()
    sparing = Sparing(lines, now)
    for _ in range(125):
        sparing.handle(record("stream %s is lost: 100 %% of it", "imu", level=logging.WARNING))
        now.now_ns += 1_000_000_000
    text = "stream imu is lost: 100 % of it"
    assert lines.said == [text, *(f"{text} ({more} more like this within a minute)" for more in (58, 59))]
    sparing.close()
    assert lines.said[3:] == [f"{text} (4 more like this within a minute)"]


def test_of_many_lines_of_a_kind_ten_a_minute_are_said_and_of_other_kinds_all() -> None:
    lines, now = Lines(), Time()
    sparing = Sparing(lines, now)
    for number in range(100):
        sparing.handle(record("capture %d", number))
    sparing.handle(record("something else"))
    assert lines.said == [*(f"capture {number}" for number in range(10)), "something else"]
    now.now_ns += 61_000_000_000
    sparing.handle(record("something else"))
    assert lines.said[-2:] == ["capture 99 (89 more like this within a minute)", "something else"]
    sparing.close()


def test_debugging_lines_are_all_said() -> None:
    lines = Lines()
    sparing = Sparing(lines, Time())
    for _ in range(30):
        sparing.handle(record("block", level=logging.DEBUG))
    assert len(lines.said) == 30
    sparing.close()


SAYS = """
import logging, pathlib, sys
from agent.journal import complain, set_up
set_up(path=pathlib.Path(sys.argv[1]))
logging.getLogger("agent.test").error("too bad")
complain("stream.imu.rate_hz = 0: at least 1")
logging.shutdown()
"""


def test_the_journal_is_spoken_to_only_where_standard_error_is_the_journal(
    tmp_path: Path, journald: socket.socket
) -> None:
    command = [sys.executable, "-c", SAYS, str(tmp_path / "journal")]
    with (tmp_path / "stderr").open("wb") as stderr:
        status = os.fstat(stderr.fileno())
        for stream in (f"{status.st_dev}:{status.st_ino}", "1:1"):
            subprocess.run(command, env={**os.environ, "JOURNAL_STREAM": stream}, stderr=stderr, check=True)
    assert entry(journald.recv(1 << 17))["MESSAGE"] == "too bad"
    assert (tmp_path / "stderr").read_text().splitlines() == [
        "<3>stream.imu.rate_hz = 0: at least 1",
        "ERROR agent.test: too bad",
        "stream.imu.rate_hz = 0: at least 1",
    ]
