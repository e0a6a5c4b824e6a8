"""The parts of MQTT that need no broker: settings, events out of the database, discovery, what the machine tells."""

import contextlib
import dataclasses
import json
import logging
import random
import sqlite3
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent import schema
from agent.commands import COMMANDS
from agent.config.reader import read
from agent.database import Database
from agent.device import Device
from agent.mqtt.commands import Commands, Received
from agent.mqtt.discovery import Announced, discovery, without
from agent.mqtt.events import Watch, tell_of_captures
from agent.mqtt.machine import Machine
from agent.mqtt.permissions import Permissions
from agent.mqtt.picture import NewestPicture
from agent.mqtt.queue import Queue
from agent.mqtt.settings import MqttSettings
from agent.mqtt.topics import Topics
from agent.outbox import Outbox
from agent.targets import Home
from tests.mosquitto import check

HOME = Home("bay 3/+", "0000beef", Path("secrets"))


def settings(text: str = "") -> MqttSettings:
    found, mistakes = read(MqttSettings, tomllib.loads(f'host = "broker"\n{text}'), "mqtt")
    assert found is not None and not mistakes, mistakes
    return found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "agent.db", quarantine=tmp_path / "quarantine") as database:
        database.rebuilt()
        yield database


@contextlib.contextmanager
def somebody_writes(database: Database) -> Iterator[None]:
    """Nobody else can write meanwhile, and nobody waits for long."""
    with database.transaction(durable=False) as connection:
        connection.execute("PRAGMA busy_timeout = 10")
    with contextlib.closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_only_reads_and_labels_may_come_through_the_broker_unless_it_is_said() -> None:
    assert set(settings().commands) == {name for name, c in COMMANDS.items() if c.reads_only} | {"label"}
    assert settings().tls and settings().used_port == 8883
    assert settings("tls = false").used_port == 1883


def test_the_devices_name_brings_no_levels_and_no_wildcards_into_a_topic() -> None:
    assert settings().prefix_of(HOME) == "capture-agent/bay-3"
    assert settings('prefix = "site/{device_id}"').prefix_of(HOME) == "site/0000beef"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('host = ""', "mqtt.host"),
        ('commands = ["status", "format"]', "mqtt.commands"),
        ('prefix = "a/#"', "mqtt.prefix"),
        ('prefix = "a//b"', "mqtt.prefix"),
        ('prefix = "$SYS/a"', "mqtt.prefix"),
        ('prefix = "a/{user}"', "mqtt.prefix"),
        ('prefix = "a/{"', "mqtt.prefix"),
        ('home_assistant = "home/+"', "mqtt.home_assistant"),
        ('tls = false\nca_file = "ca.pem"', "mqtt.ca_file"),
        ('key_file = "key.pem"', "mqtt.key_file"),
        ('password_file = "secret"', "mqtt.password_file"),
        ('version = "4"', "mqtt.version"),
        ("queue_messages = 1", "mqtt.queue_messages"),
    ],
)
def test_a_mistake_is_named_with_its_path(text: str, path: str) -> None:
    _, mistakes = read(MqttSettings, {"host": "broker", **tomllib.loads(text)}, "mqtt")
    assert [mistake.path for mistake in mistakes] == [path]


def test_an_older_database_gets_the_tables_that_a_new_one_has(tmp_path: Path) -> None:
    old, new = (sqlite3.connect(tmp_path / name, isolation_level=None) for name in ("old", "new"))
    schema.create(new, "")
    schema.create(old, "")
    for table in ("queued_message", "answered"):
        old.execute(f"DROP TABLE {table}")
    old.execute("PRAGMA user_version = 1")
    schema.upgrade(old, schema.MIGRATIONS[:1])
    said = "SELECT name, sql FROM sqlite_schema WHERE name IN ('queued_message', 'answered') ORDER BY name"
    assert old.execute(said).fetchall() == new.execute(said).fetchall()
    old.close()
    new.close()


def add_capture(database: Database, number: int, targets: tuple[str, ...] = ("nas",)) -> str:
    uuid = f"00000000-0000-4000-8000-{number:012}"
    outbox = Outbox(database, boot_id="boot", now=lambda: 0, jitter=random.Random(0))
    with database.transaction(durable=False) as connection:
        connection.execute("INSERT INTO configuration VALUES (?, 'c', '{}') ON CONFLICT DO NOTHING", (uuid,))
        connection.execute(
            "INSERT INTO capture (uuid, name, recording, day, started_ns, boot_id, boot_time_ns, duration_s, size,"
            " configuration, clock, revision) VALUES (?, ?, 'walk', '2026-11-21', 1, 'boot', 1, 60.0, 5, ?, 'set', 1)",
            (uuid, f"capture-{number}", uuid),
        )
        outbox.owe(connection, [(uuid, 5, targets)])
    return uuid


def told(database: Database) -> list[dict[str, Any]]:
    documents = [json.loads(m.payload) for m in Queue(database, 1000).waiting(0, 1000, ())]
    for document in documents:
        check("event", document)
    return documents


def test_captures_tell_once_what_becomes_of_them_in_the_transaction_that_changes_them(database: Database) -> None:
    tell_of_captures(database)
    outbox = Outbox(database, boot_id="boot", now=lambda: 0, jitter=random.Random(0))
    first, second = add_capture(database, 1), add_capture(database, 2)
    parcels = outbox.claim("nas", 2, lease_s=10)
    outbox.settle([parcels[0].delivered({"id": 1}), parcels[1].refused("too dull")])
    outbox.settle([parcels[0].delivered({"id": 1})])
    outbox.drop("nas")
    events = told(database)
    assert [(event["event"], event["capture"]) for event in events] == [
        ("capture/finished", first),
        ("capture/finished", second),
        ("capture/delivered", first),
        ("capture/refused", second),
        ("capture/dropped", second),
    ]
    assert events[3]["error"] == "too dull" and events[3]["target"] == "nas"
    assert len({event["id"] for event in events}) == 5
    with pytest.raises(ZeroDivisionError), database.transaction(durable=False) as connection:
        connection.execute("UPDATE parcel SET state = 'delivered'")
        raise ZeroDivisionError
    assert len(told(database)) == 5


def test_what_a_rebuild_finds_again_is_not_told_as_finished(tmp_path: Path) -> None:
    with Database(tmp_path / "agent.db", quarantine=tmp_path / "quarantine") as database:
        tell_of_captures(database)
        add_capture(database, 1)
        assert told(database) == []
        database.rebuilt()
        add_capture(database, 2)
        assert [event["name"] for event in told(database)] == ["capture-2"]


def test_without_mqtt_nothing_is_queued(database: Database) -> None:
    add_capture(database, 1)
    assert told(database) == []


def test_health_that_changes_is_told_also_where_it_changed_back_between_two_looks() -> None:
    events: list[dict[str, Any]] = []
    watch = Watch(lambda name, payload: events.append({"of": name, **payload}), lambda: "2026-11-21T10:00:00.0Z")

    def look(state: str = "running", reopened: int = 0, target: str = "idle", stopped: str = "") -> list[str]:
        events.clear()
        watch.look(
            {
                "streams": {"imu": {"state": state, "reopened": reopened, "error": "unplugged"}},
                "targets": {"nas": {"state": target, "error": "no route"}},
                "disk": {"stopped": stopped, "free_bytes": 5},
            }
        )
        for event in events:
            check("event", {key: value for key, value in event.items() if key != "of"})
        return [event["of"] for event in events]

    assert look() == []
    assert look("lost") == ["stream/lost"]
    assert look("lost") == []
    assert look("running", 1) == ["stream/back"]
    assert look("running", 2) == ["stream/lost", "stream/back"]
    assert look(reopened=2, target="unreachable") == ["target/unreachable"]
    assert look(reopened=2, target="unreachable") == []
    assert look(reopened=2) == ["target/reachable"]
    assert look(reopened=2, stopped="the disk is full") == ["disk/low"]
    assert look(reopened=2, stopped="the disk is full, more") == []
    assert look(reopened=2) == ["disk/room"]


# Facts of Home Assistant (homeassistant/components/mqtt: schemas.py, and the discovery schema of each platform).
DEVICE_KEYS = {
    "identifiers", "connections", "manufacturer", "model", "model_id", "name", "hw_version", "serial_number",
    "sw_version", "via_device", "suggested_area", "configuration_url",
}  # fmt: skip
TOP_KEYS = {
    "device", "origin", "components", "availability", "availability_mode", "availability_topic", "payload_available",
    "payload_not_available", "availability_template", "state_topic", "command_topic", "qos", "encoding",
}  # fmt: skip
ANY = {"platform", "unique_id", "name", "entity_category"}
REQUIRED = {
    "sensor": {"state_topic"},
    "binary_sensor": {"state_topic"},
    "switch": {"command_topic"},
    "button": {"command_topic"},
    "image": {"image_topic"},
}
OPTIONAL = {
    "sensor": {"value_template", "unit_of_measurement", "device_class", "state_class", "suggested_display_precision"},
    "binary_sensor": {"value_template", "device_class"},
    "switch": {"state_topic", "value_template", "payload_on", "payload_off", "state_on", "state_off"},
    "button": {"payload_press"},
    "image": {"content_type"},
}
UNITS = {"frequency": {"Hz"}, "duration": {"s"}, "data_size": {"B"}, "temperature": {"°C"}}


def announced(commands: tuple[str, ...] = tuple(COMMANDS), streams: tuple[str, ...] = ("imu", "cam")) -> dict[str, Any]:
    status = {"streams": dict.fromkeys(streams), "recordings": {"walk": None}, "targets": {"nas": None}}
    topics = Topics("capture-agent/bay3", "homeassistant")
    return discovery(topics, Device("bay3", "0000beef", "Pi"), status, commands=commands, picture=True)


def test_the_discovery_message_has_what_home_assistant_requires_and_nothing_it_does_not_know() -> None:
    message = announced()
    assert message.keys() <= TOP_KEYS
    assert message["device"].keys() <= DEVICE_KEYS and message["device"]["identifiers"]
    assert message["origin"]["name"]
    assert message["availability"] == [
        {"topic": "capture-agent/bay3/status", "value_template": "{{ value_json.state }}"}
    ]
    ids = []
    for key, component in message["components"].items():
        platform = component["platform"]
        assert REQUIRED[platform] <= component.keys() <= ANY | REQUIRED[platform] | OPTIONAL[platform], key
        assert component.get("entity_category", "diagnostic") == "diagnostic"
        assert component.get("unit_of_measurement") in UNITS.get(
            component.get("device_class", ""), {component.get("unit_of_measurement")}
        )
        ids.append(component["unique_id"])
    assert len(set(ids)) == len(ids)
    assert {"stream-imu-rate", "target-nas-owed", "target-nas-oldest", "disk-free", "temperature"} <= set(
        message["components"]
    )
    pressed = json.loads(message["components"]["recording-walk"]["payload_on"])
    check("question", pressed)
    assert pressed == {"command": "start", "arguments": {"recording": "walk"}}


def test_home_assistant_gets_no_button_for_what_it_may_not_ask() -> None:
    platforms = {component["platform"] for component in announced(("status", "label"))["components"].values()}
    assert platforms == {"sensor", "binary_sensor", "image"}


def test_what_is_gone_is_named_once_with_its_platform_alone(database: Database) -> None:
    before = Announced(database)
    before.keep({key: component["platform"] for key, component in announced()["components"].items()})
    message = without(announced(streams=("imu",)), Announced(database).components())
    assert message["components"]["stream-cam-rate"] == {"platform": "sensor"}
    assert message["components"]["stream-imu-rate"]["state_topic"]


@pytest.mark.parametrize("soc", ["soc", "soc@107c000000"])
def test_the_machine_tells_load_temperature_and_what_throttles(tmp_path: Path, soc: str) -> None:
    def put(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    machine = Machine(tmp_path)
    nothing = machine.read()
    assert set(nothing.values()) == {None}
    put("proc/stat", "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1 1 1\n")
    put("sys/class/thermal/thermal_zone0/temp", "48312\n")
    put(f"sys/devices/platform/{soc}/{soc}:firmware/get_throttled", "50005\n")
    machine.read()
    put("proc/stat", "cpu  130 0 100 760 110 0 0 0 0 0\n")
    assert machine.read() == {
        "cpu_percent": 30.0,
        "temperature_c": 48.312,
        "throttled": ["undervoltage", "throttled"],
        "throttled_since_boot": ["undervoltage", "throttled"],
    }


def test_a_topic_that_ends_the_connection_twice_is_taken_for_refused_and_tried_again_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0
    permissions = Permissions(lambda: now)
    permissions.suspect("a/b")
    assert permissions.refused() == set()
    permissions.suspect("a/b")
    permissions.suspect("a/b")
    assert permissions.refused() == {"a/b"}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    now = 301_000_000_000
    assert permissions.refused() == set()
    permissions.grant("a/b")
    assert permissions.known("a/b")


def test_a_picture_that_is_not_there_yet_or_no_picture_is_no_picture(tmp_path: Path, database: Database) -> None:
    from agent.catalogue import Catalogue

    newest = NewestPicture(Catalogue(database, tmp_path), 64)
    assert newest.newer({"recordings": {"walk": {"capture": None}, "photos": {"capture": "not finished"}}}) is None
    add_capture(database, 1)
    assert newest.newer({"recordings": {"walk": {"capture": "capture-1"}}}) is None


def commands(database: Database, obeyed: list[str]) -> tuple[Commands, Queue]:
    queue = Queue(database, 1000)
    every = tuple(COMMANDS)

    def obey(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        obeyed.append(name)
        return {}

    topics = Topics("here")
    took = Commands(
        topics, queue, obey, allowed=every, per_s=1000, now=time.monotonic_ns, wall_time=lambda: "2026-01-01T00:00:00Z"
    )
    return took, queue


def test_an_answer_that_the_database_does_not_take_waits_and_its_command_is_obeyed_once(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    obeyed: list[str] = []
    took, queue = commands(database, obeyed)
    question = Received("here/command/sync", b"{}", response_topic="answers", correlation=b"7")
    with somebody_writes(database):
        took.take(question)
        took.take(question)  # again, as none has come
        took.take(dataclasses.replace(question, topic="here/command/retry"))
        took.settle()
        assert queue.waiting(0, 10, ()) == []
    assert took.held == 3
    assert [message.partition(":")[0] for message in caplog.messages] == ["mqtt"], "once"
    took.settle()
    first, other = (json.loads(message.payload) for message in queue.waiting(0, 10, ()))
    assert first["ok"] and "belongs to another command" in other["error"]
    took.take(question)
    *_, last = queue.waiting(0, 10, ())
    assert (json.loads(last.payload), last.topic, last.correlation) == (first, "answers", b"7")
    assert obeyed == ["sync"]
    assert took.health() == {"answered": 4, "refused": 0, "ignored": 0, "unanswered": 0}


def test_answers_that_wait_too_many_are_counted_and_the_oldest_go(database: Database) -> None:
    took, queue = commands(database, [])
    with somebody_writes(database):
        for number in range(103):
            took.take(Received("here/command/status", json.dumps({"correlation": str(number)}).encode()))
    took.settle()
    answers = [json.loads(message.payload)["correlation"] for message in queue.waiting(0, 1000, ())]
    assert answers == [str(number) for number in range(3, 103)]
    assert took.health()["unanswered"] == 3
