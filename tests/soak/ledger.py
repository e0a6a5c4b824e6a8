"""The ledger: what the sensors sent = what the captures hold + what was counted as lost, life by life, row by row."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from agent.capture import Capture
from agent.formats import format_module
from tests.soak.truth import AXES, RATE_HZ, Sensor, picture_is
from tests.soak.union import Union, quarantine
from tests.soak.voyage import Life, Voyage

LONGEST_NS = 500_000_000
"""What a kill may cost at most."""
_SHARE = 0.0002
"""Of a gap whose length is estimated: how wrong that may be, beside one sample, before it counts as off."""
_HALT = 0.1 * RATE_HZ
"""How far off it may be at most: a machine that halts while it looks at a chip cannot tell when it looked."""
HARMLESS = {"sigkill", "two_daemons", "database_locked", "broker_gone", "broker_frozen", "target_fails"}


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
    """Rows that the harness destroyed on the disk."""
    garbled: int = 0
    """Rows changed on the line that the line's own checksum let through."""
    with_the_daemon: int = 0
    """Rows missing in lives that ended by themselves, whose counters went with them."""
    pictures: int = 0
    captures: int = 0
    delivered: int = 0
    deleted: int = 0
    quarantined: int = 0
    kills: int = 0
    worst_kill_ms: float = 0.0
    complaints: list[str] = dataclasses.field(default_factory=list)


def balance(voyage: Voyage, status: dict[str, Any]) -> Account:
    """Reads everything back. `status`: the last, after everything was delivered."""
    account, union = Account(), Union(voyage)
    union.settle()
    account.complaints += union.complaints
    account.captures, account.delivered, account.deleted = len(union.captures), union.delivered, union.only_far
    _delivery(voyage, status, account)
    if union.only_far and not voyage.own and not voyage.faults["disk_full"]:
        gone = {c.name for u, c in union.captures.items() if u not in union.here} - voyage.damaged
        account.complaints += [f"{name} is at its targets and no longer here, which nobody asked for" for name in gone]
    for number, life in enumerate(voyage.lives):
        of_life = [
            capture
            for capture in union.captures.values()
            if life.begun_ns <= capture.document["start"]["boot_time_ns"] <= life.ended_ns
        ]
        for stream in ("imu", "mcu"):
            found = _Stream(voyage, life, stream, account).follow([c for c in of_life if c.recording == stream])
            account.complaints += [f"life {number} ({life.how}), {stream}: {text}" for text in found]
        for capture in (c for c in of_life if c.recording == "photos"):
            account.pictures += 1
            (payload,) = capture.payloads
            if not picture_is(capture.document["streams"][0]["first"], capture.path(payload).read_bytes()):
                account.complaints.append(f"{payload.file} is not the picture that was taken")
    return account


def _delivery(voyage: Voyage, status: dict[str, Any], account: Account) -> None:
    for name, target in status["targets"].items():
        if target["owed"]:
            account.complaints.append(f"{name} is still owed {target['owed']}")
        if target["refused"] > len(voyage.damaged):
            account.complaints.append(f"{name} has refused {target['refused']}: {target['error']}")
    damaged_database = any(name.startswith("database_") and "locked" not in name for name in voyage.faults)
    for name, reason in quarantine(voyage).items():
        account.quarantined += 1
        mine = any(name.startswith(capture) for capture in voyage.damaged)
        cut = name.partition(".")[2].endswith(".part") or ".part" in name
        if not mine and not cut and not (damaged_database and name.startswith("agent.db")):
            account.complaints.append(f"quarantine: {name}: {reason}")


class _Stream:
    """One stream in one life: its captures, in their order, against its sensor."""

    def __init__(self, voyage: Voyage, life: Life, stream: str, account: Account) -> None:
        self._voyage, self._life, self._stream, self._account = voyage, life, stream, account
        self._sensor = Sensor(stream)
        self._due = 0
        """Index of the next row."""
        self._device = 0
        """What the device itself calls it."""
        self._known = int(((life.ended_ns - life.begun_ns) / 1e9 + 5) * RATE_HZ)
        self._jumps: list[int] = []
        self._in_files = 0
        """Lost, by the gaps in files."""

    def follow(self, captures: list[Capture]) -> list[str]:
        found: list[str] = []
        captures.sort(key=lambda capture: (capture.document["streams"][0]["first"], capture.name))
        gaps: list[dict[str, Any]] = []
        for capture in captures:
            gaps += capture.document["streams"][0]["gaps"]
            for first, rows in _runs(capture):
                found += self._run(capture.name, first, rows, gaps)
        return [*found, *self._missing(), *self._tail(captures)]

    def _run(self, name: str, first: int, rows: Any, gaps: list[dict[str, Any]]) -> Iterator[str]:
        """Rows that follow on one another, from `first` on."""
        account = self._account
        if first < self._due:
            yield f"{name}: rows from {first} on are there twice (up to {self._due})"
            return
        before = [gap for gap in gaps if self._due <= gap["first"] < first]
        lost = sum(gap["samples"] for gap in before)
        exact = all(gap["exact"] for gap in before)
        account.lost_exact += sum(gap["samples"] for gap in before if gap["exact"])
        account.lost_estimated += sum(gap["samples"] for gap in before if not gap["exact"])
        jump = first - self._due - lost
        self._in_files += lost
        if jump:  # and what the device lost meanwhile stands in no file
            self._jumps.append(jump)
        expected = self._device + first - self._due
        device, wrong = self._sensor.find(rows, max(0, expected), self._known)
        if device < 0:
            yield f"{name}: rows {first} to {first + len(rows) - 1} were never sent"
        elif (
            (device != expected or lost)
            and self._due
            and not jump
            and not self._gap_is_right(device - expected, lost, exact, device)
        ):
            kind = "exact" if exact else "estimated"
            missing = first - self._due
            yield f"{name}: before row {first} are {missing} missing ({kind}), which is {device - expected} off"
        if wrong and device >= 0:
            account.garbled += wrong
            if not any("garble" in line for line in self._voyage.schedule[self._stream]):
                yield f"{name}: {wrong} of the rows from {first} on are not what was sent"
        account.rows += len(rows)
        self._due, self._device = first + len(rows), device + len(rows)

    def _gap_is_right(self, off: int, lost: int, exact: bool, device: int) -> bool:
        """Whether a gap's length is as good as it claims; a device that was powered on anew counts from 0 again."""
        if exact or not lost:
            return not off
        self._account.estimates += 1
        status = self._life.status
        reopened = status and status["streams"][self._stream]["reopened"]
        if device < self._device or (off < 0 and reopened) or abs(off) <= 1 + lost * _SHARE:
            return True
        self._account.estimates_off += 1
        self._account.samples_off += abs(off)
        return abs(off) <= _HALT

    def _missing(self) -> Iterator[str]:
        """What neither a file nor a gap in one accounts for, its recording must have counted."""
        missing = sum(self._jumps)
        if not missing:
            return
        life, account = self._life, self._account
        counted = 0
        if life.status:
            said = life.status["recordings"][self._stream]
            lost = life.status["streams"][self._stream]["lost"]
            counted = said["dropped"] + said["unrecorded"] + max(0, lost - self._in_files)
        mine = sum(1 for name in self._voyage.damaged if f".{self._stream}." in name)
        if missing <= counted:
            account.unrecorded += missing
        elif mine and missing <= counted + mine * 1.8 * RATE_HZ:
            account.damaged += missing
        elif life.how.startswith("exit"):
            account.with_the_daemon += missing
        else:
            yield f"{missing} rows are in no file, and {counted} are counted (jumps {self._jumps[:5]})"

    def _tail(self, captures: list[Capture]) -> Iterator[str]:
        """A kill may take half a second of a sensor that worked."""
        life = self._life
        quiet = life.troubled <= HARMLESS and not self._voyage.schedule[self._stream] and not self._voyage.disk
        if life.how != "kill" or not quiet or life.ended_ns - life.begun_ns < 5_000_000_000 or self._voyage.damaged:
            return
        end_ns = max(
            (int(c.document["start"]["boot_time_ns"] + c.document["duration_s"] * 1e9) for c in captures), default=0
        )
        self._account.kills += 1
        cost_ms = (life.ended_ns - end_ns) / 1e6
        self._account.worst_kill_ms = max(self._account.worst_kill_ms, cost_ms)
        if life.ended_ns - end_ns > LONGEST_NS:
            yield f"the kill took {cost_ms:.0f} ms"


def _runs(capture: Capture) -> Iterator[tuple[int, Any]]:
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
