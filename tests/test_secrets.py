"""Secrets over all targets at once: a server repeats whatever it is sent, and nothing here ever does."""

import base64
import contextlib
import json
import sqlite3
import traceback
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.capture import Capture
from agent.config.loading import Config, load
from agent.targets import Home
from agent.targets._credentials import short, without
from tests.models.viam import DENIED, INVALID, KEY_ID, PART, Fault
from tests.models.viam_grpc import GrpcCloud
from tests.receiver import Fault as HttpFault
from tests.receiver import Receiver, Request
from tests.recorded import run
from tests.running import Running
from tests.viam import awake

CONFIG = """\
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 100
[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 1
width = 64
height = 48
[recording.walk]
streams = ["imu"]
format = ["csv"]
length_s = 0.5
metadata = {{ subject = "somebody" }}
targets = {samples}
[recording.photos]
streams = ["cam"]
format = "jpeg"
picture_name = "second"
targets = ["plants"]
"""
TARGETS = {
    "token": 'kind = "http"\nurl = "{url}/{{file}}"\ntoken_file = "{secret}"',
    "basic": 'kind = "http"\nmethod = "tus"\nurl = "{url}/"\nusername = "u"\npassword_file = "{secret}"',
    "header": 'kind = "http"\nmethod = "form"\nurl = "{url}/"\nheader_name = "X-Key"\nheader_file = "{secret}"',
    "bundle": 'kind = "http"\nurl = "{url}/{{file}}"\nbundle_url = "{url}/bundle"\ntoken_file = "{secret}"',
    "login": 'kind = "sensiml"\nproject = "p"\nurl = "{url}/"\nusername = "u"\nsecret_file = "{secret}"\n'
    'client_id = "c"\nclient_secret_file = "{secret}"',
    "key": 'kind = "sensiml"\nproject = "p"\nurl = "{url}/"\nsecret_file = "{secret}"',
    "gait": 'kind = "moveshelf"\nproject = "p"\nurl = "{url}/graphql"\nkey_file = "{key}"',
    "plants": 'kind = "sticky_pi"\nurl = "{url}"\nusername = "u"\npassword_file = "{secret}"',
    "impulse": 'kind = "edge_impulse"\nurl = "{url}"\nstudio_url = "{url}/v1"\napi_key_file = "{secret}"\n'
    'hmac_key_file = "{secret}"',
    "s3": 'kind = "objectstore"\nurl = "{url}/b"\naccess_key = "id"\nsecret_file = "{secret}"\n'
    'session_token_file = "{secret}"',
    "gcs": 'kind = "objectstore"\nservice = "gcs"\nurl = "{url}/b"\naccess_key = "id"\nsecret_file = "{secret}"',
    "azure": 'kind = "objectstore"\nservice = "azure"\nurl = "{url}/c"\naccess_key = "id"\nsecret_file = "{based}"',
    "shared": 'kind = "objectstore"\nservice = "azure"\nurl = "{url}/c"\naccess_key = ""\nsecret_file = "{signature}"',
    "endpoint": 'kind = "objectstore"\nservice = "presigned"\nurl = "{url}/a"\naccess_key = ""\n'
    'secret_file = "{secret}"',
    "broker": 'kind = "mqtt"\nhost = "127.0.0.1"\nport = {port}\ntls = false\nuser = "u"\npassword_file = "{secret}"',
    "viam": 'kind = "viam"\npart_id = "{part}"\nkey_id = "{key_id}"\nkey_file = "{secret}"\nhost = "{grpc}"\n'
    "insecure = true",
}

IMPATIENT = 'backoff_base_s = 0.1\nbackoff_cap_s = 1\nundated = "send"\n'


class Parrot(Receiver):
    """Refuses everything, each time in another way, with all that it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def fault_of(self, method: str, path: str) -> HttpFault:
        return HttpFault()

    def take(self, request: Request, content: bytes, fault: HttpFault) -> HttpFault:
        self.count += 1
        heard = [request.path, *request.headers.values(), content.decode(errors="replace")[:300]]
        heard += [urllib.parse.unquote(request.path)]
        for value in request.headers.values():
            with contextlib.suppress(ValueError):
                heard.append(base64.b64decode(value.partition(" ")[2], validate=True).decode())
        said = " ".join(heard)
        status = (401, 400, 403, 500, 200)[self.count % 5]
        text = json.dumps({"error": said, "errors": [{"message": said}], "detail": said, "success": False})
        return HttpFault(status, text=text if self.count % 2 else said)


@pytest.fixture(scope="module", autouse=True)
def grpc_is_awake() -> Iterator[None]:
    with awake():
        yield


def test_no_secret_of_any_target_is_in_logs_answers_sidecars_or_the_database(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "secrets"
    folder.mkdir(parents=True)
    config, secrets = CONFIG.format(samples=json.dumps([name for name in TARGETS if name != "plants"])), []
    with Parrot() as parrot, GrpcCloud() as cloud:
        for name, text in TARGETS.items():
            secret = f"s3cret+of/{name}=0123456789"
            signature = f"sp=rcw&sv=2023-11-03&sig={urllib.parse.quote(secret, safe='')}"
            kinds = {
                "secret": secret,
                "key": json.dumps({"application": "x", "secretKey": secret}),
                "based": base64.b64encode(secret.encode()).decode(),
                "signature": signature,
            }
            for kind, content in kinds.items():
                (folder / f"{name}-{kind}").write_text(content)
            files = {kind: f"{name}-{kind}" for kind in kinds}
            where = {"url": parrot.url, "port": 1, "part": PART, "key_id": KEY_ID, "grpc": cloud.address}
            config += f"[target.{name}]\n{text.format(**files, **where)}\n{IMPATIENT}"
            secrets.append(secret)
        for code in (DENIED, INVALID) * 20:
            cloud.faults["Authenticate"].append(Fault(code=code, text=f"who is {secrets[-1]}?"))
        told = []
        with Running(tmp_path, config) as daemon:
            failed: set[str] = set()

            def all_have_failed(status: dict) -> bool:
                failed.update(name for name, one in status["targets"].items() if one["error"] or one["refused"])
                return failed == {*TARGETS}

            told.append(json.dumps(daemon.until(all_have_failed, 60)))
            told.append(run("targets", "test", "--json", "--config", daemon.config, code=1).output)
            told += asked(load(daemon.config), daemon.captures("walk")[0], parrot.url)
            daemon.terminate()
        told.append((tmp_path / "daemon.log").read_text())
        told += [path.read_text() for path in (daemon.data / "captures").rglob("*.json")]
        with contextlib.closing(sqlite3.connect(daemon.data / "agent.db")) as database:
            told += database.iterdump()
    everything = "\n".join(told)
    assert "***" in everything, "the server did repeat them"
    for secret in secrets:
        forms = (secret, urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""), json.dumps(secret)[1:-1])
        forms += (base64.b64encode(secret.encode()).decode(), base64.b64encode(f"u:{secret}".encode()).decode())
        assert [form for form in forms if form in everything] == [], secret
    assert [line for line in everything.splitlines() if "s3cret+" in line or "s3cret%2B" in line] == [], "nor a part"


def asked(config: Config, capture: Capture, url: str) -> Iterator[str]:
    """What comes of asking each target for what it has, and to take it back: with receipts as it gives them."""
    home = Home("test", "00000001", config.agent.data_dir / "secrets")
    receipt = {
        "files": {capture.files[0].name: {"url": f"{url}/x", "key": "x"}, capture.sidecar.name: "x"},
        "project": "p",
        "capture": "c",
        "name": "x.csv",
        "trial": "t",
        "device": "00000001",
        "datetime": "2024-03-05T06:07:08Z",
        "md5": "0" * 32,
        "file": "x.wav",
    }
    for given in config.targets.values():
        target: Any = given.settings.open(home)
        with contextlib.closing(target):
            for _ in range(5):
                for its in (f"{url}/", f"{url}/graphql", f"{url}/api/training/files"):
                    for ask in (
                        lambda: list(target.inventory([(capture, {})])),  # noqa: B023  used before the next
                        lambda: target.remove(capture.uuid, {**receipt, "url": its}),  # noqa: B023
                    ):
                        try:
                            ask()
                        except Exception as error:
                            yield "".join(traceback.format_exception(error))


@pytest.mark.parametrize("cut", range(1, 26))
def test_the_beginning_of_a_secret_at_which_a_text_was_cut_is_no_part_of_it(cut: int) -> None:
    secret = "p/w+0123456789-0123456789"
    for form in (secret, urllib.parse.quote(secret, safe="")):
        text = without(f"it says {short('x' * 20 + form, 20 + cut)}; check", [secret])
        assert text.startswith(f"it says {'x' * 20}***") and text.endswith("; check")
        assert not set("p/w+0123456789-%2BF") & set(text.removeprefix("it says ").removesuffix("; check"))
    assert short("a\n b", 3) == "a b" and without("nothing", [""]) == "nothing"
