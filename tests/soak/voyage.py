"""A voyage: one data folder, the daemon that lives on it, dies and is started again, and everything around it."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent import control
from drivers import boottime_ns
from tests.mosquitto import PROGRAM, Mosquitto
from tests.running import Running, sampling
from tests.soak.far import Server
from tests.soak.layout import Layout, Range
from tests.soak.life import Life
from tests.soak.ship import configuration
from tests.soak.truth import RATE_HZ

FIU = tuple(Path("/usr/lib/fiu") / name for name in ("fiu_run_preload.so", "fiu_posix_preload.so"))
_STARVED = 0.2
_ATTENTIVE_S = 0.1
"""Longer than that nothing takes on a machine that lets the daemon run."""
_SLOW = """\
import os, time
_real = os.fsync, os.fdatasync
def _slow(real):
    def call(fd):
        try:
            with open(os.environ["SOAK_FSYNC"]) as file:
                time.sleep(float(file.read() or 0))
        except FileNotFoundError:
            pass
        real(fd)
    return call
os.fsync, os.fdatasync = map(_slow, _real)
"""


class Starved(Exception):
    """The machine gave the daemon too little time for anything to be judged."""


class Voyage(Running):
    """Entering starts all; leaving ends it, whatever state it is in."""

    def __init__(
        self, folder: Path, chance: random.Random, *, disk: str = "", sensors: bool = False, clock: bool = False
    ) -> None:
        """`disk`: a small file system of this kind under the data. `sensors`: their faults by schedule. `clock`: one
        that can be stepped."""
        self.chance = chance
        self.disk = disk
        self._clock = clock
        self.disk_was_full = False
        self.one, self.two = Server(chance), Server(chance)
        self.lives: list[Life] = []
        self.faults: Counter[str] = Counter()
        self.restarts: Counter[str] = Counter()
        self.damaged: set[str] = set()
        """Names of captures whose files the harness has damaged."""
        self.layouts: dict[str, Layout] = {}
        """Of the negatives among them, before that."""
        self.destroyed: dict[str, list[tuple[int, Range]]] = {"imu": [], "mcu": []}
        """What that may cost, by stream: rows, and a time in the life that they are of."""
        self.slow_fsync = folder / "slow-fsync"
        self.wall = folder / "wall-clock"
        self.fiu = folder / "fiu"
        self._stack = contextlib.ExitStack()
        (folder / "archive").mkdir(parents=True)
        (folder / "data").mkdir()
        self.schedule = _schedule(chance) if sensors else {"imu": [], "mcu": []}
        config = configuration(self.one.url, self.two.url, folder / "archive", schedule=self.schedule)
        self.broker = Mosquitto(folder / "broker") if PROGRAM is not None else None
        if self.broker is not None:
            config += self.broker.table()
        super().__init__(folder, config, **self._environment(folder))
        self.own = "max_captures_bytes = 3000000\n" if chance.random() < 0.3 else ""
        self.config.write_text(self.config.read_text().replace("date_wait_s = 0\n", "date_wait_s = 0\n" + self.own))

    def _environment(self, folder: Path) -> dict[str, str]:
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(_SLOW)
        found = {"PYTHONPATH": os.pathsep.join((str(site), os.getcwd())), "SOAK_FSYNC": str(self.slow_fsync)}
        preload = [str(path) for path in FIU if path.exists()]
        if preload:
            found["FIU_CTRL_FIFO"] = str(self.fiu)
        if self._clock and (library := faketime()):
            self.wall.write_text("+0")
            preload.append(library)
            found |= {
                "FAKETIME_TIMESTAMP_FILE": str(self.wall),
                "FAKETIME_CACHE_DURATION": "1",  # not read at every look at any clock, which are thousands a second
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "NO_FAKE_STAT": "1",
            }
        return {**found, "LD_PRELOAD": " ".join(preload)} if preload else found

    def __enter__(self) -> Self:
        try:
            if self.disk:
                _mount(self.folder, self.disk, self._stack)
            self._stack.enter_context(self.one)
            self._stack.enter_context(self.two)
            if self.broker is not None:
                self._stack.enter_context(self.broker)
            self.sail()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._stack.close()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def life(self) -> Life:
        return self.lives[-1]

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def destroy(self, stream: str, at_ns: int, rows: Iterable[Range]) -> None:
        """Notes that these rows are no longer to be found on the disk, in the life that was going on at that time."""
        if stream in self.destroyed:
            self.destroyed[stream] += [(at_ns, one) for one in rows]

    def lost(self, stream: str, life: Life) -> list[Range]:
        """The rows of a life that were destroyed on the disk."""
        return [rows for at_ns, rows in self.destroyed[stream] if life.begun_ns <= at_ns <= life.ended_ns]

    def born(self) -> None:
        """A new life, at its very beginning."""
        self.lives.append(Life(boottime_ns()))
        self.start()

    def sail(self) -> None:
        """A new life; as systemd does, again where it ends by itself."""
        for _ in range(8):
            self.born()
            try:
                self.look(sampling)
                return
            except EOFError:
                self.buried()
        raise AssertionError(f"it does not come up any more\n{self.log()}")

    def look(self, condition: Any = lambda status: True, seconds: float = 180.0) -> dict[str, Any]:
        """As `until`, but EOFError where the daemon ends."""
        deadline = time.monotonic() + seconds
        status: dict[str, Any] = {}
        while time.monotonic() < deadline:
            if not self.alive:
                raise EOFError
            try:
                status = self.ask("status")
                self.life.tell(boottime_ns(), status)
            except (control.NoDaemon, control.CommandError, OSError, ValueError):
                time.sleep(0.1)
                continue
            if condition(status):
                return status
            time.sleep(0.05)
        self.let_run(f"waited {seconds:.0f} s for a daemon")
        raise AssertionError(f"waited {seconds} s in vain; last status {status}\n{self.log()}")

    def let_run(self, what: str) -> None:
        """Raises Starved where one of its threads was ready to run, and did not, for too great a share of its life."""
        waited = [int(path.read_text().split()[1]) for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat")]
        share = max(waited, default=0) / (boottime_ns() - self.life.begun_ns)
        if share > _STARVED:
            raise Starved(f"{what}, which waited for a processor for {share:.0%} of its life")

    def buried(self) -> None:
        """Notes a daemon that has ended by itself."""
        assert self.process is not None
        code = self.process.wait()
        self.life.ended_ns = boottime_ns()
        if code == -signal.SIGKILL:  # the kernel's, for want of memory
            self.life.how = "kill"
        else:
            self.life.how = f"exit {code}"
            self.restarts[f"{', '.join(sorted(self.life.troubled)) or 'nothing'}: {_reason(self.log(), code)}"] += 1

    def revive(self) -> bool:
        """After a fault: True where it had ended by itself and lives again."""
        try:
            self.look()
            return False
        except EOFError:
            self.buried()
        self.sail()
        return True

    def kill(self) -> None:
        """At once, whatever it does; its counters are asked for shortly before."""
        assert self.process is not None
        begun, rest_s = time.monotonic(), self.chance.uniform(0, 1)
        heard = self._last_words()
        time.sleep(rest_s)
        self.life.attentive = heard and time.monotonic() - begun - rest_s < _ATTENTIVE_S
        self.life.ended_ns, self.life.how = boottime_ns(), "kill"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def _last_words(self) -> bool:
        """Whether there were any."""
        with contextlib.suppress(control.NoDaemon, control.CommandError, OSError, ValueError):
            status = control.ask(self.data, "status", timeout=0.5)
            self.life.tell(boottime_ns(), status)
            return all(
                (stream["last_s"] or 0) < 2 * _ATTENTIVE_S
                for stream in status["streams"].values()
                if stream["nominal_hz"] == RATE_HZ
            )
        return False

    def end(self) -> int:
        """SIGTERM; the exit code."""
        self._last_words()
        code, _ = self.terminate(60)
        self.life.ended_ns, self.life.how = boottime_ns(), "term"
        return code

    def second(self) -> subprocess.CompletedProcess[bytes]:
        """Another daemon on the same folder."""
        command = [sys.executable, "-m", "agent.cli", "run", "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, timeout=60, check=False)


def _reason(log: str, code: int) -> str:
    """Why it ended: the thread that failed and its exception, or its last line."""
    lines = log.splitlines()
    failed = [number for number, line in enumerate(lines) if line.startswith("CRITICAL")]
    if not failed:
        return f"exit {code}, {lines[-1][:120] if lines else 'silent'}"
    thread = lines[failed[-1]].partition("thread ")[2].partition(" failed")[0]
    last = next((line for line in lines[failed[-1] + 1 :] if line[:1].isalpha() and not line.startswith("Trace")), "")
    return f"{thread}: {last[:120]}"


def faketime() -> str:
    """The library of PyPI's `libfaketime`; empty where it is not installed."""
    try:
        import libfaketime
    except ImportError:
        return ""
    folder = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src"
    return next((str(path) for path in sorted(folder.glob("libfaketime.so*"))), "")


def _schedule(chance: random.Random) -> dict[str, list[str]]:
    kinds = {"imu": ("unplug", "stall", "nack"), "mcu": ("unplug", "stall", "garble")}
    found: dict[str, list[str]] = {}
    for stream, known in kinds.items():
        at, found[stream] = 0.0, []
        for _ in range(6):
            at += chance.uniform(2, 7)
            seconds = chance.uniform(0.05, 2.5)
            found[stream].append(f"{at:.2f} {chance.choice(known)} {seconds:.2f}")
            at += seconds
    return found


def _mount(folder: Path, kind: str, stack: contextlib.ExitStack) -> None:
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder / "data"], check=True)
    else:
        image = folder / "disk.img"
        with image.open("wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, folder / "data"], check=True)
    stack.callback(subprocess.run, ["umount", "-l", folder / "data"], check=True)
