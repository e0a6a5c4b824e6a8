"""Delivering captures of 50 kB: CPU over HTTP against urllib3 alone, and copying to a folder against shutil.copy."""

import hashlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from agent.capture import SCHEMA, Capture, Payload
from agent.targets import Home, Progress, Target
from agent.targets.directory import Settings as Directory
from agent.targets.http import Settings as Http
from bench import Measure

_CAPTURES = 250
"""Each of a payload and a sidecar: 500 files."""
_BYTES = 50_000
_ROUNDS = 5
_BIG = 64 << 20


def measure() -> list[Measure]:
    """CPU seconds of this process, the server's in a process of its own; medians of rounds taken in turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        captures = [_capture(folder, number, _BYTES) for number in range(_CAPTURES)]
        big = _capture(folder, _CAPTURES, _BIG)
        return [*_http(captures, folder), *_folder(captures, big, folder)]


def _http(captures: list[Capture], folder: Path) -> Iterator[Measure]:
    with _server() as url:
        target = Http(url=url + "/{file}").open(Home("bench", "00000000", folder))
        pool = urllib3.PoolManager()

        def ours() -> None:
            _deliver(target, captures)

        def bare() -> None:
            for capture in captures:
                for path in capture.files:
                    with path.open("rb") as file:
                        size = {"Content-Length": str(path.stat().st_size)}
                        assert pool.urlopen("PUT", f"{url}/{path.name}", body=file, headers=size).status == 201

        ratio, seconds, floor = _compare(ours, bare, time.process_time)
        target.close()
        pool.clear()
        files = 2 * len(captures)
        yield Measure(
            what=f"HTTP, {files} files, half of them of 50 kB: client CPU",
            figure=seconds / files * 1e3,
            unit="ms/file",
            against=f"urllib3 alone {floor / files * 1e3:.2f} ms/file",
            ratio=ratio,
            aim="ratio at most 1.3",
            met=ratio <= 1.3,
        )


def _folder(captures: list[Capture], big: Capture, folder: Path) -> Iterator[Measure]:
    there = folder / "there"
    for what, these in (("50 kB", captures[:80]), ("64 MB", [big])):
        target = Directory(path=str(there), fsync=False).open(Home("bench", "00000000", folder))

        def ours(target: Target = target, these: list[Capture] = these) -> None:
            shutil.rmtree(there, ignore_errors=True)
            there.mkdir()
            _deliver(target, these)

        def copy(these: list[Capture] = these) -> None:
            shutil.rmtree(there, ignore_errors=True)
            there.mkdir()
            for capture in these:
                for path in capture.files:
                    shutil.copy(path, there)

        ratio, seconds, floor = _compare(ours, copy, time.perf_counter)
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


def _compare(
    ours: Callable[[], None], peer: Callable[[], None], clock: Callable[[], float]
) -> tuple[float, float, float]:
    """(median of the rounds' ratios, our median, the peer's median)."""
    pairs = []
    for _ in range(_ROUNDS + 1):
        pair = []
        for run in (ours, peer):
            begun = clock()
            run()
            pair.append(clock() - begun)
        pairs.append(pair)
    del pairs[0]  # imports, connections, page cache
    ratio = statistics.median(mine / its for mine, its in pairs)
    return ratio, statistics.median(mine for mine, _ in pairs), statistics.median(its for _, its in pairs)


def _deliver(target: Target, captures: list[Capture]) -> None:
    for capture in captures:
        target.put(capture, Progress())


def _capture(folder: Path, number: int, size: int) -> Capture:
    name = f"bench.walk.20261121T101500.{number:03d}Z.{number:08x}"
    path = folder / f"{name}.csv"
    path.write_bytes(hashlib.sha256(b"%d" % number).digest() * (size // 32))
    payload = Payload.of(path, format="csv", media_type="text/csv")
    document = {
        "schema": SCHEMA,
        "uuid": f"{number:08x}-0000-4000-8000-000000000000",
        "revision": 1,
        "name": name,
        "recording": "walk",
        "start": {"wall_time": "2026-11-21T10:15:00.000000Z"},
        "metadata": {str(n): "as long as a sidecar usually is" for n in range(60)},
        "payloads": [{field: getattr(payload, field) for field in Payload.__dataclass_fields__}],
    }
    capture = Capture(folder, document)
    capture.write_sidecar()
    return capture


@contextmanager
def _server() -> Iterator[str]:
    """The tests' receiver, in another process."""
    command = [sys.executable, "-m", "tests.receiver"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.communicate()


if __name__ == "__main__":
    for found in measure():
        print(f"{found.what}: {found.figure:.3g} {found.unit} against {found.against}: {found.ratio:.2f} ({found.aim})")
