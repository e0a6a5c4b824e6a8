"""The ledger: what the sensors sent = what the captures hold + what was counted as lost, life by life, row by row."""

from collections import Counter
from typing import Any, Protocol

from agent.capture import Capture
from agent.rebuild import NEVER_THERE
from tests.soak.layout import Range
from tests.soak.life import Life
from tests.soak.rows import HARMLESS, Account, RowLedger
from tests.soak.truth import picture_is
from tests.soak.union import Places, Union, quarantine

LONGEST_NS = 500_000_000
"""What a kill may cost at most."""


class Sea(Places, Protocol):
    """What is to be balanced: a voyage, or a machine that lost its power again and again."""

    lives: list[Life]
    faults: Counter[str]
    schedule: dict[str, list[str]]
    own: str
    disk_was_full: bool

    def lost(self, stream: str, life: Life) -> list[Range]: ...


def balance(voyage: Sea, status: dict[str, Any]) -> Account:
    """Reads everything back. `status`: the last, after everything was delivered."""
    account, union = Account(), Union(voyage)
    union.settle()
    account.complaints += union.complaints
    account.captures, account.delivered, account.deleted = len(union.captures), union.delivered, union.only_far
    account.all_kills = sum(life.how == "kill" for life in voyage.lives)
    _delivery(voyage, status, account)
    if union.only_far and not voyage.own and not voyage.disk_was_full:
        gone = {c.name for u, c in union.captures.items() if u not in union.here} - voyage.damaged
        account.complaints += [f"{name} is at its targets and no longer here, which nobody asked for" for name in gone]
    for number, life in enumerate(voyage.lives):
        of_life = [capture for capture in union.captures.values() if life.holds(capture)]
        for stream in voyage.schedule:
            destroyed = voyage.lost(stream, life)
            garbles = any("garble" in line for line in voyage.schedule[stream])
            ledger = RowLedger(life, stream, account, destroyed=destroyed, garbles=garbles)
            captures = [c for c in of_life if c.recording == stream]
            found = ledger.follow(captures)
            if not destroyed and life.how == "kill" and life.troubled <= HARMLESS:
                found += _kill(life, stream, ledger.rows, account)
                if not voyage.schedule[stream] and life.taken_by(life.ended_ns - LONGEST_NS, stream):
                    found += _cost(life, captures, account)
            account.complaints += [f"life {number} ({life.how}), {stream}: {text}" for text in found]
        for capture in (c for c in of_life if c.recording == "photos"):
            account.pictures += 1
            (payload,) = capture.payloads
            frame = capture.document["streams"][0]["picture"]["frame"]
            if not picture_is(frame, capture.path(payload).read_bytes()):
                account.complaints.append(f"{payload.file} is not the picture that was taken")
    return account


def _kill(life: Life, stream: str, rows: int, account: Account) -> list[str]:
    """A kill may cost nothing that the recording had taken half a second before."""
    taken = life.taken_by(life.ended_ns - LONGEST_NS, stream)
    account.kills += taken > 0
    return (
        [f"{taken - rows} rows that were taken {LONGEST_NS / 1e9} s before the kill are gone"] if rows < taken else []
    )


def _cost(life: Life, captures: list[Capture], account: Account) -> list[str]:
    """What it cost in time, where the machine let the daemon read its sensors until the end."""
    ends = [c.document["start"]["boot_time_ns"] + c.document["duration_s"] * 1e9 for c in captures]
    if not ends or not life.attentive:
        return []
    account.timed_kills += 1
    cost_ns = life.ended_ns - max(ends)
    account.worst_kill_ms = max(account.worst_kill_ms, cost_ns / 1e6)
    return [f"the kill cost {cost_ns / 1e6:.0f} ms"] if cost_ns > LONGEST_NS else []


def _delivery(voyage: Sea, status: dict[str, Any], account: Account) -> None:
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
        if reason == NEVER_THERE and any(life.how == "power cut" for life in voyage.lives):
            files = [path for path in (voyage.data / "quarantine" / name).iterdir() if path.name != "reason.txt"]
            cut |= any(not path.read_bytes().strip(b"\0") for path in files)
        if not mine and not cut and not (damaged_database and name.startswith("agent.db")):
            account.complaints.append(f"quarantine: {name}: {reason}")
