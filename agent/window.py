"""The window of a trigger: which samples of the fastest stream (the lead) one capture is to hold, to the very index."""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from agent.stream import Stream
from drivers import Block


class Window:
    """From `pre` samples before the one at which it fired to `post` after the last one that extended it."""

    def __init__(self, lead: Stream, index: int, around: tuple[int, int], said: dict[str, Any]) -> None:
        """`index` is the lead's sample at which it fired, `around` (pre, post), `said` the sidecar's `trigger`."""
        pre, self._post = around
        self.lead = lead
        self.at = max(0, index - pre)
        """Next index to write."""
        self.end = index + self._post + 1
        self.span = pre + self._post + 1
        """Samples that belong to one trigger alone."""
        placed = {"stream": lead.name, "sample": index, "pre": pre, "post": self._post}
        self.said = {**said, "lead": placed, "extended": 0}
        self.deadline_ns = 0
        """CLOCK_BOOTTIME until which it waits for a lead that brings nothing."""
        self.whole_ns = 0
        """When all of it had come; 0 before."""
        self._pending: deque[Block] = deque()
        """Blocks of the lead that are not written yet, among them what only an extension would want."""

    def extend(self, index: int) -> None:
        """It fired again, at a sample before the end."""
        self.end = max(self.end, index + self._post + 1)
        self.said = {**self.said, "extended": self.said["extended"] + 1}
        self.whole_ns = 0

    def bring(self, blocks: Iterable[Block]) -> None:
        """The lead's next blocks."""
        self._pending.extend(blocks)

    def missed(self) -> int:
        """Samples that nobody has any more of those it is to begin with."""
        first = next(iter(self._pending), None)
        return 0 if first is None else max(0, min(first.first, self.end) - self.at - first.lost)

    def parts(self) -> Iterator[Block]:
        """What can be written now, in order. What lies beyond the end stays: an extension may want it."""
        while self._pending and self._pending[0].first < self.end:
            block = self._pending[0]
            part = between(block, self.at, self.end)
            if block.end <= self.end:
                self._pending.popleft()
            elif part is None:
                return
            if part is not None:
                self.at = part.end
                yield part

    def last_ns(self) -> int | None:
        """When the first sample after its end was observed, or may have been; None while not all of it has come."""
        if self._pending:
            return self._pending[0].observed_ns
        return 0 if self.at >= self.end else None


def between(block: Block, first: int, end: int) -> Block | None:
    """The part of a block from index `first` up to `end`, told only of losses that lie there; None where empty."""
    low, high = max(first, block.first), min(end, block.end)
    if low >= high:
        return None
    lost = min(block.lost, block.first - first) if low == block.first else 0
    if (low, high, lost) == (block.first, block.end, block.lost):
        return block
    samples = block.samples[low - block.first : high - block.first]
    return dataclasses.replace(block, first=low, samples=samples, lost=lost)
