"""The soak's ledger finds what is wrong; and one short voyage, whose faults are fixed, balances."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.negative import NegativeWriter, identity_as_json
from drivers import Block, Channel, Identity
from tests.soak import layout
from tests.soak.__main__ import FAULTS, deal, sail
from tests.soak.life import Life
from tests.soak.rows import Account, Range, RowLedger, length, without
from tests.soak.truth import RATE_HZ, Sensor


def stream(
    *destroyed: Range, unrecorded: int = 0, lost: int = 0, troubled: Iterable[str] = ()
) -> tuple[RowLedger, Account]:
    """The ledger of the IMU in a life of twenty seconds, and its account."""
    account = Account()
    status: dict[str, Any] = {
        "recordings": {"imu": {"dropped": 0, "unrecorded": unrecorded}},
        "streams": {"imu": {"lost": lost, "samples": 4000, "reopened": 0}},
    }
    return RowLedger(Life(0, int(20e9), "kill", status, set(troubled)), "imu", account, destroyed=destroyed), account


ROWS = Sensor("imu").rows(0, 4000)
IMU = Identity("IMU", RATE_HZ, (Channel("AccelerometerX"),))


def block(first: int, lost: int) -> Block:
    """Ten samples."""
    samples = np.zeros(10, IMU.dtype)
    return Block(first=first, samples=samples, observed_ns=first, newest=first + 9, lost=lost, exact=False)


def test_rows_as_they_were_sent_balance() -> None:
    found, account = stream()
    assert not list(found.run("a", 0, ROWS[:500], []))
    assert not list(found.run("b", 500, ROWS[500:1200], []))
    assert (account.rows, list(found.missing())) == (1200, [])


def test_what_was_not_written_is_counted_and_no_more_than_that() -> None:
    for unrecorded, text in ((100, ""), (99, "100 rows are in no file, and 99 are counted"), (3101, "are counted as")):
        found, account = stream(unrecorded=unrecorded)
        list(found.run("a", 0, ROWS[:500], []))
        assert not list(found.run("b", 600, ROWS[600:1000], []))
        assert text in "".join(found.missing())
        assert account.unrecorded == 100


def test_rows_that_the_harness_destroyed_hide_no_others() -> None:
    found, account = stream((500, 550))
    list(found.run("a", 0, ROWS[:500], []))
    list(found.run("b", 550, ROWS[550:700], []))
    assert list(found.missing()) == []
    assert account.damaged == 50
    found, account = stream((500, 550))
    list(found.run("a", 0, ROWS[:490], []))
    list(found.run("b", 551, ROWS[551:700], []))
    assert "11 rows are in no file, and 0 are counted" in "".join(found.missing())


def test_a_gap_in_a_file_that_was_damaged_is_no_loss_of_the_sensor() -> None:
    found, account = stream((500, 514), unrecorded=100)
    list(found.run("a", 0, ROWS[:500], []))
    list(found.run("a", 514, ROWS[514:800], [{"first": 500, "samples": 14, "exact": True}]))
    list(found.run("b", 900, ROWS[900:1000], []))
    assert list(found.missing()) == []
    assert (account.damaged, account.lost_exact, account.unrecorded) == (14, 0, 100)


def test_a_gap_that_was_not_recorded_has_its_length_unless_something_estimated_is_in_it() -> None:
    for lost, off, wrong in ((0, 1, True), (100, 1, False), (100, 60, True)):
        found, _ = stream(unrecorded=500, lost=lost)
        list(found.run("a", 0, ROWS[:500], []))
        list(found.run("b", 1000 + lost, ROWS[1000 + lost + off : 2000], []))
        assert ("the device counts" in "".join(found.missing())) == wrong


def test_only_a_life_in_trouble_takes_counters_with_it() -> None:
    for troubled, wrong in ({"write_errors"}, False), ({"sigkill"}, True):
        found, account = stream(troubled=troubled)
        list(found.run("a", 0, ROWS[:4000], []))
        list(found.run("b", 4100, Sensor("imu").rows(4100, 100), []))
        assert bool(list(found.missing())) == wrong
        assert account.untold == 100


def test_ranges() -> None:
    assert without([(0, 10), (20, 30)], [(5, 25)]) == ((0, 5), (25, 30))
    assert without([(0, 10)], [(2, 3), (5, 6)]) == ((0, 2), (3, 5), (6, 10))
    assert length([(0, 10), (5, 12), (20, 21)]) == 13


def test_damage_to_a_negative_costs_the_blocks_that_it_hits(tmp_path: Path) -> None:
    path = tmp_path / "a.negative"
    streams = [{"name": "imu", "identity": identity_as_json(IMU)}]
    head = {"recording": "imu", "started": {"boot_time_ns": 7}, "streams": streams}
    with contextlib.closing(NegativeWriter(path, head)) as negative:
        for first, lost in ((0, 0), (10, 0), (25, 5)):
            negative.write(0, block(first, lost))
        negative.finish({"reason": "stop"})
    size = path.stat().st_size
    read = layout.Layout(path)
    assert (read.stream, read.begun_ns) == ("imu", 7)
    assert read.hit(size - 1, size) == []
    data = path.read_bytes()
    second = [at for at in range(size) if data.startswith(b"\xffBLK", at)][1]
    assert read.hit(second + 50, second + 51) == [(10, 20)]
    assert read.hit(second, size) == [(10, 20), (20, 35)]
    assert layout.Layout(path).hit(0, size) == [(0, 10), (10, 20), (20, 35)]
    heads = [at for at in range(size) if data.startswith(b'"started"', at)]
    assert read.hit(heads[0], heads[0] + 1) == []
    assert read.hit(heads[1], heads[1] + 1) == [(0, 10), (10, 20), (20, 35)], "both copies of the head are lost"


def test_every_fault_comes_before_any_comes_again() -> None:
    dealt = [fault for number in range(len(FAULTS)) for fault in deal(7, number, 3)]
    assert {dealt.count(fault) for fault in FAULTS} == {3}
    assert deal(7, 1, 3) == deal(7, 1, 3)
    assert {fault.__name__ for fault in deal(7, 0, 9, "sigkill,sigterm")} == {"sigkill", "sigterm"}


def test_a_gap_that_says_its_length_balances_and_one_that_does_not_is_found() -> None:
    gap = {"first": 500, "samples": 100, "exact": True}
    found, account = stream()
    list(found.run("a", 0, ROWS[:500], []))
    assert not list(found.run("b", 600, ROWS[600:900], [gap]))
    assert account.lost_exact == 100
    found, _ = stream()
    list(found.run("a", 0, ROWS[:500], []))
    (text,) = found.run("b", 600, ROWS[601:900], [gap])
    assert "1 off" in text


def test_an_estimate_may_be_a_sample_off_and_no_tenth_of_a_second() -> None:
    gap = {"first": 500, "samples": 100, "exact": False}
    for off, wrong in ((1, 0), (20, 1)):
        found, account = stream()
        list(found.run("a", 0, ROWS[:500], []))
        assert not list(found.run("b", 600, ROWS[600 + off : 900], [gap]))
        assert (account.estimates, account.estimates_off) == (1, wrong)
    found, _ = stream()
    list(found.run("a", 0, ROWS[:500], []))
    assert list(found.run("b", 600, ROWS[600 + int(RATE_HZ / 10) + 1 : 900], [gap]))


def test_rows_that_nobody_counted_twice_or_changed_are_found() -> None:
    found, _ = stream()
    list(found.run("a", 0, ROWS[:500], []))
    list(found.run("b", 501, ROWS[501:900], []))
    assert "1 rows are in no file, and 0 are counted" in "".join(found.missing())
    assert "twice" in "".join(found.run("c", 800, ROWS[800:1000], []))
    changed = ROWS[900:1000].copy()
    changed[50, 3] += 1
    assert "not what was sent" in "".join(found.run("d", 900, changed, []))
    assert "never sent" in "".join(found.run("e", 1000, np.full((9, 6), 12345, np.int16), []))


@pytest.mark.soak
def test_a_short_voyage_balances(tmp_path: Path) -> None:
    voyage, account = sail(tmp_path / "sea", 7, 0, deal(7, 0, 3, "sigkill"))
    assert (account.complaints, voyage.faults["sigkill"]) == ([], 3)
    assert account.rows > 0
