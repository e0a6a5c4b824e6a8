"""Rebuild and adoption: the disk alone is enough to know every capture again, each once, whenever the power fails."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.database import Database
from agent.outbox import Outbox
from agent.rebuild import Rebuilt, adopt, rebuild
from agent.sync.owing import Owing
from tests.captures import make_capture


class Cut(Exception):
    """The power fails here."""


class Box:
    """A data folder and what the daemon would open on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.captures = folder / "captures"
        self.quarantine = folder / "quarantine"
        self.captures.mkdir()
        self.open()

    def open(self) -> None:
        self.database = Database(self.folder / "agent.db", quarantine=self.quarantine).open()
        self.catalogue = Catalogue(self.database, self.captures)
        self.outbox = Outbox(self.database, boot_id="b", now=lambda: 0, jitter=random.Random(1))

    def rebuild(self, advance=lambda count: None) -> Rebuilt:
        return rebuild(
            self.database,
            self.catalogue,
            Owing(self.outbox, {"walk": ["lab", "archive"], "run": ["lab"]}),
            captures=self.captures,
            quarantine=self.quarantine,
            advance=advance,
        )

    def known(self) -> list[str]:
        return sorted(entry.uuid for entry in self.catalogue.find())

    def reasons(self) -> dict[str, str]:
        return {
            path.parent.name: path.read_text().strip()
            for path in self.quarantine.glob("*/reason.txt")
            if not path.parent.name.startswith("agent.db")
        }


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path)
    yield box
    box.database.close()


def test_a_lost_database_is_rebuilt_and_everything_owed_again(box: Box) -> None:
    captures = [make_capture(box.captures, recording=name) for name in ("walk", "walk", "run")]
    heard: list[int] = []
    assert box.rebuild(heard.append) == Rebuilt(captures=3, quarantined=0)
    assert heard == [3]
    assert box.known() == sorted(capture.uuid for capture in captures)
    assert {target: count.owed for target, count in box.outbox.counts().items()} == {"lab": 3, "archive": 2}
    assert box.database.rebuilt_because == ""


def test_a_damaged_database_is_set_aside_and_rebuilt(box: Box) -> None:
    captures = [make_capture(box.captures) for _ in range(3)]
    box.rebuild()
    box.database.close()
    (box.folder / "agent.db").write_bytes(b"\x00garbage" * 4000)
    box.open()
    assert "damaged" in box.database.rebuilt_because
    assert box.known() == []
    assert box.rebuild().captures == 3
    assert box.known() == sorted(capture.uuid for capture in captures)


def test_a_rebuild_that_is_cut_off_begins_again_and_keeps_what_was_delivered(box: Box, monkeypatch) -> None:
    monkeypatch.setattr("agent.rebuild._BATCH", 2)
    captures = [make_capture(box.captures) for _ in range(5)]

    def cut(count: int) -> None:
        if count >= 4:
            raise Cut

    with pytest.raises(Cut):
        box.rebuild(cut)
    assert len(box.known()) == 4
    box.outbox.settle([p.delivered({}) for p in box.outbox.claim("lab", 2, lease_s=1)])
    box.database.close()
    box.open()
    assert box.database.rebuilt_because == "agent.db was missing"
    assert box.rebuild().captures == 5
    assert box.known() == sorted(capture.uuid for capture in captures)
    assert (box.outbox.counts()["lab"].delivered, box.outbox.counts()["lab"].owed) == (2, 3)


def test_what_is_damaged_goes_to_quarantine_with_the_reason(box: Box) -> None:
    fine, gone, short, bad, twin = (make_capture(box.captures, name=name) for name in ("a", "b", "c", "d", "e"))
    gone.files[0].unlink()
    short.files[0].write_bytes(b"short")
    bad.sidecar.write_text("{")
    twin.sidecar.write_text(twin.sidecar.read_text().replace('"name": "e"', '"name": "a"'))
    (fine.folder / "stray.csv").write_text("1")
    (fine.folder / "a.json.part").write_text("{")
    found = box.rebuild()
    assert found == Rebuilt(captures=1, quarantined=6)  # the twin's sidecar, and its payload that nobody names
    assert box.known() == [fine.uuid]
    assert sorted(path.name for path in fine.folder.iterdir()) == ["a.csv", "a.json"]
    reasons = box.reasons()
    assert reasons["b.json"] == "b.csv is gone"
    assert "5 bytes instead of" in reasons["c.json"]
    assert reasons["d.json"].startswith("bad sidecar: ") and (box.quarantine / "d.json" / "d.csv").exists()
    assert reasons["e.json"] == "is the sidecar of a"
    assert reasons["stray.csv"] == "no sidecar names it"


def test_a_capture_the_catalogue_does_not_take_stops_no_other(box: Box) -> None:
    fine, poor = make_capture(box.captures, name="a"), make_capture(box.captures, name="b")
    poor.sidecar.write_text(poor.sidecar.read_text().replace('"labels"', '"lables"'))
    assert box.rebuild() == Rebuilt(captures=1, quarantined=1)
    assert box.known() == [fine.uuid]
    assert "'labels'" in box.reasons()["b.json"]


def test_a_capture_that_is_just_being_finished_is_left_alone(box: Box) -> None:
    capture = make_capture(box.folder / "recording")
    place = box.captures / "2026-11-21"
    place.mkdir()
    (place / capture.files[0].name).hardlink_to(capture.files[0])  # its sidecar is about to follow
    assert box.rebuild() == Rebuilt(captures=0, quarantined=0)
    assert (place / capture.files[0].name).exists()


def test_a_capture_that_is_finished_behind_the_walk_is_left_alone(box: Box) -> None:
    make_capture(box.captures)
    late: list[Capture] = []

    def meanwhile(count: int) -> None:
        late[:] = late or [make_capture(box.captures)]

    assert box.rebuild(meanwhile).quarantined == 0
    assert late[0].damage() == ""
    assert late[0].sidecar.exists()
    assert box.reasons() == {}


def test_whole_files_are_adopted_and_others_set_aside(box: Box) -> None:
    made = [make_capture(box.folder / "made", name=name) for name in ("a", "b", "c", "d.1")]
    recording = made[0].folder
    whole, changed, lost, developing = (Capture(recording, capture.document) for capture in made)
    content = bytearray(changed.files[0].read_bytes())
    content[0] ^= 1  # same size: only the hash tells
    changed.files[0].write_bytes(content)
    lost.sidecar.unlink()
    (recording / "d.1.negative").write_bytes(b"")
    (recording / "d.1.wav.part").write_bytes(b"")
    (recording / "e.jpg.part").write_bytes(b"")
    found = adopt(recording, quarantine=box.quarantine)
    assert found == [whole]
    left = sorted(path.name for path in recording.iterdir())
    assert left == ["a.csv", "a.json", "d.1.csv", "d.1.json", "d.1.negative", "d.1.wav.part"]
    assert box.reasons() == {
        "b.json": "b.csv has changed: its sha256 is not the sidecar's",
        "c.csv": "it has no sidecar",
        "e.jpg.part": "was being written when the daemon was killed",
    }
    assert adopt(recording, quarantine=box.quarantine) == [whole]
    assert developing.sidecar.exists()


@pytest.mark.parametrize("zeros", [0, 300])
@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_what_a_power_cut_left_without_its_content_says_so(box: Box, suffix: str, zeros: int) -> None:
    capture = make_capture(box.folder / "made", name="a")
    cut = capture.sidecar.with_suffix(suffix)
    os.truncate(cut, 0)
    os.truncate(cut, zeros)
    assert adopt(capture.folder, quarantine=box.quarantine) == []
    assert box.reasons() == {"a.json": "it was not on the disk yet when the power was cut"}
    assert sorted(path.name for path in (box.quarantine / "a.json").iterdir()) == ["a.csv", "a.json", "reason.txt"]
