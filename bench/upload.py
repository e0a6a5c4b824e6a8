"""Delivering 2,000 captures of 50 kB to a server near by: CPU over HTTP against urllib3 alone and what people would
pick, a large file against curl, and copying to a folder against shutil.copy."""

import contextlib
import hashlib
import importlib
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import urllib3

from agent.capture import SCHEMA, Capture, Payload
from agent.targets import Home, Progress, Target
from agent.targets.directory import Settings as Directory
from agent.targets.http import Settings as Http
from bench import Measure
from bench._servers import nginx, rclone_environment, webdav

_CAPTURES = 2000
"""Each of a payload of 50 kB and a sidecar of 4 kB: both are files to those who know no captures."""
_BYTES = 50_000
_PEERS = 300
"""As many of them as each of the other clients gets."""
_BIG = 500_000_000

Clock = Callable[[], float]


def measure() -> list[Measure]:
    """CPU seconds of the client alone: servers are processes of their own. Medians of rounds taken in turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "here").mkdir()
        captures = [make_capture(folder / "here", number, _BYTES) for number in range(_CAPTURES)]
        return [*_http(captures, folder), *_large(folder), *_folder(captures[:80], folder)]


def _http(captures: list[Capture], folder: Path) -> Iterator[Measure]:
    with nginx(folder) as url:
        target = Http(url=url + "/{file}").open(home(folder))

        def ours() -> None:
            deliver(target, captures)

        ratio, seconds, floor = compare(ours, lambda: _urllib3(captures, url), time.process_time, rounds=2)
        files = 2 * len(captures)
        yield Measure(
            what=f"HTTP to nginx, {len(captures)} captures of 50 kB: client CPU",
            figure=seconds / files * 1e3,
            unit="ms/file",
            against=f"urllib3 alone {floor / files * 1e3:.2f} ms/file",
            ratio=ratio,
            aim="ratio at most 1.3",
            met=ratio <= 1.3,
        )
        few = captures[:_PEERS]
        mine = _cpu(lambda: deliver(target, few)) / len(few) / 2
        target.close()
        for name, run in (("curl", _curl), ("requests", _session), ("httpx", _session)):
            yield _peer(name, mine, few, lambda run=run, name=name: run(few, url, name))
    try:
        with webdav(folder) as url:
            yield _peer("rclone copy (webdav)", mine, few, lambda: _rclone(few, url, folder))
    except FileNotFoundError:
        yield _absent("rclone copy (webdav)")


def _peer(name: str, mine: float, captures: list[Capture], run: Callable[[], None]) -> Measure:
    """How its CPU compares with `mine`, ours in seconds per file."""
    try:
        its = _cpu(run) / len(captures) / 2
    except (ImportError, FileNotFoundError):
        return _absent(name)
    return Measure(
        what=f"HTTP, {len(captures)} captures of 50 kB: client CPU beside {name}",
        figure=mine * 1e3,
        unit="ms/file",
        against=f"{name} {its * 1e3:.2f} ms/file",
        ratio=mine / its,
        aim="to compare",
        met=True,
    )


def _absent(name: str) -> Measure:
    return Measure(f"HTTP: client CPU beside {name}", 0.0, "ms/file", f"{name} is not installed here", 0.0, "-", True)


def _urllib3(captures: list[Capture], url: str) -> None:
    with urllib3.PoolManager() as pool:
        for capture in captures:
            for path in capture.files:
                with path.open("rb") as file:
                    size = {"Content-Length": str(path.stat().st_size)}
                    answer = pool.urlopen("PUT", f"{url}/{path.name}", body=file, headers=size)
                    assert answer.status in (201, 204)


def _session(captures: list[Capture], url: str, name: str) -> None:
    """requests or httpx, as their documentation streams a file."""
    library = importlib.import_module(name)
    with library.Client() if name == "httpx" else library.Session() as session:
        for capture in captures:
            for path in capture.files:
                with path.open("rb") as file:
                    more = {"content": file} if name == "httpx" else {"data": file}
                    size = {"Content-Length": str(path.stat().st_size)}
                    assert session.put(f"{url}/{path.name}", headers=size, **more).status_code in (201, 204)


def _curl(captures: list[Capture], url: str, name: str) -> None:
    """One curl for all files, over one connection."""
    files = [path for capture in captures for path in capture.files]
    orders = "".join(f'upload-file = "{path}"\nurl = "{url}/{path.name}"\n' for path in files)
    subprocess.run([name, "--silent", "--fail", "--config", "-"], input=orders, text=True, check=True)


def _rclone(captures: list[Capture], url: str, folder: Path) -> None:
    chosen = folder / "chosen"
    chosen.mkdir()
    for capture in captures:
        for path in capture.files:
            (chosen / path.name).hardlink_to(path)
    rclone_copy(chosen, url)


def rclone_copy(folder: Path, url: str) -> None:
    """Copies a folder to a WebDAV server."""
    command = ["rclone", "copy", str(folder), ":webdav:", "--webdav-url", url, "--webdav-vendor", "other"]
    subprocess.run(command, check=True, env=rclone_environment(), stderr=subprocess.DEVNULL)


def _large(folder: Path) -> Iterator[Measure]:
    big = make_capture(folder, _CAPTURES, _BIG)
    with nginx(folder) as url, contextlib.closing(Http(url=url + "/{file}").open(home(folder))) as target:
        ratio, seconds, its = compare(
            lambda: deliver(target, [big]), lambda: _curl([big], url, "curl"), time.perf_counter, rounds=5
        )
    begun = time.process_time()
    for path in big.files:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
    hashing = time.process_time() - begun
    yield Measure(
        what="HTTP to nginx, one capture of 500 MB, hashed on the way",
        figure=_BIG / 1e6 / seconds,
        unit="MB/s",
        against=f"curl, not looking, {_BIG / 1e6 / its:.0f} MB/s",
        ratio=1 / ratio,
        aim="at least 0.9 of curl's",
        met=1 / ratio >= 0.9,
        lower_is_better=False,
        reason=f"it took {seconds:.2f} s, of which hashing, beside nginx on this machine's cores, {hashing:.2f}",
    )
    for path in big.files:
        path.unlink()


def _folder(captures: list[Capture], folder: Path) -> Iterator[Measure]:
    there = folder / "there"
    big = make_capture(folder, _CAPTURES, 64 << 20)
    for what, these in (("50 kB", captures), ("64 MB", [big])):
        target = Directory(path=str(there), fsync=False).open(home(folder))

        def ours(target: Target = target, these: list[Capture] = these) -> None:
            shutil.rmtree(there, ignore_errors=True)
            there.mkdir()
            deliver(target, these)

        def copy(these: list[Capture] = these) -> None:
            shutil.rmtree(there, ignore_errors=True)
            there.mkdir()
            for capture in these:
                for path in capture.files:
                    shutil.copy(path, there)

        os.sync()  # the disk has done with what came before
        ratio, seconds, floor = compare(ours, copy, time.perf_counter, rounds=5)
        megabytes = sum(capture.size for capture in these) / 1e6
        yield Measure(
            what=f"directory, captures of {what}, hashed on the way, without fsync",
            figure=megabytes / seconds,
            unit="MB/s",
            against=f"shutil.copy, not looking, {megabytes / floor:.0f} MB/s",
            ratio=ratio,
            aim="at most 4 times as long: hashing is most of it",
            met=ratio <= 4,
        )


def compare(ours: Callable[[], None], peer: Callable[[], None], clock: Clock, *, rounds: int) -> tuple[float, ...]:
    """(median of the rounds' ratios, our median, the peer's median)."""
    pairs = []
    for _ in range(rounds + 1):
        pair = []
        for run in (ours, peer):
            begun = clock()
            run()
            pair.append(clock() - begun)
        pairs.append(pair)
    del pairs[0]  # imports, connections, page cache
    ratio = statistics.median(mine / its for mine, its in pairs)
    return ratio, statistics.median(mine for mine, _ in pairs), statistics.median(its for _, its in pairs)


def _cpu(run: Callable[[], None]) -> float:
    """CPU seconds of this process and of those that `run` started and saw the end of."""

    def spent() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    begun = spent()
    run()
    return spent() - begun


def deliver(target: Target, captures: list[Capture]) -> None:
    """One after the other."""
    for capture in captures:
        target.put(capture, Progress())


def home(folder: Path) -> Home:
    return Home("bench", "00000000", folder)


def make_capture(folder: Path, number: int, size: int) -> Capture:
    """A capture with one payload of `size` bytes."""
    name = f"bench.walk.20261121T101500.{number:03d}Z.{number:08x}"
    path = folder / f"{name}.csv"
    block = hashlib.sha256(b"%d" % number).digest() * 2048
    with path.open("wb") as file:
        for begin in range(0, size, len(block)):
            file.write(block[: size - begin])
    payload = Payload.of(path, format="csv", media_type="text/csv")
    document = {
        "schema": SCHEMA,
        "uuid": f"{number:08x}-0000-4000-8000-000000000000",
        "revision": 1,
        "name": name,
        "recording": "walk",
        "configuration": {"uuid": "", "name": "walk", "document": {}},
        "start": {
            "wall_time": "2026-11-21T10:15:00.000000Z",
            "boot_id": "",
            "boot_time_ns": 0,
            "clock": "synchronised",
        },
        "duration_s": 1.0,
        "streams": [],
        "labels": {},
        "metadata": {str(n): "as long as a sidecar usually is" for n in range(60)},
        "payloads": [{field: getattr(payload, field) for field in Payload.__dataclass_fields__}],
    }
    capture = Capture(folder, document)
    capture.write_sidecar()
    return capture


if __name__ == "__main__":
    for found in measure():
        print(f"{found.what}: {found.figure:.3g} {found.unit} against {found.against}: {found.ratio:.2f} ({found.aim})")
