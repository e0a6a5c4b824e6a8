"""Health: asks every part of the daemon for its counters when somebody wants to know; nobody pushes."""

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from agent import __version__
from agent.calibration import Calibrations
from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.clock import Clock
from agent.context import Context
from agent.developer import Developer
from agent.disk_sync import DiskSync
from agent.outbox import Outbox
from agent.recording import Orders
from agent.retention import Retention
from agent.stream import Stream
from agent.sync import Sync
from agent.wear import Wear
from agent.worker import Worker


class Recorder(Protocol):
    """The writer of one recording, of samples or of pictures."""

    orders: Orders

    def trigger(self) -> str: ...
    def idle(self) -> bool: ...
    def open_negatives(self) -> Collection[object]: ...
    def health(self) -> dict[str, Any]: ...


class Assembled(Protocol):
    """What a reload may change: asked for anew each time."""

    @property
    def streams(self) -> Mapping[str, Stream]: ...
    @property
    def recorders(self) -> Mapping[str, Recorder]: ...


@dataclasses.dataclass(frozen=True)
class Parts:
    """The running daemon, as those see it who ask it something."""

    device: str
    data_dir: Path
    clock: Clock
    assembly: Assembled
    catalogue: Catalogue
    outbox: Outbox
    sync: Sync
    developer: Developer
    disk_sync: DiskSync
    retention: Retention
    wear: Wear
    workers: Callable[[], Sequence[Worker]]
    begun_ns: int
    configuration: Callable[[], Mapping[str, Any]]
    """Which file, how often it was read again, and why the last time was refused."""
    reload: Callable[[], str]
    """Reads the configuration again; what that changed. CommandError where it is refused."""
    context: Context
    calibrations: Calibrations
    amend: Callable[[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]], Capture]
    """Replaces the sidecar of a capture by its next revision, and owes that."""
    buttons: Callable[[], Mapping[str, Mapping[str, Any]]] = dict
    """Health of the buttons, by name."""
    mqtt: Callable[[], Mapping[str, Any]] | None = None
    """Health of the connection to the broker; None: there is none configured."""
    metrics: Callable[[], Mapping[str, Any]] | None = None
    """Of what answers GET /metrics; None likewise."""

    @property
    def streams(self) -> Mapping[str, Stream]:
        return self.assembly.streams

    @property
    def recorders(self) -> Mapping[str, Recorder]:
        return self.assembly.recorders


def memory_bytes() -> int:
    """Resident set size of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def snapshot(parts: Parts) -> dict[str, Any]:
    """Everything that Health knows, JSON-able; the shape is part of the command `status`."""
    now = parts.clock.boottime_ns()
    streams = {name: stream.health() for name, stream in parts.streams.items()}
    recordings = {name: recorder.health() for name, recorder in parts.recorders.items()}
    targets = parts.sync.health()
    usage = os.statvfs(parts.data_dir)
    disk = {
        "free_bytes": usage.f_bavail * usage.f_frsize,
        "total_bytes": usage.f_blocks * usage.f_frsize,
        **parts.retention.health(),
        **{f"sync_{key}": value for key, value in parts.disk_sync.health().items()},
        **parts.wear.health(),
    }
    developer = parts.developer.health()
    configuration = parts.configuration()
    mqtt = parts.mqtt() if parts.mqtt else None
    buttons = parts.buttons()
    metrics = parts.metrics() if parts.metrics else None
    stuck = [f"thread {w.name} has shown no life for {w.silence_s:.0f} s" for w in parts.workers() if w.overdue_s()]
    return {
        "version": __version__,
        "device": parts.device,
        "data_dir": str(parts.data_dir),
        "uptime_s": round((now - parts.begun_ns) / 1e9, 1),
        "boot_id": parts.clock.boot_id,
        "clock": {"synchronised": parts.clock.synchronised(), "dated_by": parts.clock.dated_by()},
        "memory_bytes": memory_bytes(),
        "streams": streams,
        "recordings": recordings,
        "targets": targets,
        "disk": disk,
        "developer": developer,
        "configuration": configuration,
        "mqtt": mqtt,
        "metrics": metrics,
        "buttons": buttons,
        "problems": [
            *stuck,
            *_refused(configuration),
            *_problems(streams, recordings, targets, disk, developer),
            *_unheard(mqtt),
            *(f"button {name}: {button['error']}" for name, button in buttons.items() if button["error"]),
            *([f"metrics: {metrics['listen']}: {metrics['error']}"] if metrics and metrics["error"] else []),
        ],
    }


def _refused(configuration: Mapping[str, Any]) -> list[str]:
    error = configuration["error"]
    return [f"the configuration was changed and is refused, the one before runs on: {error}"] if error else []


def _unheard(mqtt: Mapping[str, Any] | None) -> list[str]:
    if mqtt is None:
        return []
    found = [f"broker {mqtt['broker']} is unreachable: {mqtt['error']}"] if mqtt["state"] == "unreachable" else []
    if mqtt["dropped"]:
        found.append(f"{mqtt['dropped']} messages were dropped before broker {mqtt['broker']} took them")
    return found


def _problems(
    streams: Mapping[str, Any],
    recordings: Mapping[str, Any],
    targets: Mapping[str, Any],
    disk: Mapping[str, Any],
    developer: Mapping[str, Any],
) -> list[str]:
    """What a person should look at, one line each."""
    found = [f"stream {n} is lost: {s['error']}" for n, s in streams.items() if s["state"] == "lost"]
    found += [f"recording {n} is refused: {r['error']}" for n, r in recordings.items() if r["error"]]
    found += [f"recording {n} dropped {r['dropped']} samples" for n, r in recordings.items() if r["dropped"]]
    found += [
        f"recording {n} could not take {r['unrecorded']} samples" for n, r in recordings.items() if r["unrecorded"]
    ]
    for name, recording in recordings.items():
        if waits_for := (recording.get("schedule") or {}).get("waits_for"):
            found.append(f"recording {name} waits for {waits_for}: its schedule has times of day")
        if missed := recording.get("trigger", {}).get("missed"):
            found.append(f"recording {name} missed {missed} triggers")
    found += [f"target {n} is unreachable: {t['error']}" for n, t in targets.items() if t["state"] == "unreachable"]
    found += [
        f"target {n} waits for the clock to be set: what was recorded before gets its date then"
        for n, t in targets.items()
        if t["state"] == "waits for the clock to be set"
    ]
    found += [
        f"target {n}: captures wait that may be there already, since the database was made anew: capture-agent"
        f" reconcile {n} --repair, or capture-agent outbox retry --target {n} to send them all"
        for n, t in targets.items()
        if t["unsure"]
    ]
    found += [
        f"target {n} is not configured, and {t['owed'] + t['refused']} captures are kept for it: configure it again, or"
        f" give them up: capture-agent outbox drop --target {n} --owed"
        for n, t in targets.items()
        if t["state"] == "not configured"
    ]
    found += [
        f"target {n} refused {t['refused']} captures"
        for n, t in targets.items()
        if t["refused"] and t["state"] != "not configured"
    ]
    if disk["sync_error"]:
        found.append(f"disk: {disk['sync_error']}")
    if disk["sync_failed"]:
        found.append(f"{disk['sync_failed']} pictures could not be finished and lie in quarantine")
    if developer["failed"]:
        found.append(f"{developer['failed']} recordings could not be developed and lie in quarantine")
    elif developer["error"]:
        found.append(developer["error"])
    return found
