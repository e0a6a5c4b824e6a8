"""Picture captures when the clock is set, the disk is full, or a kill comes at any moment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import exif
from agent.capture import Capture
from agent.pictures import settle
from tests.pictures import NAME, PICTURE, START_NS, House, block, write


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_full_disk_leaves_nothing_behind(house: House) -> None:
    """A file size limit stands for the full disk; the picture is longer than it."""
    script = (
        "import resource, signal, sys; from pathlib import Path; from tests.pictures import *\n"
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
        assert not list(snapshot.glob("*.json.part"))
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


def test_a_sidecar_that_has_no_name_yet_proves_its_picture_too(house: House) -> None:
    capture = write(house.writer(), block())
    (picture, sidecar) = capture.files
    picture.rename(picture.with_name(picture.name + ".part"))
    sidecar.rename(sidecar.with_name(sidecar.name + ".part"))
    assert settle(house.recording) == []
    assert capture.damage() == ""
    assert Capture.load(sidecar).document == capture.document


def test_a_sidecar_cut_short_goes_and_its_picture_is_named(house: House) -> None:
    picture, sidecar = write(house.writer(), block()).files
    part = picture.rename(picture.with_name(picture.name + ".part"))
    sidecar.with_name(sidecar.name + ".part").write_bytes(sidecar.read_bytes()[:-9])
    sidecar.unlink()
    assert settle(house.recording) == [part]
    assert list(house.recording.iterdir()) == [part]
