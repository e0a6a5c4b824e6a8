"""Withdrawal: what was captured of somebody goes, here and where it was delivered, and no name of theirs stays."""

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.capture import Capture
from agent.catalogue import Catalogue, Query
from agent.context import Context
from agent.database import Database
from agent.folder import DataFolder
from agent.outbox import Outbox
from agent.recording import Orders, RecordingSettings
from agent.targets import Home, Progress, Refused, Unreachable
from agent.targets.directory import Settings as DirectorySettings
from agent.targets.http import Settings as HttpSettings
from agent.withdrawal import OnItsWay, Withdrawal
from tests.captures import make_capture
from tests.receiver import Fault, Receiver
from tests.recorded import run

SUBJECT = "Ada-Lovelace"
CONFIG = """
[agent]
device = "bay3"
device_id = "0badcafe"
data_dir = "{folder}/data"

[stream.mcu]
driver = "ssi"
port = "virtual"

[recording.walk]
streams = ["mcu"]
targets = ["archive", "lab", "bucket"]

[target.archive]
kind = "directory"
path = "{folder}/archive"

[target.lab]
kind = "http"
url = "{url}/captures/{{file}}"

[target.bucket]
kind = "http"
method = "tus"
url = "{url}/tus/"
"""


@pytest.fixture
def shelf() -> Iterator[Receiver]:
    """A server from which files can be deleted."""
    with Receiver() as shelf:
        yield shelf


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "archive").mkdir()
    return Home("bay3", "0badcafe", tmp_path)


def delivered(catalogue: Catalogue, outbox: Outbox, capture: Capture, **targets: Any) -> None:
    """Delivers a capture as the daemon would."""
    for name, target in targets.items():
        for parcel in outbox.claim(name, 99, lease_s=60):
            receipt = target.put(catalogue.get(parcel.capture), Progress())
            outbox.settle([parcel.delivered(dict(receipt))])


@pytest.fixture
def place(tmp_path: Path, home: Home, shelf: Receiver) -> Path:
    """A data folder with three captures, two of them of the subject, at three targets; and its configuration."""
    (tmp_path / "config.toml").write_text(CONFIG.format(folder=tmp_path, url=shelf.url))
    data = tmp_path / "data"
    with DataFolder(data) as folder, Database(folder.database, quarantine=folder.quarantine) as database:
        database.rebuilt()
        catalogue = Catalogue(database, folder.captures)
        outbox = Outbox(database, boot_id="b", now=lambda: 1, jitter=random.Random(1))
        archive = DirectorySettings(path=str(tmp_path / "archive")).open(home)
        lab = HttpSettings(url=shelf.url + "/captures/{file}").open(home)
        said = [{"metadata": {"subject": SUBJECT}}, {"labels": {"subject": SUBJECT}}, {"labels": {"subject": "Bea"}}]
        for number, more in enumerate(said):
            capture = make_capture(folder.captures, f"secret {number}\n".encode() * 9, **more)
            with database.transaction(durable=False) as connection:
                catalogue.add(connection, [capture])
                outbox.owe(connection, [(capture.uuid, capture.size, ["archive", "lab", "bucket"])])
            catalogue.datasets.add("training", [capture.uuid])
        delivered(catalogue, outbox, capture, archive=archive, lab=lab)
        (bucket, *_) = outbox.claim("bucket", 1, lease_s=60)
        outbox.settle([bucket.delivered({"files": {"a.csv": {"upload": "http://far/1"}}})])
        outbox.release_all()
        orders = Orders("walk", RecordingSettings(streams=("mcu",)))
        Context(database).keep(orders, {"activity": "walking"}, {"subject": SUBJECT})
        with database.transaction(durable=False) as connection:
            answer = json.dumps({"metadata": {"subject": SUBJECT}})
            connection.execute("INSERT INTO answered (asker, question, answer) VALUES ('a', 'b', ?)", (answer,))
            connection.execute(
                "INSERT INTO queued_message (uuid, kind, topic, payload) VALUES ('u', 'answer', 'response', ?)",
                (answer,),
            )
        lab.close()
    return tmp_path


def withdraw(place: Path, *arguments: str, code: int = 0) -> str:
    return run("withdraw", *arguments, "--yes", "--config", place / "config.toml", code=code).output


def rows(place: Path) -> list[dict[str, Any]]:
    with Catalogue.of(place / "data") as catalogue:
        return [{"name": e.name, "standing": e.standing} for e in catalogue.find(Query(deleted=True))]


def test_everything_of_a_subject_goes_and_no_name_stays(place: Path, shelf: Receiver) -> None:
    assert len(shelf.files) == 6 and len(list((place / "archive").rglob("*.*"))) >= 6
    said = withdraw(place, "--subject", SUBJECT)
    assert "2 captures" in said and "archive: 2 removed" in said and "lab: 2 removed" in said
    assert "bucket" in said and "by hand" in said
    assert sorted(row["standing"] for row in rows(place)) == ["deleted", "deleted", "owed"]
    assert sum(row["name"].startswith("withdrawn-") for row in rows(place)) == 2
    assert len(shelf.files) == 2, "of the other one"
    found = subprocess.run(
        ["grep", "-rlaE", f"{SUBJECT}|secret [01]", str(place / "data"), str(place / "archive")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "", "the name is in no file, the database not excepted"
    with Catalogue.of(place / "data") as catalogue:
        assert catalogue.datasets.names()["training"][0] == 1
        assert catalogue.values("label") == {"subject": {"Bea": 1}}
    receipts = [
        parcel["receipt"]
        for parcel in json.loads(
            run("outbox", "list", "--state", "delivered", "--json", "--data", place / "data").output
        )["parcels"]
    ]
    assert sum("withdrawn" in receipt for receipt in receipts) == 5
    assert [r["left"]["files"] for r in receipts if "left" in r] == [{"a.csv": {"upload": "http://far/1"}}]
    assert "0 captures" in withdraw(place, "--subject", SUBJECT)


def test_what_failed_is_found_again(place: Path, shelf: Receiver) -> None:
    shelf.faults.append(Fault(503))
    assert "failed" in withdraw(place, "--subject", SUBJECT, code=1)
    assert "1 captures" in withdraw(place, "--subject", SUBJECT), "only the one that failed"
    assert len(shelf.files) == 2
    assert len(list((place / "archive").rglob("*.csv"))) == 1


def test_by_label_and_by_capture_and_never_without_either(place: Path) -> None:
    with Catalogue.of(place / "data") as catalogue:
        (bea,) = catalogue.find(Query(labels=["subject=Bea"]))
    run("withdraw", "--config", place / "config.toml", code=2)
    asked = run("withdraw", "--capture", bea.name, "--config", place / "config.toml", code=1)
    assert "for good?" in asked.output and len(list((place / "archive").rglob("*.csv"))) == 3
    assert "1 captures" in withdraw(place, "--capture", bea.uuid[:8])
    assert "1 captures" in withdraw(place, "--label", f"subject={SUBJECT}")
    assert [row["standing"] for row in rows(place)].count("deleted") == 2


def test_what_cannot_be_reached_is_said(place: Path) -> None:
    (place / "data" / "quarantine" / "old").mkdir()
    make_capture(place, metadata={"subject": SUBJECT}, name="half").sidecar.rename(
        place / "data" / "recording" / "half.json"
    )
    said = withdraw(place, "--subject", SUBJECT)
    assert "1 captures are not finished yet" in said and "quarantine" in said


def test_what_is_being_sent_is_waited_for(tmp_path: Path) -> None:
    with Database(tmp_path / "agent.db", quarantine=tmp_path / "quarantine") as database:
        catalogue = Catalogue(database, tmp_path / "captures")
        outbox = Outbox(database, boot_id="b", now=lambda: 1, jitter=random.Random(1))
        capture = make_capture(tmp_path / "captures")
        with database.transaction(durable=False) as connection:
            catalogue.add(connection, [capture])
            outbox.owe(connection, [(capture.uuid, 1, ["lab"])])
        (parcel,) = outbox.claim("lab", 1, lease_s=60)
        withdrawal = Withdrawal(database, catalogue, {}, today="2026-11-21")
        with pytest.raises(OnItsWay, match="pause its targets"):
            withdrawal.hold([catalogue.entry(capture.uuid)], 0.01)
        outbox.settle([parcel.failed("cut off")])
        withdrawal.hold([catalogue.entry(capture.uuid)], 0.01)
        (fate,) = withdrawal.take_back(catalogue.entry(capture.uuid))
        assert (fate.state, "in part" in fate.said) == ("by hand", True)
        assert outbox.claim("lab", 1, lease_s=60) == []


def test_a_folder_only_gives_up_what_is_this_captures(tmp_path: Path, home: Home) -> None:
    archive = DirectorySettings(path=str(tmp_path / "archive"), layout="{device}/{file}").open(home)
    capture = make_capture(tmp_path / "captures")
    receipt = archive.put(capture, Progress())
    with pytest.raises(Refused, match="is not this capture's"):
        archive.remove("another", receipt)
    with pytest.raises(Refused, match="names no files below"):
        archive.remove(capture.uuid, {**receipt, "files": {"x": "../../x"}})
    with pytest.raises(Refused, match="not delivered to"):
        archive.remove(capture.uuid, {**receipt, "path": "/elsewhere"})
    assert len(list((tmp_path / "archive").rglob("bay3.walk*"))) == 2
    archive.remove(capture.uuid, receipt)
    with pytest.raises(Refused, match="something else was mounted"):
        archive.remove(capture.uuid, receipt)
    assert list((tmp_path / "archive" / "bay3").iterdir()) == []
    gone = DirectorySettings(path=str(tmp_path / "unmounted")).open(home)
    with pytest.raises(Unreachable):
        gone.remove(capture.uuid, {**receipt, "path": str(tmp_path / "unmounted")})


def test_each_place_that_a_capture_was_brought_to_is_gone_through(tmp_path: Path, home: Home, shelf: Receiver) -> None:
    """Said of another subject, or after a change of the settings, it goes to another place; the first copy stays."""
    with (
        Receiver() as elsewhere,
        Database(tmp_path / "agent.db", quarantine=tmp_path / "quarantine") as database,
    ):
        catalogue = Catalogue(database, tmp_path / "captures")
        outbox = Outbox(database, boot_id="b", now=lambda: 1, jitter=random.Random(1))
        captures = [make_capture(tmp_path / "captures", b"%d" % number) for number in range(2)]
        with database.transaction(durable=False) as connection:
            catalogue.add(connection, captures)
            outbox.owe(connection, [(capture.uuid, 1, ["lab"]) for capture in captures])
        urls = [shelf.url + "/P07/{file}", shelf.url + "/P08/{file}", shelf.url + "/P08/{file}"]
        for revision, url in enumerate(urls, 1):
            lab = HttpSettings(url=url).open(home)
            delivered(catalogue, outbox, captures[0], lab=lab)
            lab.close()
            for capture in captures:
                catalogue.amend(
                    capture.uuid,
                    lambda document, revision=revision: {"metadata": {"revision": revision}},
                    lambda connection, it: outbox.amend(connection, it.uuid, it.revision, ["lab"]),
                )
        receipts = [parcel.receipt for parcel in outbox.list("lab")]
        assert [len(receipt["earlier"]) for receipt in receipts] == [1, 1], "as often as it was there"
        assert len(shelf.files) == 8
        lab = HttpSettings(url=shelf.url + "/{file}").open(home)
        withdrawal = Withdrawal(database, catalogue, {"lab": lab.remove}, today="2026-11-21")
        withdrawal.hold([catalogue.entry(captures[0].uuid)], 0)
        (fate,) = withdrawal.take_back(catalogue.entry(captures[0].uuid))
        assert (fate.state, len(shelf.files)) == ("removed", 4)
        lab.close()
        lab = HttpSettings(url=elsewhere.url + "/{file}").open(home)
        delivered(catalogue, outbox, captures[1], lab=lab)
        withdrawal = Withdrawal(database, catalogue, {"lab": lab.remove}, today="2026-11-21")
        (fate,) = withdrawal.take_back(catalogue.entry(captures[1].uuid))
        lab.close()
    assert fate.state == "by hand" and fate.in_part
    assert f"{shelf.url}/P07/" in fate.said and f"{shelf.url}/P08/" in fate.said and elsewhere.url not in fate.said
    assert elsewhere.files == {} and len(shelf.files) == 4


def test_a_server_is_asked_for_its_own_files_alone(tmp_path: Path, home: Home, shelf: Receiver) -> None:
    lab = HttpSettings(url=shelf.url + "/captures/{file}").open(home)
    capture = make_capture(tmp_path / "captures", labels={"a": 1})
    receipt = lab.put(capture, Progress())
    shelf.faults.append(Fault(405))
    with pytest.raises(Refused, match="takes no DELETE"):
        lab.remove(capture.uuid, receipt)
    with pytest.raises(Refused, match="another server"):
        lab.remove(capture.uuid, {"files": {"x": {"url": "http://127.0.0.1:1/x"}}})
    with pytest.raises(Refused, match="no address"):
        lab.remove(capture.uuid, {"url": shelf.url, "status": 201})
    lab.remove(capture.uuid, receipt)
    lab.remove(capture.uuid, receipt)
    assert shelf.files == {}
    lab.close()
