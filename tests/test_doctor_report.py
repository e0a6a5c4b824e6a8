"""The doctor and the far ends, the command, and the bundle in which no secret may be."""

import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from agent.doctor.bundle import write
from agent.doctor.examination import examine
from agent.doctor.network import broker, targets
from agent.doctor.redaction import REMOVED, Redaction
from agent.doctor.scene import Account, Scene
from tests.machine import changed, machine, programs, worst
from tests.mosquitto import Mosquitto, needs_mosquitto
from tests.receiver import Receiver
from tests.recorded import run

VIRTUAL = '[stream.imu]\ndriver = "mpu6050"\nbus = "virtual"\n'


@needs_mosquitto
def test_a_broker_that_lets_us_in_and_hears_nothing_of_it(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", tls=True) as far, far.listener() as listener:
        scene = machine(tmp_path, VIRTUAL + far.table())
        found = worst(list(broker(scene)))
        assert found.state == "ok" and "TLS, certificate verified, user edge" in found.seen
        own = Client(CallbackAPIVersion.VERSION2, client_id=f"capture-agent-{scene.home.device_id}")
        own.tls_set_context(ssl.create_default_context(cafile=str(far.folder / "ca.crt")))
        own.username_pw_set("edge", "edge-secret")
        own.connect("localhost", far.port)
        own.loop_start()
        own.publish("capture-agent/test/before", qos=1).wait_for_publish(5)
        ended: list[object] = []
        own.on_disconnect = lambda *reason: ended.append(reason)
        assert worst(list(broker(scene))).state == "ok"
        own.publish("capture-agent/test/after", qos=1).wait_for_publish(5)
        assert not ended, "the daemon's own connection was ended"
        own.disconnect()
        own.loop_stop()
        own.on_disconnect = None
        del own
        wrong = far.table(password_file=f'"{tmp_path}/wrong"')
        (tmp_path / "wrong").write_text("not-this-one")
        found = worst(list(broker(machine(tmp_path, VIRTUAL + wrong))))
        assert found.state == "fail" and "refuses user 'edge'" in found.seen and "password_file" in found.remedy
        strange = far.table(ca_file=f'"{far.folder}/stranger.crt"')
        assert "certificate is not accepted" in worst(list(broker(machine(tmp_path, VIRTUAL + strange)))).seen
        # no will, no status: the daemon's own topics are left alone
        assert {message.topic.rpartition("/")[2] for message in listener.messages} == {"before", "after"}
    assert "cannot be reached at 127.0.0.1" in worst(list(broker(scene))).seen.replace("::1, ", "").replace(", ::1", "")


def test_a_broker_whose_name_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*place: object, **more: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    scene = machine(tmp_path, VIRTUAL + '[mqtt]\nhost = "broker.invalid"\n')
    monkeypatch.setattr("agent.doctor.network.socket.getaddrinfo", unknown)
    found = worst(list(broker(scene)))
    assert found.state == "fail" and "not known" in found.seen and "DNS" in found.remedy
    assert not list(broker(machine(tmp_path, VIRTUAL)))


def test_each_target_is_tried_whatever_another_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nas").mkdir()
    (tmp_path / "token").write_text("s3cret-token")
    with Receiver(authorization="Bearer other") as receiver:
        scene = machine(
            tmp_path,
            VIRTUAL
            + f'[target.good]\nkind = "directory"\npath = "{tmp_path}/nas"\n'
            + f'[target.gone]\nkind = "directory"\npath = "{tmp_path}/none"\n'
            + f'[target.lab]\nkind = "http"\nurl = "{receiver.url}/{{file}}"\ntoken_file = "{tmp_path}/token"\n',
        )
        found = {finding.about: finding for finding in targets(scene)}
        assert {name: finding.state for name, finding in found.items()} == {
            "target good": "ok",
            "target gone": "fail",
            "target lab": "fail",
        }
        assert "credentials" in found["target lab"].seen and "s3cret" not in str(found)

    def odd(target: object) -> None:
        raise RuntimeError("what nobody expected")

    monkeypatch.setattr("agent.targets.directory.Directory.probe", odd)
    assert [f.seen for f in targets(scene) if f.about == "target good"] == ["RuntimeError: what nobody expected"]


def test_secrets_that_only_the_service_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = '[target.lab]\nkind = "http"\nurl = "http://127.0.0.1:9/{file}"\ntoken_file = "lab-token"\n'
    scene = machine(tmp_path, VIRTUAL + table)

    def denied(path: Path, *more: object, **others: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    (found,) = targets(scene)
    assert found.state == "warn" and "as root" in found.remedy and "lab-token" in found.seen


SECRETS = (
    "hunter2-pass",
    "tok3n-of-the-lab",
    "AKIAI0SFODNN7",
    "s1gnatureINquery",
    "c0mment-secret",
    "renewed-by-platform",
)
CONFIG = f"""\
{VIRTUAL}
# my old password was {SECRETS[4]}
[target.lab]
kind = "http"
url = "https://bob:{SECRETS[0]}@lab.example/up/{{file}}?sig={SECRETS[3]}"
token_file = "lab-token"
[target.store]
kind = "objectstore"
url = "https://captures.s3.example"
access_key = "{SECRETS[2]}"
secret_file = "store-secret"
"""


@pytest.fixture
def secretive(tmp_path: Path) -> Scene:
    """A machine with secrets in its configuration, its files and its log."""
    log = (
        f"put to https://bob:{SECRETS[0]}@lab.example/up/a.csv?sig={SECRETS[3]} failed\n"
        f"Authorization: Bearer {SECRETS[1]}\n"
        f"{{'token': '{SECRETS[1]}'}} password={SECRETS[0]} and a plain line\n"
        f"platform said {SECRETS[5]}\n"
    )
    scene = machine(tmp_path, CONFIG, run=programs(journalctl=log))
    scene.path("run/systemd/system").mkdir(parents=True)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "lab-token").write_text(f"{SECRETS[1]}\n")
    (scene.data_dir / "secrets").mkdir()
    (scene.data_dir / "secrets" / "platform.json").write_text(json.dumps({"access": SECRETS[5]}))
    return changed(scene, credentials=secrets)


def contents(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        return {
            Path(entry.name).name: file.read().decode() for entry in archive if (file := archive.extractfile(entry))
        }


def test_no_secret_is_in_the_bundle(secretive: Scene, tmp_path: Path) -> None:
    found = list(examine(changed(secretive, config=None)))
    write(tmp_path / "report.tar.gz", secretive, found)
    files = contents(tmp_path / "report.tar.gz")
    assert set(files) == {"doctor.json", "configuration.json", "status.json", "versions.json", "journal.txt"}
    for name, text in files.items():
        for secret in SECRETS:
            assert secret not in text, f"{secret} is in {name}"
    assert (tmp_path / "report.tar.gz").stat().st_mode & 0o777 == 0o600
    # and what is no secret still is
    assert "and a plain line" in files["journal.txt"] and "lab.example/up/a.csv" in files["journal.txt"]
    lab = json.loads(files["configuration.json"])["target"]["lab"]
    assert lab == {
        "kind": "http",
        "url": f"https://{REMOVED}@lab.example/up/{{file}}?{REMOVED}",
        "token_file": "lab-token",
    }
    assert json.loads(files["versions.json"])["packages"]["numpy"]
    with pytest.raises(FileExistsError):
        write(tmp_path / "report.tar.gz", secretive, found)


def test_a_configuration_that_is_not_toml_is_not_told(secretive: Scene, tmp_path: Path) -> None:
    secretive.config_path.write_text(f'password = "{SECRETS[0]}\nno toml {SECRETS[2]}')
    write(tmp_path / "report.tar.gz", changed(secretive, config=None), [])
    text = contents(tmp_path / "report.tar.gz")["configuration.json"]
    assert "cannot be read" in text and not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize(
    "text",
    [
        "https://user:SECRET0@host/path",
        "mqtts://SECRET0@host",
        "GET https://host/a?X-Amz-Signature=SECRET0&b=SECRET0",
        "x-api-key: SECRET0",
        "Authorization: Basic SECRET0",
        "Proxy-Authorization: Negotiate SECRET0",
        "sent with Bearer SECRET0 to it",
        "private_key: SECRET0",
        '{"password": "SECRET0", "a": 1}',
        "client_secret=SECRET0&grant_type=x",
        "api_key='SECRET0'",
    ],
)
def test_secrets_that_nobody_knows_are_found_by_where_they_stand(text: str) -> None:
    assert "SECRET0" not in Redaction([]).text(text)


def test_what_is_no_secret_stays() -> None:
    document = {
        "commands_per_s": 5.0,
        "token_file": "lab-token",
        "require_mount": True,
        "url": "https://lab.example/{date}",
        "pin": 17,
        "headers": {"X-Room": "12"},
        "api_key_id": "0123",
        "list": [{"secret": "abc"}],
    }
    plain = "a basic check of key 7: the token is missing, see token_file and password_file"
    assert Redaction([]).text(plain) == plain
    kept = Redaction([]).document(document)
    assert kept == document | {"headers": {"X-Room": REMOVED}, "api_key_id": REMOVED, "list": [{"secret": REMOVED}]}


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nas").mkdir()
    scene = machine(tmp_path, VIRTUAL + f'[target.nas]\nkind = "directory"\npath = "{tmp_path}/nas"\n')
    scene = changed(scene, account=Account("root", 0, frozenset()))
    config = scene.config_path
    # not this machine: its boards would start anew when they are listened to
    monkeypatch.setattr(Scene, "here", lambda config, buses: scene)
    done = run("doctor", "--config", config, "--bundle", tmp_path / "b.tar.gz", "--json", code=0)
    document = json.loads(done.stdout)
    assert document["good"] and {"target nas", "data folder", "clock"} <= {one["about"] for one in document["findings"]}
    assert json.loads(contents(tmp_path / "b.tar.gz")["doctor.json"]) == document
    assert "have a look" in done.stderr
    assert "choose another name" in run("doctor", "--config", config, "--bundle", tmp_path / "b.tar.gz", code=1).output
    (tmp_path / "nas").rmdir()
    said = run("doctor", "--config", config, code=1).output
    assert "FAIL target nas: " in said and "     -> " in said and "1 to mend" in said


SHOWS = """\
from agent.cli.doctor import _lines, watching
from agent.doctor import warn
with watching() as shown:
    for number in range(3):
        shown.progress(f"part {number}")
        for line in _lines(warn("here", f"number {number}", "mend it")):
            shown.echo(line)
"""


def test_on_a_terminal_every_finding_has_a_line_of_its_own() -> None:
    master, slave = os.openpty()
    command = [sys.executable, "-c", SHOWS]
    with subprocess.Popen(command, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(slave)
        said = b""
        with contextlib.suppress(OSError):  # EIO: the other end is gone
            while piece := os.read(master, 4096):
                said += piece
    os.close(master)
    assert process.returncode == 0 and b"looking at part 2" in said
    cleared = re.sub(r"[^\n]*\x1b\[2K", "", said.decode().replace("\r\n", "\n"))  # what the terminal wipes away
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", cleared)
    for number in range(3):
        assert re.search(rf"^warn here: number {number}\n     -> mend it$", shown, re.MULTILINE), shown
