"""MQTT when things go wrong: no broker, a broker that refuses, kills, floods; nothing lost, and one clear line each."""

import contextlib
import json
import logging
import random
import re
import socket
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import MQTTMessage

from agent.catalogue import Catalogue
from agent.clock import Clock
from agent.config.reader import read
from agent.control import CommandError
from agent.database import Database
from agent.device import Device
from agent.mqtt import probe as probe_module
from agent.mqtt.queue import Queue
from agent.mqtt.service import Mqtt
from agent.mqtt.settings import MqttSettings
from agent.targets import Home
from agent.worker import Worker
from tests.mosquitto import Listener, Mosquitto, loaded, needs_mosquitto
from tests.mqtt_line import Deaf, Forbids, Holds, Line, Slow
from tests.running import Running, sampling

pytestmark = needs_mosquitto

BASE = "capture-agent/test"
STATUS: dict[str, Any] = {
    "device": "test", "version": "0", "uptime_s": 1.0, "boot_id": "x", "clock": {"synchronised": True},
    "streams": {}, "recordings": {}, "targets": {}, "memory_bytes": 1, "problems": [],
    "disk": {"free_bytes": 1, "total_bytes": 2, "kept_bytes": 0, "deleted": 0, "given_up": 0, "stopped": ""},
}  # fmt: skip


class Always(random.Random):
    """Draws one number only: how many seconds the first rest takes."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def uniform(self, a: float, b: float) -> float:
        return self._seconds


class Ahead(Clock):
    """A clock that a test may put forward."""

    ahead_ns = 0

    def boottime_ns(self) -> int:
        return super().boottime_ns() + self.ahead_ns


class Service:
    """The MQTT of a device of which nothing else is there."""

    def __init__(
        self, database: Database, folder: Path, table: str, rest_s: float, credentials: Path | None = None
    ) -> None:
        settings, mistakes = read(MqttSettings, tomllib.loads(table)["mqtt"], "mqtt")
        assert settings is not None and not mistakes, mistakes
        self.queue = Queue(database, settings.queue_messages)
        self.clock = Ahead()
        self.streams: dict[str, Any] = {}
        self.looked = 0
        self.mqtt = Mqtt(
            settings,
            device=Device("test", "00000001"),
            home=Home("test", "00000001", folder, credentials),
            database=database,
            catalogue=Catalogue(database, folder),
            clock=self.clock,
            jitter=Always(rest_s),
        )
        self.mqtt.listen()
        self.asked: list[str] = []
        self.failures: list[BaseException] = []
        self.worker: Worker = self.mqtt.start(lambda name, error: self.failures.append(error), self.obey)

    def obey(self, name: str, given: Mapping[str, Any]) -> Any:
        if name == "status":
            self.looked += 1
            return {**STATUS, "streams": self.streams, "mqtt": self.mqtt.health()}
        if name == "snapshot":
            return {"AccelerometerX": 1.0}
        self.asked.append(name)
        if name not in ("label", "sync"):
            raise CommandError("not here")
        return "done"

    def tell(self, count: int, since: int = 0) -> set[str]:
        """Queues events; their ids."""
        ids = {f"event-{number}" for number in range(since, since + count)}
        for one in sorted(ids):
            self.queue.add("stream/lost", {"id": one, "event": "stream/lost", "stream": "x"})
        return ids

    def until(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 20.0) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not condition(health := self.mqtt.health()):
            assert time.monotonic() < deadline, health
            time.sleep(0.02)
        return health


@contextlib.contextmanager
def serving(folder: Path, table: str, rest_s: float = 0.02, *, credentials: Path | None = None) -> Iterator[Service]:
    with Database(folder / "agent.db", quarantine=folder / "quarantine") as database:
        database.rebuilt()
        service = Service(database, folder, table, rest_s, credentials)
        try:
            yield service
        finally:
            assert service.worker.stop(10)
        assert not service.failures


def births(listener: Listener) -> int:
    return sum(status["state"] == "online" for status in listener.on(f"{BASE}/status"))


def ids_on(listener: Listener, topic: str) -> list[str]:
    return [document["id"] for document in listener.on(topic)]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a person is told, at least as a warning."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def outage(folder: Path, count: int) -> None:
    """Events before there is a broker, while it hangs, and while it is gone; with a start anew between: each comes."""
    broker = Mosquitto(folder / "broker")
    with serving(folder, broker.table()) as service:
        expected = service.tell(count // 3)
        assert service.until(lambda health: health["state"] == "unreachable")["waiting"] == count // 3
    with broker, broker.listener() as listener, serving(folder, broker.table(), rest_s=3) as service:
        all_come(listener, expected, 120)
        service.until(lambda health: health["waiting"] == 0)
        broker.freeze()
        expected |= service.tell(count // 3, count)
        broker.kill()
        expected |= service.tell(count // 3, 2 * count)
        assert service.until(lambda health: health["state"] == "unreachable")["waiting"] == 2 * (count // 3)
        broker.start()
        listener.back()
        all_come(listener, expected, 120)
        service.until(lambda health: health["waiting"] == 0)
        ids = ids_on(listener, f"{BASE}/event/#")
        assert set(ids) == expected and len(ids) == len(expected)
        assert service.mqtt.health()["dropped"] == 0


def came(listener: Listener) -> set[str]:
    return set(ids_on(listener, f"{BASE}/event/#"))


def all_come(listener: Listener, expected: set[str], seconds: float = 10.0) -> None:
    """Waits until each of these events is there."""
    seen: set[str] = set()

    def last(message: MQTTMessage) -> bool:
        if message.topic.startswith(f"{BASE}/event/"):
            seen.add(json.loads(message.payload)["id"])
        return len(seen) >= len(expected) and expected <= seen

    listener.until(last, seconds)


def test_events_wait_for_the_broker_over_a_restart_and_each_is_there(tmp_path: Path) -> None:
    outage(tmp_path, 300)


@pytest.mark.soak
def test_ten_thousand_events_wait_and_each_is_there(tmp_path: Path) -> None:
    outage(tmp_path, 10_000)


def test_too_many_events_drop_the_oldest_and_that_is_counted_for_good(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker")
    with serving(tmp_path, broker.table(queue_messages="100")) as service:
        service.tell(130)
        assert service.queue.bound() in (0, 30)  # the thread may have been at it
        assert service.queue.bound() == 0
        assert service.until(lambda health: health["waiting"] == 100)["dropped"] == 30
    with broker, broker.listener() as listener, serving(tmp_path, broker.table(queue_messages="100")) as service:
        assert service.until(lambda health: health["waiting"] == 0)["dropped"] == 30
        assert "event-99" in came(listener) and "event-0" not in came(listener)


@pytest.mark.parametrize(
    ("options", "client_certificates", "message"),
    [
        ({"password_file": '"{folder}/wrong"'}, False, "refuses user 'edge'.*wrong: Not authorized"),
        ({"password_file": '"{folder}/none"'}, False, "none cannot be read|is in none of"),
        ({"ca_file": '"{folder}/stranger.crt"'}, False, "certificate is not accepted.*see ca_file"),
        ({"host": '"127.0.0.2"'}, False, "cannot be reached: Connection refused"),
        ({"host": '"no.such.host.invalid"'}, False, "host is not known"),
        ({"cert_file": '"{folder}/passwords"'}, False, "cert_file or key_file is not what it should be"),
        ({"cert_file": '"{folder}/nothing.pem"'}, False, "cert_file: .*nothing.pem cannot be read"),
        ({"cert_file": '"nothing.pem"'}, False, "secret 'nothing.pem' is in none of .*/nothing.pem"),
        ({}, True, "it may want another certificate"),
        ({"cert_file": '"{folder}/stale.crt"', "key_file": '"{folder}/stale.key"'}, True, "another certificate"),
    ],
)
def test_what_keeps_it_from_the_broker_is_one_clear_line(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, str],
    client_certificates: bool,
    message: str,
) -> None:
    folder = tmp_path / "broker"
    with Mosquitto(folder, tls=True, client_certificates=client_certificates) as broker:
        (folder / "wrong").write_text("guess\n")
        table = broker.table(**{key: value.replace("{folder}", str(folder)) for key, value in options.items()})
        with serving(tmp_path, table) as service:
            service.until(lambda health: service.mqtt._rests >= 3)
            health = service.mqtt.health()
    *vague, line = lines(caplog)  # of some of these the TLS alert comes through at one time, and gets lost at another
    assert re.search(message, line), line
    assert vague in ([], [line.partition("; TLS alert")[0] + "; it is tried again"])
    assert health["state"] == "unreachable" and health["error"] in line
    assert "guess" not in caplog.text and "edge-secret" not in caplog.text


def test_a_broker_that_wants_a_certificate_gets_it(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    with Mosquitto(folder, tls=True, client_certificates=True) as broker:
        files = {"cert_file": f'"{folder}/client.crt"', "key_file": f'"{folder}/client.key"'}
        with serving(tmp_path, broker.table(**files)) as service:
            service.until(lambda health: health["state"] == "connected")


def test_certificate_key_and_authority_are_found_among_the_credentials(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    names = {"ca_file": "ca.crt", "cert_file": "client.crt", "key_file": "client.key", "password_file": "edge-password"}
    with Mosquitto(folder, tls=True, client_certificates=True) as broker:
        table = broker.table(**{option: f'"{name}"' for option, name in names.items()})
        with serving(tmp_path, table, credentials=loaded(folder, tmp_path / "credentials")) as service:
            service.until(lambda health: health["state"] == "connected")


def test_a_topic_that_may_not_be_written_is_one_line_and_holds_up_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    acl = "user admin\ntopic readwrite #\n\nuser edge\n" + "".join(
        f"topic readwrite {BASE}/{topic}\n" for topic in ("status", "health", "command/#", "event/disk/#")
    )
    with Mosquitto(tmp_path / "broker", tls=True, acl=acl) as broker, broker.listener() as listener:
        with serving(tmp_path, broker.table()) as service:
            service.tell(50)
            for number in range(50):
                service.queue.add("disk/low", {"id": f"low-{number}", "event": "disk/low"})
            listener.until(lambda message: len(ids_on(listener, f"{BASE}/event/disk/low")) >= 50)
            assert service.until(lambda health: health["waiting"] == 50)["dropped"] == 0
    told = [line for line in lines(caplog) if "refuses" in line]
    assert [line.partition(";")[0] for line in told] == [
        f"mqtt: the broker refuses {BASE}/event/stream/lost: Not authorized"
    ]


def test_an_answer_that_ends_the_connection_goes_and_holds_up_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Mosquitto(tmp_path / "broker") as broker,
        broker.listener() as listener,
        contextlib.closing(Line(broker.port)) as line,
    ):
        line.faults.extend(Forbids(f"{BASE}/response") for _ in range(20))
        table = broker.table(version='"3.1.1"', host='"127.0.0.1"', port=str(line.port))
        with serving(tmp_path, table) as service:
            listener.first(f"{BASE}/status", state="online")
            for count in (1, 2):
                listener.publish(f"{BASE}/command/label", '{"labels": {}}')
                service.until(lambda health, count=count: health["commands"]["answered"] == count)
                all_come(listener, service.tell(50, 50 * count))
                service.until(lambda health, count=count: health["refused"] == count and health["waiting"] == 0)
            assert len(line.faults) == 17, "twice it was tried"
            assert service.mqtt.health()["state"] == "connected"
    told = [line for line in lines(caplog) if "refuses" in line]
    assert told == [
        f"mqtt: the broker refuses {BASE}/response: it ends the connection instead of an answer; allow writing it in"
        " the broker's access list"
    ]


def test_where_a_stranger_wants_an_answer_mutes_no_event(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", tls=True) as broker, broker.listener() as listener:
        with serving(tmp_path, broker.table()) as service:
            listener.first(f"{BASE}/status", state="online")
            listener.publish(f"{BASE}/command/label", '{"labels": {}}', reply="event/stream/lost")
            service.until(lambda health: health["refused"] == 1)
            all_come(listener, service.tell(3))


def test_a_subscription_that_the_broker_grants_and_ignores_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "_PROBE_S", 0.5)
    acl = f"user admin\ntopic readwrite #\n\nuser edge\ntopic write {BASE}/#\n"
    with Mosquitto(tmp_path / "broker", tls=True, acl=acl) as broker, serving(tmp_path, broker.table()) as service:
        service.until(lambda health: bool(lines(caplog)))
        assert service.mqtt.health()["state"] == "connected"
    (line,) = lines(caplog)
    assert f"no message on {BASE}/command/#, so no command will come" in line


def test_birth_and_health_do_not_wait_for_what_has_piled_up(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, broker.listener() as listener:
        with serving(tmp_path, broker.table(port="1")) as service:
            expected = service.tell(300)
        with serving(tmp_path, broker.table(health_every_s="3600.0")) as service:
            all_come(listener, expected, 60)
    topics = [message.topic for message in listener.messages]
    before = topics[: topics.index(f"{BASE}/event/stream/lost")]
    assert before == [f"{BASE}/status", f"{BASE}/command/probe", f"{BASE}/health"]


def test_after_an_outage_it_is_online_before_what_has_piled_up(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker") as broker,
        broker.listener() as listener,
        contextlib.closing(Line(broker.port)) as line,
    ):
        line.faults.append(Forbids("event-0"))
        table = broker.table(host='"127.0.0.1"', port=str(line.port), health_every_s="3600.0")
        with serving(tmp_path, table, rest_s=1) as service:
            all_come(listener, service.tell(1, 1000))
            all_come(listener, service.tell(300), 60)
    topics = [message.topic.removeprefix(f"{BASE}/") for message in listener.messages]
    first = topics.index("event/stream/lost")
    before = topics[first + 1 : topics.index("event/stream/lost", first + 1)]
    assert before == ["status", "status", "command/probe", "health"], "the last will, and what is live"


def test_what_is_new_goes_in_the_midst_of_what_has_piled_up(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker") as broker,
        broker.listener() as listener,
        contextlib.closing(Line(broker.port)) as line,
    ):
        line.faults.append(Slow())
        table = broker.table(host='"127.0.0.1"', port=str(line.port), latest_every_s="0.1")
        with serving(tmp_path, table) as service:
            expected = service.tell(600)
            listener.until(lambda message: message.topic == f"{BASE}/event/stream/lost")
            service.streams = {"imu": {"state": "running", "reopened": 0}}
            service.clock.ahead_ns = 3_000_000_000  # it is time to look
            all_come(listener, expected, 60)
    topics = [message.topic for message in listener.messages]
    assert f"{BASE}/event/stream/lost" in topics[topics.index(f"{BASE}/stream/imu/latest") :]


def test_a_question_to_oneself_that_has_not_gone_yet_is_not_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Mosquitto(tmp_path / "broker") as broker,
        broker.listener() as listener,
        contextlib.closing(Line(broker.port)) as line,
    ):
        line.faults.append(slow := Holds())
        with serving(tmp_path, broker.table(host='"127.0.0.1"', port=str(line.port))) as service:
            assert slow.held.wait(10)
            service.clock.ahead_ns = 60_000_000_000
            slow.released.set()
            listener.first(f"{BASE}/health")
        assert lines(caplog) == []


@pytest.mark.parametrize("topic", ["homeassistant/status", f"{BASE}/command/+"])
def test_what_the_broker_does_not_let_it_hear_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, topic: str
) -> None:
    with Mosquitto(tmp_path / "broker") as broker, contextlib.closing(Line(broker.port)) as line:
        asked = [f"{BASE}/command", f"{BASE}/command/+", "homeassistant/status"]
        line.faults.append(Deaf(asked.index(topic), f"{BASE}/command/probe"))
        table = broker.table(host='"127.0.0.1"', port=str(line.port), home_assistant='"homeassistant"')
        with broker.listener() as listener, serving(tmp_path, table) as service:
            listener.first(f"{BASE}/health")
            for minutes in (1, 2):  # what is looked at again has been looked at after the first
                looked = service.looked
                service.clock.ahead_ns = minutes * 60_000_000_000
                while service.looked == looked:
                    time.sleep(0.02)
    told = lines(caplog)
    assert told[0] == (
        f"mqtt: the broker does not let '' subscribe to {topic}: Not authorized; allow reading it in its access list"
    )
    assert [f"no message on {BASE}/command/#" in line for line in told[1:]] == [True] * ("+" not in topic)


def test_a_broker_that_accepts_and_never_speaks_delays_no_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        table = f'[mqtt]\nhost = "127.0.0.1"\nport = {silent.getsockname()[1]}\ntls = false\n'
        with serving(tmp_path, table) as service:
            service.tell(3)
            with silent.accept()[0]:
                assert service.worker.stop(5)
            assert service.queue.health()["waiting"] == 3


def test_a_broker_that_speaks_nonsense_is_a_broken_connection(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def talk(server: socket.socket) -> None:
        for answer in (
            b"\x20\x03\x00\x00\x00\x30\x05\x00\x02\xff\xfe\x7f",
            b"\x20\x7f" + bytes(127),
            b"GET / HTTP/1.1\r\n",
        ):
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(answer)
                    connection.recv(1000)

    with socket.create_server(("127.0.0.1", 0)) as server:
        talker = threading.Thread(target=talk, args=(server,))
        talker.start()
        table = f'[mqtt]\nhost = "127.0.0.1"\nport = {server.getsockname()[1]}\ntls = false\nconnect_timeout_s = 1.0\n'
        with serving(tmp_path, table) as service:
            service.until(lambda health: service.mqtt._rests >= 3)
            assert service.mqtt.health()["state"] == "unreachable"
        talker.join(10)
    assert lines(caplog)


def test_with_mqtt_3_1_1_it_lives_tells_obeys_and_answers(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, broker.listener(version="3.1.1") as listener:
        with serving(tmp_path, broker.table(version='"3.1.1"')) as service:
            assert listener.first(f"{BASE}/status")["state"] == "online"
            expected = service.tell(30)
            listener.publish(f"{BASE}/command/label", '{"labels": {"a": "b"}, "correlation": "7"}')
            listener.publish(f"{BASE}/command/label", '{"labels": {"a": "b"}, "correlation": "7"}')
            listener.publish(f"{BASE}/command/sync", '{"correlation": "8"}')
            assert "may not come through the broker" in listener.first(f"{BASE}/response", correlation="8")["error"]
            answers = [a for a in listener.on(f"{BASE}/response") if a["correlation"] == "7"]
            assert len(answers) == 2 or len({a["id"] for a in answers}) == 1
            assert service.asked == ["label"]
            all_come(listener, expected)
        assert listener.first(f"{BASE}/status", state="offline")["reason"] == "stopped"


def test_a_command_is_not_obeyed_again_after_a_restart(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, broker.listener() as listener:
        for life in range(1, 3):
            with serving(tmp_path, broker.table()) as service:
                listener.until(lambda message, life=life: births(listener) == life)  # its topics are subscribed
                seen = len(listener.on("answers/me"))
                listener.publish(f"{BASE}/command/label", '{"labels": {}}', reply="answers/me", correlation=b"\x00\xff")
                listener.until(lambda message, seen=seen: len(listener.on("answers/me")) > seen)
                asked = service.asked
        assert asked == []
    assert len({answer["id"] for answer in listener.on("answers/me")}) == 1


def test_a_flood_is_refused_counted_and_said_and_commands_are_obeyed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Mosquitto(tmp_path / "broker") as broker, broker.listener() as listener:
        with serving(tmp_path, broker.table(commands_per_s="5.0")) as service:
            listener.first(f"{BASE}/status", state="online")
            for _ in range(300):
                listener.client.publish(f"{BASE}/command/label", '{"labels": {}}', qos=0)
            service.until(lambda health: health["commands"]["answered"] + health["commands"]["refused"] >= 300)
            commands = service.mqtt.health()["commands"]
            assert commands["refused"] > 250 and len(service.asked) < 40
            listener.first(f"{BASE}/response", ok=False)
            time.sleep(0.5)
            assert listener.ask(f"{BASE}/command/label", '{"labels": {}}')["ok"]
    assert [line for line in lines(caplog) if "the rest is refused" in line] == lines(caplog)


def test_home_assistant_is_told_again_when_it_comes(tmp_path: Path) -> None:
    topic = "homeassistant/device/capture-agent-00000001/config"
    with Mosquitto(tmp_path / "broker") as broker, broker.listener() as listener:
        with serving(tmp_path, broker.table(home_assistant='"homeassistant"', health_every_s="3600.0")):
            assert listener.first(topic)["device"]["identifiers"] == ["capture-agent-00000001"]
            listener.publish("homeassistant/status", "online")
            listener.until(lambda message: len(listener.on(topic)) == 2)


STREAM = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = {rate}

[recording.walk]
streams = ["imu"]
length_s = {length}
"""


def test_a_killed_daemon_leaves_its_will_and_no_event_is_lost_while_there_is_no_broker(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker")
    config = STREAM.format(rate=200, length=0.5) + broker.table(keepalive_s="5")
    with broker, broker.listener() as listener, Running(tmp_path, config) as running:
        listener.first(f"{BASE}/event/capture/finished")
        assert running.process is not None
        running.process.kill()
        running.process.wait()
        assert listener.first(f"{BASE}/status", state="offline", seconds=7.5)["reason"] == "connection lost"
        broker.stop()
        running.start()
        running.until(lambda status: status["mqtt"] is not None and status["mqtt"]["waiting"] >= 3)
        assert running.terminate()[0] == 0
        broker.start()
        listener.back()
        running.start()
        running.until(sampling)
        running.finish()
        running.until(lambda status: status["mqtt"]["waiting"] == 0)
        captures = {capture.uuid for capture in running.captures()}
        listener.until(
            lambda message: captures <= {event["capture"] for event in listener.on(f"{BASE}/event/capture/finished")}
        )


@pytest.mark.alone
def test_five_thousand_commands_a_second_cost_a_recording_at_1_khz_no_sample(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker")
    config = STREAM.format(rate=1000, length=2.0) + broker.table()
    with broker, broker.listener("answers/#") as listener, Running(tmp_path, config) as running:
        running.until(lambda status: status["mqtt"]["state"] == "connected")
        end = time.monotonic() + 4
        sent = 0
        while time.monotonic() < end:
            second = time.monotonic()
            for _ in range(500):
                listener.client.publish(f"{BASE}/command/status", "{}", qos=0)
            sent += 500
            time.sleep(max(0.0, second + 0.1 - time.monotonic()))
        status = running.until(lambda status: status["mqtt"]["commands"]["refused"] > 0)
        assert sent > 10_000
        assert status["streams"]["imu"]["lost"] == 0
        assert status["recordings"]["walk"]["dropped"] == 0
        assert json.loads(json.dumps(status))["problems"] == []
