"""Time that can be believed: reads that come late, chips that run fast, wall clocks that are set while it runs."""

import itertools
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libfaketime
import numpy as np
import pytest

from agent.film import Film
from agent.negative import NegativeWriter, identity_as_json
from drivers import Identity, _fifo
from drivers import mpu6050 as driver_module
from drivers.mpu6050 import Mpu6050, Settings
from drivers.ports.i2c import I2cDevice
from drivers.ports.virtual import Virtual
from drivers.ports.virtual import mpu6050 as model_module
from tests.running import Running
from tests.simulated import SimulatedBus
from tests.test_sample_writer import FAST, MS, Bench

HOUR_NS = 3600 * 10**9
TEN_YEARS_NS = 10 * 365 * 24 * HOUR_NS
STEPS = {"-1 h": -HOUR_NS, "+10 y": TEN_YEARS_NS}
SO = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"


class LateBus(SimulatedBus):
    """Each read begins up to `late_s` late, as the virtual bus with its `delay_s` has it: the host was busy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int, late_s: float) -> None:
        super().__init__(monkeypatch, driver_module, _fifo, model_module)
        self._chance, self._late_s = random.Random(seed), late_s

    def read(self, register: int, count: int) -> bytes:
        self.sleep(self._chance.uniform(0, self._late_s))
        return super().read(register, count)


def filmed(path: Path, identity: Identity, driver: Mpu6050, bus: SimulatedBus, seconds: float) -> Film:
    """What the driver reads in that time, recorded and developed."""
    head = {
        "uuid": "0",
        "settings": {"fill": "hold"},
        "started": {"boot_time_ns": bus.now_ns},
        "streams": [{"name": "imu", "driver": "mpu6050", "identity": identity_as_json(identity)}],
    }
    negative = NegativeWriter(path, head)
    end_ns = bus.now_ns + int(seconds * 1e9)
    while bus.now_ns < end_ns:
        block = driver.read(0.25)
        if block is not None:
            negative.write(0, block)
    negative.finish({"reason": "length"})
    return Film.scan(path)


@pytest.mark.parametrize("seed", range(8))
def test_a_fast_imu_whose_reads_come_late_is_dated_within_two_milliseconds_after_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """200 Hz by its data sheet and 203 in truth; the level of its FIFO is asked up to 80 ms late, and the FIFO read
    up to 80 ms after that."""
    bus = LateBus(monkeypatch, seed, late_s=0.08)
    chip = model_module.Mpu6050({**Virtual(clock_ppm=15_000).document(), "who_am_i": 0x68})
    bus.chip = chip
    driver = Mpu6050(Settings(rate_hz=200), I2cDevice(bus, "mpu6050", 1, 0x68))
    identity = driver.start()
    assert identity.rate_hz == 200.0
    film = filmed(tmp_path / "imu.negative", identity, driver, bus, 10.0)
    (stream,) = film.describe()
    assert stream["lost"] == {"samples": 0, "exact": True}
    assert abs(stream["rate_hz"]["measured"] / 203.0 - 1) < 200e-6
    assert stream["rate_hz"]["ppm"] == pytest.approx(15_000, abs=200)
    worst_ns = 0.0
    for rows in film.rows():
        taken_ns = chip._begun_ns + (rows.sequence + 1) * 1e9 / 203.0
        worst_ns = max(worst_ns, float(np.abs(rows.time_ns - taken_ns).max()))
    assert worst_ns < 2e6


def stepped(folder: Path, step_ns: int) -> tuple[list[str], list[tuple[int, list[int]]]]:
    """Names, and (first, times) of captures of half a second, where the wall clock is set in the middle of the 4th."""
    folder.mkdir()
    bench = Bench(folder, {"s": FAST}, length_s=0.5)
    set_ns = bench.clock.now_ns + 1750 * MS
    shown = bench.clock.wall_ns
    bench.clock.wall_ns = lambda boot_ns=None: shown(boot_ns) + step_ns * (bench.clock.now_ns >= set_ns)  # type: ignore[method-assign]
    bench.run(4.0, "s")
    bench.end()
    films = [Film.scan(path) for path in bench.finished]
    return [film.head["name"] for film in films], [
        (film.lead.first, [int(time) for rows in film.rows() for time in rows.time_ns]) for film in films
    ]


@pytest.mark.parametrize("step", STEPS)
def test_a_wall_clock_that_is_set_in_the_middle_changes_no_interval_and_names_stay_unique(
    tmp_path: Path, step: str
) -> None:
    _, unset = stepped(tmp_path / "unset", 0)
    names, times = stepped(tmp_path / "set", STEPS[step])
    assert times == unset
    assert len(set(names)) == len(names) == len(times)


def test_captures_of_the_same_wall_time_have_names_of_their_own(tmp_path: Path) -> None:
    names, _ = stepped(tmp_path / "set", -500 * MS)
    stamps = [name.rsplit(".", 1)[0] for name in names]
    assert len(set(stamps)) < len(stamps)
    assert len(set(names)) == len(names)


CONFIG = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 50

[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 1
width = 64
height = 48

[recording.walk]
streams = ["imu"]
format = ["csv"]
length_s = 0.5

[recording.photos]
streams = ["cam"]
format = ["jpeg"]
targets = ["archive"]

[target.archive]
kind = "directory"
path = "{folder}/archive"
"""


@pytest.mark.alone
def test_the_real_daemon_records_on_while_its_wall_clock_is_set(tmp_path: Path) -> None:
    tried = subprocess.run(["/bin/true"], env={"LD_PRELOAD": str(SO)}, capture_output=True, text=True, check=True)
    if tried.stderr:
        pytest.skip(f"libfaketime is not made for this machine: {tried.stderr}")
    (tmp_path / "archive").mkdir()
    offset = tmp_path / "offset"
    offset.write_text("+0s\n")
    environment = {
        "LD_PRELOAD": str(SO),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }
    with Running(tmp_path, CONFIG, **environment) as running:
        for set_to in ("-3600s", "+3650d", ""):
            running.until(_more(running.ask("status")["recordings"], walk=2, photos=1))
            if set_to:
                _set(offset, set_to)
        status = running.finish()
        walks, photos = running.captures("walk"), running.captures("photos")
    assert status["recordings"]["walk"]["dropped"] == 0
    assert len({capture.name for capture in (*walks, *photos)}) == len(walks) + len(photos)
    walks.sort(key=lambda capture: capture.document["start"]["boot_time_ns"])
    shown = [capture.document["start"]["wall_time"] for capture in walks]
    assert any(later < earlier for earlier, later in itertools.pairwise(shown)), "it was an hour earlier for a while"
    years = {capture.document["start"]["wall_time"][:4] for capture in (*walks, *photos)}
    assert len(years) == 2, "it was ten years later for a while"
    assert all(capture.damage() == "" for capture in (*walks, *photos))
    numbers = sorted(capture.document["streams"][0]["first"] for capture in photos)
    assert numbers == list(range(numbers[0], numbers[0] + len(photos))), "each picture is there"
    assert len(list((tmp_path / "archive").rglob("*.jpg"))) == len(photos)
    expected = walks[0].document["streams"][0]["first"]
    for capture in walks:
        (stream,) = capture.document["streams"]
        assert (stream["first"], stream["lost"]["samples"], stream["gaps"]) == (expected, 0, [])
        expected += stream["samples"]
    ends = [(capture.document["end"]["reason"], capture.document["duration_s"]) for capture in walks]
    assert {reason for reason, _ in ends[:-1]} == {"length"}, ends
    assert all(seconds == pytest.approx(0.5, abs=0.15) for _, seconds in ends[1:-1]), f"stretched or cut: {ends}"


def _set(offset: Path, text: str) -> None:
    part = offset.with_suffix(".part")
    part.write_text(text + "\n")
    os.replace(part, offset)


def _more(before: dict[str, Any], **counts: int) -> Callable[[dict[str, Any]], bool]:
    """Whether each recording has finished so many captures more."""
    return lambda status: all(
        status["recordings"][name]["finished"] >= before[name]["finished"] + count for name, count in counts.items()
    )
