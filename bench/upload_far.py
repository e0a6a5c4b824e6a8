"""Delivering captures of 50 kB over a line of 100 ms round trip, by outbox and sync together; and what a cut costs."""

import contextlib
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.clock import Clock
from agent.database import Database
from agent.outbox import Outbox
from agent.sync import Delivery, Sync
from agent.targets import Failed, Progress
from agent.targets.http import Settings as Http
from bench import Measure
from bench._servers import far_away, module, webdav
from bench.upload import home, make_capture, rclone_copy

_ROUND_TRIP_S = 0.1
_SINGLES = 200
_TOGETHER = 1600
_PEERS = 30
_BYTES = 50_000
_RESUMED = 64_000_000


def measure() -> list[Measure]:
    """Files a second, payloads and sidecars; the line is a process of its own that delays every byte."""
    with tempfile.TemporaryDirectory() as name:
        return [*_near(Path(name) / "near"), *_captures(Path(name)), *_resume(Path(name) / "resume")]


def _near(folder: Path) -> Iterator[Measure]:
    """The same without the line; rclone's server is its own, ours one in Python."""
    folder.mkdir()
    rclone = _rclone(folder, 0.0)
    rate = _files_a_second(folder / "single", _TOGETHER, {}, 0.0)
    yield Measure(
        what=f"on one machine, {_TOGETHER} captures of 50 kB, a file a request",
        figure=rate,
        unit="files/s",
        against=f"rclone copy (webdav) {rclone:.0f} files/s" if rclone else "rclone is not installed here",
        ratio=rate / (10 * rclone) if rclone else 1.0,
        aim="at least 10 times rclone's",
        met=rate >= 10 * rclone,
        lower_is_better=False,
    )


def _captures(folder: Path) -> Iterator[Measure]:
    rclone = _rclone(folder, _ROUND_TRIP_S)
    for what, count, more, aim in (
        ("8 connections, a file a request", _SINGLES, {}, 60),
        ("in bundles", _TOGETHER, {"bundle_url": "/bundles"}, 800),
    ):
        place = folder / what.replace(" ", "-")
        rate = _files_a_second(place, count, more, _ROUND_TRIP_S)
        yield Measure(
            what=f"at 100 ms round trip, captures of 50 kB, {what}",
            figure=rate,
            unit="files/s",
            against=f"rclone copy (webdav) {rclone:.0f} files/s" if rclone else "rclone is not installed here",
            ratio=rate / aim,
            aim=f"at least {aim} files/s" + ("" if "bundle_url" not in more else ", 10 times rclone's"),
            met=rate >= aim and ("bundle_url" not in more or rate >= 10 * rclone),
            lower_is_better=False,
        )


def _files_a_second(place: Path, count: int, more: dict[str, str], round_trip_s: float) -> float:
    """From the first claim to the last receipt on the disk."""
    with contextlib.ExitStack() as stack:
        near = stack.enter_context(module("tests.models.bundles"))
        url = stack.enter_context(far_away(near, round_trip_s)) if round_trip_s else near
        (place / "captures/2026-11-21").mkdir(parents=True)
        captures = [make_capture(place / "captures/2026-11-21", number, _BYTES) for number in range(count)]
        sync = stack.enter_context(_owed(place, captures, Http(url=url + "/{file}", **_at(url, more))))
        begun = time.perf_counter()
        sync.start(lambda thread, error: print(f"{thread}: {error!r}"))
        while sync.health()["lab"]["owed"]:
            time.sleep(0.02)
        seconds = time.perf_counter() - begun
        assert sync.health()["lab"]["delivered"] == count, sync.health()
    return 2 * count / seconds


def _at(url: str, more: dict[str, str]) -> dict[str, str]:
    return {key: url + path for key, path in more.items()}


@contextlib.contextmanager
def _owed(place: Path, captures: list[Capture], settings: Http) -> Iterator[Sync]:
    """A sync, not yet started, that owes these captures to one target."""
    clock = Clock()
    with Database(place / "agent.db", quarantine=place / "quarantine") as database:
        catalogue = Catalogue(database, place / "captures")
        outbox = Outbox(database, boot_id=clock.boot_id, now=clock.boottime_ns, jitter=random.Random(1))
        with database.transaction(durable=True) as connection:
            catalogue.add(connection, captures)
            outbox.owe(connection, [(capture.uuid, capture.size, ["lab"]) for capture in captures])
        targets = {"lab": ("http", settings.open(home(place)), Delivery(connections=8))}
        sync = Sync(targets, outbox=outbox, catalogue=catalogue, clock=clock, commit_every_s=0.2)
        try:
            yield sync
        finally:
            sync.stop()


def _rclone(folder: Path, round_trip_s: float) -> float:
    """Files a second of rclone with its own defaults, over the same line; 0 where it is not installed."""
    (folder / "chosen").mkdir()
    for number in range(_PEERS):
        make_capture(folder / "chosen", number, _BYTES)
    try:
        with webdav(folder) as near, contextlib.ExitStack() as stack:
            url = stack.enter_context(far_away(near, round_trip_s)) if round_trip_s else near
            begun = time.perf_counter()
            rclone_copy(folder / "chosen", url)
            return 2 * _PEERS / (time.perf_counter() - begun)
    except FileNotFoundError:
        return 0.0


def _resume(folder: Path) -> Iterator[Measure]:
    from tests.models.tus import TusServer
    from tests.receiver import Fault

    folder.mkdir()
    capture = make_capture(folder, 0, _RESUMED)
    with TusServer() as server:
        server.faults.extend([Fault()] * 12 + [Fault(cut_after=2_000_000)])
        target = Http(url=server.url + "/uploads", method="tus").open(home(folder))
        state: dict[str, object] = {}
        with contextlib.suppress(Failed):
            target.put(capture, Progress(store=state.update))
        target.put(capture, Progress(state=state))
        target.close()
        sent = sum(request.body_bytes for request in server.requests if request.method == "PATCH")
    twice = (sent - _RESUMED - capture.sidecar.stat().st_size) / (1 << 20)
    yield Measure(
        what="tus, 64 MB cut in the middle: sent twice",
        figure=twice,
        unit="MiB",
        against=f"all that was sent before, {12 * 2 + 2} MiB",
        ratio=twice / 5,
        aim="at most 5 MiB",
        met=twice <= 5,
    )


if __name__ == "__main__":
    for found in measure():
        print(f"{found.what}: {found.figure:.3g} {found.unit} against {found.against}: {found.ratio:.2f} ({found.aim})")
