import contextlib

import pytest

from agent.targets import Failed, Later, Progress, Refused, Unreachable
from agent.targets.http import Http
from tests.captures import make_capture
from tests.contracts.target import CONTENT, NetworkContract, put
from tests.models.tus import TusServer
from tests.receiver import Fault
from tests.test_http import Server

MIB = 1 << 20


class TusFar(Server):
    """The tus server, and the targets that lead to it."""

    receiver: TusServer

    def open(self, **settings) -> Http:
        return super().open(**{"method": "tus", "url": self.receiver.url + "/uploads", **settings})

    def files(self) -> dict[str, bytes]:
        return dict(self.receiver.whole)

    def truncate_answer(self):
        self.lose_answer()  # a 204 has nothing that could be cut off

    def patches(self) -> list[int]:
        """Sizes of the pieces that were sent."""
        return [request.body_bytes for request in self.receiver.requests if request.method == "PATCH"]


@pytest.fixture
def make(tmp_path):
    """Makes tus servers, each with what leads to it."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: TusFar(stack.enter_context(TusServer(**options)), tmp_path, stack)


@pytest.fixture
def far(make):
    return make()


@pytest.fixture
def capture(tmp_path):
    return make_capture(tmp_path / "captures", CONTENT)


@pytest.fixture
def big(tmp_path):
    """A capture of 9 MiB and a little: five pieces."""
    return make_capture(tmp_path / "captures", bytes(range(256)) * (9 * MIB // 256) + b"end")


class TestTus(NetworkContract):
    tells = removes = False

    @pytest.fixture
    def far(self, far):
        return far


def interrupted(far: TusFar, capture, faults: list[Fault]) -> dict:
    """The state of a parcel whose upload ended with the last of these faults."""
    far.receiver.faults += faults
    state: dict = {}
    with pytest.raises(Failed):
        put(far.open(), capture, state)
    return state


def test_goes_on_after_a_cut_and_sends_no_piece_twice_but_the_last(far, big):
    state = interrupted(far, big, [Fault(), Fault(), Fault(cut_after=MIB)])
    put(far.open(), big, state)
    assert far.files()[big.files[0].name] == big.files[0].read_bytes()
    assert sum(far.patches()) - big.size - big.sidecar.stat().st_size == MIB


def test_a_server_without_sums_keeps_what_came_and_gets_the_rest_alone(make, big):
    far = make(checksums="")
    state = interrupted(far, big, [Fault(), Fault(cut_after=700_001)])
    put(far.open(), big, state)
    assert far.files()[big.files[0].name] == big.files[0].read_bytes()
    assert sum(far.patches()) == big.size + big.sidecar.stat().st_size, "no byte twice"
    assert not any("upload-checksum" in request.headers for request in far.receiver.requests)


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_a_server_without_options_gets_no_sums(make, capture, status):
    far = make(options=status)
    put(far.open(), capture)
    assert far.files()[capture.files[0].name] == CONTENT
    assert not any("upload-checksum" in request.headers for request in far.receiver.requests)


@pytest.mark.parametrize("offered", ["sha1,md5", "sha1,sha256", "md5,crc32"])
def test_sums_are_those_that_the_server_knows(make, capture, offered):
    far = make(checksums=offered)
    put(far.open(), capture)
    sent = {request.headers.get("upload-checksum", "").split(" ")[0] for request in far.receiver.requests[2:3]}
    assert sent == {"sha256" if "sha256" in offered else "sha1" if "sha1" in offered else ""}


def test_options_are_asked_for_once(far, tmp_path):
    target = far.open()
    for number in range(3):
        put(target, make_capture(tmp_path / "captures", b"%d" % number))
    assert [request.method for request in far.receiver.requests].count("OPTIONS") == 1


def test_a_piece_damaged_on_the_way_is_an_attempt_and_is_sent_again(far, capture, monkeypatch):
    with monkeypatch.context() as line:
        line.setattr("agent.targets._http_tus._base64", lambda content: "AAAA")
        with pytest.raises(Failed, match="damaged on the way"):
            put(far.open(), capture)
    put(far.open(), capture)
    assert far.files()[capture.files[0].name] == CONTENT


def test_an_upload_that_has_expired_is_begun_anew(far, big):
    state = interrupted(far, big, [Fault(), Fault(cut_after=10)])
    far.receiver.expire()
    put(far.open(), big, state)
    assert far.files()[big.files[0].name] == big.files[0].read_bytes()


def test_an_upload_that_expires_between_two_pieces_is_begun_anew_by_the_next_try(far, big):
    far.receiver.fault = lambda path: far.receiver.expire() or Fault()  # just as the first piece comes
    state: dict = {}
    with pytest.raises(Failed, match="expired"):
        put(far.open(), big, state)
    del far.receiver.fault
    put(far.open(), big, state)
    assert far.files()[big.files[0].name] == big.files[0].read_bytes()


def test_another_address_or_revision_is_begun_anew(far, big):
    state = interrupted(far, big, [Fault(), Fault(cut_after=10)])
    for changed in ({"at": far.receiver.url + "/other"}, {"key": "another/file"}):
        put(far.open(), big, {"tus": {**state["tus"], **changed}})
    methods = [request.method for request in far.receiver.requests]
    assert "HEAD" not in methods


@pytest.mark.parametrize("elsewhere", ["http://127.0.0.1:1/u/1", "http://evil.example/u/1", "https://{own}/u/1"])
def test_a_saved_address_of_another_origin_is_never_asked(far, capture, elsewhere):
    key, url = f"{capture.uuid}/{capture.files[0].name}", far.receiver.url
    saved = {"url": elsewhere.format(own=url.removeprefix("http://")), "at": url + "/uploads", "key": key}
    put(far.open(), capture, {"tus": saved})
    assert far.files()[capture.files[0].name] == CONTENT
    assert "HEAD" not in [request.method for request in far.receiver.requests]


@pytest.mark.parametrize("place", ["http://evil.example{path}", "//evil.example{path}", "http://[{path}"])
def test_uploads_made_at_another_origin_are_not_followed(far, capture, place):
    far.receiver.location = place
    with pytest.raises(Unreachable, match=r"elsewhere, at .*//"):
        put(far.open(), capture)
    assert far.patches() == []


@pytest.mark.parametrize(
    "written", ["{path}", "http://somebody@127.0.0.1:{port}{path}?", "HTTP://127.0.0.1:{port}{path}#x"]
)
def test_other_ways_to_write_the_same_origin(far, capture, written):
    far.receiver.location = written.replace("{port}", str(far.receiver.port))
    put(far.open(), capture)
    assert far.files()[capture.files[0].name] == CONTENT


def test_what_is_no_tus_server_is_the_targets_fault(far, capture):
    far.receiver.location = ""
    with pytest.raises(Unreachable, match="without a Location"):
        put(far.open(), capture)
    far.receiver.creation = Fault(404)
    with pytest.raises(Unreachable, match="check the target's url"):
        put(far.open(), capture)
    far.receiver.creation = Fault(412)
    with pytest.raises(Unreachable, match="another version"):
        put(far.open(), capture)


def test_too_large_is_refused_and_a_locked_upload_is_not_yet(far, capture):
    far.receiver.creation = Fault(413)
    with pytest.raises(Refused):
        put(far.open(), capture)
    far.receiver.creation = Fault(423, (("Retry-After", "3"),))
    with pytest.raises(Later) as later:
        put(far.open(), capture)
    assert later.value.after_s == 3


def test_a_later_revision_is_its_sidecar_alone(far, capture):
    receipt = far.open().put(capture, Progress())
    later = capture.amended(labels={"activity": "running"})
    later.write_sidecar()
    again = far.open().put(later, progress := Progress(receipt=receipt))
    assert progress.sent_bytes == len(later.sidecar_bytes())
    assert again["files"][capture.files[0].name] == receipt["files"][capture.files[0].name]
    for known in again["files"].values():
        known["url"] = far.receiver.url + "/elsewhere"
    far.open().put(later, progress := Progress(receipt=again))
    assert progress.sent_bytes > capture.size, "what was made elsewhere is not here"


def test_a_server_that_forgot_a_part_is_asked_where_it_is(make, big):
    far = make(checksums="")
    state = interrupted(far, big, [Fault(), Fault(cut_after=10)])
    (upload,) = far.receiver.uploads.values()
    del upload.content[MIB:]
    upload.offset = MIB
    put(far.open(), big, state)
    assert far.files()[big.files[0].name] == big.files[0].read_bytes()


def test_a_file_that_changed_meanwhile_never_becomes_whole(far, big):
    state = interrupted(far, big, [Fault(), Fault(cut_after=10)])
    path = big.files[0]
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(Refused, match="sha256"):
        put(far.open(), big, state)
    assert path.name not in far.files()


def test_the_upload_is_told_what_it_is(far, capture):
    put(far.open(), capture)
    payload = next(iter(far.receiver.uploads.values()))
    assert payload.metadata == {
        "filename": f"{capture.name}.csv",
        "filetype": "text/csv",
        "sha256": capture.payloads[0].sha256,
        "key": f"{capture.uuid}/{capture.name}.csv",
    }


def test_an_address_of_ours_never_becomes_anothers(far):
    own = far.open()._server.own
    url = far.receiver.url
    assert own(f"{url}//evil.example/x") == f"{url}//evil.example/x"
    assert own(f"{url}/u/1?a=b#c") == f"{url}/u/1?a=b"
    assert own(url) == url + "/"
    for other in (
        "",
        "/u/1",
        "//evil.example/x",
        url + "1/x",
        url.replace("http", "https"),
        "http://[/",
        "http://127.0.0.1:x/",
    ):
        assert own(other) == ""
