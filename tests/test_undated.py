"""Captures whose date is not known yet: held back where a date is needed, until it is known or a boot has passed."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.capture import Capture
from agent.clock import Clock, redated
from agent.config.loading import load
from agent.monitor import _problems
from agent.outbox import Outbox
from agent.sync.delivery import Delivery
from agent.sync.owing import Owing
from tests.captures import make_capture
from tests.test_sync import House as Base
from tests.test_sync import Scripted

NS = 1_000_000_000
TRUE_NS = 1_795_255_200 * NS


class SetClock(Clock):
    """A clock in 1970, until it is known."""

    def __init__(self) -> None:
        nowhere = Path("/nonexistent")
        super().__init__(
            nowhere, nowhere, wall=lambda: self.boottime_ns() + TRUE_NS * self.known, kept=lambda: self.known
        )
        self.known = False


class House(Base):
    """A recording `walk` for `lab`, which needs dates, and `nas`, which does not."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        super().__init__(folder, stack)
        self.clock = SetClock()
        self.owing = Owing(self.outbox, {})
        self.owing.change({"walk": ("lab", "nas")}, {"lab": Delivery(undated="wait"), "nas": Delivery(undated="send")})

    def finish(
        self, duration_s: float = 1.0, kind: tuple[str, str, str] = ("csv", "text/csv", ".csv"), **start: Any
    ) -> Capture:
        at = {"boot_time_ns": NS, "boot_id": self.clock.boot_id, "wall_time": "1970-01-01T00:00:01.000000Z"}
        capture = make_capture(
            self.folder / "captures", kind=kind, start={**at, **self.clock.trust(), **start}, duration_s=duration_s
        )
        with self.database.transaction(durable=False) as connection:
            self.catalogue.add(connection, [capture])
            self.owing.owe(connection, [capture])
        return capture

    def ready(self, target: str, outbox: Outbox | None = None) -> int:
        return len((outbox or self.outbox).claim(target, 10, lease_s=60))

    def date(self, capture: Capture) -> None:
        """As housekeeping does it once the clock is known."""
        self.clock.known = True
        self.catalogue.amend(capture.uuid, lambda d: {"start": redated(d["start"], self.clock)}, self.owing.owe_again)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with contextlib.ExitStack() as stack:
        yield House(tmp_path, stack)


def test_samples_without_a_date_wait_where_one_is_needed_and_go_with_it(house: House) -> None:
    capture = house.finish()
    assert (house.ready("lab"), house.ready("nas")) == (0, 1)
    assert house.outbox.holds("lab")
    assert [parcel.error for parcel in house.outbox.list("lab")] == ["the date of this capture is not known yet"]
    house.date(capture)
    assert not house.outbox.holds("lab")
    (parcel,) = house.outbox.claim("lab", 10, lease_s=60)
    assert (parcel.revision, parcel.error) == (2, "")
    dated = house.catalogue.get(capture.uuid).document["start"]["wall_time"]
    assert dated.startswith(("2026-11-21T10:00:00.9999", "2026-11-21T10:00:01.0000")), "to what is between two looks"


@pytest.mark.parametrize(
    "what",
    [
        {"clock": "rtc", "dated_by": "rtc"},
        {"clock": "redated", "dated_by": "gps"},
        {"boot_id": "an earlier boot"},
        {"kind": ("jpeg", "image/jpeg", ".jpg"), "duration_s": 0.0},
        {"kind": ("mp4", "video/mp4", ".mp4")},
    ],
)
def test_what_has_a_date_or_gets_none_any_more_does_not_wait(house: House, what: dict[str, Any]) -> None:
    house.finish(**what)
    assert house.ready("lab") == 1


def test_a_single_sample_waits_for_its_date_too(house: House) -> None:
    capture = house.finish(duration_s=0.0)
    assert (house.ready("lab"), house.ready("nas")) == (0, 1)
    house.date(capture)
    assert house.ready("lab") == 1


def test_a_label_is_no_date(house: House) -> None:
    capture = house.finish()
    house.catalogue.amend(capture.uuid, lambda document: {"labels": {"activity": "walking"}}, house.owing.owe_again)
    assert house.ready("lab") == 0
    house.date(capture)
    (parcel,) = house.outbox.claim("lab", 10, lease_s=60)
    assert parcel.revision == 3


def test_the_next_boot_sends_what_has_an_order_and_no_date(house: House) -> None:
    house.finish()
    later = Outbox(house.database, boot_id="the next boot", now=lambda: NS, jitter=random.Random(1))
    assert not later.holds("lab")
    assert house.ready("lab", later) == 1


def test_a_person_can_send_it_by_retrying_but_not_by_syncing(house: House) -> None:
    house.finish()
    house.outbox.retry("lab", refused=False)
    assert house.ready("lab") == 0
    house.outbox.retry("lab")
    assert house.ready("lab") == 1


def test_health_says_what_it_waits_for(house: House) -> None:
    capture = house.finish()
    lab, nas = Scripted(), Scripted()
    sync = house.sync(lab=lab, nas=nas)
    house.until(lambda: sync.health()["nas"]["delivered"] == 1)
    health = sync.health()["lab"]
    assert (health["state"], health["owed"], lab.asked) == ("waits for the clock to be set", 1, [])
    disk = {"sync_error": "", "sync_failed": 0}
    problems = _problems({}, {}, {"lab": health}, disk, {"failed": 0, "error": ""})
    assert any("lab waits for the clock" in problem for problem in problems)
    house.date(capture)
    sync.wake()
    house.until(lambda: sync.health()["lab"]["delivered"] == 1)
    assert sync.health()["lab"]["state"] == "idle"


CONFIG = """
[stream.imu]
driver = "mpu6050"
[target.folder]
kind = "directory"
path = "/tmp"
[target.shelf]
kind = "moveshelf"
project = "clinic/gait"
key_file = "key"
[target.hasty]
kind = "moveshelf"
project = "clinic/gait"
key_file = "key"
undated = "send"
[target.patient]
kind = "directory"
path = "/tmp"
undated = "wait"
"""


def test_a_kind_of_target_knows_whether_it_needs_dates_and_a_person_knows_better(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    targets = load(tmp_path / "config.toml").targets
    found = {name: target.delivery.undated for name, target in targets.items()}
    assert found == {"folder": "send", "shelf": "wait", "hasty": "send", "patient": "wait"}
