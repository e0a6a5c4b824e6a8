"""The disk sync: what is open is synced, pictures are finished in groups, and one that cannot be stops no other."""

import errno
import logging
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.clock import Clock
from agent.database import Database, DatabaseWaits
from agent.disk_sync import DiskSync
from agent.finishing import Finishing
from agent.negative import NegativeWriter
from agent.outbox import Outbox
from agent.pictures import settle
from agent.rebuild import adopt
from agent.sync.owing import Owing
from agent.worker import Worker
from tests import pictures
from tests.pictures import block, write
from tests.test_negative import HEAD
from tests.test_negative import block as samples


class SetClock(Clock):
    """Boot time and its trustworthiness as the test sets them."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns, self.known = 10**9, True

    def boottime_ns(self) -> int:
        return self.now_ns

    def synchronised(self) -> bool:
        return self.known


class House(pictures.House):
    """A data folder whose disk-sync thread the test plays."""

    def open(self, stack: ExitStack, date_wait_s: float = 0.0) -> None:
        self.quarantine = self.root / "quarantine"
        database = stack.enter_context(Database(self.root / "agent.db", quarantine=self.quarantine))
        boot = SetClock()
        boot.boot_id = self.clock.boot_id
        self.catalogue = Catalogue(database, self.captures)
        outbox = Outbox(database, boot_id=boot.boot_id, now=boot.boottime_ns, jitter=random.Random(1))
        self.finishing = Finishing(
            database=database,
            catalogue=self.catalogue,
            owing=Owing(outbox, {"photos": ["lab"]}),
            captures=self.captures,
            owed=lambda: None,
        )
        self.boot = boot
        self.negatives: list[NegativeWriter] = []
        self.ended: list[Path] = []
        self.disk_sync = DiskSync(
            every_s=1.0,
            negatives=lambda: self.negatives,
            ended=lambda: self.ended,
            finishing=self.finishing,
            quarantine=self.quarantine,
            clock=boot,
            date_wait_s=date_wait_s,
        )

    def picture(self, number: int) -> Capture:
        """A picture that lies whole in the recording folder, and is queued."""
        writer = self.writer()
        capture = write(writer, block(number, at_s=5.0 + number))
        self.disk_sync.add(capture, writer.redate)
        return capture

    def finished(self) -> list[str]:
        return sorted(entry.uuid for entry in self.catalogue.find())


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    with ExitStack() as stack:
        house.open(stack)
        yield house
        for negative in house.negatives:
            negative.close()


def uuids(*captures: Capture) -> list[str]:
    return sorted(capture.uuid for capture in captures)


def full(*args: Any, **more: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_pictures_are_finished_as_a_group_with_one_sync(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = []
    monkeypatch.setattr("agent.finishing.sync_filesystem", syncs.append)
    taken = [house.picture(number) for number in range(5)]
    assert house.disk_sync.queued == 5
    house.disk_sync.step()
    assert house.finished() == uuids(*taken)
    assert len(syncs) == 1
    assert house.disk_sync.queued == 0
    assert list(house.recording.iterdir()) == []


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_kill_while_the_recording_folder_is_tidied_sets_nothing_aside(
    house: House, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    taken = house.picture(0)
    unlink, left = Path.unlink, gone

    def killed(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        unlink(path, missing_ok)

    with monkeypatch.context() as kill:
        kill.setattr(Path, "unlink", killed)
        if gone < 2:
            with pytest.raises(Killed):
                house.disk_sync.step()
        else:
            house.disk_sync.step()
    assert len(list(house.recording.iterdir())) == 2 - gone
    assert settle(house.recording) == list(house.recording.iterdir())[: gone % 2]
    house.finishing.finish_each(adopt(house.recording, quarantine=house.quarantine), house.quarantine)
    assert list(house.recording.iterdir()) == []
    assert not house.quarantine.exists()
    assert house.finished() == uuids(taken)
    assert house.catalogue.get(taken.uuid).damage() == ""


def test_a_slow_disk_is_synced_as_often_as_a_quick_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []

    class Turns(Worker):
        def wait(self, seconds: float) -> bool:
            rests.append(seconds)
            return len(rests) == 4

    takes_s = iter((0.25, 0.0, 1.5, 0.0))

    def sync() -> None:
        house.boot.now_ns += int(next(takes_s) * 1e9)

    monkeypatch.setattr(house.disk_sync, "step", sync)
    house.disk_sync.run(Turns("sync disk", lambda worker: None, lambda name, error: None, silence_s=1.0))
    assert rests == [1.0, 0.75, 1.0, 0.0]


def test_a_full_disk_is_said_once_and_the_pictures_wait(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken = [house.picture(0)]
    with monkeypatch.context() as disk:
        problems = DatabaseWaits(errno.ENOSPC, "database or disk is full"), MemoryError()
        for problem in (full, *map(_raising, problems)):
            disk.setattr(house.finishing, "finish", problem)
            for _ in range(3):
                house.disk_sync.step()
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1
    assert house.disk_sync.health()["error"]
    taken.append(house.picture(1))
    house.disk_sync.step()
    assert house.finished() == uuids(*taken)
    assert house.disk_sync.health()["error"] == ""


@pytest.mark.parametrize("files", range(1, 6))
def test_pictures_that_are_finished_when_the_disk_fails_are_not_taken_for_lost(
    house: House, files: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken = [house.picture(number) for number in range(3)]
    unlink, left = Path.unlink, files

    def failing(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        if path.parent == house.recording:
            left -= 1
            if left < 0:
                raise OSError(errno.EIO, "Input/output error")
        unlink(path, missing_ok)

    with monkeypatch.context() as disk:
        disk.setattr(Path, "unlink", failing)
        house.disk_sync.step()
    assert "Input/output error" in house.disk_sync.health()["error"]
    house.disk_sync.step()
    assert house.disk_sync.health() == {"queued": 0, "undated": 0, "failed": 0, "error": ""}
    assert house.finished() == uuids(*taken)
    assert all(house.catalogue.get(capture.uuid).damage() == "" for capture in taken)
    assert list(house.recording.iterdir()) == []
    assert not house.quarantine.exists()
    assert "quarantine" not in caplog.text


def test_what_is_in_quarantine_when_the_disk_fails_is_counted_once(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone, other = house.picture(0), house.picture(1)
    gone.files[0].unlink()
    syncs = []

    def failing(folder: Path) -> None:
        syncs.append(folder)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as disk:
        disk.setattr("agent.finishing.sync_filesystem", failing)
        house.disk_sync.step()
    assert syncs
    house.disk_sync.step()
    assert house.finished() == uuids(other)
    assert house.disk_sync.health() == {"queued": 0, "undated": 0, "failed": 1, "error": ""}
    assert len(list(house.quarantine.iterdir())) == 1
    assert caplog.text.count("lies in quarantine") == 1


def test_a_picture_whose_name_is_taken_stops_no_other(house: House) -> None:
    first = house.picture(0)
    house.disk_sync.step()
    for path in house.captures.rglob("*.*"):  # by hand, and then the clock goes back
        path.unlink()
    twin, other = house.picture(0), house.picture(1)
    assert twin.name == first.name
    house.disk_sync.step()
    assert house.finished() == uuids(first, other)
    assert house.disk_sync.health()["failed"] == 1
    assert house.disk_sync.health()["error"] == ""
    assert house.disk_sync.queued == 0
    (place,) = house.quarantine.iterdir()
    assert {path.suffix for path in place.iterdir()} == {".jpg", ".json", ".txt"}
    assert "another capture is called" in (place / "reason.txt").read_text()
    assert list(house.recording.iterdir()) == []
    assert sorted(house.captures.rglob("*.*")) == sorted(house.catalogue.get(other.uuid).files)


def test_a_picture_that_somebody_deleted_stops_no_other(house: House) -> None:
    gone, other = house.picture(0), house.picture(1)
    gone.files[0].unlink()
    house.disk_sync.step()
    assert house.finished() == uuids(other)
    assert house.disk_sync.health()["failed"] == 1
    assert house.disk_sync.queued == 0


def test_without_its_folder_pictures_wait(house: House) -> None:
    taken = house.picture(0)
    house.captures.rmdir()
    house.disk_sync.step()
    assert house.disk_sync.queued == 1
    assert house.disk_sync.health()["error"]
    house.captures.mkdir()
    house.disk_sync.step()
    assert house.finished() == uuids(taken)


def test_pictures_wait_for_their_date_though_one_of_them_is_gone(tmp_path: Path) -> None:
    house = House(tmp_path)
    with ExitStack() as stack:
        house.open(stack, date_wait_s=60.0)
        house.boot.known = house.clock.known = False
        gone, other = house.picture(0), house.picture(1)
        house.disk_sync.step()
        assert (house.finished(), house.disk_sync.queued) == ([], 2)
        house.boot.known = house.clock.known = True
        house.clock.offset_ns += 3600 * 10**9
        gone.files[0].unlink()
        house.disk_sync.step()
        assert house.finished() == uuids(other)
        assert house.catalogue.get(other.uuid).document["start"]["clock"] == "synchronised"


def test_what_is_never_dated_is_finished_when_its_time_is_over(tmp_path: Path) -> None:
    house = House(tmp_path)
    with ExitStack() as stack:
        house.open(stack, date_wait_s=60.0)
        house.boot.known = house.clock.known = False
        taken = house.picture(0)
        house.disk_sync.step()
        assert house.finished() == []
        house.boot.now_ns += 70 * 10**9
        house.disk_sync.step()
        assert house.finished() == uuids(taken)


def test_a_negative_that_cannot_be_synced_holds_up_neither_others_nor_pictures(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = house.negatives = [NegativeWriter(tmp_path / f"{n}.negative.part", HEAD) for n in "ab"]
    for negative in house.negatives:
        negative.write(0, samples(0, 0))
        negative.flush()
    monkeypatch.setattr(bad, "sync", _raising(OSError(errno.EIO, "Input/output error")))
    taken = house.picture(0)
    house.disk_sync.step()
    assert good.synced_bytes == good.path.stat().st_size
    assert house.finished() == uuids(taken)
    assert "Input/output" in house.disk_sync.health()["error"]


def ended(folder: Path) -> NegativeWriter:
    """Written and finished between two rounds."""
    negative = NegativeWriter(folder / "a.negative", HEAD)
    negative.write(0, samples(0, 0))
    negative.finish({"reason": "length"})
    return negative


def test_a_negative_that_waits_to_be_developed_is_synced_to_its_end_once(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    negative = ended(tmp_path)
    house.ended = [negative.path]
    synced = []
    fdatasync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (fdatasync(fd), synced.append(os.fstat(fd).st_size)))
    house.disk_sync.step()
    house.disk_sync.step()
    assert synced == [negative.nbytes]
    assert house.disk_sync.syncs == 1


def test_a_negative_that_ended_is_synced_again_after_the_disk_failed(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.ended = [ended(tmp_path).path]
    with monkeypatch.context() as disk:
        disk.setattr(os, "fdatasync", _raising(OSError(errno.EIO, "Input/output error")))
        house.disk_sync.step()
    assert "Input/output" in house.disk_sync.health()["error"]
    house.disk_sync.step()
    assert (house.disk_sync.health()["error"], house.disk_sync.syncs) == ("", 1)


def test_a_negative_that_is_developed_already_needs_no_sync(house: House, tmp_path: Path) -> None:
    negative = ended(tmp_path)
    negative.path.unlink()
    house.negatives, house.ended = [negative], [negative.path]
    house.disk_sync.step()
    assert (house.disk_sync.health()["error"], house.disk_sync.syncs) == ("", 0)


def _raising(error: BaseException) -> Any:
    def fail(*args: object) -> None:
        raise error

    return fail
