"""The whole daemon under the reference load (IMU 1 kHz, MCU 16 kHz int16 mono, a picture of 12 MP a second, two HTTP
targets, MQTT) and a small one (IMU 1 kHz, MCU 500 Hz, two recordings, one target), devices and servers in processes of
their own: processor, memory, start and losses."""

import contextlib
import dataclasses
import hashlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import urllib3

from bench import Measure, beside
from bench._load import HEIGHT, LOAD, QUALITY, SMALL_LOAD, WIDTH, Daemon, bare, broker, reference, small
from bench._process import Look, busiest, cpu_curve, cpu_percent, cpu_s_by_thread, cpu_s_of_children
from bench._servers import free_port
from bench._sink import Sink
from drivers.ports.virtual.picamera import render
from tests.pauses import Pauses

LOAD_S = 60.0
_SETTLING_S = 5.0
_STARTS = 3
_CPU_AIM, _START_AIM, _STOP_AIM = 8.0, 1.0, 10.0
_RSS_AIM, _SMALL_RSS_AIM = 75.0, 60.0
_OWED_AIM = 10
"""Captures that may be owed at the end: what came in ten seconds."""
_BARE = "Python with numpy, doing nothing"


@dataclasses.dataclass(frozen=True)
class Run:
    """What was seen of one daemon under one load."""

    load: str
    looks: Sequence[Look]
    starts_s: Sequence[float]
    devices_s: float
    """Processor seconds that the processes of its virtual devices took of it by the first sample, at most."""
    stop_s: float
    status: dict[str, Any]
    busiest: str
    """Its threads that needed most."""
    stood_still: Pauses
    """When the machine itself did meanwhile."""


def measure() -> list[Measure]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        ports = free_port(), free_port()
        for port in ports:
            stack.enter_context(Sink(port).listening())
        mqtt = stack.enter_context(broker(folder))
        floor_percent, megabytes = _floor(folder, ports)
        bare_mib, bare_s = bare()
        load = LOAD + ("" if mqtt else " without MQTT (mosquitto is not installed here)")
        full = _run(folder / "full", load, reference(folder / "full", mqtt, *ports))
        light = _run(folder / "light", SMALL_LOAD, small(folder / "light", ports[0]))
    pictures = f"a picture of {megabytes:.1f} MB a second only hashed, written and put twice with urllib3"
    found = []
    for run, rss_aim in ((full, _RSS_AIM), (light, _SMALL_RSS_AIM)):
        percent, rss = cpu_percent(run.looks), max(look.rss_mib for look in run.looks)
        start_s = statistics.median(run.starts_s)
        if run is full:
            against, floor = beside(pictures, floor_percent, "%"), floor_percent
        else:
            against, floor = beside("under the reference load", cpu_percent(full.looks), "%"), cpu_percent(full.looks)
        found += [
            Measure(
                what=f"processor: {run.load}",
                figure=percent,
                unit="% of a core",
                against=against,
                ratio=percent / floor,
                aim=f"at most {_CPU_AIM:g} % of a core",
                met=percent <= _CPU_AIM,
                curve=cpu_curve(run.looks),
                curve_over="seconds under load",
                reason=f"by thread: {run.busiest}; the machine itself stood still {run.stood_still}"
                " (for a minute after each longer halt a FIFO is read three times as often)",
            ),
            Measure(
                what=f"memory: {run.load}",
                figure=rss,
                unit="MiB RSS",
                against=beside(_BARE, bare_mib, "MiB"),
                ratio=rss / bare_mib,
                aim=f"at most {rss_aim:g} MiB",
                met=rss <= rss_aim,
                curve=[(look.at_s, look.rss_mib) for look in run.looks],
                curve_over="seconds under load",
                reason=f"it began with {run.looks[0].rss_mib:.1f} MiB and ended with {run.looks[-1].rss_mib:.1f}",
            ),
            Measure(
                what=f"cold start to the first sample of the IMU: {run.load}",
                figure=start_s,
                unit="s",
                against=beside(_BARE, bare_s, "s"),
                ratio=start_s / bare_s,
                aim=f"under {_START_AIM:g} s",
                met=start_s < _START_AIM,
                peers={_BARE: bare_s},
                reason=(
                    f"of {len(run.starts_s)} starts the fastest took {min(run.starts_s):.2f} s; its virtual devices,"
                    f" which start meanwhile, had taken {run.devices_s:.2f} s of processor by then"
                ),
            ),
            *_rest(run),
        ]
    return found


def _run(folder: Path, load: str, config: str) -> Run:
    folder.mkdir()
    starts, devices = [], []
    for _ in range(_STARTS):
        with Daemon(folder, config) as daemon:
            starts.append(daemon.samples_s("imu"))
            devices.append(cpu_s_of_children(daemon.pid))
    with Daemon(folder, config, named=True) as daemon:
        daemon.samples_s("imu")
        time.sleep(_SETTLING_S)
        before = cpu_s_by_thread(daemon.pid)
        with Pauses() as pauses:
            looks = daemon.watch(lambda passed: passed >= LOAD_S)
        threads = busiest(before, cpu_s_by_thread(daemon.pid), looks[-1].at_s)
        status = daemon.status()
        return Run(load, looks, starts, max(devices), daemon.stop(), status, threads, pauses)


def _rest(run: Run) -> list[Measure]:
    """What is not to be: losses, a backlog, a stop that takes long."""
    streams, targets = run.status["streams"], run.status["targets"]
    lost = sum(stream["lost"] for stream in streams.values())
    owed, delivered = (max(target[what] for target in targets.values()) for what in ("owed", "delivered"))
    return [
        Measure(
            what=f"stop: {run.load}",
            figure=run.stop_s,
            unit="s",
            against=f"the aim of {_STOP_AIM:g} s",
            ratio=run.stop_s / _STOP_AIM,
            aim=f"at most {_STOP_AIM:g} s",
            met=run.stop_s <= _STOP_AIM,
            compared=False,
            reason=f"{owed} captures were owed by then",
        ),
        Measure(
            what=f"samples lost: {run.load}",
            figure=float(lost),
            unit="samples",
            against="none",
            ratio=float(lost),
            aim="none",
            met=lost == 0,
            compared=False,
            reason="; ".join(
                [f"{name}: {stream['lost']} lost, {stream['counters']}" for name, stream in streams.items()]
                + [f"meanwhile the machine itself stood still {run.stood_still}"]
            ),
        ),
        Measure(
            what=f"captures owed when the load ends: {run.load}",
            figure=float(owed),
            unit="captures",
            against=f"{delivered} were delivered",
            ratio=owed / _OWED_AIM,
            aim=f"at most {_OWED_AIM}",
            met=owed <= _OWED_AIM and delivered > 0,
            compared=False,
            reason="the servers take what they get at once, so it is the daemon that was late",
        ),
    ]


def _floor(folder: Path, ports: tuple[int, int], count: int = 10) -> tuple[float, float]:
    """(percent of a core, MB) of what nobody gets round: a picture a second hashed, written and put to two servers."""
    jpeg = render(0, 1, (WIDTH, HEIGHT), QUALITY)
    with urllib3.PoolManager() as pool:
        spent = []
        for number in range(count):
            begun = time.process_time()
            hashlib.sha256(jpeg).hexdigest()
            path = folder / f"{number}.jpg"
            path.write_bytes(jpeg)
            for port in ports:
                with path.open("rb") as file:
                    size = {"Content-Length": str(len(jpeg))}
                    pool.urlopen("PUT", f"http://127.0.0.1:{port}/{number}", body=file, headers=size)
            spent.append(time.process_time() - begun)
            path.unlink()
    return 100 * statistics.median(spent), len(jpeg) / 1e6
