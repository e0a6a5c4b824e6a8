"""The developer: negatives become captures, in order; whatever is wrong with one or with the disk, nothing is lost."""

import errno
import json
import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent import finishing as finishing_module
from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.clock import Clock
from agent.database import Database, DatabaseDamaged
from agent.developer import Developer
from agent.film import Film
from agent.finishing import Finishing
from agent.folder import DataFolder
from agent.formats import csv, wav
from agent.negative import NegativeReader, NegativeWriter
from agent.outbox import Outbox
from agent.rebuild import adopt
from agent.sync.owing import Owing
from tests.recorded import STARTED_NS, make_negative


class House:
    """A data folder with a developer whose thread the test plays."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        clock = Clock()
        self.folder = stack.enter_context(DataFolder(place))
        self.database = stack.enter_context(Database(self.folder.database, quarantine=self.folder.quarantine))
        self.catalogue = Catalogue(self.database, self.folder.captures)
        self.outbox = Outbox(self.database, boot_id=clock.boot_id, now=clock.boottime_ns, jitter=random.Random(1))
        self.woken = 0
        self.finishing = Finishing(
            database=self.database,
            catalogue=self.catalogue,
            owing=Owing(self.outbox, {"walk": ["lab"]}),
            captures=self.folder.captures,
            owed=self.wake,
        )
        self.developer = Developer(
            folder=self.folder.recording, quarantine=self.folder.quarantine, finishing=self.finishing, clock=clock
        )

    def wake(self) -> None:
        self.woken += 1

    def negative(self, *formats: str, hour: int = 0) -> Path:
        wall_ns = STARTED_NS + hour * 3600 * 1_000_000_000
        return make_negative(
            self.folder.recording, recording="walk", wall_ns=wall_ns, labels={}, formats=list(formats or ("csv",))
        )

    def run_until(self, condition: Callable[[], bool]) -> list[BaseException]:
        """Runs the developer's own thread until then; what it failed with."""
        failures: list[BaseException] = []
        worker = self.developer.start(lambda name, error: failures.append(error))
        deadline = threading.Event()
        for _ in range(1000):
            if condition() or not worker.alive:
                break
            deadline.wait(0.01)
        assert worker.stop(10)
        return failures


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(tmp_path, stack)


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*args: Any, **more: Any) -> Any:
        raise error

    return fail


def full(*args: Any, **more: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_negative_becomes_a_capture_that_is_owed_and_nothing_else_stays(house: House) -> None:
    negative = house.negative("csv", "wav")
    capture = house.developer.step(negative, lambda: None)
    assert capture is not None
    assert capture.damage() == ""
    assert [payload.format for payload in capture.payloads] == ["csv", "wav"]
    assert house.outbox.counts()["lab"].owed == 1
    assert house.woken == 1
    assert list(house.folder.recording.iterdir()) == []
    assert house.developer.health() == {"queued": 0, "developed": 1, "failed": 0, "error": ""}


def test_without_room_it_rests_says_so_once_and_leaves_nothing_that_fills_the_disk(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    negatives = [house.negative("csv", "wav", hour=hour) for hour in range(2)]
    for negative in negatives:
        house.developer.add(negative)
    with monkeypatch.context() as disk:
        disk.setattr("agent.formats.wav.Wav.develop", full, raising=True)
        for _ in range(3):
            for negative in negatives:
                assert house.developer.step(negative, lambda: None) is None
    assert sorted(house.folder.recording.iterdir()) == sorted(negatives), "a whole CSV would keep the disk full"
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1
    assert "No space left" in house.developer.health()["error"]
    assert house.developer.queued == 2
    for negative in negatives:
        assert house.developer.step(negative, lambda: None)
    assert house.developer.health()["error"] == ""
    assert house.developer.queued == 0


def test_what_fails_twice_goes_to_quarantine_with_all_that_was_made_of_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = house.negative("csv", "wav"), house.negative("csv", hour=1)
    monkeypatch.setattr("agent.formats.wav.Wav.develop", raising(RuntimeError("a bug")))
    house.developer.add(bad)
    house.developer.add(good)
    assert house.run_until(lambda: not house.developer.queued) == []
    assert house.developer.health()["failed"] == 1
    assert house.developer.health()["developed"] == 1, "the others go on"
    (place,) = house.folder.quarantine.iterdir()
    assert {path.suffix for path in place.iterdir()} == {".txt", ".negative", ".csv"}
    assert "a bug" in (place / "reason.txt").read_text()
    assert list(house.folder.recording.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), OSError(errno.EMFILE, "x"), MemoryError()])
def test_a_machine_that_fails_or_is_short_is_not_the_negatives_fault(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    negative = house.negative("csv")
    house.developer.add(negative)
    with monkeypatch.context() as machine:
        machine.setattr(Path, "rename", raising(error))
        for _ in range(5):
            assert house.developer.step(negative, lambda: None) is None
    assert house.developer.queued == 1
    assert house.developer.step(negative, lambda: None)
    assert (house.developer.queued, house.developer.health()["failed"]) == (0, 0)


def test_a_negative_that_alone_cannot_be_read_goes_to_quarantine(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, scan = house.negative("csv"), Film.scan
    unreadable = raising(OSError(errno.EIO, "Input/output error"))
    monkeypatch.setattr(Film, "scan", lambda path, breathe: (unreadable if path == bad else scan)(path, breathe))
    house.developer.add(bad)
    for hour in range(1, 5):
        house.developer.step(bad, lambda: None)
        assert house.developer.step(house.negative("csv", hour=hour), lambda: None)
    assert house.developer.health() == {"queued": 0, "developed": 4, "failed": 1, "error": ""}


def test_a_capture_with_the_name_of_another_overwrites_nothing(house: House) -> None:
    mine = house.developer.step(house.negative(), lambda: None)
    assert mine is not None
    before = {path.name: path.read_bytes() for path in mine.files}
    document = {**mine.document, "uuid": "0" * 8 + mine.uuid[8:]}
    for payload in mine.payloads:
        (house.folder.recording / payload.file).write_bytes(bytes(payload.size))
    (house.folder.recording / mine.sidecar.name).write_text(json.dumps(document))
    stranger = Capture.load(house.folder.recording / mine.sidecar.name)
    house.finishing.finish_each([stranger], house.folder.quarantine)
    assert house.finishing.quarantined == 1
    assert {path.name: path.read_bytes() for path in mine.files} == before
    assert [entry.uuid for entry in house.catalogue.find()] == [mine.uuid]
    (aside,) = house.folder.quarantine.iterdir()
    assert {path.name for path in stranger.files} <= {path.name for path in aside.iterdir()}


def test_a_negative_that_somebody_deleted_stops_nobody(house: House) -> None:
    gone, good = house.negative(), house.negative(hour=1)
    house.developer.add(gone)
    house.developer.add(good)
    gone.unlink()
    assert house.run_until(lambda: not house.developer.queued) == []
    assert house.developer.health()["failed"] == 1
    assert house.developer.health()["developed"] == 1


def test_a_full_disk_that_takes_not_even_the_quarantine_stops_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = house.folder.recording / "noise.negative.part"
    bad.write_bytes(b"noise")
    house.developer.add(bad)
    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", full)
        for _ in range(5):
            assert house.developer.step(bad, lambda: None) is None
    assert bad.exists()
    assert list(house.folder.quarantine.iterdir()) == []
    assert house.developer.queued == 1
    house.developer.step(bad, lambda: None)
    assert not bad.exists()
    assert house.developer.queued == 0
    assert len(list(house.folder.quarantine.iterdir())) == 1


def test_a_negative_that_a_kill_left_empty_just_goes(house: House) -> None:
    empty = house.folder.recording / "begun.negative.part"
    empty.write_bytes(b"")
    house.developer.add(empty)
    assert house.developer.step(empty, lambda: None) is None
    assert not empty.exists()
    assert list(house.folder.quarantine.iterdir()) == []
    assert house.developer.queued == 0


def test_a_damaged_database_is_loud_and_not_the_negatives_fault(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    negative = house.negative()
    house.developer.add(negative)
    monkeypatch.setattr(Catalogue, "add", raising(DatabaseDamaged("malformed")))
    (error,) = house.run_until(lambda: False)
    assert isinstance(error, DatabaseDamaged)
    assert negative.exists()
    assert list(house.folder.quarantine.iterdir()) == []


def test_a_kill_between_row_and_end_leaves_no_second_copy_behind(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    negative = house.negative()
    with monkeypatch.context() as kill:
        kill.setattr(finishing_module, "sync_filesystem", raising(Killed()))
        with pytest.raises(Killed):
            house.developer.step(negative, lambda: None)
    assert len(list(house.folder.recording.iterdir())) == 3
    assert adopt(house.folder.recording, quarantine=house.folder.quarantine) == []
    synced = []
    monkeypatch.setattr(finishing_module, "sync_filesystem", synced.append)
    assert house.developer.step(negative, lambda: None)
    assert list(house.folder.recording.iterdir()) == []
    assert synced, "the row may not be on the disk yet"
    assert house.outbox.counts()["lab"].owed == 1


def test_a_name_in_a_negative_never_becomes_a_path(house: House, tmp_path: Path) -> None:
    template = house.negative()
    reader = NegativeReader(template)
    evil = NegativeWriter(house.folder.recording / "evil.negative", {**reader.head, "name": "../../outside"})
    for place, block in reader.blocks():
        evil.write(place, block)
    evil.finish({"reason": "stop"})
    template.unlink()
    house.developer.add(evil.path)
    assert house.run_until(lambda: not house.developer.queued) == []
    assert not [path for path in (*tmp_path.parent.rglob("*"), *tmp_path.rglob("*")) if path.name.startswith("outside")]
    assert house.developer.health()["failed"] == 1


def test_asked_to_stop_it_leaves_a_long_one_for_the_next_start(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def endless(self: Any, film: Any, path: Path, breathe: Callable[[], None]) -> None:
        while True:
            breathe()
            begun.set()

    negative = house.negative()
    house.developer.add(negative)
    with monkeypatch.context() as long:
        long.setattr(csv.Csv, "develop", endless)
        assert house.run_until(begun.is_set) == []
    assert negative.exists()
    assert house.developer.step(negative, lambda: None)


def test_a_format_that_does_not_fit_is_left_out(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing goes to quarantine for it: the others are made, and a CSV where there is no other."""
    monkeypatch.setattr(wav, "_LARGEST", 1000)
    schema = json.loads((Path(__file__).parents[1] / "agent" / "capture.schema.json").read_text())
    for hour, (wanted, made) in enumerate(((("mcap", "wav"), ["mcap"]), (("wav",), ["csv"]), (("csv",), ["csv"]))):
        caplog.clear()
        capture = house.developer.step(house.negative(*wanted, hour=hour), lambda: None)
        assert capture is not None
        assert [payload.format for payload in capture.payloads] == made
        assert capture.damage() == ""
        jsonschema.validate(capture.document, schema)
        unfit = capture.document["end"].get("unfit", {})
        errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
        if "wav" not in wanted:
            assert not unfit
            assert not errors
            continue
        assert "record shorter captures" in unfit["wav"]
        (said,) = errors
        assert f"{capture.name} is not made as wav, only as {made[0]}" in said
    assert not list(house.folder.quarantine.iterdir())
    assert not list(house.folder.recording.iterdir())
