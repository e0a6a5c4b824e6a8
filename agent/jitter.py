"""Jitter: how far blocks come from an even beat, which says how a sensor, its bus and this computer keep time."""

from collections.abc import Sequence

import numpy as np

from drivers import Block

_LEAST = 4


def jitter_s(blocks: Sequence[Block]) -> float | None:
    """RMS distance of the blocks' times from the straight line through them, seconds; None of fewer than four.

    Only blocks of the last segment count: over a gap there is no line.
    """
    same = [block for block in blocks if block.segment == blocks[-1].segment]
    if len(same) < _LEAST:
        return None
    last = same[-1]
    index = np.array([block.newest - last.newest for block in same], np.float64)
    seconds = np.array([block.observed_ns - last.observed_ns for block in same], np.float64) / 1e9
    index -= index.mean()
    seconds -= seconds.mean()
    spread = float(index @ index)
    if not spread:
        return None
    return float(np.sqrt(np.mean((seconds - index * (float(index @ seconds) / spread)) ** 2)))
