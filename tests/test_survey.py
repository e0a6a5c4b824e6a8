"""What is missing in a capture is called exact only where every sample of it was counted."""

import numpy as np
import pytest

from agent.survey import _Tally
from drivers import Block, Channel

CHANNELS = (Channel("X", dtype="<i2"),)
SAMPLES = np.zeros(10, [("X", "<i2")])
SAMPLES.flags.writeable = False


def block(first: int, *, lost: int, exact: bool, segment: int) -> Block:
    return Block(first, SAMPLES, observed_ns=1, newest=first + 9, lost=lost, exact=exact, segment=segment)


@pytest.mark.parametrize(
    ("lost", "segment", "exact"),
    [
        (0, 0, True),  # not written: counted by index
        (0, 1, False),  # not written, and the device ran over or was away meanwhile
        (3, 1, False),
        (100, 1, True),  # lost, and counted by the wire
    ],
)
def test_what_is_missing_before_the_first_block_of_a_capture(lost: int, segment: int, exact: bool) -> None:
    tally = _Tally(CHANNELS, expected=50)
    tally.add(block(150, lost=lost, exact=True, segment=segment))
    assert [gap.exact for gap in tally.gaps] == [exact]
    assert (tally.lost, tally.exact) == (100, exact)
