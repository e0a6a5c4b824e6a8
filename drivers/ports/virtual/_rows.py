"""A virtual device that sends rows of motion in some framing from power-up on, whether anybody reads or not."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.ports.virtual.motion import Motion

Rows = npt.NDArray[np.int16]
_BOOT_NS = 50_000_000
_FLAT_OUT_ROWS = 512
_NEVER = 1 << 62
_MOST_ROWS = 2048
"""Of one turn, when it has slept too long."""


class RowSender:
    """Row n since power-up is row n of the motion. A row that finds no room is dropped, and the next one follows.

    With `flat_out` it waits for room instead, and sends as fast as the host reads. `document` has the options of
    `drivers._line.VirtualRows`.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        encode: Callable[[int, Rows], list[bytes]],
        *,
        hello: bytes = b"",
        together: int = 1,
    ) -> None:
        """`encode` gets the index of the first row and the rows, shape (n, 6), and gives what is sent, in pieces.

        `hello` is what a host may hear before the first row; `together` is how many rows are sent at a time.
        """
        self._encode, self._hello, self._together = encode, hello, together
        self._flat_out = document["flat_out"]
        self._end = document["rows"] or _NEVER
        self._delay_ns = document["delay_s"] * 1e9
        rate_hz = document["rate_hz"]
        self._period_ns: float = 1e9 / (rate_hz * (1 + document["clock_ppm"] * 1e-6))
        self._chance = random.Random(document["seed"])  # noqa: S311  to be repeatable
        self._motion = Motion(
            document["seed"], rate_hz, replay=document["replay"], replay_accel_scale=document["replay_accel_scale"]
        )
        self._greeted = False
        self._done = 0
        self._begun_ns = self._due_ns = 0

    def power_on(self, now_ns: int) -> None:
        self._greeted, self._done = False, 0
        self._begun_ns = self._due_ns = now_ns + _BOOT_NS

    def hear(self, data: bytes, now_ns: int) -> None:
        pass

    def due_ns(self) -> int | None:
        if self._done >= self._end:
            return _NEVER
        return None if self._flat_out and self._greeted else self._due_ns

    def pieces(self, now_ns: int) -> list[bytes]:
        if not self._greeted:
            if now_ns < self._due_ns:
                return []
            self._greeted = True
            self._due_ns = self._next_due_ns()
            return [self._hello] if self._hello else []
        first = self._done
        if self._flat_out:
            self._done = min(first + max(_FLAT_OUT_ROWS // self._together, 1) * self._together, self._end)
        elif now_ns >= self._due_ns:
            last = min(first + _MOST_ROWS, self._end)
            self._done += self._together
            while self._ready_ns() <= now_ns and self._done < last:
                self._done += self._together  # whatever held the line up, it then hands over all that waits
            self._due_ns = self._next_due_ns()
        return self._encode(first, self._motion.rows(first, self._done - first)) if self._done > first else []

    def _ready_ns(self) -> float:
        """When the next rows are taken."""
        return self._begun_ns + (self._done + self._together) * self._period_ns

    def _next_due_ns(self) -> int:
        return int(self._ready_ns() + self._chance.uniform(0, self._delay_ns))
