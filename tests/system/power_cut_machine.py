"""The machine that is cut off: QEMU with a disk, which may have a cache that forgets, and what it tells the host."""

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_STARTS_S = 900.0
"""How long anything may take that the guest is waited for; a busy host emulates slowly."""


class Ticks:
    """What the guest writes into a file, line by line, with the time at which the host saw it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._seen = 0.0
        self.all: list[dict[str, Any]] = []
        self.boot_id = ""

    def look(self) -> None:
        """Takes what is new, after a short rest."""
        time.sleep(0.02)
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                self.all.append(json.loads(line))
                self._seen = time.monotonic()
                self.boot_id = self.all[-1].get("boot_id", self.boot_id)

    def wait(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first that fulfils it; AssertionError where none comes."""
        deadline, looked = time.monotonic() + _STARTS_S, 0
        while time.monotonic() < deadline:
            self.look()
            for tick in self.all[looked:]:
                if condition(tick):
                    return tick
                assert "failed" not in tick and ("ended" not in tick or not tick["ended"]), tick
            looked = len(self.all)
        raise AssertionError(f"waited {_STARTS_S:.0f} s in vain; the last was {self.all[-1:]}")

    def now_ns(self) -> int:
        """The guest's boot time by now, as far as the host can tell."""
        return self.all[-1]["t"] + int((time.monotonic() - self._seen) * 1e9) if self.all else 0

    def latest(self, by_ns: int = 1 << 62) -> dict[str, Any]:
        """The newest counters that it told by then; empty where it told none."""
        return next((tick for tick in reversed(self.all) if "streams" in tick and tick["t"] <= by_ns), {})


class Machine:
    """`with machine.on("live") as ticks` switches it on; leaving makes sure that it is off."""

    def __init__(self, lab: Path, work: Path, share: Path, *, strict: bool) -> None:
        """`lab` has trixie-kernel's image, `share` is what guest and host share. `strict`: the disk's cache forgets."""
        self.work = work
        self.disk = work / "disk.img"
        self._lab = lab
        self._share = share
        self._strict = strict
        self._processes: list[subprocess.Popen[bytes]] = []
        with self.disk.open("wb") as file:
            file.truncate(256 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.disk], check=True)

    @contextlib.contextmanager
    def on(self, order: str) -> Iterator[Ticks]:
        """What it is to do: `live` or `settle`."""
        (self._share / "order").write_text(order)
        (self._share / "ticks").unlink(missing_ok=True)
        drive = f"file={self.disk},format=raw"
        if self._strict:
            drive = f"file=nbd:unix:{self._cache()},format=raw"
        root = self.work / "root.qcow2"
        image = self._lab / "trixie-kernel.img"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image, root], check=True)
        drives = (
            (f"file={root},cache=unsafe", "root"),
            (f"{drive},cache=writeback", "data"),
            (f"file={self.work / 'package.img'},format=raw,readonly=on", "package"),
        )
        command = [
            *("qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "768"),
            *("-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none"),
            *("-serial", f"file:{self.work / 'console'}", "-device", "virtio-rng-pci"),
            *("-kernel", self._lab / "trixie-kernel.vmlinuz", "-initrd", self._lab / "trixie-kernel.initrd"),
            *("-append", "console=ttyS0 panic=-1 quiet mitigations=off"),
            *("-virtfs", f"local,path={self._share},mount_tag=share,security_model=none"),
            *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"),
        ]
        for options, name in drives:
            command += ["-drive", f"{options},if=none,id={name}", "-device", f"virtio-blk-pci,drive={name}"]
        try:
            with (self.work / "qemu.log").open("ab") as log:
                self._processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
            yield Ticks(self._share / "ticks")
        finally:
            self.cut()

    def _cache(self) -> Path:
        """A disk whose cache passes on only what was flushed; its socket."""
        socket = self.work / "disk.sock"
        socket.unlink(missing_ok=True)
        command = ["nbdkit", "-f", "-U", socket, "--filter=cache", "file", self.disk, "cache=writeback"]
        command.append("cache-min-block-size=4096")
        self._processes.append(subprocess.Popen(command, env={"PATH": "/usr/sbin:/usr/bin", "TMPDIR": str(self.work)}))
        deadline = time.monotonic() + 30
        while not socket.exists():
            assert time.monotonic() < deadline, "nbdkit does not start"
            time.sleep(0.05)
        return socket

    def cut(self) -> None:
        """The power goes: the machine and its disk's cache at once."""
        for process in reversed(self._processes):
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes.clear()

    def gone(self) -> None:
        """Waits until it has switched itself off."""
        self._processes[-1].wait(_STARTS_S)
        for process in self._processes[:-1]:
            process.terminate()
            process.wait(30)
        self._processes.clear()
