"""Picture captures: names that are unique, a sidecar that holds, and nothing lost by a kill at any moment."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from agent import exif
from agent.capture import Capture, CaptureConfiguration
from agent.clock import Clock
from agent.pictures import PictureWriter, settle
from agent.take import Device
from drivers import Block, Identity, samples_dtype
from drivers.picamera import Settings
from drivers.ports.virtual import Virtual
from drivers.ports.virtual.picamera import render
from tests.contracts.driver import read_blocks

SCHEMA = json.loads((Path(exif.__file__).parent / "capture.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
IDENTITY = Identity("imx477", 1.0, setup={"width": 320, "height": 240, "quality": 80})
CONFIGURATION = CaptureConfiguration.of("photos", [(IDENTITY, [])])
DEVICE = Device("bay3", "512858f4", "Raspberry Pi 4 Model B Rev 1.4")
PICTURE = render(seed=1, number=0, size=(320, 240), quality=80)
BOOT_NS = 5_000_000_000
START_NS = 1709618828_000000000 - BOOT_NS
"""Wall time of boot: boot time 5 s is 2024-03-05 06:07:08."""
NAME = "512858f4.2024-03-05_06-07-0"


@dataclasses.dataclass
class SetClock:
    """A clock that a test sets."""

    offset_ns: int = START_NS
    known: bool = True
    boot_id: str = "b9f0c1de-0000-4000-8000-000000000001"

    def wall_ns(self, boot_ns: int) -> int:
        return boot_ns + self.offset_ns

    def synchronised(self) -> bool:
        return self.known


@dataclasses.dataclass
class House:
    """The two folders and a clock."""

    root: Path
    clock: SetClock = dataclasses.field(default_factory=SetClock)

    def __post_init__(self) -> None:
        self.recording, self.captures = self.root / "recording", self.root / "captures"
        self.recording.mkdir()
        self.captures.mkdir()

    def writer(self, **options: Any) -> PictureWriter:
        options = {"recording": "photos", "device": DEVICE, "clock": self.clock} | options
        return PictureWriter(self.recording, self.captures, **options)

    def finish(self, capture: Capture) -> Capture:
        """As finishing does it: there first, then gone from here."""
        folder = self.captures / capture.document["start"]["wall_time"][:10]
        folder.mkdir(exist_ok=True)
        for path in capture.files:
            os.link(path, folder / path.name)
        for path in capture.files:
            path.unlink()
        return Capture(folder, capture.document)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.root.rglob("*.*"))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def block(number: int = 0, at_s: float = 5.0, jpeg: bytes = PICTURE, **more: Any) -> Block:
    metadata = {"exposure_s": 0.0125, "gain": 2.0, "lux": 120.5}
    samples = np.empty(0, samples_dtype(()))
    return Block(number, samples, int(at_s * 1e9), number, jpeg=jpeg, metadata=metadata, **more)


def write(writer: PictureWriter, what: Block, **more: Any) -> Capture:
    options: dict[str, Any] = {"stream": "cam", "driver": "picamera", "identity": IDENTITY}
    return writer.write(what, **options, configuration=CONFIGURATION, **more)


def test_a_picture_becomes_a_whole_capture(house: House) -> None:
    capture = write(
        house.writer(),
        block(41, 5.25, lost=2),
        labels={"bed": "north"},
        metadata={"rows": 3},
        surroundings={"temperature_c": 20.6, "latitude": 49.26142, "longitude": -123.25088, "unknown": 1},
    )
    assert capture.name == NAME + "8"
    assert capture.folder == house.recording
    assert house.names() == [NAME + "8.jpg", NAME + "8.json"]
    assert Capture.load(capture.sidecar).document == capture.document
    assert capture.damage() == ""
    (payload,) = capture.payloads
    jpeg = capture.path(payload).read_bytes()
    assert exif.plain(jpeg) == PICTURE, "the picture is the camera's, byte for byte"
    assert payload.md5 == hashlib.md5(jpeg).hexdigest()
    found = exif.read(jpeg)
    assert found["taken"] == "2024-03-05T06:07:08.250000+00:00"
    assert found["model"] == "imx477"
    assert found["comment"]["T"] == "20.6"
    assert found["comment"]["cfg"] == CONFIGURATION.uuid[:8]
    assert found["comment"]["cap"] == capture.uuid[:8]
    assert capture.document["start"] == {
        "boot_time_ns": 5_250_000_000,
        "boot_id": house.clock.boot_id,
        "wall_time": "2024-03-05T06:07:08.250000Z",
        "clock": "synchronised",
    }
    stream = capture.document["streams"][0]
    assert (stream["first"], stream["lost"]) == (41, {"samples": 2, "exact": True})
    assert stream["picture"]["temperature_c"] == 20.6
    assert "unknown" not in stream["picture"]


def test_from_the_virtual_camera_to_the_capture(house: House) -> None:
    settings = Settings(camera="virtual", interval_s=0.05, width=320, height=240, virtual=Virtual(seed=3))
    writer = house.writer(clock=Clock())
    driver = settings.open()
    try:
        identity = driver.start()
        blocks = read_blocks(driver, 3)
    finally:
        driver.close()
    for what in blocks:
        configuration = CaptureConfiguration.of("photos", [(identity, [])])
        capture = writer.write(what, stream="cam", driver="picamera", identity=identity, configuration=configuration)
        VALIDATOR.validate(json.loads(capture.sidecar.read_bytes()))
        assert exif.plain(capture.files[0].read_bytes()) == render(3, int(what.metadata["frame"]), (320, 240), 90)
    assert len(list(house.recording.glob("*.jpg"))) == 3


def test_the_sidecar_follows_the_published_schema(house: House) -> None:
    VALIDATOR.check_schema(SCHEMA)
    capture = write(house.writer(), block(), labels={"a": True})
    document = json.loads(capture.sidecar.read_bytes())
    VALIDATOR.validate(document)
    broken: list[dict[str, Any]] = [
        {key: value for key, value in document.items() if key != "start"},
        document | {"revision": 0},
        document | {"extra": 1},
        document | {"payloads": [document["payloads"][0] | {"file": "../x.jpg"}]},
    ]
    assert not any(VALIDATOR.is_valid(one) for one in broken)


def test_what_is_not_a_number_does_not_spoil_the_sidecar(house: House) -> None:
    odd = dataclasses.replace(block(), metadata={"lux": float("nan"), "gain": float("inf"), "exposure_s": 0.1})
    capture = write(house.writer(), odd)
    assert capture.document["streams"][0]["picture"] == {"exposure_s": 0.1}


def test_two_pictures_of_one_second_have_two_names(house: House) -> None:
    writer = house.writer()
    captures = [write(writer, block(n, at_s)) for n, at_s in enumerate((5.0001, 5.9995, 7.0002))]
    assert [capture.name[-1] for capture in captures] == ["8", "9", "0"]
    assert writer.counters == {"shifted": 1, "crowded": 0}
    times = [exif.read(capture.files[0].read_bytes())["taken"] for capture in captures]
    assert [time[17:26] for time in times] == ["08.000100", "08.999500", "10.000200"], "EXIF keeps the true time"


def test_when_the_seconds_around_are_taken_the_name_is_a_full_one(house: House) -> None:
    writer = house.writer()
    captures = [write(writer, block(n)) for n in range(8)]
    assert len({capture.name for capture in captures}) == 8
    assert captures[-1].name == f"bay3.photos.20240305T060708.000Z.{captures[-1].uuid[:8]}"
    assert writer.counters == {"shifted": 5, "crowded": 2}
    assert all(capture.damage() == "" for capture in captures)


def test_a_clock_that_goes_back_overwrites_nothing(house: House) -> None:
    writer = house.writer()
    before = house.finish(write(writer, block(0, 5.0)))
    kept = before.files[0].read_bytes()
    house.clock.offset_ns -= 3_000_000_000
    after = house.finish(write(writer, block(1, 8.0)))
    assert after.name != before.name
    assert before.files[0].read_bytes() == kept


def test_a_name_moved_past_midnight_is_not_given_again(house: House) -> None:
    writer = house.writer()
    midnight_s = 5 + (86400 - (6 * 3600 + 7 * 60 + 8))
    shifted = [house.finish(write(writer, block(n, midnight_s - 0.5))) for n in range(2)][1]
    assert shifted.name.endswith("2024-03-06_00-00-00")
    assert shifted.folder.name == "2024-03-05"
    assert write(writer, block(2, midnight_s + 0.5)).name.endswith("2024-03-06_00-00-01")


def test_many_writers_at_once_have_many_names(house: House) -> None:
    writers = [house.writer(recording=f"r{n}") for n in range(4)]
    captures: list[Capture] = []

    def work(writer: PictureWriter) -> None:
        for n in range(12):
            capture = write(writer, block(n, 5 + n // 3))
            captures.append(house.finish(capture) if n % 2 else capture)

    (house.captures / "2024-03-05").mkdir()
    threads = [threading.Thread(target=work, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(captures) == 48
    assert len({capture.name for capture in captures}) == 48
    assert all(capture.damage() == "" for capture in captures)


def test_full_names_say_device_recording_time_and_capture(house: House) -> None:
    identifier = uuid.UUID("0a1b2c3d-0000-4000-8000-000000000000")
    device = dataclasses.replace(DEVICE, name="bay.3/é")
    writer = house.writer(full_names=True, recording="photo walk", device=device, new_uuid=lambda: identifier)
    capture = write(writer, block(0, 5.1239))
    assert capture.name == "bay-3.photo-walk.20240305T060708.123Z.0a1b2c3d"
    assert Capture.load(capture.sidecar).damage() == ""


def test_a_picture_that_is_cut_is_refused_and_leaves_nothing(house: House) -> None:
    for size in (0, 1, 2, 100, len(PICTURE) // 2, len(PICTURE) - 1):
        with pytest.raises(ValueError, match="picture 7 of cam"):
            write(house.writer(), block(7, jpeg=PICTURE[:size]))
    assert house.names() == []


def test_a_full_disk_leaves_nothing_behind(house: House) -> None:
    """A file size limit stands for the full disk; the picture is longer than it."""
    script = (
        "import resource, signal, sys; from pathlib import Path; from tests.test_pictures import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "try: write(House(Path(sys.argv[1])).writer(), block())\n"
        "except OSError as error: print(error.errno)\n"
    )
    shutil.rmtree(house.root)
    house.root.mkdir()
    command = [sys.executable, "-c", script, str(house.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    assert done.stdout.strip() == "27", done.stderr
    assert house.names() == []


def test_a_corrected_clock_redates_a_picture(house: House) -> None:
    house.clock.known = False
    house.clock.offset_ns = 86400 * 365 * 10**9
    writer = house.writer()
    early = write(writer, block(), surroundings={"temperature_c": 20.6})
    assert early.document["start"]["clock"] == "unsynchronised"
    assert early.name == "512858f4.1971-01-01_00-00-05"
    house.clock.known, house.clock.offset_ns = True, START_NS
    dated = writer.redate(early)
    assert house.names() == [NAME + "8.jpg", NAME + "8.json"]
    assert (dated.uuid, dated.revision, dated.name) == (early.uuid, 2, NAME + "8")
    assert dated.document["start"]["clock"] == "synchronised"
    assert dated.damage() == ""
    found = exif.read(dated.files[0].read_bytes())
    assert found["taken"].startswith("2024-03-05T06:07:08")
    assert found["comment"]["T"] == "20.6"
    assert exif.plain(dated.files[0].read_bytes()) == PICTURE
    VALIDATOR.validate(dated.document)


def test_redating_within_its_second_keeps_the_name(house: House) -> None:
    house.clock.known = False
    writer = house.writer()
    early = write(writer, block())
    house.clock.known = True
    house.clock.offset_ns += 1000
    dated = writer.redate(early)
    assert (dated.name, dated.revision) == (early.name, 2)
    assert dated.damage() == ""
    assert house.names() == [NAME + "8.jpg", NAME + "8.json"]


def test_a_picture_of_another_boot_keeps_its_date(house: House) -> None:
    writer = house.writer()
    capture = write(writer, block())
    house.clock.boot_id, house.clock.offset_ns = "another", 0
    assert writer.redate(capture) is capture


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it may run."""


@pytest.mark.parametrize("redating", [False, True])
def test_a_kill_at_any_step_leaves_a_picture_once_or_not_at_all(
    tmp_path: Path, redating: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call that changes the folder is the last one once; then a start settles what is there."""
    outcomes = set()
    for step in range(20):
        house = House(_empty(tmp_path / f"{step}"))
        writer = house.writer()
        early = write(writer, block()) if redating else None
        house.clock.offset_ns += 60_000_000_000
        snapshot = tmp_path / f"{step} at the kill"
        with monkeypatch.context() as patch:
            _die_at(patch, step, lambda house=house, to=snapshot: shutil.copytree(house.recording, to))  # type: ignore[misc]
            try:
                writer.redate(early) if early else write(writer, block())
                survived = True
            except Killed:
                survived = False
        if survived:
            break
        orphans = settle(snapshot)
        sidecars = [Capture.load(path) for path in snapshot.glob("*.json")]
        whole = [capture for capture in sidecars if capture.damage() == ""]
        assert len(whole) <= 1
        assert len({capture.uuid for capture in sidecars}) == len(sidecars), "no twins"
        if redating:
            assert len(whole) == 1, "it was there before"
        outcomes.add((len(whole), whole[0].revision if whole else 0, len(orphans)))
    else:
        pytest.fail("the steps never end")
    assert len(outcomes) > 1
    assert any(count for count, _, _ in outcomes)


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _die_at(patch: pytest.MonkeyPatch, step: int, look: Any) -> None:
    """Before the system call number `step` that changes a folder, remembers what lies there and kills."""
    calls = 0

    def deadly(name: str, original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step + 1:
                look()
                raise Killed(name)
            if calls > step + 1:
                return None  # it is dead: whatever tidies up now does not happen
            return original(*args, **kwargs)

        return call

    for name in ("rename", "unlink", "write_bytes"):
        patch.setattr(Path, name, deadly(name, getattr(Path, name)))
    patch.setattr(os, "fdopen", _closing(deadly("fdopen", os.fdopen)))


def _closing(call: Any) -> Any:
    """Closes the descriptor of a file that is not opened any more, as a kill does."""

    def fdopen(descriptor: int, *args: Any, **kwargs: Any) -> Any:
        try:
            return call(descriptor, *args, **kwargs)
        except Killed:
            os.close(descriptor)
            raise

    return fdopen


def test_settling_names_what_it_cannot_make_whole(house: House) -> None:
    capture = write(house.writer(), block())
    picture = capture.files[0]
    (house.recording / "lonely.jpg.part").write_bytes(PICTURE)
    (house.recording / "lost.jpg").write_bytes(PICTURE)
    picture.rename(picture.with_name(picture.name + ".part"))
    assert settle(house.recording) == [house.recording / "lonely.jpg.part", house.recording / "lost.jpg"]
    assert capture.damage() == ""


def test_the_format_reads_the_picture_back(house: House) -> None:
    pytest.importorskip("agent.film", reason="formats build on films")
    from agent.formats import jpeg

    capture = write(house.writer(), block(3, lost=1))
    (payload,) = capture.payloads
    form = jpeg.Settings().open()
    assert (form.suffix, form.media_type) == (capture.files[0].suffix, payload.media_type)
    (again,) = form.read(capture.path(payload), capture)
    assert (again.first, again.lost, again.count) == (3, 1, 1)
    assert exif.plain(again.jpeg) == PICTURE
    with pytest.raises(ValueError, match="csv"):
        form.develop(None, house.root / "x", lambda: None)  # type: ignore[arg-type]
