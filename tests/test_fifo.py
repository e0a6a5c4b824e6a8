"""The estimate of what an overflow took, on a machine that halts wherever it likes: a world with its own time."""

import itertools
import random
from typing import Any

import numpy as np
import pytest

from drivers import _fifo
from drivers._fifo import Fifo, Level

PERIOD_NS = 2_000_000
CAPACITY = 80
SAMPLES = np.dtype([("n", "<i8")])


class World:
    """A chip that samples on its own, and a host that halts before or after any transfer."""

    def __init__(self, seed: int) -> None:
        self.now_ns = 10_000_000_000
        self._begun_ns = self.now_ns
        self._read = 0
        self._chance = random.Random(seed)
        self.halts = 0.0
        self._full = False

    def boottime_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)

    def halt(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)

    def _taken(self) -> int:
        return (self.now_ns - self._begun_ns) // PERIOD_NS

    def _transfer(self) -> None:
        self.now_ns += 50_000
        if self._chance.random() < self.halts:
            self.halt(self._chance.uniform(0.01, 0.05))

    def level(self) -> Level:
        self._transfer()
        waiting = self._taken() - self._read
        answer = Level(min(waiting, CAPACITY), waiting >= CAPACITY)
        self._transfer()
        return answer

    def overflowed(self) -> bool:
        return self._taken() - self._read >= CAPACITY

    def take(self, count: int) -> Any:
        self._transfer()
        first, self._read = self._read, self._read + count
        return np.arange(first, first + count).astype("<i8").view(SAMPLES)

    def restart(self) -> None:
        self._transfer()
        self._read = self._taken()
        self._transfer()


@pytest.mark.parametrize("seed", range(5))
def test_a_machine_that_halts_while_it_looks_estimates_what_it_lost_all_the_same(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(seed)
    monkeypatch.setattr(_fifo, "boottime_ns", world.boottime_ns)
    monkeypatch.setattr("drivers._fifo.time.sleep", world.sleep)
    fifo = Fifo("chip", 1e9 / PERIOD_NS)
    fifo.begin(world, CAPACITY)
    offset = None
    errors = []
    for turn in itertools.count():
        world.halts = 0.1 if turn % 80 > 60 else 0.0
        if turn % 80 == 70:
            world.halt(1.5)
        if (block := fifo.read(0.25)) is None:
            continue
        offset = block.first - int(block.samples["n"][0]) if offset is None else offset
        if block.lost:
            assert not block.exact
            estimated = block.first - int(block.samples["n"][0])
            errors.append(abs(estimated - offset))
            offset = estimated
            if len(errors) == 40:
                break
    errors.sort()
    assert errors[len(errors) * 3 // 4] <= 1, f"samples by which the estimates are off: {errors}"
    assert errors[-1] <= 12, f"samples by which the estimates are off: {errors}"


def test_a_fifo_that_was_found_nearly_full_is_read_more_often_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(0)
    monkeypatch.setattr(_fifo, "boottime_ns", world.boottime_ns)
    monkeypatch.setattr("drivers._fifo.time.sleep", world.sleep)
    fifo = Fifo("chip", 1e9 / PERIOD_NS)
    fifo.begin(world, CAPACITY)

    def reads_in(seconds: float) -> int:
        end_ns, reads = world.now_ns + int(seconds * 1e9), 0
        while world.now_ns < end_ns:
            reads += fifo.read(0.25) is not None
        return reads

    calm = reads_in(1)
    world.halt(0.75 * CAPACITY * PERIOD_NS / 1e9)
    assert reads_in(1) > 2.5 * calm
    reads_in(70)
    assert reads_in(1) == pytest.approx(calm, abs=1)
