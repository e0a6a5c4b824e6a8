"""A real tty with a device at its far end that never stops printing."""

import os
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def printing(text: bytes, every_s: float) -> Iterator[str]:
    """The path of a tty on which a device prints the same again and again."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(every_s):
            try:
                os.write(master, text)
            except BlockingIOError:
                pass

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        stop.set()
        thread.join()
        os.close(master)
        os.close(slave)
