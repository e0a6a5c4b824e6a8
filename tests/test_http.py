import contextlib
import dataclasses
import email.utils
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
import urllib3

from agent.targets import Failed, Home, Later, Progress, Refused, Stopped, Unreachable
from agent.targets._transport import retry_after_s
from agent.targets.http import Http, Settings
from drivers.settings import SettingsError
from tests.captures import make_capture
from tests.contracts.target import CONTENT, NetworkContract, put
from tests.mosquitto import loaded
from tests.receiver import Fault, Receiver

TOKEN = "s3cret-token-0123456789"


class Server:
    """The receiver, and the targets that lead to it."""

    def __init__(self, receiver: Receiver, folder: Path, stack: contextlib.ExitStack) -> None:
        self.receiver, self.stack = receiver, stack
        self.secret = TOKEN
        self.home = Home("bay 3", "0badcafe", folder / "secrets")
        self.home.secrets.mkdir(exist_ok=True)
        (self.home.secrets / "lab-token").write_text(TOKEN + "\n")
        receiver.authorization = f"Bearer {TOKEN}"

    def open(self, **settings) -> Http:
        given = {
            "url": self.receiver.url + "/captures/{device}/{date}/{name}",
            "token_file": "lab-token",
            "idle_timeout_s": 0.5,
        }
        return self._kept(Settings(**{**given, **settings}).open(self.home))

    def open_patient(self) -> Http:
        return self.open(idle_timeout_s=60)

    def open_elsewhere(self, host: str) -> Http:
        return self.open(url=f"http://{host}/{{file}}")

    def _kept(self, target: Http) -> Http:
        self.stack.callback(target.close)
        return target

    def files(self) -> dict[str, bytes]:
        return {path.rpartition("/")[2]: content for path, content in self.receiver.files.items()}

    def forget(self):
        self.receiver.keep = False

    def lose_answer(self):
        self.receiver.faults.append(Fault(lose_answer=True))

    def cut(self, after_bytes):
        self.receiver.faults.append(Fault(cut_after=after_bytes))

    def deny(self):
        self.receiver.faults.append(Fault(401, text=f"your token {TOKEN} is no good"))

    def busy(self, status, retry_after):
        self.receiver.faults.append(Fault(status, (("Retry-After", retry_after),)))

    def slow(self):
        self.receiver.faults.append(Fault(pause_s=0.002))

    def answer_early(self):
        self.receiver.faults.append(Fault(413, text=f"too much of {TOKEN}", answer_after=1000))

    def truncate_answer(self):
        self.receiver.faults.append(Fault(truncate=True, text="half"))

    def misanswer(self, text):
        self.receiver.faults.append(Fault(200, text=text))

    def hang(self) -> threading.Event:
        self.receiver.faults.append(Fault(hang=True))
        return self.receiver.hanging


@pytest.fixture
def far(tmp_path):
    with Receiver() as receiver, contextlib.ExitStack() as stack:
        yield Server(receiver, tmp_path, stack)


@pytest.fixture
def capture(tmp_path):
    return make_capture(tmp_path / "captures", CONTENT)


class TestHttp(NetworkContract):
    @pytest.fixture
    def far(self, far):
        return far


class FormServer(Server):
    """The same, asked to take a capture as one form."""

    def open(self, **settings) -> Http:
        return super().open(**{"method": "form", "url": self.receiver.url + "/upload/{uuid}", **settings})

    def files(self) -> dict[str, bytes]:
        found = {}
        for path, content in self.receiver.files.items():
            request = [request for request in self.receiver.requests if request.path == path][-1]
            boundary = request.headers["content-type"].partition("boundary=")[2].encode()
            for part in (b"\r\n" + content).split(b"\r\n--" + boundary)[1:-1]:
                head, _, body = part.partition(b"\r\n\r\n")
                found[head.partition(b'filename="')[2].partition(b'"')[0].decode()] = body
        return found


class TestForm(NetworkContract):
    tells = removes = False

    @pytest.fixture
    def far(self, tmp_path):
        with Receiver() as receiver, contextlib.ExitStack() as stack:
            yield FormServer(receiver, tmp_path, stack)


def test_address_and_headers(far, capture):
    put(far.open(), capture)
    payload, sidecar = far.receiver.requests
    assert payload.method == sidecar.method == "PUT"
    assert payload.path == f"/captures/bay%203/2026-11-21/{capture.name}.csv"
    assert sidecar.path == f"/captures/bay%203/2026-11-21/{capture.name}.json"
    assert payload.headers["content-length"] == str(len(CONTENT))
    assert payload.headers["content-type"] == "text/csv"
    assert payload.headers["x-content-sha256"] == capture.payloads[0].sha256
    assert payload.headers["content-digest"].startswith("sha-256=:")
    assert payload.headers["idempotency-key"] == f"{capture.uuid}/{capture.name}.csv"
    assert sidecar.headers["idempotency-key"] == f"{capture.uuid}/{capture.name}.json/1"


def test_what_was_accepted_is_not_sent_again(far, capture):
    far.receiver.faults += [Fault(), Fault(500)]
    state: dict = {}
    with pytest.raises(Failed, match="500"):
        put(far.open(), capture, state)
    put(far.open(), capture, state)
    assert far.receiver.stores == [r.path for r in far.receiver.requests[::2]], "each file was stored once"


def test_an_address_that_changed_gets_everything(far, capture):
    far.receiver.faults += [Fault(), Fault(500)]
    state: dict = {}
    with pytest.raises(Failed):
        put(far.open(), capture, state)
    put(far.open(url=far.receiver.url + "/elsewhere/{file}"), capture, state)
    assert f"/elsewhere/{capture.name}.csv" in far.receiver.files


def amended(target: Http, capture, receipt) -> tuple[dict, int]:
    """The receipt of a later revision, and the bytes that were sent for it."""
    progress = Progress(receipt=json.loads(json.dumps(dict(receipt))))
    return dict(target.put(capture, progress)), progress.sent_bytes


@pytest.mark.parametrize(
    "settings", [{"url": "/put/{file}"}, {"method": "POST", "url": "/post"}, {"method": "form", "url": "/form/{uuid}"}]
)
def test_a_later_revision_is_its_sidecar_alone(far, capture, settings):
    target = far.open(**settings | {"url": far.receiver.url + settings["url"]})
    receipt = target.put(capture, Progress())
    for activity in ("running", "resting"):
        capture = capture.amended(labels={"activity": activity})
        capture.write_sidecar()
        again, sent = amended(target, capture, receipt)
        assert sent == len(capture.sidecar_bytes())
        assert set(again["files"]) == set(receipt["files"])
        receipt = again
    elsewhere = far.open(**settings | {"url": far.receiver.url + "/elsewhere" + settings["url"]})
    assert amended(elsewhere, capture, receipt)[1] > capture.size, "it is not there"


@pytest.mark.parametrize("method", ["PUT", "form"])
def test_a_payload_that_is_another_one_by_now_is_sent_again(far, capture, tmp_path, method):
    """One that is made for each delivery may be another after an upgrade."""
    target = far.open(method=method, url=far.receiver.url + "/{name}")
    receipt = target.put(capture, Progress())
    other = make_capture(tmp_path / "again", CONTENT + b"more", name=capture.name, uuid=capture.uuid)
    assert amended(target, other, receipt)[1] > other.size


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (200, None),
        (201, None),
        (204, None),
        (302, Unreachable),
        (400, Refused),
        (401, Unreachable),
        (403, Unreachable),
        (404, Refused),
        (405, Unreachable),
        (408, Failed),
        (409, Refused),
        (413, Refused),
        (415, Refused),
        (422, Refused),
        (425, Failed),
        (429, Later),
        (500, Failed),
        (502, Failed),
        (507, Later),
    ],
)
def test_answers(far, capture, status, meaning):
    far.receiver.faults.append(Fault(status, text="because"))
    with pytest.raises(meaning, match=f"{status}: because") if meaning else contextlib.nullcontext():
        put(far.open(), capture)


def test_a_conflict_with_the_same_content_is_a_delivery(far, capture):
    same = (("X-Content-SHA256", capture.payloads[0].sha256),)
    far.receiver.faults.append(Fault(409, same))
    put(far.open(), capture)
    far.receiver.faults.append(Fault(409, (("ETag", f'W/"{capture.payloads[0].sha256}"'),)))
    put(far.open(), capture)


def test_a_conflict_with_an_earlier_try_still_under_way_is_not_yet(far, capture):
    far.receiver.faults.append(Fault(409, (("Retry-After", "5"),)))
    with pytest.raises(Later):
        put(far.open(), capture)


def test_redirects_are_followed_on_the_same_host_only(far, capture):
    far.receiver.faults.append(Fault(307, (("Location", "/over/there.csv"),)))
    put(far.open(), capture)
    assert far.receiver.files["/over/there.csv"] == CONTENT
    far.receiver.faults.append(Fault(308, (("Location", "http://127.0.0.1:1/x"),)))
    with pytest.raises(Unreachable, match="points to http://127"):
        put(far.open(), capture)
    far.receiver.faults += [Fault(201, (("Location", "http://[/"),)), Fault(307, (("Location", "http://[/"),))]
    with pytest.raises(Unreachable, match=r"points to http://\["):
        put(far.open(), capture)
    elsewhere = "http://127.0.0.1:1/x?X-Signature=abc&amp;b=1#key"
    far.receiver.faults.append(Fault(308, (("Location", elsewhere),), text=f'<a href="{elsewhere}">moved</a>'))
    with pytest.raises(Unreachable, match=r"points to http://127\.0\.0\.1:1/x;") as told:
        put(far.open(), capture)
    assert "abc" not in str(told.value) and "key" not in str(told.value)
    far.receiver.faults += [Fault(307, (("Location", "/round"),))] * 9
    with pytest.raises(Unreachable, match="307"):
        put(far.open(), capture)


def test_a_renewed_token_is_picked_up(far, capture):
    target = far.open()
    put(target, capture)
    far.receiver.authorization = "Bearer next"
    with pytest.raises(Unreachable):
        put(target, capture)
    (far.home.secrets / "lab-token").write_text("next")
    put(target, capture)


def test_basic_and_header_credentials(far, capture):
    far.receiver.authorization = "Basic YmF5MzpzM2NyZXQtdG9rZW4tMDEyMzQ1Njc4OQ=="
    put(far.open(token_file="", username="bay3", password_file="lab-token"), capture)
    far.receiver.authorization = ""
    put(far.open(token_file="", header_name="X-Api-Key", header_file="lab-token"), capture)
    assert far.receiver.requests[-1].headers["x-api-key"] == TOKEN


@pytest.mark.parametrize(("content", "reason"), [(None, "is in none of"), ("two\nlines", "one line"), ("", "one line")])
def test_a_secret_that_cannot_be_used(far, capture, content, reason):
    path = far.home.secrets / "lab-token"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(Unreachable, match=reason):
        put(far.open(), capture)


def test_post_names_the_file(far, capture):
    put(far.open(method="POST", url=far.receiver.url + "/inbox"), capture)
    assert [request.headers["content-disposition"] for request in far.receiver.requests] == [
        f'attachment; filename="{path.name}"' for path in capture.files
    ]


def test_names_are_never_paths(far, capture):
    def named(recording: str):
        return type(capture)(capture.folder, {**capture.document, "recording": recording})

    target = far.open(url=far.receiver.url + "/{recording}/{file}")
    put(target, named("../x?y#z"))
    assert far.receiver.requests[0].path.startswith("/..%2Fx%3Fy%23z/")
    with pytest.raises(Refused):
        put(target, named(".."))


def test_connections_are_kept_and_a_stale_one_does_no_harm(far, tmp_path):
    target = far.open()
    for number in range(5):
        put(target, make_capture(tmp_path / "captures", b"%d" % number))
    assert len(far.receiver._threads) == 2, "the listener and one connection"


@pytest.mark.parametrize("text", ["", "stored"])
def test_a_connection_is_free_only_once_its_answer_is_at_its_end(far, tmp_path, monkeypatch, text):
    """Or another thread would send a request on it and not be able to read its answer."""
    freed = []
    put_back = urllib3.HTTPConnectionPool._put_conn

    def look_and_put_back(pool, connection):
        answer = connection and connection._HTTPConnection__response
        freed.append(answer is None or answer.isclosed())
        put_back(pool, connection)

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "_put_conn", look_and_put_back)
    far.receiver.faults.extend([Fault(text=text)] * 4)
    put(far.open(), make_capture(tmp_path / "captures", CONTENT))
    assert len(freed) == 2
    assert all(freed)


def test_a_long_answer_is_not_read_to_its_end(far, capture):
    target = far.open()
    far.receiver.faults.append(Fault(text="x" * 1_000_000))
    put(target, capture)
    assert far.files() == {path.name: path.read_bytes() for path in capture.files}


def test_through_a_proxy(far, capture, monkeypatch):
    monkeypatch.setenv("http_proxy", far.receiver.url)
    monkeypatch.setenv("no_proxy", "")
    put(far.open(url="http://lab.invalid/{file}"), capture)
    assert f"http://lab.invalid/{capture.name}.csv" in far.receiver.files
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(Unreachable, match="through the proxy"):
        put(far.open(url="http://lab.invalid/{file}"), capture)
    put(far.open(url="http://lab.invalid/again/{file}", proxy=far.receiver.url), capture)


def test_retry_after_a_date_counts_from_the_answers_own_clock():
    headers = {"retry-after": email.utils.formatdate(1e9 + 90, usegmt=True), "date": email.utils.formatdate(1e9)}
    assert retry_after_s(headers) == 90
    assert retry_after_s({"retry-after": email.utils.formatdate(1e9)}) == 0
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({}) is None


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An own CA, a server's certificate for localhost and a client's, made by openssl."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed: no certificates to test TLS with")
    folder = tmp_path_factory.mktemp("tls")
    (folder / "openssl.cnf").write_text("[req]\ndistinguished_name = dn\n[dn]\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", "openssl.cnf"]
    ends = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", "authorityKeyIdentifier=keyid"]
    for name, extensions in (
        ("ca", ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign", "subjectKeyIdentifier=hash"]),
        ("server", [*ends, "subjectAltName=DNS:localhost"]),
        ("client", ends),
    ):
        command = ["openssl", "req", "-x509", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key"]
        command += [] if name == "ca" else ["-CA", "ca.pem", "-CAkey", "ca.key"]
        command += [word for extension in extensions for word in ("-addext", extension)]
        subprocess.run([*command, "-out", f"{name}.pem"], cwd=folder, check=True, capture_output=True)
    return folder


def test_tls_with_own_ca_and_client_certificate(certificates, tmp_path, capture):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with Receiver(tls=context) as receiver, contextlib.ExitStack() as stack:
        far = Server(receiver, tmp_path, stack)
        tls = {"ca_file": str(certificates / "ca.pem")}
        client = {"certificate_file": str(certificates / "client.pem"), "key_file": str(certificates / "client.key")}
        put(far.open(**tls, **client), capture)
        assert far.files()[capture.files[0].name] == CONTENT
        with pytest.raises((Unreachable, Failed)):
            put(far.open(**tls), capture)
        with pytest.raises(Unreachable, match="certificate verify failed"):
            put(far.open(), capture)
        with pytest.raises(Unreachable, match="cannot be used"):
            put(far.open(ca_file=str(tmp_path / "nowhere.pem")), capture)
        far.home = dataclasses.replace(far.home, credentials=loaded(certificates, tmp_path / "credentials"))
        named = {"ca_file": "ca.pem", "certificate_file": "client.pem", "key_file": "client.key"}
        receiver.files.clear()
        put(far.open(**named), capture)
        assert far.files()[capture.files[0].name] == CONTENT
        with pytest.raises(Unreachable, match=r"'nowhere\.pem' is in none of .*/secrets_nowhere\.pem"):
            put(far.open(**named | {"ca_file": "nowhere.pem"}), capture)
        hanging, patient = far.hang(), far.open(**tls, **client, idle_timeout_s=60)

        def cut_off() -> None:
            with pytest.raises(Stopped):
                put(patient, capture)

        thread = threading.Thread(target=cut_off)
        thread.start()
        assert hanging.wait(10)
        patient.close()
        thread.join(5)
        assert not thread.is_alive()


def test_nginx_takes_it(tmp_path, capture):
    nginx = shutil.which("nginx")
    if nginx is None:
        pytest.skip("nginx is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""  # else its worker may not enter our folder
    (tmp_path / "root").mkdir()
    (tmp_path / "nginx.conf").write_text(f"""
        {user} daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; worker_processes 1;
        events {{}}
        http {{ access_log off; client_body_temp_path {tmp_path}/body;
          server {{ listen 127.0.0.1:{port}; client_max_body_size 1g;
            location / {{ root {tmp_path}/root; dav_methods PUT; create_full_put_path on; }} }} }}""")
    server = subprocess.Popen([nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
    target = Settings(url=f"http://127.0.0.1:{port}/{{date}}/{{file}}").open(Home("bay3", "0badcafe", tmp_path))
    try:
        for _ in range(50):
            with contextlib.suppress(Unreachable):
                put(target, capture)
                break
            server.poll() or threading.Event().wait(0.1)
        put(target, capture)
        stored = {path.name: path.read_bytes() for path in (tmp_path / "root/2026-11-21").iterdir()}
        assert stored == {path.name: path.read_bytes() for path in capture.files}
    finally:
        target.close()
        server.terminate()
        server.wait(10)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"url": "lab.example/{file}"}, "url"),
        ({"url": "https://{device}.example/{file}"}, "url"),
        ({"url": "https://lab.example/"}, "url"),
        ({"url": "https://lab.example/{day}/{file}"}, "url"),
        ({"url": "https://me:pw@lab.example/{file}"}, "url"),
        ({"token_file": "a", "header_file": "b", "header_name": "X"}, "header_file"),
        ({"username": "me"}, "password_file"),
        ({"header_file": "b"}, "header_file"),
        ({"key_file": "k.pem"}, "certificate_file"),
        ({"proxy": "proxy:3128"}, "proxy"),
        ({"method": "PATCH"}, "method"),
        ({"idle_timeout_s": 0}, "idle_timeout_s"),
    ],
)
def test_mistakes_are_found_at_start(settings, wrong):
    with pytest.raises(SettingsError) as error:
        Settings(**{"url": "https://lab.example/{file}", **settings})
    assert [name for name, _, _ in error.value.mistakes] == [wrong]
    assert "pw" not in str(error.value)
