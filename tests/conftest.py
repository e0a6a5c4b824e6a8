"""What every test gets: a check that it leaves no thread and no file descriptor behind."""

import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.second_opinion import Theirs


def pytest_configure() -> None:
    """A job in the background of a shell ignores Ctrl-C, and so would every process that a test sends one."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the listing's own
        if not target.startswith(("/dev/null", "anon_inode:[eventpoll]")):
            found[int(name)] = target
    return found


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fails a test after which a thread still runs or a file descriptor is still open."""
    threads, descriptors = set(threading.enumerate()), _descriptors()
    yield
    deadline = time.monotonic() + 2
    while True:
        left = [t.name for t in threading.enumerate() if t not in threads and t.is_alive()]
        opened = {fd: path for fd, path in _descriptors().items() if descriptors.get(fd) != path}
        if not left and not opened:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: threads {left}, descriptors {opened}")
        gc.collect()  # which takes a while in a process with much loaded, and warns of what nobody had closed
        time.sleep(0.02)


@pytest.fixture
def theirs() -> "Iterator[Theirs]":
    """Unmodified drivers by other authors, and a bus of theirs."""
    from tests.second_opinion import Theirs

    opened = Theirs()
    yield opened
    opened.close()
