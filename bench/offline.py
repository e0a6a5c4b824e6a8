"""The reference load with both targets away for ten minutes, then back behind lines of 6 MB/s: what the daemon needs
meanwhile, when it notices, and how long it then takes to have nothing owed any more, against what the line allows."""

import contextlib
import tempfile
import time
from pathlib import Path

from bench import Measure, beside
from bench._load import Daemon, broker, reference
from bench._process import Look, cpu_curve, cpu_percent
from bench._servers import free_port
from bench._sink import Sink
from tests.pauses import Pauses

OFFLINE_S = 600.0
LINK_BYTES_S = 6e6
_MOST_S = 900.0
"""Longer than this nobody waits for the end of the catching up."""
_DONE_BYTES = 12_000_000
"""Owed when it has caught up: some pictures are always on their way."""
_CPU_AIM, _RSS_AIM, _LINK_AIM = 8.0, 75.0, 1.25
_NOTICED_AIM_S = 65.0
"""A target that nobody reaches is tried once a minute."""


def measure() -> list[Measure]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, Pauses() as pauses, contextlib.ExitStack() as stack:
        folder = Path(name)
        ports = free_port(), free_port()
        mqtt = stack.enter_context(broker(folder))
        daemon = stack.enter_context(Daemon(folder, reference(folder, mqtt, *ports)))
        daemon.samples_s("imu")
        away = daemon.watch(lambda passed: passed >= OFFLINE_S)
        owed = {target: health["owed_bytes"] for target, health in daemon.status()["targets"].items()}
        for port in ports:
            stack.enter_context(Sink(port, LINK_BYTES_S).listening())
        came_s, left, noticed = time.monotonic(), dict(owed), list[float]()

        def caught_up(passed: float) -> bool:
            if passed > _MOST_S:
                raise RuntimeError(f"still owed after {passed:.0f} s: {left}")
            targets = daemon.status()["targets"]
            left.update({target: health["owed_bytes"] for target, health in targets.items()})
            if not noticed and all(health["delivered"] for health in targets.values()):
                noticed.append(passed)
            return max(left.values()) < _DONE_BYTES

        back = daemon.watch(caught_up)
        took_s = time.monotonic() - came_s
        status = daemon.status()
    return _judged(away, back, max(owed.values()), took_s, noticed[0], status, pauses)


def _judged(
    away: list[Look], back: list[Look], owed: int, took_s: float, noticed_s: float, status: dict, pauses: Pauses
) -> list[Measure]:
    grows = owed / away[-1].at_s
    least_s = (owed + grows * noticed_s - _DONE_BYTES) / (LINK_BYTES_S - grows)
    took_s -= noticed_s
    percent, catching = cpu_percent(away), cpu_percent(back)
    looks = [*away, *(look._replace(at_s=away[-1].at_s + look.at_s) for look in back)]
    rss = max(look.rss_mib for look in looks)
    lost = sum(stream["lost"] for stream in status["streams"].values())
    counters = {name: stream["counters"] for name, stream in status["streams"].items()}
    minutes = f"{OFFLINE_S / 60:g} minutes"
    return [
        Measure(
            what="until both targets, which are there again, have something",
            figure=noticed_s,
            unit="s",
            against="the longest rest between two tries: 60 s",
            ratio=noticed_s / _NOTICED_AIM_S,
            aim=f"at most {_NOTICED_AIM_S:g} s",
            met=noticed_s <= _NOTICED_AIM_S,
        ),
        Measure(
            what=f"catching up after {minutes} offline, {owed / 1e6:.0f} MB owed to each target",
            figure=took_s,
            unit="s",
            against=beside(f"the line of {LINK_BYTES_S / 1e6:g} MB/s, which new captures share", least_s, "s"),
            ratio=took_s / least_s,
            aim=f"ratio at most {_LINK_AIM:g}",
            met=took_s <= _LINK_AIM * least_s,
            peers={"the line, the floor": least_s},
            reason=f"it used {catching:.0f} % of a core meanwhile",
        ),
        Measure(
            what="processor while offline",
            figure=percent,
            unit="% of a core",
            against=f"the aim of {_CPU_AIM:g} %",
            ratio=percent / _CPU_AIM,
            aim=f"at most {_CPU_AIM:g} %",
            met=percent <= _CPU_AIM,
            curve=cpu_curve(away),
            curve_over="seconds, offline",
            reason=f"in the last tenth it was {cpu_percent(away[-max(2, len(away) // 10) :]):.1f} %",
        ),
        Measure(
            what=f"memory over {minutes} offline and the catching up",
            figure=rss,
            unit="MiB RSS",
            against=f"the aim of {_RSS_AIM:g} MiB",
            ratio=rss / _RSS_AIM,
            aim=f"at most {_RSS_AIM:g} MiB",
            met=rss <= _RSS_AIM,
            curve=[(look.at_s, look.rss_mib) for look in looks],
            curve_over="seconds, offline and then catching up",
            reason=f"offline {max(look.rss_mib for look in away):.1f}, catching up"
            f" {max(look.rss_mib for look in back):.1f} MiB",
        ),
        Measure(
            what="processor while catching up",
            figure=catching,
            unit="% of a core",
            against=beside("while offline", percent, "%"),
            ratio=catching / percent,
            aim="shown",
            met=True,
            curve=cpu_curve(back),
            curve_over="seconds, catching up",
        ),
        Measure(
            what="samples lost meanwhile",
            figure=float(lost),
            unit="samples",
            against="none",
            ratio=float(lost),
            aim="none",
            met=lost == 0,
            reason=f"the machine itself stood still {pauses}; {counters}",
        ),
    ]
