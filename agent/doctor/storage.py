"""The data folder: whether the daemon may write there, how fast a sync is, how much room is left."""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from agent.config.loading import AgentSettings
from agent.doctor import Finding, fail, ok, warn
from agent.doctor.scene import Scene

_SYNCS = 12
_SLOW_S, _STALLS_S = 0.1, 3.0
"""Of a sync: usually, and at worst. A ring holds ten seconds."""


def storage(scene: Scene) -> Iterator[Finding]:
    """Permission, links, sync and room."""
    folder = scene.data_dir
    if not folder.is_dir():
        where = next(parent for parent in folder.parents if parent.is_dir())
        if scene.account.may(where, 0o3):
            yield warn("data folder", f"{folder} is not there yet", "nothing: the first start makes it")
        else:
            remedy = f"sudo install -d -o {scene.account.name} -m 750 {folder}"
            yield fail("data folder", f"{folder} is not there, and {scene.account.name} may not make it", remedy)
        return
    if not scene.account.may(folder, 0o7):
        remedy = f"sudo chown -R {scene.account.name}: {folder}"
        yield fail("data folder", f"user {scene.account.name} may not write in {folder}", remedy)
    yield from _room(scene, folder)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor.", suffix=".part") as file:
            yield _links(Path(file.name))
            yield _speed(scene, file.fileno())
    except PermissionError as error:
        yield warn("data folder", f"not tried: {error.strerror}", "run this as root")
    except OSError as error:
        yield fail("data folder", f"nothing can be written to {folder}: {error.strerror}", _of_mount(error))


def _speed(scene: Scene, descriptor: int) -> Finding:
    spans = []
    for _ in range(_SYNCS):
        begun = time.monotonic()
        os.write(descriptor, bytes(4096))
        scene.sync(descriptor)
        spans.append(time.monotonic() - begun)
    usual, worst = statistics.median(spans), max(spans)
    seen = f"a sync takes {usual * 1e3:.0f} ms, {worst * 1e3:.0f} ms at worst of {_SYNCS}"
    remedy = "use a card of class A1 or A2, or a USB disk; a higher durable_every_s makes it rarer"
    if worst >= _STALLS_S:
        return fail("data folder", seen, remedy)
    return warn("data folder", seen, remedy) if usual >= _SLOW_S else ok("data folder", seen)


def _links(file: Path) -> Finding:
    """Captures are linked from `recording/` into `captures/`."""
    other = file.with_suffix(".link")
    try:
        os.link(file, other)
    except OSError as error:
        return fail(
            "data folder",
            f"its file system makes no hard links ({error.strerror})",
            "use ext4, btrfs, xfs or f2fs, not FAT or exFAT, for the data folder",
        )
    finally:
        with contextlib.suppress(FileNotFoundError):
            other.unlink()
    return ok("data folder", f"{file.parent} takes files and hard links")


def _room(scene: Scene, folder: Path) -> Iterator[Finding]:
    usage = os.statvfs(folder)
    agent = scene.config.agent if scene.config else AgentSettings()
    free, total = usage.f_bavail * usage.f_frsize, usage.f_blocks * usage.f_frsize
    floor = agent.free_floor(total)
    seen = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free; {floor / 1e9:.1f} GB always stay free"
    remedy = (
        "make room, deliver what is owed (capture-agent outbox list), or lower free_floor_bytes and free_floor_percent"
    )
    if free < floor:
        yield fail("data folder", f"{seen}: nothing more is captured", remedy)
    else:
        yield warn("data folder", seen, remedy) if free < 1.5 * floor else ok("data folder", seen)
    if usage.f_files and usage.f_favail < usage.f_files / 100:
        yield fail("data folder", f"only {usage.f_favail} files (inodes) more can be made", "delete small files")


def _of_mount(error: OSError) -> str:
    return f"see `dmesg`; the disk may be full, failing or mounted read-only ({error.strerror})"
