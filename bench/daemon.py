"""The whole daemon under the reference load (IMU 1 kHz, MCU 16 kHz int16 mono, a picture of 12 MP a second, two HTTP
targets, MQTT; devices and servers in processes of their own): processor, memory, cold start, losses."""

import contextlib
import hashlib
import statistics
import tempfile
import time
from pathlib import Path

import urllib3

from bench import Measure, beside
from bench._load import HEIGHT, LOAD, WIDTH, Daemon, bare, broker, cpu_curve, cpu_percent, reference
from bench._servers import free_port
from bench._sink import Sink
from drivers.ports.virtual.picamera import render

LOAD_S = 60.0
_SETTLING_S = 5.0
_STARTS = 3
_CPU_AIM, _RSS_AIM, _START_AIM, _STOP_AIM = 8.0, 75.0, 1.0, 10.0
_LEFT_S = 10.0
"""What may be owed at the end: what came in so many seconds."""


def measure() -> list[Measure]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        ports = free_port(), free_port()
        sinks = [stack.enter_context(Sink(port).listening()) for port in ports]
        mqtt = stack.enter_context(broker(folder))
        floor_percent = _floor_percent(folder, ports)
        bare_mib, bare_s = bare()
        config = reference(folder, mqtt, *ports)
        starts = []
        for _ in range(_STARTS):
            with Daemon(folder, config) as daemon:
                starts.append(daemon.samples_s("imu"))
        with Daemon(folder, config) as daemon:
            daemon.samples_s("imu")
            time.sleep(_SETTLING_S)
            looks = daemon.watch(lambda passed: passed >= LOAD_S)
            status = daemon.status()
            stop_s = daemon.stop()
    assert all(sink.files for sink in sinks), "a target got nothing"
    load = LOAD + (", MQTT" if mqtt else "; no mosquitto is installed here")
    percent, start_s = cpu_percent(looks), statistics.median(starts)
    rss = max(look.rss_mib for look in looks)
    lost = sum(stream["lost"] for stream in status["streams"].values())
    owed = max(target["owed"] for target in status["targets"].values())
    pictures = status["recordings"]["photos"]["finished"]
    return [
        Measure(
            what=f"processor: {load}",
            figure=percent,
            unit="% of a core",
            against=beside("a picture a second only hashed, written and put twice with urllib3", floor_percent, "%"),
            ratio=percent / floor_percent,
            aim=f"at most {_CPU_AIM:g} % of a core",
            met=percent <= _CPU_AIM,
            curve=cpu_curve(looks),
            curve_over="seconds under load",
            reason=f"hashing, writing and sending the pictures alone takes {floor_percent:.1f} %",
        ),
        Measure(
            what=f"memory: {load}",
            figure=rss,
            unit="MiB RSS",
            against=beside("Python with numpy, doing nothing", bare_mib, "MiB"),
            ratio=rss / bare_mib,
            aim=f"at most {_RSS_AIM:g} MiB",
            met=rss <= _RSS_AIM,
            curve=[(look.at_s, look.rss_mib) for look in looks],
            curve_over="seconds under load",
            reason=f"it began with {looks[0].rss_mib:.1f} MiB and ended with {looks[-1].rss_mib:.1f}",
        ),
        Measure(
            what="cold start to the first sample of the IMU",
            figure=start_s,
            unit="s",
            against=beside("Python with numpy, doing nothing", bare_s, "s"),
            ratio=start_s / bare_s,
            aim=f"under {_START_AIM:g} s",
            met=start_s < _START_AIM,
            peers={"Python with numpy, doing nothing": bare_s},
            reason=f"of {_STARTS} starts the fastest took {min(starts):.2f} s",
        ),
        Measure("stop", stop_s, "s", "the aim", stop_s / _STOP_AIM, f"at most {_STOP_AIM:g} s", stop_s <= _STOP_AIM),
        Measure(
            what="samples lost under load",
            figure=float(lost),
            unit="samples",
            against="none",
            ratio=float(lost),
            aim="none",
            met=lost == 0,
            reason=f"{ {name: stream['counters'] for name, stream in status['streams'].items()} }",
        ),
        Measure(
            what="captures still owed to the slower target when the load ends",
            figure=float(owed),
            unit="captures",
            against=f"{pictures} pictures came",
            ratio=float(owed) / _LEFT_S,
            aim=f"at most {_LEFT_S:g}",
            met=owed <= _LEFT_S,
            compared=False,
            reason="the servers take what they get at once, so it is the daemon that was late",
        ),
    ]


def _floor_percent(folder: Path, ports: tuple[int, int], count: int = 10) -> float:
    """Percent of a core that nobody gets round: a picture a second hashed, written and put to both servers."""
    jpeg = render(0, 1, (WIDTH, HEIGHT), 90)
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
    return 100 * statistics.median(spent)
