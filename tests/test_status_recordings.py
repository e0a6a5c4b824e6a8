"""`status` says of each recording whether it is armed, what it waits for, and what has triggered it."""

from typing import Any

import pytest

from agent.cli.status import _disk, _state, _triggers


def scheduled(next_change: str | None, waits_for: str = "") -> dict[str, Any]:
    schedule = {"on": False, "next_change": next_change, "waits_for": waits_for}
    return {"state": "scheduled", "schedule": schedule}


def test_a_recording_that_is_off_says_until_when_or_why(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    with monkeypatch.context() as zone:
        zone.setenv("TZ", "Europe/Berlin")
        time.tzset()
        assert _state(scheduled("2026-11-21T07:00:00.000000Z")) == "off until Sat 08:00:00"
    time.tzset()
    assert _state(scheduled(None)) == "off for 8 days or more"
    assert _state(scheduled(None, "a clock that has been set")) == "waits for a clock that has been set"
    assert _state({"state": "armed", "schedule": None}) == "armed"
    assert _state({"state": "idle"}) == "idle"


def test_triggers_are_counted_and_what_never_happened_is_left_out() -> None:
    counts = {"triggers": 3, "extended": 1, "missed": 0, "ignored": 12}
    assert _triggers({"trigger": counts}) == "3, 1 extended, 12 ignored"
    assert _triggers({}) == ""


def test_pictures_that_wait_for_a_clock_are_told() -> None:
    disk = {"free_bytes": 4_000_000_000, "total_bytes": 8_000_000_000, "sync_undated": 0}
    assert _disk(disk) == "Disk: 4 GB free of 8 GB."
    assert "5 pictures wait for the clock" in _disk({**disk, "sync_undated": 5})
