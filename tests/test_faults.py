"""What goes wrong around the daemon: files that somebody deleted, strange questions, hardware that hangs."""

import json
import os
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agent import commands
from agent.answers import Answers
from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.clock import Clock
from agent.control import CommandError
from agent.database import Database, DatabaseWaits
from agent.folder import DataFolder
from agent.housekeeping import keep_dates, keep_room, rebuild_catalogue
from agent.monitor import Parts
from agent.outbox import Outbox
from agent.retention import Retention
from agent.ring import Ring
from agent.stream import Stream
from agent.sync.owing import Owing
from drivers import Channel, DriverError, Identity
from drivers.ports.virtual import Child, Virtual
from tests.captures import make_capture
from tests.running import Running

CSV, JPEG, MP4 = ("csv", "text/csv", ".csv"), ("jpeg", "image/jpeg", ".jpg"), ("mp4", "video/mp4", ".mp4")


class SetClock(Clock):
    """A clock that a test sets."""

    known = True

    def synchronised(self) -> bool:
        return self.known


class House:
    """A data folder with captures, whose threads a test starts."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        self.folder = stack.enter_context(DataFolder(place))
        self.database = stack.enter_context(Database(self.folder.database, quarantine=self.folder.quarantine))
        self.catalogue = Catalogue(self.database, self.folder.captures)
        self.clock = SetClock()
        self.outbox = Outbox(
            self.database, boot_id=self.clock.boot_id, now=self.clock.boottime_ns, jitter=random.Random(1)
        )
        self.broken: list[BaseException] = []

    def add(self, *targets: str, kind: tuple[str, str, str] = CSV, duration_s: float = 1.0, **start: Any) -> Capture:
        whole = {
            "boot_time_ns": 1,
            "boot_id": self.clock.boot_id,
            "wall_time": "2026-11-21T10:15:00.123000Z",
            "clock": "synchronised",
        } | start
        capture = make_capture(self.folder.captures, kind=kind, start=whole, duration_s=duration_s)
        with self.database.transaction(durable=False) as connection:
            self.catalogue.add(connection, [capture])
            self.outbox.owe(connection, [(capture.uuid, capture.size, targets)])
        return capture

    def failed(self, thread: str, error: BaseException) -> None:
        self.broken.append(error)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        house = House(tmp_path, stack)
        yield house
        assert house.broken == []


def until(condition: Any) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("this should have happened by now")


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Housekeeping that waits for milliseconds."""
    monkeypatch.setattr("agent.housekeeping._EVERY_S", 0.01)
    monkeypatch.setattr("agent.housekeeping._ONCE_MORE_S", 0.01)


@pytest.mark.usefixtures("hurry")
def test_dates_are_corrected_though_one_sidecar_is_gone_and_another_damaged(house: House) -> None:
    gone, damaged, good = (house.add("lab", clock="unsynchronised") for _ in range(3))
    gone.sidecar.unlink()
    damaged.sidecar.write_text("{")
    worker = keep_dates(house.catalogue, house.clock, lambda connection, capture: None)(house.failed)
    until(lambda: not worker.alive)
    assert house.catalogue.get(good.uuid).document["start"]["clock"] == "redated"


@pytest.mark.usefixtures("hurry")
def test_samples_are_dated_however_few_and_what_a_camera_gave_is_not(house: House) -> None:
    kinds = {"one": (CSV, 0.0), "many": (CSV, 1.0), "picture": (JPEG, 0.0), "clip": (MP4, 2.0)}
    made = {
        name: house.add(kind=kind, duration_s=duration_s, clock="unsynchronised")
        for name, (kind, duration_s) in kinds.items()
    }
    worker = keep_dates(house.catalogue, house.clock, lambda connection, capture: None)(house.failed)
    until(lambda: not worker.alive)
    found = {name: house.catalogue.get(capture.uuid).document["start"]["clock"] for name, capture in made.items()}
    assert found == {"one": "redated", "many": "redated", "picture": "unsynchronised", "clip": "unsynchronised"}


@pytest.mark.usefixtures("hurry")
def test_dates_wait_for_a_disk_that_is_full(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = house.add(clock="unsynchronised")
    with monkeypatch.context() as disk:
        tried = threading.Event()

        def full(*args: Any, **more: Any) -> None:
            tried.set()
            raise DatabaseWaits(28, "database or disk is full")

        disk.setattr(house.catalogue, "amend", full)
        worker = keep_dates(house.catalogue, house.clock, lambda connection, capture: None)(house.failed)
        assert tried.wait(10)
    until(lambda: house.catalogue.get(capture.uuid).document["start"]["clock"] == "redated")
    assert worker.stop(10)


@pytest.mark.usefixtures("hurry")
def test_what_a_rebuild_finds_late_is_dated_too(house: House) -> None:
    whole = threading.Event()
    worker = keep_dates(house.catalogue, house.clock, lambda connection, capture: None, whole.is_set)(house.failed)
    early = house.add(clock="unsynchronised")
    until(lambda: house.catalogue.get(early.uuid).document["start"]["clock"] == "redated")
    threading.Event().wait(0.05)  # several rounds
    assert worker.alive
    late = house.add(clock="unsynchronised")
    until(lambda: house.catalogue.get(late.uuid).document["start"]["clock"] == "redated")
    whole.set()
    until(lambda: not worker.alive)


def retention(house: House) -> Retention:
    return Retention(
        floor=lambda total: 10,
        catalogue=house.catalogue,
        outbox=house.outbox,
        captures=house.folder.captures,
        delete_unowed=True,
        space=lambda folder: (0, 1000),
    )


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("damage", ["gone", "not JSON", "strange"])
def test_a_capture_without_its_sidecar_is_deleted_whole(house: House, damage: str) -> None:
    capture = house.add()
    payload, sidecar = capture.files
    if damage == "gone":
        sidecar.unlink()
    else:
        sidecar.write_text("{" if damage == "not JSON" else json.dumps({**capture.document, "payloads": 5}))
    worker = keep_room(retention(house), lambda: 0)(house.failed)
    until(lambda: not payload.exists())
    assert worker.stop(10)
    assert not sidecar.exists()


@pytest.mark.usefixtures("hurry")
def test_a_late_capture_comes_into_a_folder_that_is_just_being_removed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = house.add()
    house.add(wall_time="2026-11-22T10:15:00.123000Z")
    newest = make_capture(house.folder.captures)
    with house.database.transaction(durable=False) as connection:
        house.catalogue.add(connection, [Capture(house.folder.captures / "2026-11-22", newest.document)])
    for path in newest.files:
        path.unlink()
    rmdir = Path.rmdir

    def just_then(folder: Path) -> None:
        (folder / "late.csv").touch()
        rmdir(folder)

    monkeypatch.setattr(Path, "rmdir", just_then)
    house.catalogue.delete([entry.uuid for entry in house.catalogue.find() if entry.day == old.folder.name])
    assert (old.folder / "late.csv").exists()


@pytest.mark.usefixtures("hurry")
def test_a_rebuild_waits_for_a_disk_that_is_full(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = make_capture(house.folder.captures)
    tried, woken = threading.Event(), threading.Event()
    rebuilt = house.database.rebuilt

    def full() -> None:
        monkeypatch.setattr(house.database, "rebuilt", rebuilt)
        tried.set()
        raise DatabaseWaits(28, "database or disk is full")

    monkeypatch.setattr(house.database, "rebuilt", full)
    worker = rebuild_catalogue(
        house.database,
        house.catalogue,
        Owing(house.outbox, {"walk": ["lab"]}),
        folder=house.folder,
        wake=woken.set,
    )(house.failed)
    assert woken.wait(10)
    assert tried.is_set()
    assert worker.stop(10)
    assert house.catalogue.get(capture.uuid).name == capture.name
    assert house.database.rebuilt_because == ""


class OneTarget:
    """Stands for Sync: knows the target `lab`."""

    def health(self) -> Mapping[str, Any]:
        return {"lab": {}}


def test_a_capture_whose_files_are_gone_can_be_dropped(house: House) -> None:
    capture = house.add("lab")
    for path in capture.files:
        path.unlink()
    nothing: dict[str, Any] = {
        field: None for field in Parts.__dataclass_fields__ if field not in ("sync", "outbox", "catalogue")
    }
    answers = Answers(Parts(**nothing, sync=OneTarget(), outbox=house.outbox, catalogue=house.catalogue))  # type: ignore[arg-type]
    refused = house.outbox.claim("lab", 1, lease_s=60)
    house.outbox.settle([parcel.refused("gone") for parcel in refused])
    assert commands.obey(answers, "drop", {"capture": capture.uuid}) == 1


def test_what_is_owed_to_a_target_that_is_configured_no_longer_can_be_dropped(house: House) -> None:
    house.add("old")
    nothing: dict[str, Any] = {field: None for field in Parts.__dataclass_fields__ if field not in ("sync", "outbox")}
    answers = Answers(Parts(**nothing, sync=OneTarget(), outbox=house.outbox))  # type: ignore[arg-type]
    assert commands.obey(answers, "drop", {"target": "old"}) == 0  # it was never refused
    assert commands.obey(answers, "drop", {"target": "old", "refused_only": False}) == 1
    with pytest.raises(CommandError, match="no target 'odl'; there is lab"):
        commands.obey(answers, "drop", {"target": "odl"})


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"\\ud800"', "1" + 400 * "0", str(1 << 63)])
def test_a_label_that_no_sidecar_can_hold_is_refused(value: str) -> None:
    given = json.loads(f'{{"labels": {{"a": {value}}}}}')
    with pytest.raises(CommandError, match="labels"):
        commands.obey(None, "label", given)  # type: ignore[arg-type]


def test_a_sidecar_whose_name_is_a_path_is_none(tmp_path: Path) -> None:
    capture = make_capture(tmp_path)
    capture.sidecar.write_text(json.dumps({**capture.document, "name": "../../etc/passwd"}))
    with pytest.raises(ValueError, match="not a plain file name"):
        Capture.load(capture.sidecar)


def test_health_may_be_asked_while_a_driver_counts_something_new() -> None:
    class Growing:
        """A driver whose reader counts something new while Health is being told."""

        def __init__(self) -> None:
            self.counters = {"overflows": 1}

    stream = Stream(
        "imu",
        "test",
        None,  # type: ignore[arg-type]
        ring=Ring(10, 1000),
        clock=Clock(),
        jitter=random.Random(1),
    )
    stream._begin(Identity("IMU", 10.0, (Channel("X"),)))
    driver = Growing()
    stream._open_driver = driver  # type: ignore[assignment]
    stop = threading.Event()

    def count() -> None:
        number = 0
        while not stop.is_set():
            driver.counters[f"fault {number % 5000}"] = number
            number += 1
            if number % 5000 == 0:
                driver.counters = {}

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(300):
            stream.health()
    finally:
        stop.set()
        thread.join()


def test_it_ends_within_ten_seconds_though_three_devices_keep_it_waiting(tmp_path: Path) -> None:
    ends = [os.openpty() for _ in range(3)]
    config = "".join(
        f"""
[stream.mcu{number}]
driver = "ssi"
port = "{os.ttyname(far)}"
connect_timeout_s = 25

[recording.mcu{number}]
streams = ["mcu{number}"]
"""
        for number, (_, far) in enumerate(ends)
    )
    running = Running(tmp_path, config)
    try:
        running.start()
        running.until(lambda status: len(status["streams"]) == 3)
        code, seconds = running.terminate()
        assert (code, seconds < 10) == (0, True), running.log()
    finally:
        running.__exit__(None, None, None)
        for pair in ends:
            for descriptor in pair:
                os.close(descriptor)


@pytest.mark.parametrize("lacks", ["socket.socketpair", "subprocess.Popen"])
def test_a_virtual_device_that_no_descriptor_is_left_for_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    def none_left(*args: Any, **more: Any) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(f"drivers.ports.virtual.{lacks}", none_left)
    with pytest.raises(DriverError, match=r"cannot be started: .*Too many open files"):
        Child("mpu6050", Virtual().document())
