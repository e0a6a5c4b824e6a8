"""The rows of one stream in one life: what its captures hold, in their order, against what the sensor sent."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from agent.capture import Capture
from agent.formats import format_module
from tests.soak.life import Life
from tests.soak.truth import AXES, Sensor

_SHARE = 0.0002
"""Of a gap whose length is estimated: how wrong that may be, beside one sample, before it counts as off."""
_TAKEN_S = 0.5
"""For how long a status may know of rows before the recording has taken them, and counted those it cannot write."""
_HALT_S = 0.1
"""How far off it may be at most: a machine that halts while it looks at a chip cannot tell when it looked."""

HARMLESS = {
    "sigkill",
    "killed_at_start",
    "killed_while_sending",
    "two_daemons",
    "slow_fsync",
    "database_locked",
    "broker_gone",
    "broker_frozen",
    "target_fails",
    "target_gone",
    "archive_away",
    "clock_step",
}
"""Faults in spite of which nothing is lost, but for what a kill may cost."""

Range = tuple[int, int]
"""Rows from the first to before the second."""


@dataclasses.dataclass
class Account:
    """Sums of one voyage; it balances where there are no complaints."""

    rows: int = 0
    lost_exact: int = 0
    lost_estimated: int = 0
    estimates: int = 0
    estimates_off: int = 0
    """Of these, off by more than one sample and 0.02 %."""
    samples_off: int = 0
    """By how much, together."""
    unrecorded: int = 0
    """Not written, and counted so by the recording: a full or failing disk."""
    damaged: int = 0
    """Rows that the harness destroyed on the disk: of files it had looked into before."""
    garbled: int = 0
    """Rows changed on the line that the line's own checksum let through."""
    untold: int = 0
    """Rows that came after the last status of a life that was in trouble, whose counters went with it."""
    pictures: int = 0
    captures: int = 0
    delivered: int = 0
    deleted: int = 0
    quarantined: int = 0
    all_kills: int = 0
    """Lives that SIGKILL ended."""
    kills: int = 0
    """Streams of these that had nothing else to suffer."""
    timed_kills: int = 0
    """Of these, on a machine that let the daemon run until the end."""
    worst_kill_ms: float = 0.0
    complaints: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Jump:
    """Rows that are in no file and no gap of one, between two that are there."""

    name: str
    first: int
    missing: tuple[Range, ...]
    off: int
    """By how much the device's own count differs."""
    anew: bool
    """The device counts from its power-on again, and nobody knows when that was."""


class RowLedger:
    """Follows the captures of one stream through one life; the sums go to the account."""

    def __init__(
        self, life: Life, stream: str, account: Account, *, destroyed: Iterable[Range] = (), garbles: bool = False
    ) -> None:
        """`destroyed`: rows of this life that the harness destroyed on the disk. `garbles`: the line changes bytes."""
        self._life, self._stream, self._account = life, stream, account
        self._destroyed = tuple(destroyed)
        self._garbles = garbles
        self._sensor = Sensor(stream, life.rate_hz)
        self.due = 0
        """Index of the next row."""
        self.rows = 0
        """In files."""
        self._device = 0
        """What the device itself calls it."""
        self._known = int(((life.ended_ns - life.begun_ns) / 1e9 + 5) * life.rate_hz)
        self._jumps: list[_Jump] = []
        self._in_files: list[Range] = []
        """Lost, by the gaps in files."""

    def follow(self, captures: list[Capture]) -> list[str]:
        """What does not balance, in words."""
        found: list[str] = []
        captures.sort(key=lambda capture: (capture.document["streams"][0]["first"], capture.name))
        gaps: list[dict[str, Any]] = []
        for capture in captures:
            gaps += capture.document["streams"][0]["gaps"]
            for first, rows in runs(capture):
                found += self.run(capture.name, first, rows, gaps)
        return [*found, *self.missing()]

    def run(self, name: str, first: int, rows: Any, gaps: list[dict[str, Any]]) -> Iterator[str]:
        """Rows that follow on one another, from `first` on."""
        account = self._account
        if first < self.due:
            yield f"{name}: rows from {first} on are there twice (up to {self.due})"
            return
        before = [gap for gap in gaps if self.due <= gap["first"] < first]
        lost = sum(gap["samples"] for gap in before)
        exact = all(gap["exact"] for gap in before)
        inside = [(gap["first"], gap["first"] + gap["samples"]) for gap in before]
        for gap, rows_lost in zip(before, inside, strict=True):
            by_sensor = without([rows_lost], self._destroyed)  # a gap may be what was destroyed in the midst of a file
            account.damaged += gap["samples"] - length(by_sensor)
            account.lost_exact += length(by_sensor) if gap["exact"] else 0
            account.lost_estimated += 0 if gap["exact"] else length(by_sensor)
            self._in_files += by_sensor
        expected = self._device + first - self.due
        device, wrong = self._sensor.find(rows, max(0, expected), self._known)
        off = device - expected
        if device < 0:
            yield f"{name}: rows {first} to {first + len(rows) - 1} were never sent"
        elif first - self.due > lost:  # the device may have lost more meanwhile, which stands in no file
            missing = without([(self.due, first)], inside)
            self._jumps.append(_Jump(name, first, missing, off, device < self._device))
        elif (off or lost) and self.due and not self._right(off, 0 if exact else lost, device < self._device):
            kind = "exact" if exact else "estimated"
            yield f"{name}: before row {first} are {first - self.due} missing ({kind}), which is {off} off"
        if wrong and device >= 0:
            account.garbled += wrong
            if not self._garbles:
                yield f"{name}: {wrong} of the rows from {first} on are not what was sent"
        account.rows += len(rows)
        self.rows += len(rows)
        self.due, self._device = first + len(rows), device + len(rows)

    def _right(self, off: int, estimated: int, anew: bool) -> bool:
        """Whether a gap's length is as good as it claims; a device that was powered on anew counts from 0 again."""
        if not estimated:
            return not off
        self._account.estimates += 1
        if anew or (off < 0 and self._reopened()) or abs(off) <= 1 + estimated * _SHARE:
            return True
        self._account.estimates_off += 1
        self._account.samples_off += abs(off)
        return abs(off) <= _HALT_S * self._life.rate_hz

    def _reopened(self) -> bool:
        return bool(self._life.status and self._life.status["streams"][self._stream]["reopened"])

    def missing(self) -> Iterator[str]:
        """What neither a file nor a gap in one accounts for, the harness must have destroyed or a recording counted."""
        life, account = self._life, self._account
        counted = lost = seen = 0
        if life.status:
            said, stream = life.status["recordings"][self._stream], life.status["streams"][self._stream]
            seen = stream["samples"] + stream["lost"]
            lost = max(0, stream["lost"] - sum(end - begin for begin, end in self._in_files if end <= seen))
            counted = said["dropped"] + said["unrecorded"] + lost
        jumped = [piece for jump in self._jumps for piece in jump.missing]
        left = without(jumped, self._destroyed)
        account.damaged += length(jumped) - length(left)
        told = length(without(left, [(seen - int(_TAKEN_S * life.rate_hz), 1 << 62)]))
        untold = max(0, length(left) - max(told, counted))
        account.unrecorded += length(left) - untold
        account.untold += untold
        if told > counted:
            yield f"{told} rows are in no file, and {counted} are counted ({left[:5]})"
        # what was counted and is not missing can only be after the last row that is there, or where files were damaged
        behind = max(0, seen - self.due) + (length(self._destroyed) + lost if self._destroyed else 0)
        if counted > length(left) + behind:
            missing = length(left)
            yield f"{counted} rows are counted as lost, and {missing} are missing, {behind} behind the last: {left[:5]}"
        if untold and life.troubled <= HARMLESS:
            yield f"{untold} rows are in no file, behind the last status of a life without trouble ({left[:5]})"
        for jump in self._jumps:
            hidden = lost or bool(untold) or length(jump.missing) > length(without(jump.missing, self._destroyed))
            if jump.anew or (jump.off < 0 and self._reopened()):
                continue
            if not self._right(jump.off, length(jump.missing) if hidden else 0, jump.anew):
                kind = "estimates among them" if hidden else "none estimated"
                yield f"{jump.name}: before row {jump.first} the device counts {jump.off} more ({kind})"


def without(ranges: Iterable[Range], holes: Iterable[Range]) -> tuple[Range, ...]:
    """What is left of ranges, in their order."""
    left = list(ranges)
    for begin, end in holes:
        cut = [piece for a, b in left for piece in ((a, min(b, begin)), (max(a, end), b))]
        left = [(a, b) for a, b in cut if a < b]
    return tuple(left)


def length(ranges: Iterable[Range]) -> int:
    """Rows in ranges, each once."""
    count = last = 0
    for begin, end in sorted(ranges):
        count += max(0, end - max(begin, last))
        last = max(last, end)
    return count


def runs(capture: Capture) -> Iterator[tuple[int, Any]]:
    """(index of the first, rows of shape (n, 6)) wherever rows follow on one another without a gap."""
    pieces: list[Any] = []
    begun = due = -1
    for payload in capture.payloads:
        for block in format_module(payload.format).Settings().open().read(capture.path(payload), capture):
            rows = np.stack([block.samples[name] for name in AXES], axis=1)
            if block.first != due and pieces:
                yield begun, np.concatenate(pieces)
                pieces = []
            if not pieces:
                begun = block.first
            pieces.append(rows)
            due = block.first + len(rows)
    if pieces:
        yield begun, np.concatenate(pieces)
