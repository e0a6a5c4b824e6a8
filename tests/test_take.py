"""A take: blocks are split at the very sample, and a set-up that is not the required one is refused with the reason."""

import numpy as np
import pytest

from agent.capture import CaptureConfiguration
from agent.take import difference, mismatch, split
from drivers import Block, Channel, Identity

IDENTITY = Identity("IMU", 100.0, (Channel("X"),))


def block() -> Block:
    samples = np.zeros(10, IDENTITY.dtype)
    samples["X"] = np.arange(20, 30)
    return Block(20, samples, 5_000, 31, lost=3, exact=True, segment=2)


@pytest.mark.parametrize("count", range(1, 10))
def test_both_parts_of_a_block_keep_its_observation_and_its_loss_is_told_once(count: int) -> None:
    head, rest = split(block(), count)
    assert head is not None
    assert rest is not None
    assert (head.first, head.count, head.lost) == (20, count, 3)
    assert (rest.first, rest.count, rest.lost) == (20 + count, 10 - count, 0)
    assert [*head.samples["X"], *rest.samples["X"]] == list(range(20, 30))
    for part in (head, rest):
        assert (part.observed_ns, part.newest, part.segment) == (5_000, 31, 2)


def test_a_block_that_belongs_to_one_side_stays_whole() -> None:
    whole = block()
    assert split(whole, 10) == (whole, None)
    assert split(whole, 0) == (None, whole)


def test_the_difference_of_two_set_ups_is_told_place_by_place() -> None:
    wanted = {"version": 1, "streams": [{"rate_hz": 1000, "setup": {"range_g": 8}}]}
    found = {"version": 1, "streams": [{"rate_hz": 500, "setup": {"range_g": 8, "filter": 3}}]}
    assert difference(wanted, found) == [
        "streams[0].rate_hz: 1000 wanted, 500 found",
        "streams[0].setup.filter: None wanted, 3 found",
    ]
    assert difference(wanted, {**wanted, "streams": []}) == [f"streams: {wanted['streams']} wanted, [] found"]


def test_only_the_required_set_up_may_be_recorded() -> None:
    found = CaptureConfiguration.of("walk", [(IDENTITY, ["X"])])
    other = CaptureConfiguration.of("walk", [(Identity("IMU", 50.0, IDENTITY.channels), ["X"])])
    assert mismatch("", None, found) == ""
    assert mismatch(found.uuid, None, found) == ""
    assert "streams[0].rate_hz: 50.0 wanted, 100.0 found" in mismatch(other.uuid, other.document, found)
    assert "cannot be shown" in mismatch(other.uuid, None, found)
