"""`capture-agent targets test`: each target is tried for what can be tried, and leaves nothing behind."""

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.catalogue import Catalogue
from agent.cli.tree import cli
from agent.config.loading import Config, load
from agent.database import Database
from agent.outbox import Outbox
from agent.targets import Home, Progress, Unreachable
from agent.targets.directory import Settings as Directory
from agent.targets.http import Settings as Http
from tests.receiver import Fault, Receiver
from tests.recorded import make_data_folder, run
from tests.sticky_pi import UPLOAD, serving


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text("s3cret\n")
    return Home("bay3", "0badcafe", tmp_path / "secrets")


def test_a_folder_takes_a_file_and_keeps_none(tmp_path: Path, home: Home) -> None:
    (line,) = Directory(path=str(tmp_path)).open(home).probe()
    assert "takes files" in line
    assert [path.name for path in tmp_path.iterdir()] == ["secrets"]


def test_a_folder_that_is_not_there_or_takes_nothing(tmp_path: Path, home: Home) -> None:
    for path in (tmp_path / "none", Path("/proc/self")):
        with pytest.raises(Unreachable, match=str(path)):
            Directory(path=str(path)).open(home).probe()


def test_a_server_is_asked_with_the_credentials_and_sent_nothing(home: Home) -> None:
    with Receiver(authorization="Bearer s3cret") as receiver:
        target = Http(url=f"{receiver.url}/captures/{{date}}/{{file}}", token_file="token").open(home)
        receiver.faults.append(Fault(404))
        (line,) = target.probe()
        target.close()
        (request,) = receiver.requests
    assert f"{receiver.url}/captures/ is there" in line
    assert (request.method, request.path, request.body_bytes) == ("HEAD", "/captures/", 0)
    assert receiver.files in ({}, {"/captures/": b""})


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses_us(home: Home, status: int) -> None:
    with Receiver() as receiver:
        receiver.faults += [Fault(status), Fault(status)]
        target = Http(url=f"{receiver.url}/{{file}}", token_file="token").open(home)
        with pytest.raises(Unreachable, match="check the target's credentials"):
            target.probe()
        target.close()


def test_sticky_pi_is_asked_for_what_there_cannot_be(tmp_path: Path) -> None:
    with serving(tmp_path) as far:
        (line,) = far.open().probe()
        assert "lets us in and tells of device 512858f4" in line
        assert far.model.asked(UPLOAD) == 0
        far.deny()
        with pytest.raises(Unreachable, match="credentials") as raised:
            far.open().probe()
        assert far.secret not in str(raised.value)


def test_the_command(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    (tmp_path / "nas").mkdir()
    config.write_text(
        f'[agent]\ndata_dir = "{tmp_path}/data"\n[stream.imu]\ndriver = "mpu6050"\nbus = "virtual"\n'
        f'[target.good]\nkind = "directory"\npath = "{tmp_path}/nas"\n'
        f'[target.gone]\nkind = "directory"\npath = "{tmp_path}/none"\n'
    )
    said = run("targets", "test", "--config", config, code=1).output
    assert "good (directory): good" in said
    assert "gone (directory): wrong" in said
    assert "no such folder; make it" in said
    found = json.loads(run("targets", "test", "good", "--config", config, "--json").output)
    assert found["good"]["good"] and list(found) == ["good"]
    assert "there is good, gone" in run("targets", "test", "other", "--config", config, code=1).output
    assert not (tmp_path / "data").exists()
    run("targets", "test", "--config", tmp_path / "nothing.toml", code=78)


@pytest.mark.parametrize(
    "command",
    ["targets test lab", "reconcile lab", "remote lab list", "withdraw --label activity=running --yes"],
)
def test_every_command_that_asks_a_target_finds_the_secrets_of_the_service(tmp_path: Path, command: str) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "lab-token").write_text("s3cret\n")
    data = make_data_folder(tmp_path / "data")
    with Receiver(authorization="Bearer s3cret") as receiver:
        config = tmp_path / "config.toml"
        config.write_text(
            f'[agent]\ndata_dir = "{data}"\n[stream.imu]\ndriver = "mpu6050"\nbus = "virtual"\n'
            f'[target.lab]\nkind = "http"\nurl = "{receiver.url}/{{file}}"\ntoken_file = "lab-token"\n'
        )
        deliver(load(config), receiver)
        result = CliRunner().invoke(cli, [*command.split(), "--config", str(config)])
        assert receiver.requests
    assert "is in none of" not in result.output
    assert {request.headers.get("authorization") for request in receiver.requests} == {"Bearer s3cret"}


def deliver(config: Config, receiver: Receiver) -> None:
    """The capture that waits, as a daemon would."""
    with Database(config.agent.data_dir / "agent.db") as database:
        catalogue = Catalogue(database, config.agent.data_dir / "captures")
        outbox = Outbox(database, boot_id="b", now=lambda: 1, jitter=random.Random(1))
        home = Home("bay3", "0badcafe", config.agent.data_dir, config.path.parent / "secrets")
        target = config.targets["lab"].settings.open(home)
        (parcel,) = outbox.claim("lab", 1, lease_s=60)
        outbox.settle([parcel.delivered(dict(target.put(catalogue.get(parcel.capture), Progress())))])
        outbox.release_all()
        target.close()
    receiver.requests.clear()
