"""Hallmark: the register by which a chip is recognised, as the driver of that chip declares it."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Hallmark:
    """What a chip at one of these addresses says of itself. To read the register must change nothing in the chip.

    A driver's module may offer `HALLMARKS`, a tuple of them: by that `capture-agent doctor` finds its chips.
    """

    addresses: tuple[int, ...]
    register: int
    answers: Mapping[bytes, str]
    """Model by what the register says; all of the same length."""
    sure: bool = True
    """False: nothing but what stands there after power-up tells this chip, so another one may be meant."""

    @property
    def length(self) -> int:
        """Bytes to read."""
        return max(map(len, self.answers))
