"""The ring keeps the past, bounds itself, and counts what a reader came too late for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.ring import Ring
from drivers import Block

DTYPE = np.dtype([("X", "<i2")])
MS = 1_000_000


def block(first: int, count: int = 10, at_ms: int | None = None) -> Block:
    observed = (first if at_ms is None else at_ms) * MS
    return Block(first, np.zeros(count, DTYPE), observed, first + count - 1)


def test_a_cursor_takes_each_block_once_and_in_order() -> None:
    ring = Ring(10, 1 << 20)
    cursor = ring.cursor()
    ring.append(block(0))
    ring.append(block(10))
    assert [b.first for b in cursor.take()] == [0, 10]
    ring.append(block(20))
    assert [b.first for b in cursor.take()] == [20]
    assert cursor.take() == []


def test_a_new_cursor_begins_now_or_with_the_past_it_asks_for() -> None:
    ring = Ring(10, 1 << 20)
    for first in range(0, 5000, 10):
        ring.append(block(first))
    assert ring.cursor().take() == []
    assert [b.first for b in ring.cursor(0.025).take()] == [4970, 4980, 4990]
    assert len(ring.cursor(float("inf")).take()) == 500


def test_blocks_older_than_its_seconds_go_and_the_late_reader_is_told_how_many_samples() -> None:
    ring = Ring(1, 1 << 20)
    cursor = ring.cursor()
    ring.append(block(0, at_ms=0))
    ring.append(block(10, 7, at_ms=500))
    ring.append(block(17, at_ms=1400))
    assert [b.first for b in cursor.take()] == [10, 17]
    assert cursor.dropped == 10


def test_bytes_are_bounded_and_the_newest_block_always_stays() -> None:
    ring = Ring(10, 50)
    ring.append(block(0, 20))
    ring.append(block(20, 100))
    blocks, nbytes, _ = ring.held()
    assert (blocks, nbytes) == (1, 200)


@given(st.lists(st.one_of(st.integers(1, 40), st.none()), max_size=60), st.integers(40, 400))
def test_taken_and_dropped_add_up_to_what_was_appended(steps: list[int | None], max_bytes: int) -> None:
    ring = Ring(3600, max_bytes)
    cursor = ring.cursor()
    appended = taken = 0
    for step in steps:
        if step is None:
            taken += sum(b.count for b in cursor.take())
        else:
            ring.append(block(appended, step))
            appended += step
    taken += sum(b.count for b in cursor.take())
    assert taken + cursor.dropped == appended
