"""The soak's ledger finds what is wrong; and one short voyage, whose faults are fixed, balances."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.soak.__main__ import sail
from tests.soak.ledger import Account, _Stream
from tests.soak.truth import RATE_HZ, Sensor
from tests.soak.voyage import Life


class Sea:
    """A voyage without a daemon: nothing was damaged, no sensor misbehaved."""

    schedule: dict[str, list[str]] = {"imu": [], "mcu": []}  # noqa: RUF012
    damaged: set[str] = set()  # noqa: RUF012
    disk = ""


def stream() -> tuple[_Stream, Account]:
    account = Account()
    life = Life(0, int(20e9), "term", {})
    voyage: Any = Sea()
    return _Stream(voyage, life, "imu", account), account


ROWS = Sensor("imu").rows(0, 4000)


def test_rows_as_they_were_sent_balance() -> None:
    found, account = stream()
    assert not list(found._run("a", 0, ROWS[:500], []))
    assert not list(found._run("b", 500, ROWS[500:1200], []))
    assert (account.rows, list(found._missing())) == (1200, [])


def test_a_gap_that_says_its_length_balances_and_one_that_does_not_is_found() -> None:
    gap = {"first": 500, "samples": 100, "exact": True}
    found, account = stream()
    list(found._run("a", 0, ROWS[:500], []))
    assert not list(found._run("b", 600, ROWS[600:900], [gap]))
    assert account.lost_exact == 100
    found, _ = stream()
    list(found._run("a", 0, ROWS[:500], []))
    (text,) = found._run("b", 600, ROWS[601:900], [gap])
    assert "1 off" in text


def test_an_estimate_may_be_a_sample_off_and_no_tenth_of_a_second() -> None:
    gap = {"first": 500, "samples": 100, "exact": False}
    for off, wrong in ((1, 0), (20, 1)):
        found, account = stream()
        list(found._run("a", 0, ROWS[:500], []))
        assert not list(found._run("b", 600, ROWS[600 + off : 900], [gap]))
        assert (account.estimates, account.estimates_off) == (1, wrong)
    found, _ = stream()
    list(found._run("a", 0, ROWS[:500], []))
    assert list(found._run("b", 600, ROWS[600 + int(RATE_HZ / 10) + 1 : 900], [gap]))


def test_rows_that_nobody_counted_twice_or_changed_are_found() -> None:
    found, _ = stream()
    list(found._run("a", 0, ROWS[:500], []))
    list(found._run("b", 501, ROWS[501:900], []))
    assert "1 rows are in no file, and 0 are counted" in "".join(found._missing())
    assert "twice" in "".join(found._run("c", 800, ROWS[800:1000], []))
    changed = ROWS[900:1000].copy()
    changed[50, 3] += 1
    assert "not what was sent" in "".join(found._run("d", 900, changed, []))
    assert "never sent" in "".join(found._run("e", 1000, np.full((9, 6), 12345, np.int16), []))


@pytest.mark.soak
def test_a_short_voyage_balances(tmp_path: Path) -> None:
    voyage, account = sail(tmp_path / "sea", "7", 3, "sigkill")
    assert (account.complaints, voyage.faults["sigkill"]) == ([], 3)
    assert account.rows > 0
