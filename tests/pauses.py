"""Tells when the machine itself stood still, so that what it did is not taken for what the agent did."""

import os
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import IO, NamedTuple, Self

PAUSE_S = 0.04
"""Longer ones cost samples: of the 85 ms that an MPU-6050's FIFO holds at 1 kHz, up to 28 ms are waited for anyhow."""

_WATCH = """\
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
print(flush=True)
before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
while True:
    time.sleep(0.005)
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    if now - before > int(sys.argv[2]):
        print(before, now, flush=True)
    before = now
"""


class Pause(NamedTuple):
    """CLOCK_BOOTTIME, nanoseconds."""

    begin_ns: int
    end_ns: int


class Pauses:
    """A process on each processor, at real-time priority, to which nothing but the machine can give a pause.

    Where that priority is not to be had, nothing is excused: there are no pauses then.
    """

    def __init__(self, longer_than_s: float = PAUSE_S) -> None:
        self._least_ns = int(longer_than_s * 1e9)
        self._watchers: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        self.all: list[Pause] = []
        """In no order, once it is left."""

    def __enter__(self) -> Self:
        for processor in sorted(os.sched_getaffinity(0)):
            command = [sys.executable, "-I", "-S", "-c", _WATCH, str(processor), str(self._least_ns)]
            said = tempfile.TemporaryFile()  # which takes whatever comes, as no pipe does
            self._watchers.append((subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL), said))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for watcher, said in self._watchers:
            watcher.terminate()
            watcher.wait()
            with said:
                said.seek(0)
                self.all += [Pause(*map(int, line.split())) for line in said if line.strip()]

    def __str__(self) -> str:
        longest_ns = max((pause.end_ns - pause.begin_ns for pause in self.all), default=0)
        return f"{len(self.all)} times, at most {longest_ns / 1e6:.0f} ms"

    def near(self, moment_ns: int, within_s: float) -> bool:
        """Whether it stood still at that time, more or less `within_s`."""
        slack_ns = int(within_s * 1e9)
        return any(pause.begin_ns - slack_ns <= moment_ns <= pause.end_ns + slack_ns for pause in self.all)
