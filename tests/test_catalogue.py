"""The catalogue: captures are found by what is known of them, amended and deleted whole, whenever the power fails."""

import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.capture import Capture, CaptureConfiguration
from agent.catalogue import Catalogue, Query
from agent.database import Database
from tests.captures import make_capture


class Cut(Exception):
    """The power fails here."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "agent.db", quarantine=tmp_path / "quarantine") as database:
        yield database


@pytest.fixture
def catalogue(database: Database, tmp_path: Path) -> Catalogue:
    return Catalogue(database, tmp_path / "captures")


def start(second: int = 0, **more) -> dict:
    wall_time = f"2026-11-21T10:{second // 60:02}:{second % 60:02}.123000Z"
    return {"boot_time_ns": second, "boot_id": "b", "wall_time": wall_time, "clock": "synchronised", **more}


def add(database: Database, catalogue: Catalogue, *captures: Capture) -> None:
    with database.transaction(durable=False) as connection:
        catalogue.add(connection, captures)


@pytest.fixture
def three(database: Database, catalogue: Catalogue, tmp_path: Path) -> list[Capture]:
    """Walking at :00, running at :30, a picture at 1:00."""
    folder = tmp_path / "captures"
    imu, camera = {"name": "imu", "model": "MPU-6050"}, {"name": "cam", "model": "imx708"}
    captures = [
        make_capture(folder, start=start(0), streams=[imu], labels={"activity": "walking", "left": True}),
        make_capture(folder, start=start(30), streams=[imu], labels={"activity": "running"}, metadata={"subject": 7}),
        make_capture(
            folder,
            start=start(60),
            name="0badcafe.2026-11-21_10-01-00",
            streams=[camera],
            recording="photos",
            configuration=CaptureConfiguration("photos", {"version": 2, "streams": []}).as_json(),
        ),
    ]
    add(database, catalogue, *captures)
    return captures


NS = 1_795_255_200_000_000_000
"""2026-11-21T10:00:00Z"""


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [0, 1, 2]),
        ({"since_ns": NS + 30_123_000_000}, [1, 2]),
        ({"since_ns": NS + 30_123_000_001}, [2]),
        ({"until_ns": NS + 30_123_000_000}, [0]),
        ({"stream": "imu"}, [0, 1]),
        ({"labels": ["activity"]}, [0, 1]),
        ({"labels": ["activity=running"]}, [1]),
        ({"labels": ["activity=walking", "left=true"]}, [0]),
        ({"labels": ["subject"]}, []),
        ({"metadata": ["subject=7"]}, [1]),
        ({"name": "0badcafe.*"}, [2]),
        ({"recording": "photos"}, [2]),
        ({"recording": "walk", "labels": ["activity=running"], "stream": "imu"}, [1]),
    ],
)
def test_captures_are_found_by(catalogue: Catalogue, three: list[Capture], query: dict, found: list[int]) -> None:
    assert [entry.uuid for entry in catalogue.find(Query(**query))] == [three[n].uuid for n in found]


def test_captures_are_found_by_uuid_name_or_the_beginning_of_a_uuid(catalogue: Catalogue, three: list[Capture]) -> None:
    for capture in three:
        for which in (capture.uuid, capture.name, capture.uuid[:12], capture.uuid[:12].upper()):
            assert catalogue.get(which) == capture
        assert [e.name for e in catalogue.find(Query(uuid=capture.uuid[:12]))] == [capture.name]
        assert len(list(catalogue.find(Query(configuration=capture.document["configuration"]["uuid"][:9])))) in (1, 2)
    with pytest.raises(LookupError, match="no capture with uuid or name 'nobody'"):
        catalogue.get("nobody")


def test_a_beginning_that_several_have_names_them(database: Database, catalogue: Catalogue, tmp_path: Path) -> None:
    twins = [make_capture(tmp_path / "captures", uuid=f"abcd{n}" + str(uuid.uuid4())[5:]) for n in range(2)]
    add(database, catalogue, *twins)
    with pytest.raises(LookupError, match=f"{twins[0].uuid}, {twins[1].uuid}"):
        catalogue.get("abcd")


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_long_search_comes_in_pages_and_in_order(
    database: Database, catalogue: Catalogue, tmp_path: Path, newest_first: bool
) -> None:
    template = make_capture(tmp_path / "captures")
    captures = [
        Capture(
            template.folder, {**template.document, "uuid": str(uuid.uuid4()), "name": f"n{n}", "start": start(n // 3)}
        )
        for n in range(1203)
    ]
    add(database, catalogue, *captures)
    expected = [f"n{n}" for n in range(1203)]
    if newest_first:
        expected.reverse()
    assert [e.name for e in catalogue.find(newest_first=newest_first)] == expected
    assert [e.name for e in catalogue.find(newest_first=newest_first, limit=701)] == expected[:701]


def test_adding_again_changes_nothing_and_a_later_revision_replaces(
    database: Database, catalogue: Catalogue, three: list[Capture]
) -> None:
    add(database, catalogue, *three)
    later = three[0].amended(labels={"activity": "standing"})
    add(database, catalogue, later)
    add(database, catalogue, three[0])  # the earlier one again: too late
    assert len(list(catalogue.find())) == 3
    assert catalogue.entry(later.uuid).revision == 2
    assert [e.uuid for e in catalogue.find(Query(labels=["activity=standing"]))] == [later.uuid]
    assert list(catalogue.find(Query(labels=["activity=walking"]))) == []


def test_a_name_belongs_to_one_capture_until_it_is_deleted(
    database: Database, catalogue: Catalogue, three: list[Capture], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="another capture is called"):
        add(database, catalogue, Capture(three[0].folder, {**three[0].document, "uuid": str(uuid.uuid4())}))
    catalogue.delete([three[0].uuid])
    again = make_capture(tmp_path / "captures", name=three[0].name)
    add(database, catalogue, again)
    assert catalogue.get(three[0].name) == again


def test_a_sidecar_that_lacks_something_says_what(
    database: Database, catalogue: Catalogue, three: list[Capture]
) -> None:
    document = {key: value for key, value in three[0].document.items() if key != "labels"}
    with pytest.raises(ValueError, match="'labels'"):
        add(database, catalogue, Capture(three[0].folder, document))


def test_configurations_and_counts_are_known(catalogue: Catalogue, three: list[Capture]) -> None:
    walk, photos = (three[n].document["configuration"] for n in (0, 2))
    known = {configuration.uuid: (configuration.name, count) for configuration, count in catalogue.configurations()}
    assert known == {walk["uuid"]: ("walk", 2), photos["uuid"]: ("photos", 1)}
    assert catalogue.configuration(photos["uuid"]) == photos["document"]
    assert catalogue.configuration("0" * 8) is None
    assert catalogue.stats() == {
        "photos": {"kept": (1, three[2].size)},
        "walk": {"kept": (2, three[0].size + three[1].size)},
    }


def test_an_amendment_reaches_sidecar_row_and_outbox(catalogue: Catalogue, three: list[Capture]) -> None:
    owed: list[int] = []
    amended = catalogue.amend(
        three[0].uuid,
        lambda document: {"labels": {**document["labels"], "activity": "limping"}},
        lambda connection, capture: owed.append(capture.revision),
    )
    assert owed == [2]
    assert Capture.load(three[0].sidecar) == amended == catalogue.get(three[0].name)
    assert amended.document["labels"] == {"activity": "limping", "left": True}
    assert amended.payloads == three[0].payloads and not amended.damage()
    assert [e.revision for e in catalogue.find(Query(labels=["activity=limping"]))] == [2]


@pytest.mark.parametrize("when", ["before the sidecar", "before the row"])
def test_an_amendment_that_is_cut_off_is_completed_or_has_not_happened(
    database: Database, catalogue: Catalogue, three: list[Capture], when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*given: object) -> None:
        raise Cut

    with monkeypatch.context() as patch, pytest.raises(Cut):
        if when == "before the sidecar":
            patch.setattr(Path, "rename", cut)
        catalogue.amend(three[0].uuid, lambda document: {"labels": {"activity": "limping"}}, cut)
    owed: list[int] = []
    assert catalogue.resume_amendments(lambda connection, capture: owed.append(capture.revision)) == 1
    on_disk = Capture.load(three[0].sidecar)
    assert catalogue.entry(three[0].uuid).revision == on_disk.revision
    assert owed == ([] if when == "before the sidecar" else [2])
    assert catalogue.resume_amendments(cut) == 0


def test_an_amendment_nobody_can_complete_does_not_stop_the_start(
    catalogue: Catalogue, three: list[Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*given: object) -> None:
        raise Cut

    with pytest.raises(Cut):
        catalogue.amend(three[0].uuid, lambda document: {}, cut)
    three[0].sidecar.unlink()
    assert catalogue.resume_amendments(cut) == 1
    assert catalogue.resume_amendments(cut) == 0


def test_deleted_captures_lose_their_files_and_keep_their_row(catalogue: Catalogue, three: list[Capture]) -> None:
    assert catalogue.delete([three[0].uuid, three[2].uuid]) == three[0].size + three[2].size
    assert sorted(path.name for path in three[0].folder.iterdir()) == sorted(p.name for p in three[1].files)
    assert [e.uuid for e in catalogue.find()] == [three[1].uuid]
    assert [e.standing for e in catalogue.find(Query(deleted=True))] == ["deleted", "kept", "deleted"]
    with pytest.raises(LookupError, match="deleted here"):
        catalogue.get(three[0].uuid)
    assert catalogue.stats()["photos"] == {"deleted": (1, three[2].size)}


def test_what_has_another_standing_by_then_is_not_deleted(catalogue: Catalogue, three: list[Capture]) -> None:
    both = [three[0].uuid, three[2].uuid]
    assert catalogue.make_room(both, "delivered") == (0, 0)
    assert catalogue.get(three[0].uuid).damage() == ""
    assert catalogue.make_room(both, "kept") == (2, three[0].size + three[2].size)


def test_an_amendment_brings_nothing_back_that_was_deleted_meanwhile(
    catalogue: Catalogue, three: list[Capture]
) -> None:
    def change(document: Mapping[str, Any]) -> Mapping[str, Any]:
        catalogue.delete([three[0].uuid])
        return {"labels": {"turn": "left"}}

    def owe(connection: sqlite3.Connection, capture: Capture) -> None:
        raise AssertionError("nobody is owed what is gone")

    with pytest.raises(LookupError, match="deleted here"):
        catalogue.amend(three[0].uuid, change, owe)
    assert [e.standing for e in catalogue.find(Query(deleted=True))] == ["deleted", "kept", "kept"]
    assert not any(path.exists() for path in three[0].files)
    assert catalogue.resume_amendments(owe) == 0


def test_a_sidecar_that_a_kill_left_of_such_an_amendment_goes_at_the_start(
    catalogue: Catalogue, three: list[Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(document: Mapping[str, Any]) -> Mapping[str, Any]:
        catalogue.delete([three[0].uuid])
        return {}

    def cut(*given: object) -> None:
        raise Cut

    with monkeypatch.context() as kill, pytest.raises(Cut):
        kill.setattr(catalogue, "_record", cut)
        catalogue.amend(three[0].uuid, change, cut)
    assert three[0].sidecar.exists()
    assert catalogue.resume_amendments(cut) == 1
    assert not three[0].sidecar.exists()
    assert [e.standing for e in catalogue.find(Query(deleted=True))] == ["deleted", "kept", "kept"]
    assert catalogue.resume_amendments(cut) == 0


@pytest.mark.parametrize("cut_at", range(4))
def test_a_deletion_that_is_cut_off_is_completed(
    catalogue: Catalogue, three: list[Capture], cut_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, count = Path.unlink, [0]

    def failing(path: Path, missing_ok: bool = False) -> None:
        if count[0] == cut_at:
            raise Cut
        count[0] += 1
        unlink(path, missing_ok)

    with monkeypatch.context() as patch, pytest.raises(Cut):
        patch.setattr(Path, "unlink", failing)
        catalogue.delete([three[0].uuid, three[1].uuid])
    assert [e.uuid for e in catalogue.find()] == [three[2].uuid]
    catalogue.resume_deletions()
    assert sorted(path.name for path in three[0].folder.iterdir()) == sorted(p.name for p in three[2].files)
    assert [e.standing for e in catalogue.find(Query(deleted=True))] == ["deleted", "deleted", "kept"]
    assert catalogue.resume_deletions() == 0


def test_the_folder_of_an_earlier_day_goes_with_its_last_capture(
    database: Database, catalogue: Catalogue, tmp_path: Path
) -> None:
    captures = []
    for day in ("2026-11-20", "2026-11-21"):
        made = make_capture(tmp_path / "made" / day)
        folder = tmp_path / "captures" / day
        made.folder.rename(folder) if folder.parent.exists() else folder.parent.mkdir() or made.folder.rename(folder)
        captures.append(Capture(folder, made.document))
    add(database, catalogue, *captures)
    catalogue.delete([capture.uuid for capture in captures])
    assert [path.name for path in (tmp_path / "captures").iterdir()] == ["2026-11-21"]


def test_rows_of_deleted_captures_are_forgotten_in_the_end_and_still_counted(
    catalogue: Catalogue, three: list[Capture]
) -> None:
    catalogue.delete([capture.uuid for capture in three])
    assert catalogue.forget(keep=1) == 2
    assert catalogue.forget(keep=1) == 0
    assert [e.uuid for e in catalogue.find(Query(deleted=True))] == [three[2].uuid]
    assert catalogue.stats()["walk"] == {"forgotten": (2, three[0].size + three[1].size)}
