"""A day squeezed into minutes by a clock that the test winds: nothing grows or stays open, and each sample is there."""

import gc
import os
import random
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.catalogue import Catalogue
from agent.database import Database
from agent.developer import Developer
from agent.finishing import Finishing
from agent.monitor import memory_bytes
from agent.outbox import Outbox
from agent.ring import Ring
from agent.sync.owing import Owing
from drivers import Channel, Identity
from tests.test_sample_writer import MS, Bench

LEAD, SLOW = Identity("Lead", 50.0, (Channel("X"),)), Identity("Slow", 10.0, (Channel("Y"),))
HOUR_NS = 3600 * 10**9


class Day:
    """Streams, a recording, its developer, catalogue and outbox in one thread; captures are delivered and deleted."""

    def __init__(self, place: Path, stack: ExitStack, *, length_s: float) -> None:
        recording, captures = place / "recording", place / "captures"
        recording.mkdir()
        captures.mkdir()
        self.bench = Bench(recording, {"lead": LEAD, "slow": SLOW}, length_s=length_s, targets=("lab",))
        for stream in self.bench.streams.values():
            stream.ring = Ring(10, 1 << 20)
        clock = self.bench.clock
        self._shown, self._stepped_ns = clock.wall_ns, 0
        clock.wall_ns = lambda boot_ns=None: self._shown(boot_ns) + self._stepped_ns  # type: ignore[method-assign]
        database = stack.enter_context(Database(place / "agent.db", quarantine=place / "quarantine"))
        self._catalogue = Catalogue(database, captures)
        self._outbox = Outbox(database, boot_id=clock.boot_id, now=clock.boottime_ns, jitter=random.Random(1))
        finishing = Finishing(
            database=database,
            catalogue=self._catalogue,
            owing=Owing(self._outbox, {"test": ("lab",)}),
            captures=captures,
            owed=lambda: None,
        )
        self._developer = Developer(folder=recording, quarantine=place / "quarantine", finishing=finishing, clock=clock)
        self._lost = 0
        self.captures, self.samples, self.missed, self.duration_s = 0, 0, 0, 0.0
        self._next = 0

    def passes(self, minutes: int) -> None:
        """Time with all that a day brings: lost samples, a sensor that is pulled out, a wall clock that is set."""
        for minute in range(minutes):
            self.bench.run(59.9, "lead", "slow")
            if minute % 20 == 7:
                self.bench.feed("lead", 5, lost=11)
                self._lost += 11
            if minute % 20 == 13:
                self.bench.plug("slow", SLOW)
            if minute % 20 == 17:
                self._stepped_ns = random.Random(minute).choice((-HOUR_NS, 0, 87_600 * HOUR_NS))
            self.bench.run(0.1, "slow")
            self.develop()

    def develop(self) -> None:
        """What is finished becomes captures, is checked, delivered and deleted."""
        for negative in self.bench.finished:
            capture = self._developer.step(negative, lambda: None)
            assert capture is not None
            lead, slow = capture.document["streams"]
            assert lead["first"] == self._next, "no sample is missing between two captures"
            gaps = sum(gap["samples"] for gap in lead["gaps"])
            self._next += lead["samples"] + gaps
            self.captures += 1
            self.samples += lead["samples"]
            self.missed += gaps
            self.duration_s += capture.document["duration_s"]
            assert slow["lost"]["samples"] == 0
            parcels = self._outbox.claim("lab", 10, lease_s=60)
            self._outbox.settle([parcel.delivered({}) for parcel in parcels])
            self._catalogue.delete([capture.uuid])
            self._catalogue.forget(10)
        self.bench.finished.clear()

    def end(self) -> None:
        self.bench.end()
        self.develop()
        assert self.missed == self._lost
        assert self.samples == self.bench.next["lead"] - self._lost, "each sample that was read is in one capture"
        assert self.bench.takes.unrecorded == 0


def held() -> tuple[int, int]:
    """Threads, and open file descriptors; what tests before this one left to the collector is none of them."""
    gc.collect()
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def wound(place: Path, minutes: int, *, length_s: float, most_bytes: int) -> Day:
    """A day so long; after its first fifth nothing may grow."""
    with ExitStack() as stack:
        day = Day(place, stack, length_s=length_s)
        day.passes(minutes // 5)
        begun, memory = held(), memory_bytes()
        day.passes(minutes - minutes // 5)
        assert held() == begun
        assert memory_bytes() - memory < most_bytes
        day.end()
    return day


def test_twenty_minutes(tmp_path: Path) -> None:
    day = wound(tmp_path, 20, length_s=60, most_bytes=8_000_000)
    assert day.captures >= 20
    assert day.missed == 11
    assert day.duration_s == pytest.approx(20 * 60, abs=10)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_day(tmp_path: Path) -> None:
    day = wound(tmp_path, 24 * 60, length_s=600, most_bytes=8_000_000)
    assert day.captures >= 144
    assert day.duration_s == pytest.approx(86_400, abs=200)
    assert day.bench.clock.now_ns - day.bench.begun_ns >= 86_400_000 * MS
