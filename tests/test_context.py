"""Context: session, subject, condition and trial, labels and metadata are stamped on what begins next, and last."""

import contextlib
import json
import os
import stat
import subprocess
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.answers import Answers
from agent.capture import Capture
from agent.config.loading import ConfigError, load
from agent.context import Context
from agent.database import Database, DatabaseWaits
from agent.monitor import Parts
from agent.recording import Orders, RecordingSettings
from tests.recorded import run
from tests.running import Running

SECRET = "Ada-Lovelace"
CONFIG = """
[stream.mcu]
driver = "ssi"
port = "virtual"
virtual = { seed = 5, rate_hz = 200 }

[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 0.25
width = 64
height = 48

[recording.walk]
streams = ["mcu"]
length_s = 0.3
labels = { activity = "walking" }
subject = "nobody"
condition = "barefoot"
targets = ["archive"]

[recording.photos]
streams = ["cam"]
format = ["jpeg"]
picture_name = "full"
targets = ["archive"]

[target.archive]
kind = "directory"
path = "{folder}/archive"
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "agent.db", quarantine=tmp_path / "quarantine") as database:
        yield database


def settings(**more: Any) -> RecordingSettings:
    return RecordingSettings(streams=("imu",), **more)


def test_what_was_said_holds_until_the_configuration_says_something_else(database: Database) -> None:
    context = Context(database)
    before = Orders("walk", settings(labels={"activity": "walking", "odd": 1.5}, subject="Bea"))
    assert before.metadata == {"subject": "Bea"}
    context.keep(before, {"activity": None}, {"subject": "Ada"})
    context.keep(before, {"laps": 3}, {})
    after = Orders("walk", settings(labels={"activity": "walking", "odd": 1.5}, subject="Bea", length_s=5.0))
    after.label(*context.recall(after))
    assert (after.labels, after.metadata) == ({"odd": 1.5, "laps": 3}, {"subject": "Ada"})
    assert context.recall(Orders("rest", settings())) == ({}, {})
    changed = Orders("walk", settings(labels={"activity": "resting"}, subject="Bea"))
    assert context.recall(changed) == ({}, {})


def test_a_start_or_stop_holds_until_the_configuration_says_another_when(database: Database) -> None:
    context = Context(database)
    on, off = Orders("gait", settings(when="command")), Orders("walk", settings())
    assert (context.wanted(on), context.wanted(off)) == (False, True), "as configured"
    context.keep_wanted(on, True)
    context.keep_wanted(off, False)
    context.keep(off, {"laps": 3}, {})
    context.forget("subject", "Ada")
    again = Context(database)
    assert again.wanted(Orders("gait", settings(when="command", length_s=5.0)))
    assert not again.wanted(Orders("walk", settings(labels={"activity": "resting"})))
    assert again.wanted(Orders("walk", settings(when="trigger")))
    assert again.wanted(Orders("walk", settings())), "and not as it was before that"
    before = database.syncs
    context.keep_wanted(on, True)
    assert database.syncs == before, "nothing new costs nothing"
    context.keep_wanted(on, False)
    assert not again.wanted(on)


def test_a_database_made_anew_has_what_was_said_and_not_what_was_taken_back(database: Database, tmp_path: Path) -> None:
    context = Context(database)
    off = Orders("walk", settings())
    context.keep(off, {"laps": 3}, {"subject": SECRET})
    context.keep_wanted(off, False)
    context.keep_paused({"lab"})
    assert SECRET in (tmp_path / "context.notes").read_text()
    context.forget("subject", SECRET)
    database.close()
    (tmp_path / "agent.db").write_bytes(b"damaged" * 1000)
    assert SECRET not in (tmp_path / "context.notes").read_text()
    with Database(tmp_path / "agent.db", quarantine=tmp_path / "quarantine") as anew:
        again = Context(anew)
        assert again.wanted(off)
        again.restore()
        assert not again.wanted(off)
        assert again.recall(off) == ({"laps": 3}, {})
        assert again.paused() == {"lab"}


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files to somebody else needs root")
def test_what_root_notes_stays_the_daemons_and_as_private_as_its_database(database: Database, tmp_path: Path) -> None:
    os.chown(tmp_path / "agent.db", 12345, 12346)
    (tmp_path / "agent.db").chmod(0o600)
    Context(database).keep_paused({"lab"})
    found = (tmp_path / "context.notes").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 12346, 0o600)


def test_what_is_said_while_the_database_is_gone_is_noted_for_the_next_one(database: Database, tmp_path: Path) -> None:
    (tmp_path / "agent.db").unlink()
    Context(database).keep_paused({"lab"})
    assert "lab" in (tmp_path / "context.notes").read_text()


@pytest.mark.parametrize("damage", [b"", b"[1]", b"\xff\xfe{"])
def test_a_damaged_copy_of_what_was_said_stops_nobody_and_is_said(
    database: Database, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "context.notes").write_bytes(damage)
    Context(database).restore()
    assert Context(database).paused() == frozenset()
    (message,) = caplog.messages
    assert "context.notes" in message and "say it again" in message


def test_an_order_is_carried_out_though_the_disk_takes_no_note_of_it(database: Database) -> None:
    orders = Orders("walk", settings())
    given: dict[str, Any] = dict.fromkeys(Parts.__dataclass_fields__)
    given["assembly"] = types.SimpleNamespace(recorders={"walk": types.SimpleNamespace(orders=orders)})
    answers = Answers(Parts(**{**given, "context": Context(database)}))
    with database.transaction(durable=False) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    for length in range(3000, 0, -10):
        with contextlib.suppress(DatabaseWaits), database.transaction(durable=False) as connection:
            connection.execute("INSERT INTO note VALUES (?, ?)", (str(length), "x" * length))
    said = answers.stop("walk")
    assert not orders.wanted
    assert said.startswith("walk finishes what it has and records no further; a restart forgets it")
    assert said.endswith("database or disk is full")


def test_targets_are_paused_until_they_are_resumed(database: Database) -> None:
    context = Context(database)
    assert context.paused() == frozenset()
    context.keep_paused({"lab", "archive"})
    assert Context(database).paused() == {"lab", "archive"}
    context.keep_paused(())
    assert Context(database).paused() == frozenset()


def test_a_name_is_said_once_in_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.replace('subject = "nobody"', 'subject = "nobody"\nmetadata = { subject = "Ada" }'))
    with pytest.raises(ConfigError, match=r"recording.walk.subject.*either subject or metadata.subject"):
        load(path)


def test_a_name_that_a_target_refuses_is_found_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    head, _, _ = CONFIG.partition("[target.archive]")
    moveshelf = '[target.archive]\nkind = "moveshelf"\napi_key_file = "key"\nproject = "org/lab"\n'
    recording = head.replace('subject = "nobody"', 'subject = "a/b"').replace('targets = ["archive"]\n\n[rec', "\n[rec")
    path.write_text(recording.replace('condition = "barefoot"', 'targets = ["archive"]') + moveshelf)
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert "recording.walk.subject" in {mistake.path for mistake in raised.value.mistakes}


def grep(text: str, *places: Path) -> str:
    """The files that contain a text."""
    return subprocess.run(["grep", "-rla", text, *places], capture_output=True, text=True, check=False).stdout


def newest(running: Running, recording: str) -> Capture:
    return Capture.load(max((running.data / "captures").rglob(f"test.{recording}.*.json")))


def captured(running: Running, recording: str, subject: str | None) -> Capture:
    """A capture of this recording that says this subject, as soon as there is one."""
    running.until(
        lambda status: (
            any((running.data / "captures").rglob(f"test.{recording}.*.json"))
            and newest(running, recording).document["metadata"].get("subject") == subject
        )
    )
    return newest(running, recording)


def test_captures_that_begin_after_it_have_it_also_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    with Running(tmp_path, CONFIG) as running:
        assert captured(running, "walk", "nobody").document["metadata"] == {
            "subject": "nobody",
            "condition": "barefoot",
        }
        assert captured(running, "photos", None).document["metadata"] == {}
        here = ("--data", running.data)
        said = run("session", "monday", "--subject", SECRET, "--condition", "", *here).output
        assert json.loads(said.splitlines()[0].partition(": ")[2])["metadata"] == {
            "subject": SECRET,
            "session": "monday",
        }
        run("label", "activity=running", "--recording", "walk", *here)
        wanted = {"subject": SECRET, "session": "monday"}
        assert captured(running, "walk", SECRET).document["metadata"] == wanted
        assert captured(running, "photos", SECRET).document["metadata"] == wanted
        assert running.terminate()[0] == 0
        known = {capture.name for capture in running.captures()}
        running.start()
        running.until(lambda status: len({c.recording for c in running.captures() if c.name not in known}) == 2)
        again = [capture for capture in running.captures() if capture.name not in known]
        assert [capture.document["metadata"] for capture in again] == [wanted] * len(again)
        assert {c.document["labels"].get("activity") for c in again if c.recording == "walk"} == {"running"}
        run("session", "--end", *here)
        assert captured(running, "walk", None).document["metadata"] == {}
        running.finish()  # while captures come, there may be one owed at each look
        config = ("--config", running.config)
        assert "removed" in run("withdraw", "--subject", SECRET, "--yes", *config).output
        place = [tmp_path / name for name in ("data", "archive")]
        assert grep(SECRET, *place) == "", "neither here nor there, nor in the database's log"
    log = (tmp_path / "daemon.log").read_text()
    assert SECRET not in log, "the name of a subject is in the log"
    names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
    assert len(names) > 20 and not [name for name in names if SECRET in name]
