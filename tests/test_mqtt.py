"""MQTT with a real broker (TLS, password, access list) and the real daemon: all it says, and every command."""

import dataclasses
import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.commands import COMMANDS
from tests.mosquitto import Listener, Mosquitto, check, needs_mosquitto
from tests.running import Running

pytestmark = needs_mosquitto

BASE = "capture-agent/test"
CONFIG = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 200

[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 1

[stream.fused]
driver = "bno055"
bus = "virtual"
rate_hz = 10

[recording.walk]
streams = ["imu"]
length_s = 0.5
targets = ["archive"]
labels = { subject = "Ada" }

[recording.photos]
streams = ["cam"]
format = ["jpeg"]
when = "command"

[recording.later]
streams = ["imu"]
when = "command"

[target.archive]
kind = "directory"
path = "{folder}/archive"
"""
ARGUMENTS: dict[str, dict[str, Any]] = {
    "status": {},
    "streams": {},
    "snapshot": {"stream": "imu"},
    "measure": {"stream": "imu"},
    "chip_calibration": {"stream": "fused"},
    "calibrate": {"stream": "fused", "calibration": '{"chip": "00ff"}'},
    "label": {"labels": {"activity": "walking"}, "recording": "walk"},
    "session": {"subject": "Ada", "recording": "walk"},
    "start": {"recording": "later"},
    "stop": {"recording": "later"},
    "trigger": {"recording": "photos"},
    "drop": {"target": "archive"},
}


@dataclasses.dataclass
class Site:
    """A broker, a daemon, and somebody who listens to all."""

    broker: Mosquitto
    running: Running
    listener: Listener

    def waiting(self) -> int:
        waiting: int = self.running.ask("status")["mqtt"]["waiting"]
        return waiting


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("mqtt")
    (folder / "archive").mkdir()
    every = json.dumps(list(COMMANDS))
    with Mosquitto(folder / "broker", tls=True) as broker:
        table = broker.table(
            commands=every,
            commands_per_s="100",
            latest_every_s="0.5",
            picture_px="64",
            home_assistant='"homeassistant"',
        )
        with broker.listener() as listener, Running(folder, CONFIG + table) as running:
            listener.first(f"{BASE}/health")
            yield Site(broker, running, listener)


def test_its_birth_is_kept_by_the_broker_and_so_is_its_health(site: Site) -> None:
    with site.broker.listener(f"{BASE}/+") as late:
        check("status", late.first(f"{BASE}/status", state="online"))
        health = late.first(f"{BASE}/health", lambda health: health["streams"]["imu"]["rate_hz"])
    check("health", health)
    assert health["streams"]["imu"]["nominal_hz"] == 200
    assert health["mqtt"]["state"] == "connected"


def test_a_capture_tells_that_it_is_finished_and_delivered_once_each(site: Site) -> None:
    site.running.ask("sync")
    delivered = site.listener.first(f"{BASE}/event/capture/delivered", target="archive")
    finished = site.listener.first(f"{BASE}/event/capture/finished", capture=delivered["capture"])
    (capture,) = [c for c in site.running.captures("walk") if c.uuid == delivered["capture"]]
    assert (finished["name"], finished["bytes"]) == (capture.name, capture.size)
    events = site.listener.on(f"{BASE}/event/#")
    for event in events:
        check("event", event)
    ids = [event["id"] for event in events]
    assert len(ids) == len(set(ids))


def test_newest_values_and_the_newest_picture_small(site: Site) -> None:
    latest = site.listener.first(f"{BASE}/stream/imu/latest")
    check("latest", latest)
    assert latest["values"].keys() >= {"AccelerometerX", "GyroscopeZ"}
    site.running.ask("trigger", recording="photos")
    picture = site.listener.until(lambda message: message.topic == f"{BASE}/picture/latest").payload
    from PIL import Image

    (site.running.folder / "small.jpg").write_bytes(picture)
    with Image.open(site.running.folder / "small.jpg") as image:
        assert image.format == "JPEG" and max(image.size) == 64


def test_nothing_of_captures_and_their_labels_is_in_a_topic(site: Site) -> None:
    site.listener.first(f"{BASE}/event/capture/finished")
    topics = {message.topic for message in site.listener.messages}
    assert not [topic for topic in topics if re.search(r"\d{8}T|Ada|[0-9a-f]{8}-", topic)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_answered_as_on_the_socket(site: Site, name: str) -> None:
    arguments = ARGUMENTS.get(name, {})
    if name == "annotate":
        finished = site.listener.first(f"{BASE}/event/capture/finished")
        arguments = {"capture": finished["capture"], "tags": {"good": True}}
    answer = site.listener.ask(f"{BASE}/command/{name}", json.dumps(arguments))
    check("answer", answer)
    assert answer["ok"], answer
    here = site.running.ask(name, **arguments)
    if isinstance(here, dict):
        assert answer["result"].keys() == here.keys()
    else:
        assert type(answer["result"]) is type(here)
    question = json.dumps({"command": name, "arguments": arguments})
    assert site.listener.ask(f"{BASE}/command", question)["ok"]


@pytest.mark.parametrize(
    ("topic", "payload", "message"),
    [
        ("command/strat", "", "no command 'strat'"),
        ("command/start", "", "start needs recording"),
        ("command/start", '{"recording": 5}', "recording = 5"),
        ("command/start", '{"recording": "../../etc"}', "no recording"),
        ("command/retry", '{"capture": "../../etc/passwd"}', "no capture"),
        ("command/retry", '{"capture": "\\ud800"}', "capture"),
        ("command/label", '{"labels": {"a": [1]}}', "labels"),
        ("command/label", '{"labels": {"a": NaN}}', "labels"),
        ("command/label", "[" * 50_000, "no JSON object"),
        ("command/status", "x" * 70_000, ""),
        ("command/status", "\udcff", "no JSON object"),
        ("command", "{}", "not a question"),
        ("command", '{"command": "status", "arguments": {}, "more": 1}', "not a question"),
        ("command", '{"command": ["status"]}', "not a question"),
    ],
)
def test_what_cannot_be_obeyed_is_answered_with_the_reason(site: Site, topic: str, payload: str, message: str) -> None:
    content = payload.encode(errors="surrogateescape")
    if len(content) > 66_000:  # the broker does not even bring it
        site.listener.publish(f"{BASE}/{topic}", content)
        return
    site.listener.publish(f"{BASE}/{topic}", content, reply="answers/wrong", correlation=(token := uuid.uuid4().bytes))
    answer = site.listener.until(
        lambda m: getattr(m.properties, "CorrelationData", b"") == token and m.topic == "answers/wrong"
    )
    document = json.loads(answer.payload)
    check("answer", document)
    assert not document["ok"] and message in document["error"], document


def test_a_command_that_comes_again_is_answered_the_same_and_not_obeyed_again(site: Site) -> None:
    token, topic = uuid.uuid4().bytes, f"answers/{uuid.uuid4().hex}"
    for _ in range(2):
        site.listener.publish(f"{BASE}/command/retry", "{}", reply=topic, correlation=token)
    site.listener.publish(f"{BASE}/command/pause", "{}", reply=topic, correlation=token)
    last = site.listener.first(topic, ok=False)
    assert "belongs to another command" in last["error"]
    ids = {answer["id"] for answer in site.listener.on(topic) if answer["ok"]}
    assert len(ids) == 1
    assert site.running.ask("status")["targets"]["archive"]["state"] != "paused"


def test_each_repetition_is_answered_also_soon_after_the_answer_went(site: Site) -> None:
    token, topic = uuid.uuid4().bytes, f"answers/{uuid.uuid4().hex}"
    for count in range(1, 4):
        site.listener.publish(f"{BASE}/command/retry", "{}", reply=topic, correlation=token)
        site.listener.until(lambda message, count=count: len(site.listener.on(topic)) >= count)
    assert len({answer["id"] for answer in site.listener.on(topic)}) == 1


def test_without_a_response_topic_answers_come_on_one_topic_with_the_correlation_of_the_payload(site: Site) -> None:
    with site.broker.listener(f"{BASE}/response", version="3.1.1") as old:
        old.publish(f"{BASE}/command/snapshot", '{"stream": "imu", "correlation": "number 5"}')
        answer = old.first(f"{BASE}/response", correlation="number 5")
    check("answer", answer)
    assert answer["ok"] and "AccelerometerX" in answer["result"]


@pytest.mark.parametrize("topic", [f"{BASE}/status", f"{BASE}/command/stop", "homeassistant/x/config", "$SYS/x"])
def test_nobody_speaks_through_the_device_where_only_it_may(site: Site, topic: str) -> None:
    token = uuid.uuid4().hex
    site.listener.publish(f"{BASE}/command/status", json.dumps({"correlation": token}), reply=topic)
    answer = site.listener.first(f"{BASE}/response", correlation=token)
    assert not answer["ok"]
    assert re.search("no answer|answers go to|response topic", answer["error"])
    for _ in range(2):  # also not where it is only answered again
        site.listener.publish(f"{BASE}/command/retry", json.dumps({"correlation": token}), reply=topic)
    site.listener.until(
        lambda message: sum(answer.get("correlation") == token for answer in site.listener.on(f"{BASE}/response")) == 3
    )
    with pytest.raises(AssertionError, match="in vain"):
        site.listener.until(lambda message: message.topic == topic and token.encode() in message.payload, 0.5)


def test_a_command_that_the_broker_keeps_is_ignored_and_said(site: Site) -> None:
    site.listener.publish(f"{BASE}/command/start", '{"recording": "later", "correlation": "kept"}', retain=True)
    site.listener.publish(f"{BASE}/command/start", b"", retain=True)  # takes it away again
    status = site.running.until(lambda status: status["mqtt"]["commands"]["ignored"] > 0)
    assert status["recordings"]["later"]["state"] == "idle"
    assert site.running.log().count("a retained command on 'capture-agent/test/command/start' is ignored") == 1
    assert not [answer for answer in site.listener.on(f"{BASE}/response") if answer.get("correlation") == "kept"]


TEXT = st.text(st.characters(), max_size=40)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 1 << 63, 1e308, 5e-324, -0.0])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(TEXT, SCALARS | st.lists(SCALARS), max_size=3)
NAMES = st.sampled_from(["recording", "target", "capture", "stream", "labels", "metadata", "correlation", "x"])
QUESTIONS = st.tuples(
    st.sampled_from([*COMMANDS, "", "strat", "probe", "+"]), st.dictionaries(NAMES, VALUES | TEXT, max_size=4)
)


@given(QUESTIONS, st.binary(max_size=60), st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_is_asked_is_answered_and_stays_in_its_folder(
    site: Site, question: tuple[str, dict[str, Any]], rest: bytes, whole: bool
) -> None:
    name, arguments = question
    if name in ("stop", "pause", "reload", "start"):
        return  # would end what the other tests look at
    payload = json.dumps({"command": name, "arguments": arguments} if whole else arguments).encode()
    token = uuid.uuid4().bytes
    topic = f"{BASE}/command" if whole or not name or "+" in name else f"{BASE}/command/{name}"
    site.listener.publish(topic, rest if not arguments else payload, reply="answers/fuzz", correlation=token)
    answer = site.listener.until(lambda m: getattr(m.properties, "CorrelationData", b"") == token and "fuzz" in m.topic)
    check("answer", json.loads(answer.payload))
    assert {path.name for path in site.running.folder.iterdir()} <= {
        "archive", "broker", "data", "config.toml", "daemon.log", "small.jpg",
    }  # fmt: skip


@given(QUESTIONS)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_is_asked_on_the_socket_is_answered_too(site: Site, question: tuple[str, dict[str, Any]]) -> None:
    from agent.control import CommandError

    name, arguments = question
    if name in ("stop", "pause", "reload", "start"):
        return
    try:
        site.running.ask(name, **{key: value for key, value in arguments.items() if key not in ("command", "timeout")})
    except CommandError as error:
        assert str(error)


SENSOR = st.fixed_dictionaries(
    {"bias": st.lists(NUMBERS, min_size=3, max_size=3), "residual": NUMBERS},
    optional={"matrix": st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=3, max_size=3)},
)
SAID = st.fixed_dictionaries(
    {},
    optional={
        "part": st.fixed_dictionaries({"begin_s": NUMBERS | st.just(0), "end_s": NUMBERS})
        | st.fixed_dictionaries({"first": NUMBERS, "samples": NUMBERS}),
        "labels": st.dictionaries(TEXT, NUMBERS, max_size=2),
        "classes": st.dictionaries(TEXT, NUMBERS, max_size=2),
        "box": st.fixed_dictionaries({"label": st.just("moth")} | dict.fromkeys(("x_min", "y_min", "x_max"), NUMBERS)),
    },
)


@given(SENSOR, SAID)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_number_in_a_question_ends_the_daemon(site: Site, sensor: dict[str, Any], said: dict[str, Any]) -> None:
    from agent.control import CommandError

    channels = [f"Accelerometer{axis}" for axis in "XYZ"]
    calibration = {"sensors": {"accelerometer": {**sensor, "channels": channels, "unit": "g"}}}
    capture = site.listener.first(f"{BASE}/event/capture/finished")["capture"]
    for name, arguments in (
        ("calibrate", {"stream": "imu", "calibration": json.dumps(calibration)}),
        ("annotate", {"capture": capture, **said}),
    ):
        try:
            site.running.ask(name, **arguments)
        except CommandError as error:
            assert "failed, and the log says where" not in str(error)
    assert site.running.ask("status")["streams"]
