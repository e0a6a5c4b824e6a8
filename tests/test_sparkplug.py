"""Sparkplug B with a real broker and the real daemon: births, data, deaths, history, by the specification's rules."""

import json
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.reader import read
from agent.database import Database
from agent.mqtt.settings import MqttSettings
from agent.mqtt.sparkplug import Node
from agent.mqtt.sparkplug_payload import BOOLEAN, DOUBLE, INT64, STRING, UINT64, Metric, payload, wants_rebirth
from tests.models.sparkplug import Payload, decoded, values
from tests.mosquitto import Listener, Mosquitto, needs_mosquitto
from tests.running import Running, sampling

BELOW = "spBv1.0/plant 1"
CONFIG = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 100

[recording.walk]
streams = ["imu"]
length_s = 0.5
"""
OPTIONS = {"sparkplug_group": '"plant 1"', "latest_every_s": "0.2"}


def of_kind(listener: Listener, kind: str) -> list[Any]:
    return [decoded(m.payload) for m in listener.messages if m.topic == f"{BELOW}/{kind}/test"]


def first(listener: Listener, kind: str, where: Callable[[Any], bool] = lambda message: True) -> Any:
    """The first of a kind of which that holds."""
    found = listener.until(lambda m: m.topic == f"{BELOW}/{kind}/test" and where(decoded(m.payload)), seconds=20.0)
    assert not found.retain
    return decoded(found.payload)


def bd_seq(message: Any) -> int:
    number: int = values(message)["bdSeq"]
    return number


@needs_mosquitto
def test_a_life_of_births_data_and_deaths(tmp_path: Path) -> None:
    rebirth = Payload()
    rebirth.metrics.add(name="Node Control/Rebirth", datatype=BOOLEAN, boolean_value=True)
    with Mosquitto(tmp_path / "broker") as broker, broker.listener() as listener:
        with Running(tmp_path, CONFIG + broker.table(**OPTIONS)) as running:
            first(listener, "NDATA", lambda data: data.seq == 3)
            births = len(of_kind(listener, "NBIRTH"))
            listener.publish(f"{BELOW}/NCMD/test", rebirth.SerializeToString())
            first(listener, "NDATA", lambda data: len(of_kind(listener, "NBIRTH")) > births and data.seq == 1)
            listener.first("capture-agent/test/event/capture/finished")
            assert running.process is not None
            running.process.kill()
            assert bd_seq(first(listener, "NDEATH")) == 0
            running.process.wait()
            running.start()
            running.until(sampling)
            first(listener, "NBIRTH", lambda birth: bd_seq(birth) == 1)
            assert running.terminate()[0] == 0
            assert bd_seq(first(listener, "NDEATH", lambda death: bd_seq(death) == 1)) == 1
            with broker.listener(f"{BELOW}/#", "marker") as late:
                late.publish("marker")
                late.until(lambda message: message.topic == "marker")
                assert [message.topic for message in late.messages] == ["marker"], "the broker keeps nothing"

    messages = [
        (m, decoded(m.payload)) for m in listener.messages if m.topic.startswith(BELOW) and "NCMD" not in m.topic
    ]
    order = [message.topic.split("/")[2] for message, _ in messages]
    lives = "".join({"NBIRTH": "b", "NDATA": "", "NDEATH": "d"}[kind] for kind in order)
    assert re.fullmatch("bb+db+d", lives), "births again, where something is new or it was asked for"
    assert order[-1] == "NDEATH"
    expected, born = 0, {}
    for (message, told), kind in zip(messages, order, strict=True):
        assert not message.retain and told.timestamp > 1.6e12
        if kind == "NDEATH":
            assert [(metric.name, metric.datatype) for metric in told.metrics] == [("bdSeq", INT64)]
            assert not told.HasField("seq")
            continue
        expected = 0 if kind == "NBIRTH" else (expected + 1) % 256
        assert (message.qos, told.seq) == (0, expected)
        if kind == "NBIRTH":
            born = {metric.name: metric.datatype for metric in told.metrics}
            assert born["bdSeq"] == INT64 and values(told)["Node Control/Rebirth"] is False
        assert {metric.name: metric.datatype for metric in told.metrics}.items() <= born.items()
        assert not any(metric.is_historical for metric in told.metrics)
    birth = [told for (_, told), kind in zip(messages, order, strict=True) if kind == "NBIRTH"][lives.index("d") - 1]
    assert values(birth)["Streams/imu/Running"] is True and "Recordings/walk/Recording" in values(birth)
    assert values(birth)["Streams/imu/AccelerometerZ"] == pytest.approx(1, abs=0.6)
    units = {
        m.name: m.properties.values[0].string_value for m in birth.metrics if list(m.properties.keys) == ["engUnit"]
    }
    assert units["Streams/imu/AccelerometerZ"] == "g" and units["Streams/imu/Rate"] == "Hz"
    json_topics = {m.topic for m in listener.messages if m.topic.startswith("capture-agent/test/")}
    assert not {t for t in json_topics if t.split("/")[2] in ("status", "health", "stream")}


@needs_mosquitto
def test_what_was_while_the_broker_was_away_is_told_as_history(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, broker.listener() as listener:
        with Running(tmp_path, CONFIG + broker.table(**OPTIONS)) as running:
            first(listener, "NDATA")
            broker.stop()
            running.until(lambda status: status["mqtt"]["state"] == "unreachable")
            away = running.until(sampling)["streams"]["imu"]["samples"]
            running.until(lambda status: status["streams"]["imu"]["samples"] > away + 100)
            before = len(listener.messages)
            running.process.send_signal(signal.SIGSTOP)  # so that the listener is there first, and hears the birth
            broker.start()
            listener.back()
            running.process.send_signal(signal.SIGCONT)
            past = first(listener, "NDATA", lambda data: any(m.is_historical for m in data.metrics))
            birth = first(listener, "NBIRTH", lambda birth: bd_seq(birth) >= 1 and birth.seq == 0)
            later = first(
                listener,
                "NDATA",
                lambda data: data.timestamp > birth.timestamp and not any(m.is_historical for m in data.metrics),
            )
    assert past.timestamp < birth.timestamp <= later.timestamp
    assert all(metric.is_historical for metric in past.metrics)
    kinds = [m.topic.split("/")[2] for m in listener.messages[before:] if m.topic.startswith(BELOW)]
    assert kinds.index("NBIRTH") < kinds.index("NDATA")
    history = [d for d in of_kind(listener, "NDATA") if d.metrics[0].is_historical]
    assert len(history) >= 2 and [d.timestamp for d in history] == sorted(d.timestamp for d in history)
    samples = [values(d)["Streams/imu/Samples"] for d in history]
    assert samples == sorted(set(samples)), "each moment is told once, as it was"


class Network:
    """A connection that takes everything, or nothing while it is busy."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.busy = False

    def tell(self, topic: str, data: bytes) -> bool:
        if not self.busy:
            self.sent.append((topic.split("/")[2], decoded(data)))
        return not self.busy


class Site:
    """A node of whose device a test says how it is."""

    def __init__(self, database: Database) -> None:
        self.network = Network()
        self.value: float = 0.0
        self.channels: list[str] = ["Light"]
        self.now = 0
        self.node = Node(
            "g",
            "n",
            every_s=1.0,
            database=database,
            asked=self.asked,
            wall_ns=lambda: 1_795_000_000_000_000_000 + self.now,
        )

    def asked(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        status = {
            "version": "1", "problems": [], "memory_bytes": 5, "disk": {"free_bytes": 6},
            "recordings": {}, "targets": {},
        }  # fmt: skip
        channels = {name: {"value": self.value, "unit": "lx"} for name in self.channels}
        return status, {"s": {"state": "running", "rate_hz": None, "samples": 1, "lost": 0, "channels": channels}}

    def turn(self, seconds: float = 1.0) -> None:
        self.now += int(seconds * 1e9)
        self.node.step(self.network, self.now)  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Database(tmp_path / "agent.db", quarantine=tmp_path / "quarantine") as database:
        yield Site(database)


def test_seq_goes_on_from_0_after_255_and_only_what_changed_is_told(site: Site) -> None:
    site.node.connecting()
    for _ in range(300):
        site.value += 1
        site.turn()
    kinds, told = zip(*site.network.sent, strict=True)
    assert kinds == ("NBIRTH", *["NDATA"] * 299)
    assert [message.seq for message in told] == [n % 256 for n in range(300)]
    assert all(values(message).keys() == {"Streams/s/Light"} for message in told[1:])
    site.turn()
    assert len(site.network.sent) == 300, "nothing has changed"


def test_what_was_not_in_the_birth_needs_another_and_a_value_may_be_none(site: Site) -> None:
    site.node.connecting()
    site.turn()
    assert values(site.network.sent[0][1])["Streams/s/Rate"] is None
    site.channels.append("White")
    site.turn()
    site.turn()
    assert [kind for kind, _ in site.network.sent] == ["NBIRTH", "NBIRTH"]
    assert "Streams/s/White" in values(site.network.sent[1][1]) and site.network.sent[1][1].seq == 0


def test_a_busy_network_loses_nothing_and_no_number(site: Site) -> None:
    site.node.connecting()
    site.turn()
    for value in (1.0, 2.0):
        site.network.busy, site.value = True, value
        site.turn()
    site.network.busy = False
    site.turn()
    assert [message.seq for _, message in site.network.sent] == [0, 1]
    assert values(site.network.sent[1][1]) == {"Streams/s/Light": 2.0}


def test_each_connection_has_a_number_of_its_own_over_restarts(site: Site, tmp_path: Path) -> None:
    deaths = [decoded(site.node.connecting()[1]) for _ in range(258)]
    assert [bd_seq(death) for death in deaths] == [n % 256 for n in range(258)]
    again = Site(site.node._database)
    assert bd_seq(decoded(again.node.connecting()[1])) == 2


def test_history_is_bounded_and_what_it_drops_is_counted(site: Site) -> None:
    for _ in range(1003):
        site.value += 1
        site.now += 1_000_000_000
        site.node.keep(site.now)
    site.node.connecting()
    for _ in range(60):
        site.turn(0.1)
    (_, birth), *history = site.network.sent
    assert values(birth)["History/Dropped"] == 3
    past = [values(message)["Streams/s/Light"] for _, message in history if message.metrics[0].is_historical]
    assert past == [float(n) for n in range(4, 1004)]


@given(st.binary())
def test_no_command_of_a_stranger_does_harm(command: bytes) -> None:
    assert wants_rebirth(command) in (False, True)


def test_only_a_true_rebirth_is_one() -> None:
    for name, value, wanted in (
        ("Node Control/Rebirth", True, True),
        ("Node Control/Rebirth", False, False),
        ("x", True, False),
    ):
        assert wants_rebirth(payload([Metric(name, BOOLEAN, value)], time_ms=1)) is wanted


@given(
    st.text(),
    st.sampled_from(
        [
            (INT64, st.integers(0, 2**63 - 1)),
            (UINT64, st.integers(0, 2**64 - 1)),
            (DOUBLE, st.floats(allow_nan=False)),
            (STRING, st.text()),
        ]
    ),
    st.data(),
)
def test_every_value_is_read_back_by_the_published_message(name: str, kind: tuple[int, Any], data: Any) -> None:
    datatype, strategy = kind
    value = data.draw(strategy)
    message = decoded(payload([Metric(name, datatype, value, "V")], time_ms=2**41, seq=255, historical=True))
    assert values(message) == {name: value}
    assert (message.seq, message.timestamp, message.metrics[0].is_historical) == (255, 2**41, True)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"sparkplug_group": "a/b"}, "sparkplug_group"),
        ({"sparkplug_group": "+"}, "sparkplug_group"),
        ({"sparkplug_group": "a", "home_assistant": "homeassistant"}, "home_assistant"),
        ({"sparkplug_group": "a", "latest_every_s": 0.0}, "latest_every_s"),
    ],
)
def test_a_mistake_is_named(options: dict[str, Any], path: str) -> None:
    _, mistakes = read(MqttSettings, {"host": "broker", **options}, "mqtt")
    assert [mistake.path for mistake in mistakes] == [f"mqtt.{path}"]
    assert json.dumps([mistake.allowed for mistake in mistakes])
