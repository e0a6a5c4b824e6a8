"""The trigger: finds the very samples at which a recording begins by itself, whatever blocks they come in."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers import Block, Channel, Identity
from drivers.settings import check, option

Floats = npt.NDArray[np.float64]

WATCHING = ("level", "slope", "rms")
"""Kinds of trigger that watch a stream of samples."""
MOTION = "motion"
"""The kind that watches a camera."""


@dataclasses.dataclass(frozen=True)
class TriggerSettings:
    """What begins a capture of a recording with when = "trigger", and how much around it belongs to it."""

    kind: str = option(
        "level: a value reaches the threshold; slope: its change a second does; rms: its root mean square over window_s"
        " does; motion: a camera takes a picture for it; gpio: an edge at a pin; command: `capture-agent trigger`,"
        " which all others heed too",
        "command",
        choices=("command", *WATCHING, MOTION, "gpio"),
    )
    stream: str = option("stream to watch; empty: the recording's only one", "")
    channels: tuple[str, ...] = option("channel to watch; several: the root of the sum of their squares", ())
    direction: str = option(
        "above: fires where the threshold is reached from below; below: from above", "above", choices=("above", "below")
    )
    threshold: float = option("value at which it fires, in `units` (slope: a second)", 0.0)
    hysteresis: float = option("how far it must have gone back behind the threshold to fire again", 0.0, at_least=0)
    window_s: float = option(
        "rms: over this long, s; slope: from one sample to that this much later, 0: to the next",
        0.0,
        at_least=0,
        at_most=60,
    )
    units: str = option(
        "of threshold and hysteresis: physical (the channel's unit) or raw", "physical", choices=("physical", "raw")
    )
    holdoff_s: float = option(
        "for this long after it fired nothing counts, s; for a switch that bounces too", 0.0, at_least=0, at_most=86400
    )
    pre_s: float = option("seconds before the trigger, out of the ring", 0.0, at_least=0, at_most=599)
    post_s: float = option("seconds after the last trigger", 5.0, at_least=0, at_most=86400)
    pre_samples: int = option("the same in samples of the fastest stream, instead of pre_s", 0, at_least=0)
    post_samples: int = option("the same in samples of the fastest stream, instead of post_s", 0, at_least=0)
    pin: int = option("gpio: number of the pin (BCM); -1: none", -1, at_least=-1, at_most=1000)
    edge: str = option("gpio: the edge that fires", "rising", choices=("rising", "falling", "both"))
    pull: str = option("gpio: the resistor at the pin", "down", choices=("down", "up", "none"))
    snap: bool = option("pictures: whether each camera is asked for one at each trigger, besides those around it", True)

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        if self.kind in WATCHING and not self.channels:
            mistakes.append(("channels", self.channels, f"at least one channel, for kind = {self.kind!r}"))
        if self.kind == "rms" and not self.window_s:
            mistakes.append(("window_s", self.window_s, "more than 0, for kind = 'rms'"))
        if self.kind == "gpio" and self.pin < 0:
            mistakes.append(("pin", self.pin, "number of a pin (BCM), for kind = 'gpio'"))
        if self.pre_s and self.pre_samples:
            mistakes.append(("pre_samples", self.pre_samples, "either pre_s or pre_samples"))
        check(self, *mistakes)

    def in_words(self) -> str:
        """How much around it belongs to it."""
        before = f"{self.pre_samples} samples" if self.pre_samples else f"{self.pre_s:g} s"
        after = f"{self.post_samples} samples" if self.post_samples else f"{self.post_s:g} s"
        return f"{before} before it and {after} after"

    def around(self, rate_hz: float) -> tuple[int, int]:
        """Samples of a stream with this rate before and after the one at which it fires."""
        return self.pre_samples or round(self.pre_s * rate_hz), self.post_samples or round(self.post_s * rate_hz)


@dataclasses.dataclass(frozen=True)
class Event:
    """A trigger has fired."""

    kind: str
    time_ns: int
    """CLOCK_BOOTTIME, as it was first known."""
    stream: str = ""
    channels: tuple[str, ...] = ()
    sample: int | None = None
    """Index in that stream; None where none fired it."""
    segment: int = 0
    """Of that sample."""
    value: float | None = None
    """What reached the threshold, in the trigger's units; of motion the share of the scene."""

    def as_json(self, units: str, time_ns: int) -> dict[str, Any]:
        """As the sidecar has it, with the best that is known of its time."""
        said: dict[str, Any] = {"kind": self.kind, "boot_time_ns": time_ns}
        if self.sample is not None:
            found = {"stream": self.stream, "channels": list(self.channels), "sample": self.sample}
            said |= {**found, "value": self.value, "units": units}
        elif self.stream:
            said |= {"stream": self.stream, "value": self.value}
        return said


class Detector:
    """Watches one stream of one set-up. Carries everything over, so that cutting blocks differently changes nothing.

    It fires at a sample that reaches the threshold once one was seen that was behind it by more than the hysteresis:
    a value that is there from the beginning is no event. What was lost in between begins slopes and windows anew.
    """

    def __init__(self, settings: TriggerSettings, identity: Identity) -> None:
        """ValueError says which channel there is not, or why there is no rate to count by."""
        known = {channel.name: channel for channel in identity.channels}
        if missing := [name for name in settings.channels if name not in known]:
            raise ValueError(f"{identity.model} has no channel {missing[0]!r}; it has {', '.join(known) or 'none'}")
        if identity.rate_hz <= 0:
            raise ValueError(f"{identity.model} has no rate, so that nothing can be triggered by it")
        self.ignored = 0
        """Times it fired within the hold-off."""
        self.next: int | None = None
        """Index after the last sample it has seen."""
        self._channels = [_taken(known[name], settings.units) for name in settings.channels]
        self._kind = settings.kind
        self._rate_hz = identity.rate_hz
        self._sign = 1.0 if settings.direction == "above" else -1.0
        self._threshold = self._sign * settings.threshold
        self._again = self._threshold - settings.hysteresis
        self._holdoff = round(settings.holdoff_s * identity.rate_hz)
        self._held_until = 0
        self._armed = False
        self._window = max(1, round(settings.window_s * identity.rate_hz))
        self._history = np.empty(0)
        self._sums = _Sums(self._window)

    def feed(self, block: Block) -> list[tuple[int, float]]:
        """(index, value) of each sample of this block at which it fires."""
        if block.first != self.next:
            self._history = np.empty(0)
            self._sums = _Sums(self._window)
        self.next = block.end
        values = self._watched(block)
        measured = self._sign * values  # NaN compares as neither
        reached, behind = measured >= self._threshold, measured < self._again
        if not (reached.any() if self._armed else behind.any()):
            return []
        first = block.end - len(values)
        return [(first + at, float(values[at])) for at in self._crossings(reached, behind) if self._counts(first + at)]

    def _crossings(self, reached: npt.NDArray[np.bool_], behind: npt.NDArray[np.bool_]) -> list[int]:
        """Where it is reached and was behind when it last was either."""
        either = np.flatnonzero(reached | behind)
        sides = reached[either]
        before = np.concatenate(([not self._armed], sides[:-1]))
        self._armed = not sides[-1]
        places: list[int] = either[sides & ~before].tolist()
        return places

    def _counts(self, index: int) -> bool:
        """Whether the hold-off of what fired before is over."""
        if index < self._held_until:
            self.ignored += 1
            return False
        self._held_until = index + self._holdoff
        return True

    def _watched(self, block: Block) -> Floats:
        """What is compared with the threshold, for the last samples of the block: all but those without a past."""
        columns = [block.samples[name].astype(np.float64) * scale + offset for name, scale, offset in self._channels]
        if self._kind == "rms":
            return np.sqrt(self._sums.feed(_squares(columns)) / self._window)
        values: Floats = columns[0] if len(columns) == 1 else np.sqrt(_squares(columns))
        if self._kind == "level":
            return values
        values = np.concatenate((self._history, values))
        self._history = values[-self._window :]
        return (values[self._window :] - values[: -self._window]) * (self._rate_hz / self._window)


class _Sums:
    """Sums over the last `width` values, the same to the last bit however the values are cut into pieces.

    Values stand in rows of `width`. A window is the end of one row and the beginning of the next: a running sum from
    the left and one from the right, of which each is always added up in the same order, and no error adds up.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._right: Floats | None = None
        """Of the row before, for each place the sum of what is to the right of it; None: there is no row before."""
        self._row = np.zeros(width)
        self._known = 0
        """How many of the row's values are there ..."""
        self._sum = 0.0
        """... and their sum."""

    def feed(self, values: Floats) -> Floats:
        """The sums that end at the last of these values: at all of them but those with too little before them."""
        known, end = self._known, self._known + len(values)
        if end >= self._width:
            return self._over_the_end(values)
        sums = np.cumsum(np.concatenate(((self._sum,), values)))[1:]
        self._row[known:end], self._known = values, end
        self._sum = float(sums[-1]) if len(sums) else self._sum
        return np.empty(0) if self._right is None else sums + self._right[known:end]

    def _over_the_end(self, values: Floats) -> Floats:
        """The same where a row becomes whole, or many do."""
        width, known = self._width, self._known
        begun = max(known, width - 1) if self._right is None else known
        together = np.concatenate((self._row[:known], values))
        whole, self._known = divmod(len(together), width)
        rows = np.zeros((whole + 1, width))
        rows.reshape(-1)[: len(together)] = together
        left = np.cumsum(rows, axis=1)
        right = np.zeros_like(rows)
        right[:, :-1] = np.cumsum(rows[:, :0:-1], axis=1)[:, ::-1]
        self._row, self._sum = rows[-1].copy(), float(left[-1, -1])
        left[1:] += right[:-1]
        if self._right is not None:
            left[0] += self._right
        self._right = right[-2].copy()
        return left.reshape(-1)[begun : len(together)]


def _squares(columns: list[Floats]) -> Floats:
    total = columns[0] * columns[0]
    for column in columns[1:]:
        total += column * column
    return total


def _taken(channel: Channel, units: str) -> tuple[str, float, float]:
    """(name, scale, offset) by which a channel is compared."""
    return (channel.name, channel.scale, channel.offset) if units == "physical" else (channel.name, 1.0, 0.0)
