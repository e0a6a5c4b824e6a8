import contextlib
import json
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from agent.capture import Capture
from agent.targets import Failed, Home, Later, Progress, Stopped, Unreachable
from agent.targets.http import Http, Settings
from drivers.settings import SettingsError
from tests.captures import make_capture
from tests.models.bundles import BundleServer
from tests.receiver import Fault

TOKEN = "s3cret-token-0123456789"


class Far:
    def __init__(self, receiver: BundleServer, folder: Path, stack: contextlib.ExitStack) -> None:
        self.receiver, self.folder, self.stack = receiver, folder, stack
        (folder / "lab-token").write_text(TOKEN)
        receiver.authorization = f"Bearer {TOKEN}"

    def open(self, **more) -> Http:
        given = {"url": self.receiver.url + "/{file}", "bundle_url": self.receiver.url + "/bundles", **more}
        home = Home("bay 3", "0badcafe", self.folder)
        target = Settings(**{"token_file": "lab-token", "idle_timeout_s": 0.5, **given}).open(home)
        self.stack.callback(target.close)
        return target

    def captures(self, count: int) -> list[Capture]:
        return [make_capture(self.folder / "captures", b"%d," % n * 100) for n in range(count)]

    def expected(self, *captures: Capture) -> dict[str, bytes]:
        return {f"/{path.name}": path.read_bytes() for capture in captures for path in capture.files}


@pytest.fixture
def far(tmp_path):
    with BundleServer() as receiver, contextlib.ExitStack() as stack:
        yield Far(receiver, tmp_path, stack)


def kinds(fates) -> list[str]:
    return [type(fate).__name__ if isinstance(fate, Exception) else str(fate["status"]) for fate in fates]


def test_all_arrive_in_one_request(far):
    captures = far.captures(20)
    sent: list[int] = []
    fates = far.open().put_many(iter(captures), Progress(advance=sent.append))
    assert kinds(fates) == ["201"] * 20
    assert far.receiver.files == far.expected(*captures)
    (request,) = far.receiver.requests
    assert request.headers["content-type"] == "application/x-tar"
    assert sum(sent) > sum(capture.size for capture in captures)


def test_no_more_goes_out_at_once_than_is_asked_for(far):
    sent: list[int] = []
    assert kinds(far.open().put_many(far.captures(5), Progress(advance=sent.append, piece_bytes=100))) == ["201"] * 5
    assert max(sent) == 100


def test_twice_is_there_once_and_a_later_revision_replaces_the_sidecar(far):
    captures = far.captures(3)
    target = far.open()
    target.put_many(captures, Progress())
    later = captures[1].amended(labels={"activity": "running"})
    later.write_sidecar()
    assert kinds(target.put_many([captures[0], later, captures[2]], Progress())) == ["200", "201", "200"]
    assert far.receiver.files == far.expected(*captures)
    assert json.loads(far.receiver.files[f"/{later.name}.json"])["revision"] == 2


def test_each_has_its_own_fate(far):
    captures = far.captures(7)
    says = [
        {"status": 201},
        {"status": 422, "error": "no such sensor"},
        {"status": 503, "retry_after": 16.2},
        {"status": 500, "error": "disk"},
        {"status": 409, "error": "another one is there"},
        {"status": 403},
        {"status": 413},
    ]
    far.receiver.says = {capture.uuid: said for capture, said in zip(captures, says, strict=True)}
    fates = far.open().put_many(captures, Progress())
    assert kinds(fates) == ["201", "Refused", "Later", "Failed", "Refused", "Failed", "Refused"]
    assert fates[2].after_s == 17
    assert "no such sensor" in str(fates[1])


@pytest.mark.parametrize(
    "damage",
    [
        lambda capture: capture.files[0].unlink(),
        lambda capture: capture.files[0].write_bytes(b"x" + capture.files[0].read_bytes()[1:]),
        lambda capture: capture.files[0].write_bytes(b"short"),
        lambda capture: capture.files[0].write_bytes(bytes(100_000)),
    ],
    ids=["gone", "changed", "shorter", "longer"],
)
def test_a_damaged_one_is_refused_alone_and_the_others_arrive(far, damage):
    captures = far.captures(5)
    damage(captures[2])
    fates = far.open().put_many(captures, Progress())
    assert kinds(fates) == ["201", "201", "Refused", "201", "201"]
    assert captures[2].files[0].name in str(fates[2])
    assert far.receiver.files == far.expected(*captures[:2], *captures[3:])
    assert len(far.receiver.requests) == 1, "the length that was promised was kept"


def test_a_sidecar_that_changes_while_the_bundle_is_under_way_waits(far):
    captures = far.captures(3)

    def changing(count: int) -> None:
        if not far.receiver.files and captures[1].revision == 1:
            captures[1] = captures[1].amended(labels={"activity": "running " * 100})
            captures[1].write_sidecar()

    target = far.open()
    fates = target.put_many(list(captures), Progress(advance=changing))
    assert kinds(fates) == ["201", "Later", "201"]
    assert kinds(target.put_many(captures, Progress())) == ["200", "201", "200"]


def test_a_format_that_it_does_not_take_is_refused_alone(far):
    captures = [*far.captures(2), make_capture(far.folder / "captures", kind=("wav", "audio/wav", ".wav"))]
    assert kinds(far.open(formats=("csv",)).put_many(captures, Progress())) == ["201", "201", "Refused"]
    assert kinds(far.open(formats=("mcap",)).put_many(captures, Progress())) == ["Refused"] * 3
    assert len(far.receiver.requests) == 1, "nothing to send is no request"


def test_answers_that_leave_something_out_or_add_something(far, caplog):
    captures = far.captures(5)
    uuids = [capture.uuid for capture in captures]
    far.receiver.answers = lambda results: json.dumps(
        {
            "results": [
                {"name": uuids[0], "status": 201},
                {"name": uuids[0], "status": 500},
                {"name": "somebody else", "status": 422},
                {"name": uuids[2], "status": "fine"},
                {"status": 201},
                17,
                {"name": uuids[3], "status": 500},
                {"name": uuids[3], "status": 200},
                {"name": uuids[4], "status": 200},
            ]
        }
    )
    fates = far.open().put_many(captures, Progress())
    assert kinds(fates) == ["Failed", "Failed", "Failed", "Failed", "200"]
    assert "does not tell" in str(fates[1])
    assert "no status" in str(fates[2])
    assert "speaks of 2 captures" in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"results": 3}', '{"results": [{"name": "', "[" * 100_000])
def test_an_answer_that_cannot_be_read_is_an_attempt_of_all(far, text):
    far.receiver.answers = lambda results: text
    with pytest.raises(Failed, match="cannot be read"):
        far.open().put_many(far.captures(2), Progress())


@pytest.mark.parametrize("before", [70, 88, 99])
def test_an_answer_that_repeats_the_secret_is_told_without_it_wherever_it_is_cut(far, before):
    far.receiver.answers = lambda results: "x" * before + TOKEN + "x" * 100
    with pytest.raises(Failed, match=r"cannot be read: x+") as caught:
        far.open().put_many(far.captures(2), Progress())
    assert TOKEN[:1] not in str(caught.value).partition("read: ")[2]


@pytest.mark.parametrize("fault", [Fault(truncate=True), Fault(lose_answer=True), Fault(cut_after=2000)])
def test_a_broken_line_is_an_attempt_of_all_and_the_next_finds_what_is_there(far, fault):
    captures, target = far.captures(3), far.open()
    far.receiver.faults.append(fault)
    with pytest.raises(Failed):
        target.put_many(captures, Progress())
    assert set(kinds(target.put_many(captures, Progress()))) <= {"200", "201"}
    assert far.receiver.files == far.expected(*captures)
    assert len(far.receiver.stores) == len(far.receiver.files)


@pytest.mark.parametrize(
    ("status", "meaning", "says"),
    [
        (401, Unreachable, "credentials"),
        (403, Unreachable, "credentials"),
        (404, Unreachable, "check bundle_url"),
        (405, Unreachable, "check bundle_url"),
        (413, Failed, "to all 2 together"),
        (422, Failed, "to all 2 together"),
        (429, Later, "429"),
        (500, Failed, "500"),
    ],
)
def test_no_to_the_whole_is_never_a_refusal_of_each(far, status, meaning, says):
    far.receiver.faults.append(Fault(status, text=f"because of {TOKEN}"))
    with pytest.raises(meaning, match=says) as error:
        far.open().put_many(far.captures(2), Progress())
    assert TOKEN not in str(error.value)


def test_the_secret_is_never_told_of_one_either(far):
    (capture,) = far.captures(1)
    far.receiver.says = {capture.uuid: {"status": 422, "error": f"your token {TOKEN}"}}
    (fate,) = far.open().put_many([capture], Progress())
    assert str(fate) == "the server answers 422: your token ***"


def test_a_renewed_token_is_picked_up_and_all_is_sent_again(far):
    captures, target = far.captures(3), far.open()
    captures[0].files[0].unlink()
    target.put_many(captures[1:2], Progress())
    far.receiver.authorization = "Bearer next"
    (far.folder / "lab-token").write_text("next")
    assert kinds(target.put_many(captures, Progress())) == ["Refused", "200", "201"]


def test_stopping_cuts_it(far):
    stop = threading.Event()
    with pytest.raises(Stopped):
        far.open().put_many(far.captures(5), Progress(stop=stop, advance=lambda count: stop.set()))
    assert far.receiver.files == {}


def test_close_ends_a_hanging_bundle(far):
    target = far.open(idle_timeout_s=60)
    far.receiver.faults.append(Fault(hang=True))
    raised: list[BaseException] = []

    def upload() -> None:
        with contextlib.suppress(Stopped):
            target.put_many(far.captures(2), Progress())
            raised.append(AssertionError("not cut"))

    thread = threading.Thread(target=upload)
    thread.start()
    assert far.receiver.hanging.wait(10)
    target.close()
    thread.join(10)
    assert not thread.is_alive()
    assert raised == []


def test_long_names(far):
    captures = [make_capture(far.folder / "captures", name="x" * 200 + f"ü{n}") for n in range(2)]
    assert kinds(far.open().put_many(captures, Progress())) == ["201", "201"]
    assert far.receiver.files == far.expected(*captures)


def test_a_thousand_need_no_memory(tmp_path):
    command = [sys.executable, "-m", "tests.models.bundles"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().strip()
        settings = Settings(url=url + "/{file}", bundle_url=url + "/bundles", idle_timeout_s=60)
        target = settings.open(Home("bay3", "0badcafe", tmp_path))
        sidecars = []
        for n in range(1000):
            notes = {str(key): "as long as a sidecar usually is" for key in range(60)}
            capture = make_capture(tmp_path, b"%d," % n * 5000, metadata=notes)
            sidecars.append(capture.sidecar)
        loaded = (Capture.load(sidecar) for sidecar in sidecars)
        target.put_many([Capture.load(sidecars[0])], Progress())  # what is made once
        tracemalloc.start()
        try:
            fates = target.put_many(loaded, Progress())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            target.close()
            server.stdin.close()
        assert kinds(fates) == ["200"] + ["201"] * 999
        assert peak < 4 << 20, f"{peak} bytes at once"


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/b",
        "http://lab.example/b",
        "https://lab.example:8443/b",
        "/b",
        "https://lab.example/{name}",
    ],
)
def test_bundles_go_to_the_same_server(url):
    with pytest.raises(SettingsError) as error:
        Settings(url="https://lab.example/{file}", bundle_url=url)
    assert [name for name, _, _ in error.value.mistakes] == ["bundle_url"]
    assert Settings(url="https://lab.example/{file}", bundle_url="https://lab.example:443/{device}").bundle_url
