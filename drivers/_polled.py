"""Polled chips: sample k is measured in the slot from start + k / rate on; a slot that was missed is lost."""

import math
import time
from collections.abc import Callable, Generator
from typing import Protocol

import numpy as np

from drivers import Block, DriverError, Identity, Samples, boottime_ns

Row = tuple[float, ...]
"""A raw value per channel."""

Mistakes = list[tuple[str, object, str]]

_ASKED = 12
"""How often a chip is asked once more, each time a quarter of a conversion later, whether it is ready."""
_TRANSFER_S = 0.0006
"""Of five bytes of nine bits at 100 kHz, start and stop, and of the system call."""


class Chip(Protocol):
    """A chip that measures when it is told to. Every method raises DriverError."""

    def start(self) -> Identity:
        """Identity, reset, settings; from then on `measure` may be called."""

    def measure(self) -> Generator[float, None, Row]:
        """The steps of one measurement: yields the seconds until the next step, and returns a value per channel."""

    def close(self) -> None:
        """Lets the port go; may be called twice."""


class Polled:
    """The driver of such a chip. Its waits between steps are `read`'s, so that a slow conversion holds nobody up."""

    def __init__(self, chip: Chip, rate_hz: float) -> None:
        self.counters = {"missed_slots": 0}
        self._chip = chip
        self._period_ns = 1e9 / rate_hz
        self._dtype = np.dtype([])
        self._begun_ns = 0
        self._due_ns = 0  # of the next step
        self._slot = 0  # of the measurement that has begun
        self._next = 0  # index after the last sample that was handed out
        self._steps: Generator[float, None, Row] | None = None

    def start(self) -> Identity:
        identity = self._chip.start()
        self._dtype = identity.dtype
        self._begun_ns = self._due_ns = boottime_ns()
        return identity

    def read(self, timeout: float) -> Block | None:
        deadline_ns = boottime_ns() + int(timeout * 1e9)
        while self._reached(deadline_ns):
            steps, self._steps = self._steps, None
            if steps is None:
                self._slot = max(self._next, int((boottime_ns() - self._begun_ns) / self._period_ns))
                steps = self._chip.measure()
            try:
                pause_s = next(steps)
            except StopIteration as done:
                return self._block(done.value)
            self._steps = steps
            self._due_ns = boottime_ns() + int(pause_s * 1e9)
        return None

    def close(self) -> None:
        self._chip.close()

    def _reached(self, deadline_ns: int) -> bool:
        """Waits until the next step is due; False where that is after the deadline."""
        wait_ns = min(self._due_ns, deadline_ns) - boottime_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        return self._due_ns <= deadline_ns

    def _block(self, row: Row) -> Block:
        observed_ns = boottime_ns()
        samples: Samples = np.array([row], self._dtype)
        samples.flags.writeable = False
        index, lost = self._slot, self._slot - self._next
        self.counters["missed_slots"] += lost
        self._next = index + 1
        self._due_ns = self._begun_ns + math.ceil(self._next * self._period_ns)
        return Block(index, samples, observed_ns, newest=index, lost=lost)


def until(ready: Callable[[], bool], conversion_s: float, chip: str) -> Generator[float, None, None]:
    """The steps of waiting for a conversion of `conversion_s`; DriverError where its end does not come."""
    yield conversion_s
    for _ in range(_ASKED):
        if ready():
            return
        yield conversion_s / 4
    raise DriverError(
        f"{chip}: a conversion of {conversion_s * 1e3:.3g} ms does not end;"
        " switch the chip off and on, check its supply and wiring"
    )


def rate_mistakes(rate_hz: float, conversion_s: float, transfers: int, what: str) -> Mistakes:
    """What is wrong with the option `rate_hz`, where a sample takes `conversion_s` and transfers of a few bytes.

    `what` says in words what takes `conversion_s`.
    """
    bus_s = transfers * _TRANSFER_S
    if 0 < rate_hz <= 1 / (conversion_s + bus_s):
        return []
    fastest_hz = math.floor(100 / (conversion_s + bus_s)) / 100
    allowed = (
        f"more than 0 and at most {fastest_hz:g}: {what} {conversion_s * 1e3:.3g} ms,"
        f" its {transfers} transfers on the bus {bus_s * 1e3:.2g} ms"
    )
    return [("rate_hz", rate_hz, allowed)]
