"""Faults of the process: killed, stopped, short of descriptors or memory, two on one folder, its clock, its disk."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.soak.voyage import FIU, Voyage, faketime

GROUP = Path(f"/sys/fs/cgroup/memory/soak-{os.getpid()}")


def sigkill(voyage: Voyage) -> None:
    time.sleep(voyage.chance.uniform(0, 0.7))
    voyage.kill()
    voyage.sail()


def killed_at_start(voyage: Voyage) -> None:
    """Killed, and again while it takes over what the first kill left, as often as it comes."""
    voyage.kill()
    for _ in range(voyage.chance.randrange(1, 4)):
        voyage.born()
        time.sleep(voyage.chance.uniform(0.2, 2.5))
        if not voyage.alive:
            voyage.buried()
        else:
            voyage.kill()
    voyage.sail()


def sigterm(voyage: Voyage) -> None:
    code = voyage.end()
    assert code == 0, f"SIGTERM: exit code {code}\n{voyage.log()}"
    voyage.sail()


def sigstop(voyage: Voyage) -> None:
    os.kill(voyage.pid, signal.SIGSTOP)
    time.sleep(voyage.chance.uniform(0.05, 3))
    os.kill(voyage.pid, signal.SIGCONT)


def stopped_and_killed(voyage: Voyage) -> None:
    os.kill(voyage.pid, signal.SIGSTOP)
    voyage.kill()
    voyage.sail()


def few_descriptors(voyage: Voyage) -> None:
    used = max(int(name) for name in os.listdir(f"/proc/{voyage.pid}/fd")) + 1
    hard = resource.prlimit(voyage.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(voyage.pid, resource.RLIMIT_NOFILE, (used + voyage.chance.randrange(3), hard))
    time.sleep(voyage.chance.uniform(1, 3))
    _lift(voyage, resource.RLIMIT_NOFILE, hard)


def little_memory(voyage: Voyage) -> None:
    with open(f"/proc/{voyage.pid}/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.prlimit(voyage.pid, resource.RLIMIT_AS)[1]
    resource.prlimit(voyage.pid, resource.RLIMIT_AS, (used + voyage.chance.randrange(1 << 20), hard))
    time.sleep(voyage.chance.uniform(1, 3))
    _lift(voyage, resource.RLIMIT_AS, hard)


def memory_group(voyage: Voyage) -> None:
    """A control group as systemd's MemoryMax makes it, in which the kernel kills who needs more."""
    GROUP.mkdir(exist_ok=True)
    (GROUP / "memory.limit_in_bytes").write_text(str(voyage.chance.choice((1, 2, 4, 16)) << 18))
    (GROUP / "cgroup.procs").write_text(str(voyage.pid))
    time.sleep(voyage.chance.uniform(1, 3))
    if voyage.alive:
        (GROUP.parent / "cgroup.procs").write_text(str(voyage.pid))
    with contextlib.suppress(OSError):  # it has just been emptied
        GROUP.rmdir()


def _lift(voyage: Voyage, what: int, hard: int) -> None:
    if voyage.alive:
        resource.prlimit(voyage.pid, what, (hard, hard))


def two_daemons(voyage: Voyage) -> None:
    second = voyage.second()
    said = second.stderr.decode()
    assert second.returncode != 0, "a second daemon ran on the same folder"
    assert "another capture-agent runs on" in said, said
    assert voyage.alive, "the second daemon ended the first"


def clock_step(voyage: Voyage) -> None:
    part = voyage.wall.with_suffix(".part")
    part.write_text(f"{voyage.chance.choice((-86400, -3600, -2, 2, 3600, 86400, 40_000_000)):+d}")
    part.rename(voyage.wall)  # never read half written
    time.sleep(voyage.chance.uniform(1.2, 3))  # it is read once a second


def slow_fsync(voyage: Voyage) -> None:
    voyage.slow_fsync.write_text(f"{voyage.chance.uniform(0.2, 3):.2f}")
    time.sleep(voyage.chance.uniform(1, 4))
    voyage.slow_fsync.unlink()


def _io_errors(voyage: Voyage, points: tuple[str, ...]) -> None:
    share, number = voyage.chance.choice((0.02, 0.2, 1.0)), voyage.chance.choice((5, 28))
    orders = [f"enable_random name=posix/io/{p},probability={share},failinfo={number}" for p in points]
    lifted = [f"disable name=posix/io/{p}" for p in points]
    _control(voyage, orders)
    time.sleep(voyage.chance.uniform(0.5, 3))
    if voyage.alive:
        _control(voyage, lifted)


def _control(voyage: Voyage, orders: list[str]) -> None:
    command = ["fiu-ctrl", "-f", str(voyage.fiu)]
    for order in orders:
        command += ["-c", order]
    done = subprocess.run([*command, str(voyage.pid)], capture_output=True, timeout=20, check=False)
    assert done.returncode == 0 or not voyage.alive, done.stderr


def write_errors(voyage: Voyage) -> None:
    _io_errors(voyage, ("rw/write", "rw/pwrite"))


def fsync_errors(voyage: Voyage) -> None:
    _io_errors(voyage, ("sync/fsync", "sync/fdatasync"))


def rename_errors(voyage: Voyage) -> None:
    _io_errors(voyage, ("dir/rename",))


def disk_full(voyage: Voyage) -> None:
    with full_disk(voyage):
        time.sleep(voyage.chance.uniform(1, 8))
    if voyage.alive:
        with contextlib.suppress(EOFError):
            took = records_again(voyage)
            if took > 12:
                voyage.let_run(f"it took {took:.1f} s after a full disk for the daemon")
            assert took <= 12, f"it took {took:.1f} s after a full disk until everything was recorded again"


@contextlib.contextmanager
def full_disk(voyage: Voyage) -> Iterator[None]:
    """The last byte of the voyage's disk is taken, and given back."""
    voyage.disk_was_full = True
    filler = voyage.data / "filler"
    with filler.open("wb", buffering=0) as file:
        for piece in (1 << 16, 512):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(piece))
    yield
    filler.unlink()


def records_again(voyage: Voyage) -> float:
    """Waits until every recording has recorded more than now; the seconds that took. EOFError where it ends."""
    begun = time.monotonic()
    before = voyage.look()

    def all_more(status: dict[str, Any]) -> bool:
        recordings = status["recordings"].items()
        more = (one["samples"] > before["recordings"][name]["samples"] for name, one in recordings)
        return all(more) and all(one["state"] == "recording" for _, one in recordings)

    voyage.look(all_more, 30)
    return time.monotonic() - begun


ALWAYS = (
    sigkill,
    killed_at_start,
    sigstop,
    stopped_and_killed,
    sigterm,
    few_descriptors,
    little_memory,
    two_daemons,
    slow_fsync,
)


def possible() -> list[Callable[[Voyage], None]]:
    """The faults of this kind that can happen on this machine."""
    found: list[Callable[[Voyage], None]] = [*ALWAYS]
    if all(path.exists() for path in FIU):
        found += [write_errors, fsync_errors, rename_errors]
    if faketime():
        found.append(clock_step)
    if os.geteuid() == 0 and shutil.which("mount") is not None:
        found.append(disk_full)
        if (GROUP.parent / "memory.limit_in_bytes").exists():
            found.append(memory_group)
    return found
