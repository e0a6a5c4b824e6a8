"""Growth: what a capture costs the daemon, and how long its start takes, with a thousand, a hundred thousand and a
million captures delivered before, in the catalogue and as files in folders of days."""

import os
import statistics
import tempfile
from pathlib import Path

from bench import Measure, beside
from bench._load import Daemon
from bench._owed import day_of, filled, name_of

DEPTHS = (1_000, 100_000, 1_000_000)
_DAYS = 100
_STARTS, _LOADED = 5, 3
"""Rounds, and in how many of them captures are made."""
_CAPTURES = 100
"""In such a round; ten come in a second."""
_MOST_S = 120.0
_AIM = 1.2
_MOST_LINKS = 60_000
"""Names for one file that ext4 allows, about."""
_CONFIG = """\
[agent]
device = "bench"
device_id = "00c0ffee"
data_dir = "{folder}/data"
free_floor_bytes = 0
free_floor_percent = 0
date_wait_s = 0

[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 1000
filter_hz = 188

[recording.walk]
streams = ["imu"]
length_samples = 100
labels = {{ activity = "walking" }}
targets = ["archive"]

[target.archive]
kind = "directory"
path = "{folder}/archive"
fsync = false
"""


def measure() -> list[Measure]:
    starts: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    costs: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    memory: dict[int, float] = dict.fromkeys(DEPTHS, 0.0)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folders = {depth: _grown(Path(name) / str(depth), depth) for depth in DEPTHS}
        for number in range(_STARTS):
            for depth, folder in folders.items():  # in turns, so that a noisy machine is noisy for all of them
                with Daemon(folder, _CONFIG.format(folder=folder)) as daemon:
                    starts[depth].append(daemon.samples_s("imu"))
                    if number >= _LOADED:
                        continue
                    _known(daemon, depth)
                    ms, mib = _cost(daemon)
                    costs[depth].append(ms)
                    memory[depth] = max(memory[depth], mib)
        sizes = {depth: (folder / "data" / "agent.db").stat().st_size / 1e6 for depth, folder in folders.items()}
    best = {depth: min(ms) for depth, ms in costs.items()}
    median = {depth: statistics.median(seconds) for depth, seconds in starts.items()}
    return [
        *_flat("CPU of a capture of 100 samples, made and delivered", "ms", best, costs, sizes),
        *_flat("start of the daemon to its first sample", "s", median, starts, sizes),
        *_flat("memory", "MiB RSS", memory, {}, sizes),
    ]


def _cost(daemon: Daemon) -> tuple[float, float]:
    """(CPU ms of one capture, MiB) while some are made and delivered."""
    first = _delivered(daemon)
    last = first

    def enough(passed: float) -> bool:
        nonlocal last
        if passed > _MOST_S:
            raise RuntimeError(f"{last - first} captures were delivered in {passed:.0f} s: is the machine overloaded?")
        last = _delivered(daemon)
        return last - first >= _CAPTURES

    looks = daemon.watch(enough)
    return looks[-1].cpu_s / (last - first) * 1e3, max(look.rss_mib for look in looks)


def _flat(
    what: str, unit: str, figures: dict[int, float], rounds: dict[int, list[float]], sizes: dict[int, float]
) -> list[Measure]:
    """A row for each depth but the first, to which it is compared."""
    first, last, found = DEPTHS[0], DEPTHS[-1], []
    for depth in DEPTHS[1:]:
        ratio = figures[depth] / figures[first]
        spread = f"; rounds took {_spread(rounds[depth])} {unit}, and {_spread(rounds[first])}" if rounds else ""
        found.append(
            Measure(
                what=f"{what}, {depth} captures before",
                figure=figures[depth],
                unit=unit,
                against=beside(f"{first} before", figures[first], unit),
                ratio=ratio,
                aim=f"ratio at most {_AIM:g}",
                met=ratio <= _AIM,
                curve=[(float(n), figure) for n, figure in figures.items()] if depth == last else (),
                curve_over="captures before",
                reason=f"the database has {sizes[depth]:.0f} MB beside {sizes[first]:.1f}{spread}",
            )
        )
    return found


def _spread(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"


def _grown(folder: Path, depth: int) -> Path:
    """A data folder with that many delivered captures: their rows, and names for their files."""
    data = folder / "data"
    (folder / "archive").mkdir(parents=True)
    data.mkdir()
    filled(data / "agent", depth, delivered=True, days=_DAYS)
    sources = [folder / "payload.csv", folder / "sidecar.json"]
    for number in range(depth):
        if number % _MOST_LINKS == 0:
            for source, content in zip(sources, ("sequence,X\n0,1\n" * 22, "{}" + " " * 1000), strict=True):
                source.unlink(missing_ok=True)
                source.write_text(content)
        if number == 0 or number * _DAYS // depth != (number - 1) * _DAYS // depth:
            day = data / "captures" / day_of(number, depth, _DAYS)
            day.mkdir(parents=True)
        place = f"{day}/{name_of(number)}"
        os.link(sources[0], place + ".csv")
        os.link(sources[1], place + ".json")
    return folder


def _known(daemon: Daemon, depth: int) -> None:
    delivered = _delivered(daemon)
    if not depth <= delivered < 2 * depth:
        raise RuntimeError(f"the daemon knows of {delivered} delivered captures, not of {depth}")


def _delivered(daemon: Daemon) -> int:
    return int(daemon.status()["targets"]["archive"]["delivered"])
