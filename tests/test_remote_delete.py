"""`capture-agent remote NAME delete`: what goes there stays here, and nothing is sent again by itself."""

import json
from pathlib import Path

import pytest

from agent.catalogue import Catalogue
from agent.cli.store import stored
from agent.database import Database
from agent.targets import Home, Progress
from agent.targets.directory import Settings as Directory
from agent.targets.http import Settings as Http
from tests.receiver import Fault, Receiver
from tests.recorded import make_data_folder, run

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
targets = ["lab", "web", "tus"]
[target.lab]
kind = "directory"
path = "{folder}/nas"
[target.web]
kind = "http"
url = "{url}/captures/{{file}}"
[target.tus]
kind = "http"
method = "tus"
url = "{url}/tus/"
"""


class Place:
    """A data folder with one capture that is at three targets, and their far ends."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.folder, self.receiver = folder, receiver
        (folder / "nas").mkdir()
        (folder / "config.toml").write_text(CONFIG.format(folder=folder, url=receiver.url))
        make_data_folder(folder / "data")
        with stored(folder / "data") as (catalogue, outbox):
            (parcel,) = outbox.list("lab", "delivered")
            self.capture = catalogue.get(parcel.capture)
            home = Home("bay3", "0badcafe", folder)
            web = Http(url=receiver.url + "/captures/{file}").open(home)
            receipts = {
                "lab": Directory(path=str(folder / "nas")).open(home).put(self.capture, Progress()),
                "web": web.put(self.capture, Progress()),
                "tus": {"files": {self.capture.files[0].name: {"upload": "http://far/1"}}},
            }
            web.close()
            with Database(folder / "data" / "agent.db") as database:
                for name, receipt in receipts.items():
                    with database.transaction(durable=False) as connection:
                        outbox.owe(connection, [(self.capture.uuid, self.capture.size, [name])])
                        connection.execute(
                            "UPDATE parcel SET state = 'delivered', receipt = ? WHERE target = ? AND capture ="
                            " (SELECT id FROM capture WHERE uuid = ?)",
                            (json.dumps(dict(receipt)), name, self.capture.uuid),
                        )

    def run(self, *arguments: object, code: int = 0, stdin: str | None = None) -> str:
        return run(*map(str, arguments), "--config", self.folder / "config.toml", code=code, input=stdin).output

    def delete(self, name: str, *arguments: object, code: int = 0) -> dict:
        output = self.run("remote", name, "delete", self.capture.name, "--yes", "--json", *arguments, code=code)
        return json.loads(output)["captures"][0]

    def parcel(self, name: str) -> dict:
        listed = json.loads(run("outbox", "list", "--target", name, "--json", "--data", self.folder / "data").output)
        shown = [each for each in listed["parcels"] if each["capture"] == self.capture.uuid]
        for state in ("delivered", "dropped"):
            more = run("outbox", "list", "--target", name, "--state", state, "--json", "--data", self.folder / "data")
            shown += [e for e in json.loads(more.output)["parcels"] if e["capture"] == self.capture.uuid]
        (one,) = shown
        return one


@pytest.fixture
def place(tmp_path):
    with Receiver() as receiver:
        yield Place(tmp_path, receiver)


def nas(place: Place) -> list[Path]:
    return [path for path in (place.folder / "nas").rglob("*") if path.is_file()]


def test_it_goes_there_stays_here_and_is_not_sent_again(place: Place):
    assert len(nas(place)) == len(place.capture.files)
    said = place.run("remote", "lab", "delete", place.capture.name, "--yes")
    assert "removed" in said and "reconcile lab --repair" in said
    assert nas(place) == []
    assert all(path.exists() for path in place.capture.files)
    parcel = place.parcel("lab")
    assert (parcel["state"], "by a person" in parcel["error"]) == ("dropped", True)
    assert set(parcel["receipt"]) == {"deleted"}
    run("outbox", "retry", "--target", "lab", "--data", place.folder / "data")
    assert place.parcel("lab")["state"] == "dropped"
    with stored(place.folder / "data") as (catalogue, outbox):
        catalogue.amend(
            place.capture.uuid,
            lambda document: {"labels": {"activity": "running"}},
            lambda connection, later: outbox.amend(connection, later.uuid, later.revision, ["lab"]),
        )
        assert not [p for p in outbox.claim("lab", 9, lease_s=1) if p.capture == place.capture.uuid], "nor a revision"
    assert place.delete("lab")["state"] == "never there", "twice is once"


def test_it_asks_first(place: Place):
    asked = place.run("remote", "lab", "delete", place.capture.uuid[:8], code=1, stdin="n\n")
    assert "Delete 1 captures at lab, for good?" in asked
    assert len(nas(place)) == len(place.capture.files) and place.parcel("lab")["state"] == "delivered"
    assert "no capture with" in place.run("remote", "lab", "delete", "another", "--yes", code=1)
    assert "removed" in place.run("remote", "lab", "delete", place.capture.uuid[:8], stdin="y\n")


def test_reconcile_says_so_and_repair_sends_it_again(place: Place):
    place.delete("lab")
    said = place.run("reconcile", "lab")
    assert "1 deleted" in said and "was deleted there by a person" in said.replace("\n", " ")
    assert place.parcel("lab")["state"] == "dropped", "nothing was changed"
    said = place.run("reconcile", "lab", "--repair").replace("\n", " ")
    assert "1 are owed again, 1 of them although they were deleted there by a person" in said
    assert place.parcel("lab")["state"] == "waiting" and place.parcel("lab")["receipt"] is None


def test_where_nobody_can_be_asked_everything_is_as_it_was(place: Place):
    place.receiver.faults.append(Fault(401))
    found = place.delete("web", code=1)
    assert (found["state"], "401" in found["said"]) == ("failed", True)
    assert (place.parcel("web")["state"], place.parcel("web")["error"]) == ("delivered", "")
    assert place.delete("web")["state"] == "removed"
    assert place.receiver.files == {}


def test_what_failed_in_the_middle_is_not_said_to_be_there_and_can_be_tried_again(place: Place):
    place.receiver.faults += [Fault(204), Fault(500)]
    found = place.delete("web", code=1)
    assert (found["state"], "500" in found["said"]) == ("failed", True)
    assert (place.parcel("web")["state"], place.parcel("web")["error"]) == ("dropped", "its deletion there was begun")
    said = place.run("reconcile", "web", code=1)
    assert "1 missing" in said.replace("\n", " ")
    assert place.delete("web")["state"] == "removed"
    assert place.receiver.files == {}


def test_a_kill_in_between_is_gone_on_with(place: Place, monkeypatch):
    def killed(self, method, url, headers, body=None, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("agent.targets._http_server.Server.request", killed)
        place.run("remote", "web", "delete", place.capture.name, "--yes", code=1)
    assert place.parcel("web")["state"] == "dropped", "it is not said to be safe there"
    assert place.delete("web")["state"] == "removed"


def test_what_only_a_person_can_is_said_with_where_it_is(place: Place):
    found = place.delete("tus", code=1)
    assert found["state"] == "by hand" and "http://far/1" in found["said"]
    assert place.parcel("tus")["state"] == "delivered"


def test_what_is_owed_in_a_later_revision_is_left_alone(place: Place):
    with stored(place.folder / "data") as (_, outbox), Database(place.folder / "data" / "agent.db") as database:
        with database.transaction(durable=False) as connection:
            outbox.amend(connection, place.capture.uuid, 2, ["lab"])
    found = place.delete("lab", code=1)
    assert (found["state"], "later revision" in found["said"]) == ("on its way", True)
    assert len(nas(place)) == len(place.capture.files)


def test_withdrawing_later_finds_what_was_deleted_gone(place: Place):
    place.delete("lab")
    said = place.run("withdraw", "--capture", place.capture.name, "--yes")
    assert "web: 1 removed" in said and "lab: 1 removed" in said and "by hand" in said
    with Catalogue.of(place.folder / "data") as catalogue:
        assert place.capture.uuid not in {entry.uuid for entry in catalogue.find()}
