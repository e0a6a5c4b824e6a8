"""Captures as messages, with a real broker: acknowledged before they count, and never into the void."""

import contextlib
import dataclasses
import json
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.capture import Capture
from agent.targets import Failed, Home, Later, Plan, Progress, Refused, Stopped, Unreachable
from agent.targets.mqtt import Mqtt, Settings
from drivers.settings import SettingsError
from tests.captures import make_capture
from tests.contracts.target import BIG, CONTENT, NetworkContract, put
from tests.mosquitto import Listener, Mosquitto, loaded, needs_mosquitto
from tests.mqtt_line import (
    CONNECT,
    PUBLISH,
    Acknowledged,
    CutAfter,
    Fault,
    Hang,
    Line,
    Misread,
    Says,
    Slow,
    goodbye,
    refused,
    unwanted,
)
from tests.recorded import make_data_folder, rows

pytestmark = needs_mosquitto


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


class Far:
    """A broker, and somebody who listens below a prefix of this test's own."""

    secret = "s3cret-password-0123456789"

    def __init__(self, broker: Mosquitto, listener: Listener, folder: Path, stack: contextlib.ExitStack) -> None:
        self.broker, self.listener, self._stack = broker, listener, stack
        self.prefix = uuid.uuid4().hex
        self.home = Home("bay 3", "0badcafe", folder / "secrets")
        self.line: Line | None = None

    def behind_line(self) -> "Far":
        """From now on, targets come by a line that misbehaves, with a password, and give up soon."""
        self.line = Line(self.broker.port)
        self._stack.callback(self.line.close)
        self.home.secrets.mkdir(exist_ok=True)
        (self.home.secrets / "password").write_text(self.secret)
        return self

    def open(self, **settings: Any) -> Mqtt:
        given = {
            "host": "localhost",
            "port": self.broker.port,
            "tls": False,
            "topic": f"{self.prefix}/{{device}}/{{recording}}/{{file}}",
            "most_kb": 1000.0,
            "answer_timeout_s": 5.0,
        }
        if self.line is not None:
            given |= {"host": "127.0.0.1", "port": self.line.port, "user": "edge", "password_file": "password"}
            given |= {"answer_timeout_s": 0.5}
        target = Settings(**{**given, **settings}).open(self.home)
        self._stack.callback(target.close)
        return target

    def files(self) -> dict[str, bytes]:
        marker = f"marker/{uuid.uuid4().hex}"
        self.listener.publish(marker)
        self.listener.until(lambda message: message.topic == marker)
        return {m.topic.rpartition("/")[2]: m.payload for m in self.messages()}

    def messages(self) -> list[Any]:
        return [message for message in self.listener.messages if message.topic.startswith(self.prefix)]

    def forget(self) -> None:
        self.listener.messages.clear()

    def open_patient(self) -> Mqtt:
        return self.open(answer_timeout_s=60.0)

    def open_elsewhere(self, host: str) -> Mqtt:
        name, _, port = host.partition(":")
        return self.open(host=name, port=int(port or 0))

    def fault(self, fault: Fault) -> None:
        assert self.line is not None
        self.line.faults.append(fault)

    def lose_answer(self) -> None:
        self.fault(Acknowledged(0))

    def cut(self, after_bytes: int) -> None:
        self.fault(CutAfter(after_bytes))

    def deny(self) -> None:
        self.fault(Says(CONNECT, refused(0x87)))

    def busy(self, status: int, retry_after: str) -> None:
        self.fault(Says(PUBLISH, unwanted(0x97)) if status == 429 else Says(CONNECT, refused(0x89)))

    def slow(self) -> None:
        self.fault(Slow())

    def answer_early(self) -> None:
        self.fault(Says(PUBLISH, goodbye(0x95)))

    def truncate_answer(self) -> None:
        self.fault(Acknowledged(1))

    def misanswer(self, text: str) -> None:
        self.fault(Misread(text.encode()))

    def hang(self) -> threading.Event:
        assert self.line is not None
        self.fault(Hang())
        return self.line.hanging


@pytest.fixture
def far(broker: Mosquitto, tmp_path: Path) -> Iterator[Far]:
    with contextlib.ExitStack() as stack:
        yield Far(broker, stack.enter_context(broker.listener()), tmp_path, stack)


class TestContract(NetworkContract):
    tells = removes = cuts = False

    @pytest.fixture
    def far(self, far: Far) -> Far:
        return far.behind_line()

    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_in_seconds(self, far, target, capture, status):
        """A broker has no way to say how long."""
        far.busy(status, "17")
        with pytest.raises(Later) as later:
            put(target, capture)
        assert later.value.after_s == 30
        put(target, capture)
        assert far.files() == self.expected(capture)

    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_a_date(self, far, target, capture, status):
        self.test_retry_after_in_seconds(far, target, capture, status)

    def test_a_big_file_needs_no_memory(self, far, target, tmp_path):
        """It is refused, and not even read."""
        with pytest.raises(Refused, match="most_kb = 1000"):
            put(target, self.make(tmp_path / "captures", bytes(BIG)))
        assert far.files() == {}


def test_what_stands_beside_a_message_names_the_capture(far: Far, tmp_path: Path) -> None:
    capture = make_capture(tmp_path, CONTENT)
    receipt = far.open().put(capture, Progress())
    far.files()
    payload, sidecar = far.messages()
    assert [payload.topic, sidecar.topic] == receipt["topics"]
    assert payload.topic == f"{far.prefix}/bay-3/walk/{capture.files[0].name}"
    said = dict(payload.properties.UserProperty)
    assert said == {"uuid": capture.uuid, "revision": "1", "sha256": capture.payloads[0].sha256}
    assert (payload.properties.ContentType, payload.qos, payload.retain) == ("text/csv", 1, False)


def test_a_later_revision_is_its_sidecar_alone(far: Far, tmp_path: Path) -> None:
    capture = make_capture(tmp_path, CONTENT)
    receipt = far.open().put(capture, Progress())
    later = capture.amended(labels={"activity": "running"})
    later.write_sidecar()
    assert far.open().put(later, Progress(receipt=receipt))["topics"] == receipt["topics"]
    far.files()
    assert [message.topic for message in far.messages()] == [*receipt["topics"], receipt["topics"][-1]]
    far.open(topic=f"{far.prefix}/elsewhere/{{file}}").put(later, Progress(receipt=receipt))
    far.files()
    assert len(far.messages()) == 5, "on other topics nothing was said yet"


def test_a_probe_connects_and_publishes_nothing(far: Far) -> None:
    far.behind_line()
    (said,) = far.open().probe()
    assert "lets edge in, and takes messages of up to" in said
    far.deny()
    with pytest.raises(Unreachable, match="credentials") as refused:
        far.open().probe()
    assert far.secret not in str(refused.value) and far.files() == {}


def test_where_nobody_listens_it_waits_unless_told_otherwise(broker: Mosquitto, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        far = Far(broker, None, tmp_path, stack)  # type: ignore[arg-type]
        capture = make_capture(tmp_path, CONTENT)
        with pytest.raises(Later, match="nobody subscribes"):
            put(far.open(), capture)
        put(far.open(need_subscriber=False), capture)
        put(far.open(version="3.1.1"), capture)
        put(far.open(retain=True), capture)
        with broker.listener(f"{far.prefix}/#") as late:
            kept = late.until(lambda message: message.topic.endswith(".json"))
            assert kept.retain and json.loads(kept.payload)["uuid"] == capture.uuid
            for message in list(late.messages):  # nothing is left for other tests
                late.publish(message.topic, b"", retain=True)


def test_readings_are_one_message_in_physical_units_with_its_gap(far: Far, tmp_path: Path) -> None:
    sidecars = sorted((make_data_folder(tmp_path / "data") / "captures").rglob("*.walk.*.json"))
    capture = Capture.load(sidecars[0])
    put(far.open(content="readings", topic=f"{far.prefix}/{{recording}}"), capture)
    document = far.listener.first(f"{far.prefix}/walk")
    assert (document["uuid"], document["name"]) == (capture.uuid, capture.name)
    assert document["labels"] == {"activity": "walking"}
    (gyroscope,) = [one for one in document["series"] if one["name"] == "GyroscopeX"]
    truth = rows(400)["GyroscopeX"] / 16.4
    assert gyroscope["unit"] == "deg/s"
    assert gyroscope["values"] == pytest.approx([*truth[:200], None, *truth[250:]])
    assert gyroscope["times_s"][0] == 0 and gyroscope["times_s"][-1] == pytest.approx(3.99, abs=0.01)


def test_readings_of_what_has_none_are_refused(far: Far, tmp_path: Path) -> None:
    picture = make_capture(tmp_path, b"\xff\xd8", kind=("jpeg", "image/jpeg", ".jpg"))
    with pytest.raises(Refused, match="no samples"):
        put(far.open(content="readings", topic=f"{far.prefix}/x"), picture)
    plan = Plan("x", {"jpeg": None}, True, "second", (), {}, {})
    assert [option for option, *_ in Settings("h", content="readings").mistakes(plan)] == ["format"]


def test_names_bring_neither_levels_nor_wildcards(far: Far, tmp_path: Path) -> None:
    target = far.open(topic=f"{far.prefix}/{{recording}}/{{uuid}}/{{file}}")
    capture = make_capture(tmp_path, CONTENT, name="a+b#c", recording="../#/+")
    put(target, capture)
    far.files()
    for message in far.messages():
        levels = message.topic.split("/")
        assert len(levels) == 4 and not set("+#") & set(message.topic) and all(levels)


def silent(far: Far, capture: Capture, settings: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        put(far.open(answer_timeout_s=0.5, **settings), capture)


def test_nobody_there_and_nobody_who_answers(far: Far, tmp_path: Path) -> None:
    capture = make_capture(tmp_path, CONTENT)
    silent(far, capture, {"host": "no-such-host.invalid"}, Unreachable, "host is not known")
    silent(far, capture, {"port": 1}, Unreachable, "cannot be reached")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent(far, capture, {"port": mute.getsockname()[1], "host": "127.0.0.1"}, Unreachable, "silent")


def test_a_broker_that_stops_answering_is_an_attempt_and_goes_on_later(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, contextlib.ExitStack() as stack:
        far = Far(broker, stack.enter_context(broker.listener()), tmp_path, stack)
        capture = make_capture(tmp_path, CONTENT)

        def freeze(count: int) -> None:
            if broker.process is not None and len(counts) == 0:
                broker.freeze()
            counts.append(count)

        counts: list[int] = []
        with pytest.raises(Failed, match="silent"):
            far.open(answer_timeout_s=0.5).put(capture, Progress(advance=freeze))
        assert len(counts) == 1, "the payload was acknowledged, the sidecar was not"
        broker.kill()
        with pytest.raises(Unreachable, match="cannot be reached"):
            put(far.open(), capture)
        broker.start()
        far.listener.back()
        put(far.open(), capture)
        assert far.files() == {path.name: path.read_bytes() for path in capture.files}


def test_close_ends_what_hangs(far: Far, tmp_path: Path) -> None:
    capture, raised = make_capture(tmp_path, CONTENT), []
    with socket.create_server(("127.0.0.1", 0)) as mute:
        target = far.open(host="127.0.0.1", port=mute.getsockname()[1], answer_timeout_s=60.0)

        def upload() -> None:
            try:
                put(target, capture)
            except BaseException as error:
                raised.append(type(error))

        thread = threading.Thread(target=upload)
        thread.start()
        connection, _ = mute.accept()
        with connection:
            target.close()
            thread.join(10)
    assert raised == [Stopped]


ACL = "user admin\ntopic readwrite #\n\nuser edge\ntopic write allowed/#\n"


def test_tls_password_and_access_list(tmp_path: Path) -> None:
    capture = make_capture(tmp_path, CONTENT)
    with Mosquitto(tmp_path / "broker", tls=True, acl=ACL) as broker, contextlib.ExitStack() as stack:
        far = Far(broker, stack.enter_context(broker.listener()), tmp_path, stack)
        far.prefix = "allowed"
        secret = {"user": "edge", "password_file": f"{broker.folder}/edge-password"}
        good = {"tls": True, "ca_file": f"{broker.folder}/ca.crt", **secret}
        put(far.open(**good), capture)
        assert far.files() == {path.name: path.read_bytes() for path in capture.files}
        far.forget()
        far.home = dataclasses.replace(far.home, credentials=loaded(broker.folder, tmp_path / "credentials"))
        put(far.open(**good | {"ca_file": "ca.crt", "password_file": "edge-password"}), capture)
        assert far.files() == {path.name: path.read_bytes() for path in capture.files}
        (broker.folder / "wrong").write_text("not-the-secret")
        for settings, said in (
            ({**good, "password_file": f"{broker.folder}/wrong"}, "refuses user 'edge'"),
            ({**good, "password_file": f"{broker.folder}/none"}, "none"),
            ({**good, "ca_file": f"{broker.folder}/stranger.crt"}, "certificate is not accepted"),
            ({**good, "ca_file": f"{broker.folder}/none"}, "ca_file: .* cannot be read"),
            ({**good, "cert_file": f"{broker.folder}/ca.crt"}, "cert_file or key_file is not"),
        ):
            with pytest.raises(Unreachable, match=said) as unreachable:
                put(far.open(**settings), capture)
            assert "secret" not in str(unreachable.value).replace("'edge-secret'", "secret").replace("secret '", "")
        with pytest.raises((Unreachable, Failed), match=r"does not allow|ended the connection"):
            put(far.open(**good, topic="forbidden/{file}"), capture)


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"host": ""}, "host"),
        ({"topic": "a/{nothing}"}, "topic"),
        ({"topic": "a//{file}"}, "topic"),
        ({"topic": "a/#"}, "topic"),
        ({"topic": "$SYS/{file}"}, "topic"),
        ({"topic": "a/{name}"}, "topic"),
        ({"tls": False, "ca_file": "x"}, "ca_file"),
        ({"key_file": "x"}, "key_file"),
        ({"password_file": "x"}, "password_file"),
        ({"most_kb": 0.0}, "most_kb"),
        ({"version": "4"}, "version"),
    ],
)
def test_a_mistake_is_named(settings: dict[str, Any], option: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings(**{"host": "broker", **settings})
    assert [mistake[0] for mistake in error.value.mistakes] == [option]
