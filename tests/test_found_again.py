"""After the database was lost: targets that would not recognise what they have get nothing twice by themselves."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.config.loading import load
from agent.database import Database
from agent.outbox import Outbox
from agent.rebuild import rebuild
from agent.sync.delivery import Delivery
from agent.sync.owing import Owing
from tests.captures import make_capture
from tests.receiver import Receiver
from tests.recorded import run
from tests.running import Running

TARGETS = {"form": Delivery(after_rebuild="wait", undated="wait"), "nas": Delivery(after_rebuild="send")}


class Lost:
    """A folder with captures whose database was lost, found again."""

    def __init__(self, folder: Path, count: int = 3) -> None:
        self.captures = [make_capture(folder / "captures") for _ in range(count)]
        self.database = Database(folder / "agent.db", quarantine=folder / "quarantine").open()
        self.catalogue = Catalogue(self.database, folder / "captures")
        self.outbox = self.of_boot("b")
        self.owing = Owing(self.outbox, {})
        self.owing.change({"walk": ["form", "nas"]}, TARGETS)
        rebuild(
            self.database,
            self.catalogue,
            self.owing,
            captures=folder / "captures",
            quarantine=folder / "quarantine",
            advance=lambda count: None,
        )

    def of_boot(self, boot_id: str) -> Outbox:
        return Outbox(self.database, boot_id=boot_id, now=lambda: 10**15, jitter=random.Random(1))

    def claimed(self, target: str, outbox: Outbox | None = None) -> set[str]:
        return {parcel.capture for parcel in (outbox or self.outbox).claim(target, 9, lease_s=60)}


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[Lost]:
    lost = Lost(tmp_path)
    yield lost
    lost.database.close()


def test_who_would_not_recognise_them_waits_and_the_others_do_not(lost: Lost) -> None:
    everything = {capture.uuid for capture in lost.captures}
    assert (lost.claimed("form"), lost.claimed("nas")) == (set(), everything)
    assert lost.outbox.due_s("form") is None
    assert (lost.outbox.holds("form"), lost.outbox.holds("nas")) == ("reconcile", "")
    assert lost.outbox.counts()["form"].owed == 3, "and nothing is deleted to make room"
    assert {parcel.capture for parcel in lost.outbox.list("form", "unsure")} == everything


@pytest.mark.parametrize("boot", ["a", "b", "c", "ffffffff-ffff-ffff-ffff-ffffffffffff"])
def test_they_wait_in_every_boot(lost: Lost, boot: str) -> None:
    outbox = lost.of_boot(boot)
    assert outbox.release_all() == 0
    assert outbox.due_s("form") is None and lost.claimed("form", outbox) == set()
    assert outbox.retry("form", refused=False) == 0, "trying now is no decision"


def test_what_is_finished_now_does_not_wait(lost: Lost, tmp_path: Path) -> None:
    fresh = make_capture(tmp_path / "captures")
    with lost.database.transaction(durable=False) as connection:
        lost.catalogue.add(connection, [fresh])
        lost.owing.owe(connection, [fresh])
    assert lost.claimed("form") == {fresh.uuid}


def test_what_the_walk_finds_while_it_is_being_finished_does_not_wait(tmp_path: Path) -> None:
    capture = make_capture(tmp_path / "captures")
    (tmp_path / "recording").mkdir()
    for path in capture.files:
        (tmp_path / "recording" / path.name).hardlink_to(path)
    lost = Lost(tmp_path)
    assert lost.claimed("form") == {capture.uuid}
    lost.database.close()


def test_a_label_or_a_date_lets_nothing_go(lost: Lost) -> None:
    lost.catalogue.amend(lost.captures[0].uuid, lambda document: {"labels": {"a": 1}}, lost.owing.owe_again)
    assert lost.claimed("form") == set()


def test_a_person_sends_all_or_gives_all_up(lost: Lost) -> None:
    assert lost.outbox.retry("form", lost.captures[0].uuid) == 1
    assert lost.claimed("form") == {lost.captures[0].uuid}
    assert lost.outbox.drop("form", refused_only=False) == 3
    assert lost.outbox.holds("form") == ""


KINDS = """\
[agent]
device = "bay3"
data_dir = "{folder}/data"
[stream.imu]
driver = "mpu6050"
bus = "virtual"
[recording.walk]
streams = ["imu"]
format = ["csv"]
targets = ["put", "post", "form", "tus", "broker", "viam", "said"]
[target.put]
kind = "http"
url = "http://127.0.0.1:1/{{file}}"
[target.post]
kind = "http"
method = "POST"
url = "http://127.0.0.1:1/{{file}}"
[target.form]
kind = "http"
method = "form"
url = "http://127.0.0.1:1/"
[target.tus]
kind = "http"
method = "tus"
url = "http://127.0.0.1:1/"
[target.broker]
kind = "mqtt"
host = "broker.example"
[target.viam]
kind = "viam"
part_id = "11111111-2222-3333-4444-555555555555"
key_id = "01234567-89ab-cdef-0123-456789abcdef"
key_file = "viam-key"
[target.said]
kind = "http"
method = "form"
url = "http://127.0.0.1:1/"
after_rebuild = "send"
"""


def test_each_kind_says_of_itself_whether_it_recognises(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(KINDS.format(folder=tmp_path))
    found = {name: target.delivery.after_rebuild for name, target in load(tmp_path / "config.toml").targets.items()}
    assert found == {
        "put": "send",
        "post": "wait",
        "form": "wait",
        "tus": "wait",
        "broker": "wait",
        "viam": "wait",
        "said": "send",
    }


CONFIG = """\
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 100
[recording.walk]
streams = ["imu"]
format = ["csv"]
length_s = 0.5
targets = ["lab", "form"]
[target.lab]
kind = "http"
method = "POST"
url = "{url}/captures/{{file}}"
[target.form]
kind = "http"
method = "form"
url = "{url}/form"
"""


def test_a_daemon_without_its_database_says_what_waits_and_reconcile_settles_it(tmp_path: Path) -> None:
    old = [make_capture(tmp_path / "data" / "captures", b"%d" % n) for n in range(3)]
    kept, gone = old[:2], old[2]
    with Receiver() as receiver:
        for path in (path for capture in kept for path in capture.files):
            receiver.files[f"/captures/{path.name}"] = path.read_bytes()
        with Running(tmp_path, CONFIG.format(url=receiver.url)) as daemon:

            def settled(status: dict) -> bool:
                return all(target["unsure"] and len(receiver.stores) > 6 for target in status["targets"].values())

            status = daemon.until(settled)
            assert [each for each in status["problems"] if "reconcile lab --repair" in each], status["problems"]
            assert not any(name in path for path in receiver.stores for name in names(old)), "only what is new is sent"
            told = run("reconcile", "lab", "--config", daemon.config, code=1).output.replace("\n", " ")
            assert "Of 3 captures that wait" in told and "would count as delivered with --repair" in told
            said = run("reconcile", "lab", "--repair", "--config", daemon.config).output.replace("\n", " ")
            assert "1 are owed again" in said
            daemon.ask("sync")
            daemon.until(lambda status: f"/captures/{gone.files[0].name}" in receiver.stores)
            daemon.until(lambda status: not status["targets"]["lab"]["unsure"])
            assert not any(name in path for path in receiver.stores for name in names(kept)), "they are there"
            refused = run("reconcile", "form", "--repair", "--config", daemon.config, code=1).output
            assert "outbox retry --target form" in refused.replace("\n", " ")
            assert daemon.until(lambda status: True)["targets"]["form"]["unsure"]
            daemon.terminate()
    here = ("--json", "--data", daemon.data)
    listed = json.loads(run("outbox", "list", "--target", "form", "--state", "unsure", *here).output)
    assert {parcel["capture"] for parcel in listed["parcels"]} == {capture.uuid for capture in old}


def names(captures: list[Capture]) -> list[str]:
    return [capture.name for capture in captures]
