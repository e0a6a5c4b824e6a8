"""Log lines for systemd's journal: an entry for each event, with priority and fields; what repeats is counted.

Entries go straight to journald (https://systemd.io/JOURNAL_NATIVE_PROTOCOL), a datagram each, so that a traceback is
one entry. Nobody waits for a journal that does not keep up: what it does not take at once is counted and said later.
"""

import dataclasses
import logging
import os
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from drivers.ports import boottime_ns

SOCKET = Path("/run/systemd/journal/socket")
_LONGEST = 48_000  # bytes of a message: a datagram has to hold it

_WINDOW_S = 60.0
_BURST = 10


class JournalHandler(logging.Handler):
    """Sends each record as one entry to the journal at `path`; never waits."""

    def __init__(self, path: Path = SOCKET) -> None:
        super().__init__()
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        message = self.format(record)
        if self._lost:
            message += f" ({self._lost} lines before this one were lost: the journal did not take them)"
        try:
            self._socket.sendto(_entry(message, record), self._path)
            self._lost = 0
        except OSError:  # journald restarts, or its disk stalls; there is no other place to say it
            self._lost += 1

    def close(self) -> None:
        self._socket.close()
        super().close()


def _entry(message: str, record: logging.LogRecord) -> bytes:
    fields = {
        "MESSAGE": message,
        "PRIORITY": str(_priority(record.levelno)),
        "SYSLOG_IDENTIFIER": "capture-agent",
        "LOGGER": record.name,
        "THREAD_NAME": record.threadName or "",
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName or "",
    }
    parts = []
    for name, text in fields.items():
        value = text.encode(errors="backslashreplace")[:_LONGEST]
        parts.append(b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(value)), value))
    return b"".join(parts)


def _priority(level: int) -> int:
    """The priority of syslog(3)."""
    for least, priority in ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)):
        if level >= least:
            return priority
    return 7


@dataclasses.dataclass(slots=True)
class _Kind:
    """Lines that differ in nothing but what was put into them, within one window of time."""

    since_ns: int
    texts: set[str] = dataclasses.field(default_factory=set)
    held_back: logging.LogRecord | None = None
    """The last that was not passed on."""
    count: int = 0


class Sparing(logging.Handler):
    """Passes on at most ten lines of a kind a minute, and each text once; how many more there were is said after it.

    Debugging lines are passed on as they are. `now` is in nanoseconds.
    """

    def __init__(self, inner: logging.Handler, now: Callable[[], int] = boottime_ns) -> None:
        super().__init__()
        self._inner = inner
        self._now = now
        self._kinds: dict[tuple[str, int, str], _Kind] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno <= logging.DEBUG:
            self._inner.handle(record)
            return
        now = self._now()
        self._say_how_many(now - int(_WINDOW_S * 1e9))
        kind = self._kinds.setdefault((record.name, record.levelno, str(record.msg)), _Kind(now))
        text = record.getMessage()
        if text in kind.texts or len(kind.texts) >= _BURST:
            kind.held_back, kind.count = record, kind.count + 1
        else:
            kind.texts.add(text)
            self._inner.handle(record)

    def _say_how_many(self, before_ns: int) -> None:
        """Ends the windows that began before then."""
        for key, kind in list(self._kinds.items()):
            if kind.since_ns > before_ns:
                continue
            del self._kinds[key]
            if kind.held_back is not None:
                self._kinds[key] = _Kind(self._now(), {kind.held_back.getMessage()})
                more = f" ({kind.count - 1} more like this within a minute)" if kind.count > 1 else ""
                said = {**kind.held_back.__dict__, "msg": kind.held_back.getMessage() + more, "args": ()}
                self._inner.handle(logging.makeLogRecord(said))

    def close(self) -> None:
        self.acquire()
        try:
            self._say_how_many(self._now())
        finally:
            self.release()
        self._inner.close()
        super().close()


def set_up(environment: Mapping[str, str] = os.environ, path: Path = SOCKET) -> None:
    """Logs to the journal where standard error goes there and journald listens, else to standard error."""
    inner: logging.Handler = logging.StreamHandler()
    inner.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    if _is_journal(environment) and path.is_socket():
        inner = JournalHandler(path)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.addHandler(Sparing(inner))


def complain(text: str, environment: Mapping[str, str] = os.environ) -> None:
    """Writes to standard error why there is nothing to run, as an error to the journal where it goes there."""
    prefix = "<3>" if _is_journal(environment) else ""
    sys.stderr.write("".join(f"{prefix}{line}\n" for line in text.splitlines()))


def _is_journal(environment: Mapping[str, str]) -> bool:
    """Whether standard error is the stream that systemd names in $JOURNAL_STREAM, by device and inode."""
    given = environment.get("JOURNAL_STREAM", "")
    if not given:
        return False
    status = os.fstat(sys.stderr.fileno())
    return given == f"{status.st_dev}:{status.st_ino}"
