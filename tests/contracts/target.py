"""What every target must do: subclass `TargetContract` (and `NetworkContract` where there is a network in between)."""

import contextlib
import email.utils
import json
import logging
import threading
import time
import traceback
import tracemalloc
from pathlib import Path
from typing import Protocol

import pytest

from agent.capture import Capture
from agent.targets import Failed, Later, Progress, Refused, Removing, Stopped, Target, Unreachable
from agent.targets._inventory import Fetching, Inventoried
from tests.captures import make_capture

CONTENT = bytes(range(256)) * 800  # more than one chunk of any target
STRANGE = {
    "nothing": "",
    "a page": "<!doctype html><title>Welcome to our hotel's network</title>",
    "not whole": '{"success": tr',
    "null": "null",
    "a number": "17",
    "a list": '[{"id": null}]',
    "an object": '{"id": {}, "files": 7, "data": [], "uuid": 4, "errors": 0}',
    "deep": "[" * 50_000,
    "not text": "\x00\x82\ufffd",
}
"""Answers of the wrong shape."""
BIG = 64 << 20
MEMORY = 8 << 20


class Far(Protocol):
    """The far end as the contract sees it; the fixture `far` of the subclass gives one."""

    def open(self) -> Target:
        """A new target that leads there, with its default settings; the fixture closes it."""

    def files(self) -> dict[str, bytes]:
        """Every whole file there, by file name. AssertionError where one is there twice, or torn."""

    def forget(self) -> None:
        """From now on keeps no content in this process, whose memory is about to be measured."""


class NetworkFar(Far, Protocol):
    """A far end with a network in between. Each fault is for the next request (or message) alone."""

    secret: str
    """What must never be seen in a log or a message."""

    def open_patient(self) -> Target:
        """As `open`, with time-outs of a minute."""

    def open_elsewhere(self, host: str) -> Target:
        """A target that leads to a host where nobody is."""

    def lose_answer(self) -> None:
        """Stores what it gets, and then cuts the connection."""

    def cut(self, after_bytes: int) -> None:
        """Cuts the connection after so many bytes of content."""

    def deny(self) -> None:
        """Does not know these credentials (any more)."""

    def busy(self, status: int, retry_after: str) -> None:
        """Asks to come again."""

    def slow(self) -> None:
        """Takes a little at a time."""

    def answer_early(self) -> None:
        """Says no before it has read everything, and closes."""

    def truncate_answer(self) -> None:
        """Stores what it gets; the answer breaks off."""

    def misanswer(self, text: str) -> None:
        """Stores what it gets, and says yes with a text that its protocol does not know."""

    def hang(self) -> threading.Event:
        """Takes everything and never answers; the event says that it has come to that."""


def put(target: Target, capture: Capture, state: dict | None = None) -> dict:
    """One delivery to the end; what was saved in `state` goes in and out."""
    state = {} if state is None else state
    receipt = target.put(capture, Progress(state=dict(state), store=state.update))
    assert receipt
    return state


class TargetContract:
    """Subclasses give a fixture `far`, and set `amends` and `names` where the far end is another."""

    amends = True
    """A later revision of the sidecar replaces the earlier one."""
    tells = True
    """What it has can be asked for, where its kind can be asked at all."""
    removes = True
    """What it was given it takes back, where its kind can do that at all."""

    @pytest.fixture
    def target(self, far: Far) -> Target:
        return far.open()

    @pytest.fixture
    def capture(self, tmp_path) -> Capture:
        return self.make(tmp_path / "captures", CONTENT)

    def make(self, folder: Path, content: bytes) -> Capture:
        """Another capture that the target takes, with this content, or with as much around it as its format needs."""
        return make_capture(folder, content)

    def expected(self, *captures: Capture) -> dict[str, bytes]:
        """All files of these captures, as they stand on this device."""
        return {path.name: path.read_bytes() for capture in captures for path in capture.files}

    def test_payload_and_sidecar_arrive(self, far, target, capture):
        put(target, capture)
        assert far.files() == self.expected(capture)

    def test_an_empty_payload_arrives(self, far, target, tmp_path):
        capture = self.make(tmp_path / "captures", b"")
        put(target, capture)
        assert far.files() == self.expected(capture)

    def test_twice_is_there_once(self, far, target, capture):
        put(target, capture)
        put(target, capture)
        put(far.open(), capture)
        assert far.files() == self.expected(capture)

    def test_several_threads_at_once(self, far, target, tmp_path):
        captures = [self.make(tmp_path / "captures", CONTENT + bytes([n])) for n in range(12)]
        threads = [threading.Thread(target=put, args=(target, capture)) for capture in captures]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert far.files() == self.expected(*captures)

    def test_says_what_it_sent(self, target, capture):
        counts: list[int] = []
        target.put(capture, progress := Progress(advance=counts.append))
        assert progress.sent_bytes == sum(counts) >= capture.size

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (lambda path: path.unlink(), "gone"),
            (lambda path: path.write_bytes(path.read_bytes()[:-1]), "changed"),
            (lambda path: path.write_bytes(path.read_bytes() + b"x"), "changed"),
            (lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), "changed"),
            (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "changed"),
        ],
        ids=["gone", "shorter", "longer", "other first byte", "other last byte"],
    )
    def test_a_payload_that_is_not_the_sidecars_is_refused(self, far, target, capture, damage, reason):
        path = capture.files[0]
        damage(path)
        with pytest.raises(Refused, match=reason) as refused:
            put(target, capture)
        assert path.name in str(refused.value)
        assert path.name not in far.files()

    def test_a_format_it_does_not_take_is_refused(self, far, target, capture):
        target.formats = ("parquet", "flac")
        with pytest.raises(Refused, match="parquet, flac"):
            put(target, capture)
        assert far.files() == {}

    def test_a_later_revision_replaces_the_sidecar(self, far, target, capture):
        if not self.amends:
            return
        put(target, capture)
        later = capture.amended(labels={"activity": "running"})
        later.write_sidecar()
        put(target, later)
        assert far.files() == self.expected(later)

    def test_a_big_file_needs_no_memory(self, far, target, tmp_path):
        big = self.make(tmp_path / "captures", bytes(BIG))
        put(target, self.make(tmp_path / "captures", b"small"))  # what is made once
        far.forget()
        tracemalloc.start()
        try:
            put(target, big)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MEMORY, f"{peak} bytes at once"

    def test_what_was_delivered_is_in_its_inventory(self, far, target, capture):
        if not isinstance(target, Inventoried):
            return
        payload = capture.payloads[0]
        if not self.tells:
            with pytest.raises(Refused):
                list(target.inventory([(capture, target.put(capture, Progress()))]))
            return
        assert payload.file not in {held.file for held in target.inventory([(capture, {})])}
        receipt = target.put(capture, Progress())
        (held,) = (held for held in target.inventory([(capture, receipt)]) if held.file == payload.file)
        assert held.size in (None, payload.size)
        assert held.hash in ("", f"sha256:{payload.sha256}", f"md5:{payload.md5}")
        if isinstance(target, Fetching):
            pieces: list[bytes] = []
            target.fetch(held, pieces.append)
            assert b"".join(pieces) == capture.files[0].read_bytes()
        assert far.files() == self.expected(capture), "nothing was changed by it"

    def test_what_is_taken_back_is_gone_and_nothing_else(self, far, target, tmp_path):
        if not isinstance(target, Removing):
            return
        one, other = (self.make(tmp_path / "captures", CONTENT + tail) for tail in (b"", b"other"))
        receipt = json.loads(json.dumps(dict(target.put(one, Progress()))))
        put(target, other)
        if not self.removes:
            with pytest.raises(Refused):
                target.remove(one.uuid, receipt)
            assert far.files() == self.expected(one, other)
            return
        assert all(said and isinstance(said, str) for said in target.remove(one.uuid, receipt))
        assert far.files() == self.expected(other)
        with contextlib.suppress(Refused):  # that it is gone may be a reason to ask a person
            target.remove(one.uuid, receipt)
        put(far.open(), one)
        assert far.files() == self.expected(one, other), "what was taken back may come again"

    def test_stop_in_the_middle(self, far, target, capture):
        stop = threading.Event()
        with pytest.raises(Stopped):
            target.put(capture, Progress(stop=stop, advance=lambda count: stop.set()))
        assert set(far.files()) <= {capture.files[0].name}, "the sidecar must be the last to arrive"
        put(target, capture)
        assert far.files() == self.expected(capture)

    def test_a_stopped_daemon_sends_nothing(self, far, target, capture):
        stop = threading.Event()
        stop.set()
        with pytest.raises(Stopped):
            target.put(capture, Progress(stop=stop))
        assert far.files() == {}

    def test_close_twice_used_or_not(self, far, target, capture):
        unused = far.open()
        unused.close()
        unused.close()
        put(target, capture)
        target.close()
        target.close()


class NetworkContract(TargetContract):
    """For targets with a network in between; `far` is a NetworkFar, its targets give up after half a second."""

    cuts = True
    """Content goes out in pieces as small as is asked for."""

    def test_answer_lost_after_it_was_stored(self, far, target, capture):
        far.lose_answer()
        state: dict = {}
        with pytest.raises(Failed):
            put(target, capture, state)
        put(target, capture, state)
        assert far.files() == self.expected(capture)

    @pytest.mark.parametrize("tenth", range(11))
    def test_cut_at_every_tenth(self, far, target, capture, tenth):
        far.cut(capture.size * tenth // 10)
        state: dict = {}
        with pytest.raises(Failed):
            put(target, capture, state)
        assert far.files() == {}
        put(target, capture, state)
        assert far.files() == self.expected(capture)

    def test_truncated_answer(self, far, target, capture):
        far.truncate_answer()
        state: dict = {}
        with pytest.raises(Failed):
            put(target, capture, state)
        put(target, capture, state)
        assert far.files() == self.expected(capture)

    @pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
    def test_an_answer_of_the_wrong_shape(self, far, target, capture, text):
        """What cannot be read is one more attempt, and never a reason to set the capture aside."""
        far.misanswer(text)
        state: dict = {}
        with contextlib.suppress(Failed):
            put(target, capture, state)
        put(target, capture, state)
        assert far.files() == self.expected(capture)

    def test_denied_in_the_middle(self, far, target, tmp_path):
        before, after = (self.make(tmp_path / "captures", CONTENT) for _ in range(2))
        put(target, before)
        far.deny()
        with pytest.raises(Unreachable, match="credentials"):
            put(target, after)
        assert far.files() == self.expected(before)

    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_in_seconds(self, far, target, capture, status):
        far.busy(status, "17")
        with pytest.raises(Later) as later:
            put(target, capture)
        assert later.value.after_s == 17
        put(target, capture)
        assert far.files() == self.expected(capture)

    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_a_date(self, far, target, capture, status):
        far.busy(status, email.utils.formatdate(time.time() + 300, usegmt=True))
        with pytest.raises(Later) as later:
            put(target, capture)
        assert 280 < later.value.after_s <= 301

    def test_slow_is_not_dead(self, far, target, tmp_path):
        capture = self.make(tmp_path / "captures", CONTENT[:1000])
        far.slow()
        put(target, capture)
        assert far.files() == self.expected(capture)

    def test_no_before_it_has_read_everything(self, far, target, capture):
        far.answer_early()
        with pytest.raises((Refused, Failed)):
            put(target, capture)
        assert far.files() == {}

    def test_no_more_goes_out_at_once_than_is_asked_for(self, far, target, capture):
        """Else a low rate limit makes pauses for which no server waits."""
        if not self.cuts:
            return
        counts: list[int] = []
        target.put(capture, Progress(advance=counts.append, piece_bytes=5000))
        assert max(counts) <= 5000
        assert far.files() == self.expected(capture)

    def test_silence_is_an_attempt_of_this_parcel(self, far, target, capture):
        far.hang()
        with pytest.raises(Failed, match="silent"):
            put(target, capture)

    @pytest.mark.parametrize("host", ["no-such-host.invalid", "127.0.0.1:1"])
    def test_nobody_there(self, far, capture, host):
        with pytest.raises(Unreachable, match=host.split(":")[0]):
            put(far.open_elsewhere(host), capture)

    def test_close_ends_a_hanging_upload(self, far, capture):
        patient = far.open_patient()
        hanging = far.hang()
        raised: list[BaseException] = []

        def upload() -> None:
            try:
                put(patient, capture)
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=upload)
        thread.start()
        assert hanging.wait(10)
        patient.close()
        thread.join(10)
        assert [type(error) for error in raised] == [Stopped], "it was cut, not waited for"

    def test_the_secret_is_never_told(self, far, target, capture, caplog):
        caplog.set_level(logging.DEBUG)
        told = []
        for trouble in (far.deny, far.answer_early, lambda: far.cut(1000), lambda: far.busy(503, "1")):
            trouble()
            with pytest.raises((Unreachable, Refused, Failed, Later)) as raised:
                put(target, capture)
            told += traceback.format_exception(raised.value)
        assert far.secret not in "".join(told) + caplog.text
