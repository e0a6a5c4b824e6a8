"""What an earlier run left: pictures that may still get their date wait on, everything else goes on at once."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agent.adoption import take_over
from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.clock import Clock
from agent.database import Database
from agent.developer import Developer
from agent.disk_sync import DiskSync
from agent.finishing import Finishing
from agent.folder import DataFolder
from agent.outbox import Outbox
from agent.pictures import PictureWriter
from agent.sync.delivery import Delivery
from agent.sync.owing import Owing
from tests.pictures import DEVICE, START_NS, block, write
from tests.recorded import STARTED_NS, make_negative

MINUTE_NS = 60_000_000_000


class SetClock(Clock):
    """A clock that a test sets: a minute after boot, in 1970 until it is known."""

    def __init__(self) -> None:
        nowhere = Path("/nonexistent")
        super().__init__(nowhere, nowhere, wall=self.shown, kept=lambda: self.known)
        self.now_ns, self.known = MINUTE_NS, False

    def boottime_ns(self) -> int:
        return self.now_ns

    def shown(self) -> int:
        return self.now_ns + (START_NS if self.known else 0)


class House:
    """A data folder at a start of the daemon."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        self.clock = SetClock()
        self.folder = stack.enter_context(DataFolder(place))
        database = stack.enter_context(Database(self.folder.database, quarantine=self.folder.quarantine))
        self.catalogue = Catalogue(database, self.folder.captures)
        self.outbox = Outbox(database, boot_id=self.clock.boot_id, now=self.clock.boottime_ns, jitter=random.Random(1))
        self.owing = Owing(self.outbox, {})
        self.finishing = Finishing(
            database=database,
            catalogue=self.catalogue,
            owing=self.owing,
            captures=self.folder.captures,
            owed=lambda: None,
        )
        self.developer = Developer(
            folder=self.folder.recording,
            quarantine=self.folder.quarantine,
            finishing=self.finishing,
            clock=self.clock,
        )
        self.disk_sync = DiskSync(
            every_s=1.0,
            negatives=lambda: (),
            ended=self.developer.undeveloped,
            finishing=self.finishing,
            quarantine=self.folder.quarantine,
            clock=self.clock,
            date_wait_s=120.0,
        )

    def left(self, number: int = 0, *, full_names: bool = False) -> Capture:
        """A picture that an earlier run wrote, and did not finish."""
        return write(self.writer(full_names=full_names), block(number, at_s=5.0 + number))

    def writer(self, **more: Any) -> PictureWriter:
        return PictureWriter(
            self.folder.recording, self.folder.captures, recording="photos", device=DEVICE, clock=self.clock, **more
        )

    def start(self) -> None:
        take_over(self.folder, self.finishing, self.developer, self.disk_sync, device=DEVICE, clock=self.clock)

    def finished(self) -> list[str]:
        return [entry.name for entry in self.catalogue.find()]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(tmp_path, stack)


@pytest.mark.parametrize("full_names", [False, True])
def test_an_undated_picture_waits_on_and_gets_its_date(house: House, full_names: bool) -> None:
    early = house.left(full_names=full_names)
    house.start()
    house.disk_sync.step()
    assert (house.finished(), house.disk_sync.queued) == ([], 1)
    house.clock.known = True
    house.disk_sync.step()
    (name,) = house.finished()
    assert name == (early.name.replace("19700101T000005", "20240305T060708") if full_names else _named("06-07-08"))
    assert house.catalogue.get(early.uuid).damage() == ""
    assert list(house.folder.recording.iterdir()) == []


def test_its_time_goes_on_from_when_it_was_taken(house: House) -> None:
    early = house.left()
    house.start()
    house.clock.now_ns = int(5e9) + 2 * MINUTE_NS
    house.disk_sync.step()
    assert house.finished() == [early.name]


def test_what_can_get_no_better_date_is_finished_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.clock, "boot_id", "an earlier boot")
    earlier = house.left(0)
    monkeypatch.undo()
    house.clock.known = True
    dated = house.left(1)
    house.clock = SetClock()
    house.start()
    assert sorted(house.finished()) == sorted([earlier.name, dated.name])
    assert house.disk_sync.queued == 0


def test_a_clip_waits_for_its_date_as_pictures_do(house: House) -> None:
    clip = write(house.writer(), block(jpeg=b"", mp4=b"moving", begin_ns=4 * 10**9, end_ns=6 * 10**9))
    assert clip.document["duration_s"] == 2.0
    house.start()
    assert (house.finished(), house.disk_sync.queued) == ([], 1)
    house.clock.known = True
    house.disk_sync.step()
    assert house.finished() == [_named("06-07-07")]


def test_a_picture_of_a_recording_that_is_not_configured_is_owed_to_whom_it_is_for(house: House) -> None:
    house.owing.change({}, {"lab": Delivery(), "nas": Delivery()})
    house.clock.known = True
    write(house.writer(targets=("lab",)), block())
    house.start()
    counts = house.outbox.counts()
    assert {name: count.owed for name, count in counts.items()} == {"lab": 1}


def test_negatives_are_developed_and_until_then_synced(house: House) -> None:
    make_negative(house.folder.recording, recording="walk", wall_ns=STARTED_NS, labels={}, formats=["csv"])
    house.start()
    assert house.developer.queued == 1
    house.disk_sync.step()
    assert house.disk_sync.syncs == 1


def _named(time: str) -> str:
    return f"{DEVICE.id}.2024-03-05_{time}"
