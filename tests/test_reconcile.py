"""What a platform has is held against what was delivered to it: found missing, it is owed again, and there again."""

import contextlib
import json

import pytest

from agent.query import Query
from agent.reconcile import owe_again, reconcile, there
from agent.removal import asked
from agent.targets import Home, Progress, Refused
from agent.targets.directory import Settings as Directory
from agent.targets.http import Settings as Http
from tests import sensiml
from tests.captures import make_capture
from tests.platforms import Failing, Platforms, captures, expected
from tests.receiver import Receiver
from tests.recorded import make_data_folder, run
from tests.test_sync import House, Scripted
from tests.viam import awake

CSV, MCAP = ("csv", "text/csv", ".csv"), ("mcap", "application/mcap", ".mcap")
JPEG = ("jpeg", "image/jpeg", ".jpg")
CONFIG = """\
[agent]
device = "bay3"
device_id = "0badcafe"
data_dir = "{folder}/data"
[stream.imu]
driver = "mpu6050"
bus = "virtual"
[recording.walk]
streams = ["imu"]
targets = ["lab", "dumb"]
[target.lab]
kind = "directory"
path = "{folder}/nas"
[target.dumb]
kind = "http"
url = "http://127.0.0.1:1/{{file}}"
method = "form"
"""


@pytest.fixture(scope="module", autouse=True)
def grpc_is_awake():
    with awake():
        yield


def lose(platforms: Platforms, names: set[str]) -> None:
    """What each platform has of these captures goes, as if somebody had deleted it there."""
    for path in platforms.nas.rglob("*.*"):
        if path.stem in names:
            path.unlink()
    for project in platforms.ml.model.projects.values():
        for uuid, capture in list(project.captures.items()):
            if capture["name"].rpartition(".")[0] in names:
                del project.captures[uuid]
    rows = platforms.plants.model.rows
    for key in [key for key, row in rows.items() if f"{row['device']}.{stamp(row)}" in names]:
        del rows[key]
    shelf = platforms.gait.shelf
    for row in shelf.of_type("AdditionalData"):
        if row["originalFileName"].rpartition(".")[0] in names:
            del shelf.rows[row["id"]]
    cloud = platforms.viam.cloud
    cloud.stored[:] = [
        each for each in cloud.stored if not any(uuid in tag for tag in each.metadata["tags"] for uuid in names)
    ]


def stamp(row: dict) -> str:
    return f"{row['datetime'][:10]}_{row['datetime'][11:19].replace(':', '-')}"


def test_what_went_missing_at_each_platform_is_found_and_sent_again(tmp_path):
    with contextlib.ExitStack() as stack:
        house = House(tmp_path, stack)
        platforms = Platforms(tmp_path, stack, Failing(0.0, 1))
        made = captures(house.folder / "captures", 8)
        with house.database.transaction(durable=True) as connection:
            house.catalogue.add(connection, [capture for capture, _ in made])
            house.outbox.owe(connection, [(capture.uuid, capture.size, targets) for capture, targets in made])

        def deliver() -> None:
            sync = house.sync(**platforms.targets())
            house.until(lambda: not any(target["owed"] for target in sync.health().values()))
            sync.stop()

        def verdicts(name: str, targets) -> list:
            return list(reconcile(name, targets[name], catalogue=house.catalogue, outbox=house.outbox))

        deliver()
        targets = platforms.targets()
        for name in targets:
            assert {verdict.found for verdict in verdicts(name, targets)} == {"there"}, name
        gone = [capture for capture, _ in made[2:4]]
        lose(platforms, {capture.name for capture in gone} | {capture.uuid for capture in gone})
        for name in targets:
            missing = [verdict for verdict in verdicts(name, targets) if verdict.found != "there"]
            owed = {capture.name for capture, whose in made if capture in gone and name in whose}
            assert {(verdict.name, verdict.found) for verdict in missing} == {(each, "missing") for each in owed}, name
            assert owe_again(house.database, missing) == len(owed)
        deliver()
        assert platforms.there() == expected(made)


@pytest.fixture
def place(tmp_path):
    """A data folder, and a folder that has what the one delivered capture is."""
    (tmp_path / "nas").mkdir()
    (tmp_path / "config.toml").write_text(CONFIG.format(folder=tmp_path))
    make_data_folder(tmp_path / "data")
    from agent.cli.store import stored

    with stored(tmp_path / "data") as (catalogue, outbox):
        (parcel,) = outbox.list("lab", "delivered")
        capture = catalogue.get(parcel.capture)
    Directory(path=str(tmp_path / "nas")).open(Home("bay3", "0badcafe", tmp_path)).put(capture, Progress())
    return tmp_path, capture


def reconciled(folder, *arguments: str, code: int = 0) -> dict:
    return json.loads(
        run("reconcile", "lab", "--config", folder / "config.toml", "--json", *arguments, code=code).stdout
    )


def test_nothing_is_missing(place):
    folder, _ = place
    assert reconciled(folder) == {"target": "lab", "counts": {"there": 1}, "owed_again": 0, "captures": []}
    assert "are there" in run("reconcile", "lab", "--config", folder / "config.toml").output


def test_missing_is_listed_and_owed_again_only_where_it_is_asked_for(place):
    folder, capture = place
    (path,) = (folder / "nas").rglob("*.csv")
    path.unlink()
    found = reconciled(folder, code=1)
    assert found["counts"] == {"missing": 1}
    assert [(each["name"], each["why"]) for each in found["captures"]] == [(capture.name, f"{path.name} is not there")]
    assert reconciled(folder, code=1) == found, "nothing was changed"
    assert reconciled(folder, "--repair")["owed_again"] == 1
    listed = json.loads(run("outbox", "list", "--data", folder / "data", "--json").stdout)
    assert capture.name in [parcel["name"] for parcel in listed["parcels"] if parcel["state"] == "waiting"]
    assert reconciled(folder)["counts"] == {}, "what is owed is not asked for"


@pytest.mark.parametrize(
    ("content", "why"), [(lambda c: c[:-1], "bytes there instead of"), (lambda c: b"x" + c[1:], "another sha256")]
)
def test_other_content_is_told_and_left_alone(place, content, why):
    folder, _ = place
    (path,) = (folder / "nas").rglob("*.csv")
    path.write_bytes(content(path.read_bytes()))
    found = reconciled(folder, "--repair", code=1)
    assert (found["counts"], found["owed_again"]) == ({"differs": 1}, 0)
    assert why in found["captures"][0]["why"]


def test_what_is_not_here_any_more_is_unknown(place):
    folder, capture = place
    for path in capture.files:
        path.unlink()
    assert reconciled(folder)["counts"] == {"gone": 1}


def test_since(place):
    folder, _ = place
    assert reconciled(folder, "--since", "2100-01-01")["counts"] == {}


def test_a_folder_that_is_away_has_nothing_missing(place):
    folder, _ = place
    (folder / "nas").rename(folder / "unplugged")
    said = run("reconcile", "lab", "--config", folder / "config.toml", "--repair", code=1).output
    assert "no such folder" in said


def test_what_cannot_be_asked_says_so(place, tmp_path):
    folder, _ = place
    assert "there is lab" in run("reconcile", "nowhere", "--config", folder / "config.toml", code=1).output
    with contextlib.ExitStack() as stack:
        house = House(tmp_path / "house", stack) if (tmp_path / "house").mkdir() is None else None
        with pytest.raises(Refused, match="nobody can ask"):
            list(reconcile("x", Scripted(), catalogue=house.catalogue, outbox=house.outbox))


def test_what_was_made_is_found_and_what_is_taken_no_more_ends_nothing(tmp_path, caplog):
    with Receiver() as receiver, contextlib.ExitStack() as stack:
        house = House(tmp_path, stack)
        lab = Http(url=receiver.url + "/{format}/{file}", formats=("csv",)).open(house.home)
        stack.callback(lab.close)
        plain, photo = (make_capture(house.folder / "captures", kind=kind) for kind in (CSV, JPEG))
        mcap = make_capture(house.folder / "captures", kind=MCAP)
        made = make_capture(tmp_path / "scratch", b"made", name=mcap.name, uuid=mcap.uuid)
        (payload,) = made.payloads
        said = {"file": payload.file, "size": payload.size, "sha256": payload.sha256, "of": mcap.payloads[0].file}
        receipts = {
            plain.uuid: dict(lab.put(plain, Progress())),
            photo.uuid: {"files": {}},  # it took all formats then
            mcap.uuid: {**lab.put(made, Progress()), "made": said},
        }
        with house.database.transaction(durable=True) as connection:
            house.catalogue.add(connection, [plain, photo, mcap])
            house.outbox.owe(connection, [(each.uuid, each.size, ["lab", "again"]) for each in (plain, photo, mcap)])
            house.outbox.owe(connection, [(each.uuid, each.size, ["new"]) for each in (plain, mcap)], unsure=["new"])
        house.outbox.settle(
            [each.delivered(receipts[each.capture]) for each in house.outbox.claim("lab", 9, lease_s=9)]
        )

        def found(target: str) -> dict[str, str]:
            given = {"catalogue": house.catalogue, "outbox": house.outbox}
            return {verdict.capture: verdict.found for verdict in reconcile(target, lab, **given)}

        assert found("lab") == {plain.uuid: "there", photo.uuid: "differs", mcap.uuid: "there"}
        assert found("new") == {plain.uuid: "there", mcap.uuid: "there"}
        files = there("lab", lab, catalogue=house.catalogue, outbox=house.outbox, query=Query())
        assert {(capture.uuid, held.file) for capture, held in files} == {
            (plain.uuid, plain.payloads[0].file),
            (mcap.uuid, payload.file),
        }
        assert f"{photo.name} is not asked for" in caplog.text
        del receiver.files[f"/csv/{payload.file}"]
        assert found("lab")[mcap.uuid] == found("new")[mcap.uuid] == "missing"


def test_what_is_owed_again_is_sent_whole_and_no_earlier_place_is_forgotten(tmp_path):
    with Receiver() as receiver, contextlib.ExitStack() as stack:
        house = House(tmp_path, stack)
        (name,) = house.owe(1, "lab")
        labs = [Http(url=receiver.url + path).open(house.home) for path in ("/old/{file}", "/new/{file}")]
        for lab in labs:
            stack.callback(lab.close)

        def deliver(lab) -> dict:
            (parcel,) = house.outbox.claim("lab", 1, lease_s=9)
            receipt = lab.put(house.catalogue.get(name), Progress(receipt=parcel.receipt or {}))
            house.outbox.settle([parcel.delivered(receipt)])
            return house.outbox.list("lab", "delivered")[0].receipt

        def missing(lab) -> None:
            verdicts = list(reconcile("lab", lab, catalogue=house.catalogue, outbox=house.outbox))
            assert [verdict.found for verdict in verdicts] == ["missing"]
            assert owe_again(house.database, verdicts) == 1

        old = deliver(labs[0])
        receiver.files.clear()
        missing(labs[0])
        assert deliver(labs[0]) == old, "the same place is no earlier one"
        assert len(receiver.files) == 2
        missing(labs[1])
        new = deliver(labs[1])
        assert new["earlier"] == [old]
        assert len(receiver.files) == 4
        assert asked(labs[1].remove, house.catalogue.entry(name).uuid, "lab", new).state == "removed"
        assert receiver.files == {}


def remote(folder, *arguments, code: int = 0):
    return run("remote", "lab", *arguments, "--config", folder / "config.toml", code=code)


def test_what_a_target_has_is_listed_and_shown(place):
    folder, capture = place
    found = json.loads(remote(folder, "list", "--json").stdout)
    assert {each["file"] for each in found} >= {payload.file for payload in capture.payloads}
    assert {each["capture"] for each in found} == {capture.uuid}
    assert json.loads(remote(folder, "show", capture.name, "--json").stdout) == found
    assert capture.payloads[0].file[-12:] in remote(folder, "list").output.replace("\n", "")
    assert json.loads(remote(folder, "list", "--since", "2100-01-01", "--json").stdout) == []


def test_what_a_target_has_is_fetched_back(place, tmp_path):
    folder, capture = place
    remote(folder, "download", capture.name, "--output", tmp_path / "back")
    fetched = {path.name: path.read_bytes() for path in (tmp_path / "back").iterdir()}
    assert fetched == {path.name: path.read_bytes() for path in capture.files}
    assert "is there already" in remote(folder, "download", capture.name, "--output", tmp_path / "back", code=1).output


def test_what_is_another_one_there_is_not_kept(place, tmp_path):
    folder, capture = place
    (path,) = (folder / "nas").rglob("*.csv")
    path.write_bytes(b"x" + path.read_bytes()[1:])
    assert "is another one there" in remote(folder, "download", capture.uuid, "--output", tmp_path / "b", code=1).output
    assert not (tmp_path / "b" / path.name).exists()
    assert list((tmp_path / "b").glob("*.part")) == []


def test_sensiml_gives_files_back(tmp_path):
    with sensiml.serving(tmp_path) as far:
        capture = sensiml.recorded(tmp_path / "captures")
        target = far.open()
        target.put(capture, Progress())
        (held,) = target.inventory([(capture, {})])
        pieces: list[bytes] = []
        target.fetch(held, pieces.append)
        assert b"".join(pieces) == sensiml.CSV
