"""The ring keeps the past, bounds itself, and counts what a reader came too late for."""

import math

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


def picture(number: int) -> Block:
    return Block(number, np.zeros(0, DTYPE), number * 1000 * MS, number, jpeg=bytes(1000), metadata={"gain": 2.0})


def test_a_picture_that_every_reader_has_leaves_its_times_behind_and_no_bytes() -> None:
    ring = Ring(10, 1 << 20)
    one, two = ring.cursor(math.inf), ring.cursor(math.inf)
    for number in range(4):
        ring.append(picture(number))
        assert [len(b.jpeg) for b in one.take()] == [1000]
    assert ring.held() == (4, 4000, 3.0), "the other has none yet"
    assert [len(b.jpeg) for b in two.take()] == [1000] * 4
    ring.append(picture(4))
    assert ring.held() == (5, 1000, 4.0)
    assert [b.observed_ns for b in ring.cursor(3.5).take()] == [1000 * MS * number for number in range(1, 5)]
    late = ring.cursor(math.inf)
    assert [(b.first, len(b.jpeg)) for b in late.take()] == [(4, 1000)]
    assert (one.dropped, two.dropped, late.dropped) == (0, 0, 0)


def test_pictures_stay_where_a_trigger_may_want_them_and_where_nobody_reads() -> None:
    kept, unread = Ring(10, 1 << 20), Ring(10, 1 << 20)
    kept.keep_pictures()
    cursor = kept.cursor(math.inf)
    for number in range(4):
        kept.append(picture(number))
        unread.append(picture(number))
        cursor.take()
        unread.cursor(5.0).take()
    assert (kept.held(), unread.held()) == ((4, 4000, 3.0), (4, 4000, 3.0))
    assert [len(b.jpeg) for b in unread.cursor(math.inf).take()] == [1000] * 4


def test_a_reader_that_comes_too_late_for_pictures_is_told_how_many() -> None:
    ring = Ring(2, 1 << 20)
    fast, slow = ring.cursor(math.inf), ring.cursor(math.inf)
    for number in range(6):
        ring.append(picture(number))
        fast.take()
    assert [(b.first, len(b.jpeg)) for b in slow.take()] == [(3, 1000), (4, 1000), (5, 1000)]
    assert (fast.dropped, slow.dropped) == (0, 3)


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
