"""What a target is asked to take back: exactly that goes, and what stays or cannot go is said."""

import contextlib
import dataclasses
import json

import pytest

from agent.targets import Failed, Home, Progress, Refused, Unreachable
from agent.targets.mqtt import Settings as MqttSettings
from tests import moveshelf, sensiml, sticky_pi, viam
from tests.captures import make_capture
from tests.contracts.target import CONTENT, put
from tests.models.azure import Container
from tests.models.bucket import Bucket, moto
from tests.models.edge_impulse import EdgeImpulse
from tests.models.google import GoogleBucket
from tests.models.sticky_pi import StickyPi
from tests.mosquitto import Mosquitto, needs_mosquitto
from tests.objectstore import BucketFar
from tests.receiver import Fault
from tests.test_edge_impulse import WAV
from tests.test_edge_impulse import Far as EdgeImpulseFar
from tests.test_objectstore_clouds import ContainerFar, GoogleFar


@pytest.fixture(scope="module", autouse=True)
def grpc_is_awake():
    with viam.awake():
        yield


# Viam


@pytest.fixture
def cloud(tmp_path):
    with viam.serving(tmp_path) as far:
        yield far


def test_viam_all_revisions_go_and_readings_stay_unless_told(cloud, tmp_path):
    target = cloud.open(samples="readings")
    capture, other = (viam.walk(tmp_path / each, 1000) for each in ("one", "two"))
    put(target, other)
    put(target, capture)
    later = capture.amended(labels={"activity": "running"})
    later.write_sidecar()
    receipt = target.put(later, Progress())
    readings = len(cloud.cloud.readings)
    (said,) = target.remove(capture.uuid, receipt)
    assert f"970 readings, with the tag capture:{capture.uuid}: delete_readings" in said
    assert list(cloud.files()) == [other.sidecar.name], "both revisions of the sidecar have gone"
    assert len(cloud.cloud.readings) == readings == 1940
    assert cloud.open(samples="readings", delete_readings=True).remove(capture.uuid, receipt) == []
    assert {f"capture:{other.uuid}"} == {t for m, _ in cloud.cloud.readings for t in m["tags"] if t[:8] == "capture:"}
    assert len(cloud.cloud.readings) == 970


def test_viam_more_than_is_found_at_once_goes_too(cloud, tmp_path):
    target, capture = cloud.open(), make_capture(tmp_path / "captures", CONTENT)
    receipt = target.put(capture, Progress())
    sidecar = cloud.cloud.stored[-1]
    cloud.cloud.stored += [dataclasses.replace(sidecar, id=f"org/location/more{n}") for n in range(150)]
    assert target.remove(capture.uuid, receipt) == []
    assert cloud.cloud.stored == []


def test_viam_a_server_that_does_not_know_the_filter_is_found_out(cloud, tmp_path):
    target = cloud.open(samples="readings", delete_readings=True)
    capture, other = (viam.walk(tmp_path / each, 100) for each in ("one", "two"))
    receipt = target.put(capture, Progress())
    put(target, other)
    cloud.cloud.knows_filters = False
    with pytest.raises(Failed, match="deleted 200 readings and not 100"):
        target.remove(capture.uuid, receipt)


def test_viam_keys_that_may_not(cloud, tmp_path):
    target = cloud.open(samples="both", delete_readings=True)
    capture = viam.walk(tmp_path / "captures", 100)
    receipt = target.put(capture, Progress())
    cloud.cloud.may_delete = False
    with pytest.raises(Refused, match="may the API key delete data"):
        target.remove(capture.uuid, receipt)
    cloud.cloud.may_delete, cloud.cloud.may_read = True, False
    said = " ".join(cloud.open(samples="both", delete_readings=True).remove(capture.uuid, receipt))
    assert "earlier revisions" in said and "may not count them" in said
    assert cloud.cloud.stored == [] and len(cloud.cloud.readings) == 100
    with pytest.raises(Refused, match="not delivered to part"):
        target.remove(capture.uuid, {**receipt, "part_id": "another"})


def test_viam_gives_files_back_and_no_readings(cloud, tmp_path):
    capture, state = viam.walk(tmp_path / "captures", 100), Progress()
    cloud.open(samples="readings").put(capture, state)
    (held,) = cloud.open(samples="readings").inventory([(capture, {})])
    with pytest.raises(Refused, match="as readings"):
        cloud.open(samples="readings").fetch(held, bytes)
    target, large = cloud.open(), make_capture(tmp_path / "large", bytes(8 << 20))
    put(target, large)
    (held,) = target.inventory([(large, {})])
    pieces: list[bytes] = []
    target.fetch(held, pieces.append)
    assert b"".join(pieces) == bytes(8 << 20)
    cloud.cloud.may_read = False
    with pytest.raises(Refused, match="may the API key read data"):
        target.fetch(held, bytes)
    cloud.cloud.may_read, cloud.cloud.stored[:] = True, []
    with pytest.raises(Failed, match="any more"):
        target.fetch(held, bytes)


# SensiML


@pytest.fixture
def ml(tmp_path):
    with sensiml.serving(tmp_path) as far:
        yield far


def test_sensiml_what_is_shared_stays_and_is_told(ml, tmp_path):
    target = ml.open()
    capture = sensiml.recorded(tmp_path / "captures", metadata={"subject": "Ada"}, labels={"activity": "walking"})
    receipt = target.put(capture, Progress())
    (said,) = target.remove(capture.uuid, receipt)
    assert "configuration" in said and "metadata" in said and "Ada" not in said
    assert ml.files() == {} and len(ml.project.configurations) == 1
    target.remove(capture.uuid, receipt)
    assert all(request.method != "PUT" for request in ml.model.requests if request.path.endswith("/capture/"))


def test_sensiml_a_capture_that_a_put_destroyed_only_its_operator_can_delete(ml, tmp_path):
    target, capture = ml.open(), sensiml.recorded(tmp_path / "captures")
    receipt = target.put(capture, Progress())
    path = f"project/{receipt['project']}/capture/{receipt['capture']}/"
    assert sensiml.asked(ml, "PUT", path, {"name": capture.files[0].name})[0] == 200
    with pytest.raises(Refused, match="only the server's operator can"):
        target.remove(capture.uuid, receipt)


def test_sensiml_nothing_else_is_deleted(ml, tmp_path):
    target, capture = ml.open(), sensiml.recorded(tmp_path / "captures")
    receipt = target.put(capture, Progress())
    with pytest.raises(Refused, match="not delivered to"):
        target.remove(capture.uuid, {**receipt, "url": "https://sensiml.cloud/"})
    with pytest.raises(Refused, match="not delivered to"):
        target.remove(capture.uuid, {**receipt, "capture": f"../{receipt['capture']}"})
    with pytest.raises(Refused, match=r"is not other\.csv any more"):
        target.remove(capture.uuid, {**receipt, "name": "other.csv"})
    assert len(ml.files()) == 1


# Moveshelf


@pytest.fixture
def shelf(tmp_path):
    with moveshelf.serving(tmp_path) as far:
        yield far


def test_moveshelf_the_trial_goes_and_what_is_above_it_stays(shelf, tmp_path):
    target, capture = shelf.open(), moveshelf.of_subject(tmp_path / "captures")
    receipt = target.put(capture, Progress())
    (said,) = target.remove(capture.uuid, receipt)
    assert "subject and session" in said and moveshelf.SUBJECT not in said
    assert [kind for kind, *_ in shelf.places()] == ["subject", "session"]
    assert target.remove(capture.uuid, receipt) == [said], "once more, as after a lost answer"


def test_moveshelf_a_trial_with_files_of_others_stays(shelf, tmp_path):
    target = shelf.open()
    one, other = (moveshelf.of_subject(tmp_path / "captures", labels={"trial": "Trial-1"}) for _ in range(2))
    receipt, others = target.put(one, Progress()), target.put(other, Progress())
    assert any("files of others" in said for said in target.remove(one.uuid, receipt))
    shelf.all_there_once(other)
    assert any("was not made for it" in said for said in target.remove(other.uuid, others))
    assert ("trial", f"/{moveshelf.SUBJECT}/2026-11-21/walk/", "Trial-1") in shelf.places()


def test_moveshelf_an_answer_that_says_no(shelf, tmp_path):
    target, capture = shelf.open(), moveshelf.of_subject(tmp_path / "captures")
    receipt = target.put(capture, Progress())
    shelf.api.faults_at["deleteAdditionalData"].append(Fault(text='{"data": {"deleteAdditionalData": {"ok": false}}}'))
    with pytest.raises(Failed, match="does not delete its record"):
        target.remove(capture.uuid, receipt)
    shelf.api.faults_at["deleteClip"].append(Fault(lose_answer=True))
    with pytest.raises(Failed):
        target.remove(capture.uuid, receipt)
    target.remove(capture.uuid, receipt)
    with pytest.raises(Refused, match="not delivered to"):
        target.remove(capture.uuid, {**receipt, "url": "https://api.us.moveshelf.com/graphql"})


# Sticky Pi


@pytest.fixture
def plants(tmp_path):
    with StickyPi() as model, contextlib.ExitStack() as stack:
        yield sticky_pi.Server(model, tmp_path, stack)


def test_sticky_pi_only_an_administrator_deletes_and_only_this_picture(plants, tmp_path):
    target, capture = plants.open(), sticky_pi.picture(tmp_path / "captures")
    receipt = target.put(capture, Progress())
    with pytest.raises(Refused, match="only an administrator"):
        target.remove(capture.uuid, receipt)
    plants.model.admins.add("bay3")
    with pytest.raises(Refused, match="another picture"):
        target.remove(capture.uuid, {**receipt, "md5": "0" * 32})
    for wrong in (
        {"device": "%"},
        {"datetime": "2024-03-05T06:07:08+00:00"},
        {"url": "http://elsewhere/"},
        {"md5": ""},
    ):
        with pytest.raises(Refused, match="not delivered to"):
            target.remove(capture.uuid, {**receipt, **wrong})
    assert len(plants.files()) == 1 and plants.model.asked("/delete_images") == 1
    target.remove(capture.uuid, receipt)
    assert plants.files() == {} and plants.model.objects == {}
    target.remove(capture.uuid, receipt)
    assert plants.model.asked("/delete_images") == 2, "what is not there is not asked to go"


def test_sticky_pi_the_address_of_a_picture_is_not_told(plants, tmp_path, monkeypatch):
    target, capture = plants.open(), sticky_pi.picture(tmp_path / "captures")
    put(target, capture)
    (held,) = target.inventory([(capture, {})])
    take = plants.model.take
    denied = Fault(403, text="SignatureDoesNotMatch: s1gned0123456789abcdef and not another")
    monkeypatch.setattr(plants.model, "take", lambda r, c, f: denied if r.method == "GET" else take(r, c, f))
    with pytest.raises(Unreachable, match="SignatureDoesNotMatch") as refused:
        target.fetch(held, bytes)
    assert "s1gned" not in str(refused.value)


# Edge Impulse


@pytest.fixture
def studio(tmp_path):
    with EdgeImpulse() as model, contextlib.ExitStack() as stack:
        yield EdgeImpulseFar(model, tmp_path, stack)


def sound(folder, content=CONTENT, **more):
    return make_capture(folder, content, kind=WAV, **more)


@pytest.mark.parametrize("tells_metadata", [True, False])
def test_edge_impulse_lists_and_deletes_by_name_and_metadata(studio, tmp_path, tells_metadata):
    studio.model.tells_metadata = tells_metadata
    target = studio.open()
    one = sound(tmp_path / "captures", name="bay3.walk.1")
    longer = sound(tmp_path / "captures", CONTENT + b"x", name="bay3.walk.10")
    receipts = {capture.uuid: target.put(capture, Progress()) for capture in (one, longer)}
    assert [held.file for held in target.inventory([(one, {}), (longer, {})])] == [
        "bay3.walk.1.wav",
        "bay3.walk.10.wav",
    ]
    target.remove(one.uuid, receipts[one.uuid])
    assert list(studio.files()) == ["bay3.walk.10.wav"]
    assert [held.id for held in target.inventory([(one, {}), (longer, {})])] == ["2"]


def test_edge_impulse_a_project_of_hundreds(studio, tmp_path):
    target = studio.open()
    captures = [sound(tmp_path / "captures", b"%d" % n, name=f"bay3.walk.{n:03}") for n in range(120)]
    for capture in captures:
        put(target, capture)
    found = list(target.inventory([(capture, {}) for capture in captures[::40]]))
    assert [held.file for held in found] == [capture.files[0].name for capture in captures[::40]]
    assert target._studio.samples(4711, "bay3", captures[7].uuid) == [8], "three pages of names that hold this one"


def test_edge_impulse_keys_that_may_only_send(studio, tmp_path):
    target, capture = studio.open(), sound(tmp_path / "captures")
    receipt = target.put(capture, Progress())
    studio.model.tells = False
    for ask in (lambda: target.remove(capture.uuid, receipt), lambda: list(target.inventory([(capture, {})]))):
        with pytest.raises(Refused, match="You do not have permission"):
            ask()
    studio.model.tells, studio.model.project = True, 4712
    with pytest.raises(Refused, match="it is in project 4711, and the key is of 4712, 'walks'"):
        target.remove(capture.uuid, receipt)
    studio.model.key = "another"
    with pytest.raises(Unreachable, match="credentials"):
        target.remove(capture.uuid, receipt)


# Object stores


@pytest.fixture(scope="module")
def server():
    with moto() as server:
        yield server


def test_a_bucket_with_versions_keeps_them_and_says_so(server, tmp_path):
    with Bucket(server) as bucket, contextlib.ExitStack() as stack:
        far = BucketFar(bucket, tmp_path, stack)
        enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        assert server.ask("PUT", f"/{bucket.name}?versioning", enabled)[0] == 200
        target, capture = far.open(), make_capture(tmp_path / "captures", CONTENT)
        receipt = target.put(capture, Progress())
        assert target.remove(capture.uuid, receipt) == [
            "earlier versions, which the bucket keeps until somebody or its lifecycle ends them"
        ]
        assert far.files() == {}


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
def test_objects_of_others_stay_and_keys_may_not_delete(server, tmp_path, kind, monkeypatch):
    with contextlib.ExitStack() as stack:
        if kind == "azure":
            store = stack.enter_context(Container())
            far = ContainerFar(store, tmp_path, stack)
            store.soft = True
        else:
            store = stack.enter_context((Bucket if kind == "s3" else GoogleBucket)(server))
            far = (BucketFar if kind == "s3" else GoogleFar)(store, tmp_path, stack)
        target, capture = far.open(), make_capture(tmp_path / "captures", CONTENT)
        receipt = target.put(capture, Progress())
        with pytest.raises(Refused, match="is not this capture's"):
            target.remove("another", receipt)
        with pytest.raises(Refused, match="names no objects"):
            target.remove(capture.uuid, {})
        ask = store.take
        denied = Fault(403, text="<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        monkeypatch.setattr(store, "take", lambda r, c, f: denied if r.method == "DELETE" else ask(r, c, f))
        with pytest.raises(Refused, match="these keys may not delete"):
            target.remove(capture.uuid, receipt)
        assert len(far.files()) == 2
        monkeypatch.undo()
        stays = target.remove(capture.uuid, receipt)
        assert bool(stays) is (kind == "azure") and far.files() == {}
        assert target.remove(capture.uuid, receipt) == []


def test_keys_that_may_only_write_delete_what_has_the_uuid_in_its_key(server, tmp_path):
    with Bucket(server) as bucket, contextlib.ExitStack() as stack:
        far = BucketFar(bucket, tmp_path, stack)
        target = far.open(look=False, key="{uuid}/{file}")
        capture = make_capture(tmp_path / "captures", CONTENT)
        target.remove(capture.uuid, target.put(capture, Progress()))
        assert far.objects() == {} and bucket.asked("HEAD") == []


# A broker


@needs_mosquitto
def test_a_broker_keeps_nothing_of_what_was_taken_back(tmp_path):
    with Mosquitto(tmp_path / "broker") as broker, contextlib.ExitStack() as stack:
        common = {"host": "localhost", "port": broker.port, "tls": False}
        home = Home("bay3", "0badcafe", tmp_path)

        def opened(**settings):
            target = MqttSettings(**common, **settings).open(home)
            stack.callback(target.close)
            return target

        capture, target = make_capture(tmp_path, CONTENT), opened(retain=True)
        receipt = target.put(capture, Progress())
        assert target.remove(capture.uuid, receipt) == ["what those have who listened when it came"]
        with broker.listener() as late:
            late.publish("marker")
            late.until(lambda message: message.topic == "marker")
            assert [message.topic for message in late.messages] == ["marker"]
        with pytest.raises(Refused, match="cannot be taken back"):
            opened(need_subscriber=False).remove(capture.uuid, receipt)
        shared = opened(retain=True, content="readings", topic="captures/{recording}")
        with pytest.raises(Refused, match="another capture's message"):
            shared.remove(capture.uuid, {**receipt, "topics": ["captures/walk"]})
        with pytest.raises(Refused, match="nobody can ask"):
            target.inventory([(capture, json.loads(json.dumps(receipt)))])
