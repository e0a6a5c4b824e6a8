"""What one stream has brought lately: for the edges of the next capture, and what of it is in no capture yet."""

from collections import deque
from collections.abc import Sequence

from agent.take import OVERLAP_NS
from drivers import Block

_SILENT_NS = 4_000_000_000
_FREE_NS = 30_000_000_000
"""How much that is in no capture yet is kept for the next one, at most."""


class Recent:
    """The blocks of the last second, the one before these, and all that is free: in no capture, as far as known."""

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque()
        self._free: int | None = None
        """The first sample that is free."""
        self._heard_ns = self._longest_ns = 0
        self._segment = -1

    def hear(self, blocks: Sequence[Block]) -> None:
        """Notes when it brought something, and how long it takes for that at most while nothing breaks off."""
        for block in blocks:
            if block.segment == self._segment:
                self._longest_ns = max(self._longest_ns, block.observed_ns - self._heard_ns)
            self._heard_ns, self._segment = block.observed_ns, block.segment

    def silent(self, now_ns: int) -> bool:
        """Whether it has brought nothing for much longer than it ever did."""
        return bool(self._heard_ns) and now_ns - self._heard_ns > max(_SILENT_NS, 3 * self._longest_ns)

    def keep(self, blocks: Sequence[Block]) -> int:
        """Adds the newest blocks; how many free samples had to be dropped for them."""
        self._blocks.extend(blocks)
        dropped = 0
        newest_ns = self._blocks[-1].observed_ns if self._blocks else 0
        while len(self._blocks) > 1 and self._blocks[1].observed_ns < newest_ns - OVERLAP_NS:
            oldest, following = self._blocks[0], self._blocks[1]
            if self._free is not None and oldest.first >= self._free:
                if following.observed_ns >= newest_ns - _FREE_NS:
                    break
                dropped += oldest.count
                self._free = following.first
            self._blocks.popleft()
        return dropped

    def free(self, block: Block) -> None:
        """From this block on nothing is in a capture, if that is not so already."""
        self._free = block.first if self._free is None else self._free

    def freed(self) -> list[Block]:
        """What is free."""
        return [] if self._free is None else [block for block in self._blocks if block.first >= self._free]

    def settle(self, until_ns: int) -> None:
        """What was observed until then is in a capture; what came later is not."""
        self._free = next((block.first for block in self._blocks if block.observed_ns > until_ns), None)

    def settle_all(self) -> None:
        """Nothing is free."""
        self._free = None

    def since(self, begun_ns: int, newer: Sequence[Block]) -> list[Block]:
        """For a capture that begins then: what shares its first edge, the one before that, and what is newer."""
        known = [*self._blocks, *newer]
        older = sum(block.observed_ns < begun_ns - OVERLAP_NS for block in known)
        return known[max(0, older - 1) :]

    def clear(self) -> None:
        self._blocks.clear()
        self._free = None
