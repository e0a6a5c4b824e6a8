"""Retention: what was delivered makes room, what was not stays, and recording stops before the disk is full."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.capture import Capture
from agent.catalogue import Catalogue, Entry, Query
from agent.database import Database
from agent.outbox import Outbox
from agent.retention import Retention, disk_space
from tests.captures import make_capture

SIZE = 1000
TOTAL = 100_000


class Disk:
    """A disk of 100 kB on which the captures' payloads, a kilobyte each, and `other` bytes lie."""

    def __init__(self, folder: Path) -> None:
        self.captures = folder / "captures"
        self.captures.mkdir()
        self.other = 0
        self.database = Database(folder / "agent.db", quarantine=folder / "quarantine").open()
        self.catalogue = Catalogue(self.database, self.captures)
        self.outbox = Outbox(self.database, boot_id="b", now=lambda: 0, jitter=random.Random(1))

    def space(self, folder: Path) -> tuple[int, int]:
        used = sum(path.stat().st_size for path in folder.glob("*/*.csv"))
        return TOTAL - self.other - used, TOTAL

    def retention(self, **more) -> Retention:
        given = {"floor": lambda total: 10_000, "space": self.space, **more}
        return Retention(catalogue=self.catalogue, outbox=self.outbox, captures=self.captures, **given)

    def add(self, count: int, *targets: str, recording: str = "walk") -> list[Capture]:
        captures = [make_capture(self.captures, bytes(SIZE), recording=recording) for _ in range(count)]
        with self.database.transaction(durable=True) as connection:
            self.catalogue.add(connection, captures)
            self.outbox.owe(connection, [(capture.uuid, capture.size, targets) for capture in captures])
        return captures

    def deliver(self, target: str, count: int) -> None:
        self.outbox.settle([p.delivered({"at": target}) for p in self.outbox.claim(target, count, lease_s=1)])

    def left(self) -> list[str]:
        return [entry.uuid for entry in self.catalogue.find()]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    disk.database.close()


def uuids(captures: list[Capture]) -> list[str]:
    return [capture.uuid for capture in captures]


def test_nothing_goes_while_there_is_room(disk: Disk) -> None:
    captures = disk.add(10, "lab")
    disk.deliver("lab", 10)
    assert disk.retention().step() == 0
    assert disk.left() == uuids(captures)


def test_the_oldest_delivered_ones_go_until_there_is_room_and_a_little_more(disk: Disk) -> None:
    captures = disk.add(20, "lab")
    disk.deliver("lab", 20)
    disk.other = 75_000  # 5 kB free: of a floor of 10 kB, with two margins of 1 kB
    retention = disk.retention()
    assert retention.step() == 7
    assert disk.left() == uuids(captures[7:])
    assert disk.space(disk.captures)[0] == 12_000
    assert retention.step() == 0
    health = retention.health()
    assert (health["deleted"], health["deleted_bytes"], health["kept_bytes"]) == (7, 7 * SIZE, 13 * SIZE)


def test_what_is_owed_again_by_then_stays(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    captures = disk.add(3, "lab")
    disk.deliver("lab", 3)
    disk.other = 88_000
    oldest = disk.catalogue.oldest

    def amended(standing: str, count: int) -> list[Entry]:
        found = oldest(standing, count)
        if standing == "deleting":
            return found
        monkeypatch.undo()
        disk.catalogue.amend(
            captures[0].uuid,
            lambda document: {"labels": {"turn": "left"}},
            lambda connection, capture: disk.outbox.amend(connection, capture.uuid, capture.revision, ["lab"]),
        )
        return found

    monkeypatch.setattr(disk.catalogue, "oldest", amended)
    retention = disk.retention()
    assert retention.step() == 2
    assert disk.left() == uuids(captures[:1])
    assert disk.catalogue.get(captures[0].uuid).damage() == ""
    health = retention.health()
    assert (health["deleted"], health["deleted_bytes"]) == (2, 2 * SIZE)


def test_room_for_what_is_open_is_made_too(disk: Disk) -> None:
    disk.add(20, "lab")
    disk.deliver("lab", 20)
    disk.other = 60_000
    assert disk.retention().step(needed_bytes=3000) == 0
    assert disk.retention().step(needed_bytes=12_000) == 4


def test_the_floor_goes_by_the_size_of_the_disk(disk: Disk) -> None:
    disk.add(20, "lab")
    disk.deliver("lab", 20)
    disk.other = 60_000  # 20 kB free of 20 %, and margins of 2 kB
    assert disk.retention(floor=lambda total: total / 5).step() == 4


def test_what_a_target_still_lacks_stays_and_so_does_what_was_refused(disk: Disk) -> None:
    waiting = disk.add(5, "lab", "archive")
    disk.deliver("lab", 5)
    refused = disk.add(5, "lab")
    disk.outbox.settle([p.refused("too large") for p in disk.outbox.claim("lab", 5, lease_s=1)])
    kept = disk.add(5)
    disk.other = 84_000
    retention = disk.retention()
    assert retention.step() == 0
    assert disk.left() == uuids([*waiting, *refused, *kept])
    assert disk.outbox.drop("lab", refused[0].uuid) == 1  # a person says that nobody needs it
    assert retention.step() == 1
    assert disk.left() == uuids([*waiting, *refused[1:], *kept])


def test_those_owed_to_nobody_go_only_where_configured_and_after_the_delivered(disk: Disk) -> None:
    kept = disk.add(5)
    disk.add(2, "lab")
    disk.deliver("lab", 2)
    disk.other = 85_000
    assert disk.retention(delete_unowed=True).step() == 4
    assert disk.left() == uuids(kept[2:])


def test_the_receipt_outlives_the_files(disk: Disk) -> None:
    (capture,) = disk.add(1, "lab")
    disk.deliver("lab", 1)
    disk.other = 95_000
    assert disk.retention().step() == 1
    assert [p.receipt for p in disk.outbox.list("lab", "delivered")] == [{"at": "lab"}]
    assert [e.standing for e in disk.catalogue.find(Query(deleted=True))] == ["deleted"]
    assert not any(path.exists() for path in capture.files)


def test_rows_are_forgotten_beyond_a_number_and_stay_counted(disk: Disk) -> None:
    disk.add(6, "lab")
    disk.deliver("lab", 6)
    disk.other = 98_000
    retention = disk.retention(keep_rows=2)
    assert retention.step() == 6
    retention.step()
    assert len(list(disk.catalogue.find(Query(deleted=True)))) == 2
    assert disk.outbox.counts()["lab"].delivered == 6


def test_a_deletion_cut_off_by_a_kill_is_completed_by_the_next_step(disk: Disk) -> None:
    (capture,) = disk.add(1, "lab")
    with disk.database.transaction(durable=True) as connection:
        connection.execute("UPDATE capture SET deleted = 1")
    disk.retention().step()
    assert not any(path.exists() for path in capture.files)


def test_undelivered_ones_are_thinned_out_not_cut_off(disk: Disk) -> None:
    walks, runs = [], []
    for _ in range(10):  # one after the other: every second of all would be every one of a recording
        walks += disk.add(1, "lab")
        runs += disk.add(1, "lab", recording="run")
    disk.other = 76_000  # 4 kB free: 8 have to go
    retention = disk.retention(give_up_undelivered=True)
    assert retention.step() == 8
    left = set(disk.left())
    assert [capture.uuid in left for capture in walks] == [True, False] * 4 + [True] * 2
    assert [capture.uuid in left for capture in runs] == [True, False] * 4 + [True] * 2
    assert retention.health()["given_up"] == 8
    counts = disk.outbox.counts()["lab"]
    assert (counts.owed, counts.dropped) == (12, 8)
    assert {p.error for p in disk.outbox.list("lab", "dropped")} == {"given up to make room"}
    disk.other += 2_000  # what was spared once is not asked again before the rest was
    assert disk.retention(give_up_undelivered=True).step() == 2
    left = set(disk.left())
    assert all(capture.uuid in left for pair in (walks, runs) for capture in pair[:8:2])


def test_thinning_leaves_the_last_of_each_recording_and_ends(disk: Disk) -> None:
    disk.add(9, "lab")
    disk.add(1, "lab", recording="run")
    disk.other = 99_000
    retention = disk.retention(give_up_undelivered=True)
    assert retention.step() == 8
    assert [entry.recording for entry in disk.catalogue.find()] in (["walk", "run"], ["run", "walk"])
    assert retention.step() == 0


def test_delivered_ones_go_before_anything_is_given_up(disk: Disk) -> None:
    undelivered = disk.add(4, "lab")
    disk.add(4, "archive")
    disk.deliver("archive", 4)
    disk.other = 83_000
    assert disk.retention(give_up_undelivered=True).step() == 3
    assert set(uuids(undelivered)) <= set(disk.left())


def test_the_captures_may_be_bounded_whatever_the_disk(disk: Disk) -> None:
    captures = disk.add(20, "lab")
    disk.deliver("lab", 20)
    retention = disk.retention(floor=lambda total: 0, max_bytes=20_000)
    assert retention.step() == 4  # down to 80 %
    assert disk.left() == uuids(captures[4:])
    disk.add(5)
    retention = disk.retention(floor=lambda total: 0, max_bytes=4_000)
    retention.step()
    assert "may take" in retention.must_stop()


def test_recording_stops_before_the_disk_is_full_and_resumes_with_a_margin(disk: Disk) -> None:
    retention = disk.retention()
    retention.step()
    said = []
    for free in (12_000, 10_000, 9_999, 10_500, 10_999, 11_000, 10_500, 9_000):
        disk.other = TOTAL - free
        said.append(bool(retention.must_stop()))
    assert said == [False, False, True, True, True, False, False, True]
    assert retention.health()["stopped"] == retention.must_stop()


def test_recording_stops_earlier_when_more_is_open(disk: Disk) -> None:
    disk.other = TOTAL - 12_000
    retention = disk.retention()
    assert not retention.must_stop(needed_bytes=2_000)
    assert "0 MB free" in retention.must_stop(needed_bytes=2_001)


def test_retention_makes_enough_room_for_recording_to_resume(disk: Disk) -> None:
    disk.add(30, "lab")
    disk.other = 62_000
    retention = disk.retention()
    retention.step()
    assert retention.must_stop()
    disk.deliver("lab", 30)
    assert retention.step() == 4
    assert not retention.must_stop()


def test_the_space_of_a_real_disk(tmp_path: Path) -> None:
    free, total = disk_space(tmp_path)
    assert 0 <= free <= total
