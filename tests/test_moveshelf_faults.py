"""Whatever goes wrong at whichever step: nothing is there twice afterwards, and nothing is left over."""

import json
import logging
import threading
import traceback
import unicodedata

import pytest

from agent.targets import Failed, Later, Progress, Refused, Stopped
from tests.contracts.target import CONTENT, put
from tests.moveshelf import SUBJECT, of_subject, serving
from tests.receiver import Fault

ERRORS = json.dumps({"data": {"viewer": None, "node": None}, "errors": [{"message": "because", "path": ["x"]}]})
FIELDS = ("viewer", "node", "createPatient", "createSession", "createClips", "createAdditionalData")
FAULTS = {
    "lost before": Fault(cut_after=0),
    "lost after": Fault(lose_answer=True),
    "lost after, and the progress with it": Fault(lose_answer=True),
    "truncated": Fault(truncate=True),
    "500": Fault(500, text=ERRORS),
    "200 with errors": Fault(text=ERRORS),
    "null": Fault(text=json.dumps({"data": dict.fromkeys(FIELDS)})),
    "no data": Fault(text='{"data": null}'),
    "another shape": Fault(text=json.dumps({"data": {field: [5] for field in FIELDS}})),
    "no JSON": Fault(text=f"<html>sign in, {SUBJECT}, to this hotel's network</html>"),
    "deep": Fault(text="[" * 4000),
}
STEPS = [
    ("viewer", 0),
    ("node", 0),  # the project's subjects
    ("createPatient", 0),
    ("node", 1),  # the subject's sessions
    ("createSession", 0),
    ("node", 2),  # the session's trials
    ("createClips", 0),
    ("createAdditionalData", 0),
    ("createAdditionalData", 1),
    ("node", 3),  # what became of the files
]


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def capture(tmp_path):
    return of_subject(tmp_path / "captures")


def all_there_once(far, *captures):
    assert far.files() == {path.name: path.read_bytes() for capture in captures for path in capture.files}
    assert [name for name, became in far.records() if became != "Complete"] == [], "nothing is left over"


@pytest.mark.parametrize(("field", "after"), STEPS)
def test_each_step_may_fail(far, tmp_path, field, after):
    captures = []
    for number, (name, fault) in enumerate(FAULTS.items()):
        captures.append(of_subject(tmp_path / "captures", metadata={"subject": f"{SUBJECT}.{number}"}))
        far.api.faults_at[field].extend([Fault()] * after + [fault])
        state: dict = {}
        with pytest.raises(Failed) as failed:
            put(far.open(), captures[-1], state)
        assert SUBJECT not in str(failed.value), name
        if "progress" in name:
            state.clear()
        put(far.open(), captures[-1], state)
        all_there_once(far, *captures)


def test_two_uploads_make_one_subject_and_one_session(far, tmp_path):
    target = far.open_patient()
    captures = [of_subject(tmp_path / "captures", CONTENT[:n], labels={"trial": "Trial-1"}) for n in range(8)]
    threads = [threading.Thread(target=put, args=(target, capture)) for capture in captures]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [kind for kind, *_ in far.places()] == ["subject", "session", "trial"]
    all_there_once(far, *captures)


def test_what_was_remembered_and_has_gone_is_looked_for_again(far, tmp_path):
    target, captures = far.open(), [of_subject(tmp_path / "captures") for _ in range(2)]
    put(target, captures[0])
    far.empty()
    with pytest.raises(Failed, match="no node"):
        put(target, captures[1])
    put(target, captures[1])
    all_there_once(far, captures[1])


# The store


def test_stored_before_it_was_accepted(far, capture):
    """The store says 200 to what it has spoilt, and Moveshelf flags it later."""
    far.store.spoils, far.store.tells = True, False
    state: dict = {}
    with pytest.raises(Failed, match=r"does not complete .*\.csv \(Failed\), .*json \(Failed\), which"):
        put(far.open(), capture, state)
    far.store.spoils = False
    put(far.open(), capture, state)
    all_there_once(far, capture)


def test_the_stores_own_checksum_is_believed(far, capture):
    far.store.spoils = True
    state: dict = {}
    with pytest.raises(Failed, match="the store has CRC-32C"):
        put(far.open(), capture, state)
    assert far.records() == []
    far.store.spoils = False
    put(far.open(), capture, state)
    all_there_once(far, capture)


def test_while_it_is_processed_nobody_waits(far, capture):
    far.shelf.slow_looks = 3
    target, state, rests = far.open(), {}, []
    for _ in range(3):
        with pytest.raises(Later, match=r"csv \(Processing\), .*json \(Processing\)") as later:
            put(target, capture, state)
        rests.append(later.value.after_s)
    put(target, capture, state)
    assert rests == [5, 10, 20]
    assert len(far.store.requests) == 2, "each file was sent once"
    all_there_once(far, capture)


def test_what_is_processed_for_ever_is_sent_again(far, capture):
    far.shelf.slow_looks = 10**9
    target, state, rests = far.open(), {}, []
    while len(far.store.requests) < 3:
        try:
            put(target, capture, state)
        except Later as later:
            rests.append(later.after_s)
        except Failed as failed:
            far.shelf.slow_looks = 0
            assert "does not complete" in str(failed)
    assert (len(rests), max(rests)) == (100, 300)
    all_there_once(far, capture)


@pytest.mark.parametrize("status", ["Rejected", "Upload failed", "ERROR"])
def test_a_status_that_says_no(far, capture, status):
    state: dict = {}
    far.shelf.slow_looks = 1
    with pytest.raises(Later):
        put(far.open(), capture, state)
    for row in far.shelf.of_type("AdditionalData"):
        row["arrived"] = status
    with pytest.raises(Failed, match=status):
        put(far.open(), capture, state)
    far.shelf.slow_looks = 0
    put(far.open(), capture, state)
    all_there_once(far, capture)


def test_after_a_cut_the_same_address_is_used(far, capture):
    far.cut(10)
    state: dict = {}
    with pytest.raises(Failed):
        put(far.open(), capture, state)
    put(far.open(), capture, state)
    assert far.api.operations.count("createAdditionalData") == 2
    all_there_once(far, capture)


def test_an_address_that_is_over_is_replaced_with_its_record(far, capture):
    far.cut(10)
    state: dict = {}
    with pytest.raises(Failed):
        put(far.open(), capture, state)
    far.store.addresses.clear()
    put(far.open(), capture, state)
    assert far.api.operations.count("deleteAdditionalData") == 1
    all_there_once(far, capture)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_an_address_that_never_was_good(far, capture, status):
    far.store.faults.append(Fault(status, text="<Error/>"))
    with pytest.raises(Failed, match="address that Moveshelf has just given"):
        put(far.open(), capture)
    assert far.records() == []


def test_a_record_that_cannot_be_deleted_is_not_doubled(far, capture):
    far.cut(10)
    with pytest.raises(Failed):
        put(far.open(), capture)
    far.shelf.deleteAdditionalData = lambda info, id: {"ok": False}
    with pytest.raises(Failed, match="does not delete"):
        put(far.open(), capture)
    assert len(far.records()) == 1


@pytest.mark.parametrize(
    "url",
    ["http://", "ftp://127.0.0.1/x", "https://me:pw@127.0.0.1/x", "http://127.0.0.1/\r\nX: y", "//x", "http://[/", 5],
)
def test_addresses_that_are_none(far, capture, url):
    made = {"createAdditionalData": {"uploadUrl": url, "data": {"id": "x"}}}
    far.api.faults_at["createAdditionalData"].append(Fault(text=json.dumps({"data": made})))
    with pytest.raises(Failed, match=r"address that is none|no createAdditionalData\.uploadUrl"):
        put(far.open(), capture)


def test_the_store_is_not_told_the_key(far, capture):
    put(far.open(), capture)
    for request in far.store.requests:
        assert "authorization" not in request.headers
        assert request.headers["content-type"] == "application/octet-stream"
        assert int(request.headers["content-length"]) == request.body_bytes


def test_a_damaged_file_leaves_no_record(far, tmp_path):
    capture = of_subject(tmp_path / "captures", CONTENT)
    path = capture.files[0]
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(Refused, match="changed"):
        put(far.open(), capture)
    assert far.records() == []
    path.unlink()
    far.api.operations.clear()
    with pytest.raises(Refused, match="gone"):
        put(far.open(), capture)
    assert far.api.operations == [], "nothing is made for what is not there"


# Names


@pytest.mark.parametrize("there", ["/{s}/2026-11-21", "/{s}/2026-11-21/", "/before marriage/2026-11-21/"])
@pytest.mark.parametrize("condition", ["walk", "walk/", "/walk/"])
def test_paths_are_compared_without_slashes(far, capture, there, condition):
    shelf = far.shelf
    project = shelf.of_type("Project")[1]["id"]
    subject = shelf.createPatient(None, project, unicodedata.normalize("NFD", SUBJECT))["patient"]
    session = shelf.createSession(None, project, f"/{SUBJECT}/2026-11-21/", subject["id"])["session"]
    metadata = {"title": capture.name, "projectPath": session["projectPath"] + "walk/"}
    shelf.createClips(None, {"project": project, "clips": [{"clientId": "x", "metadata": metadata}]})
    (clip,) = shelf.of_type("MocapClip")
    session["projectPath"] = there.format(s=SUBJECT)
    clip["projectPath"] = session["projectPath"].rstrip("/") + "/" + condition.lstrip("/")
    put(far.open(), capture)
    assert not {"createPatient", "createSession", "createClips"} & set(far.api.operations)
    assert [data["clip"]["id"] for data in shelf.of_type("AdditionalData")] == [clip["id"]] * 2


def test_the_same_trial_of_another_condition_is_another(far, tmp_path):
    target = far.open()
    captures = [
        of_subject(tmp_path, labels={"trial": "Trial-1", "condition": condition}) for condition in ("barefoot", "shoes")
    ]
    for capture in captures:
        put(target, capture)
    assert len(far.shelf.of_type("MocapClip")) == 2
    (session,) = far.shelf.of_type("Session")
    session["projectPath"] = "/elsewhere/2026-11-21/"  # the trials' paths do not begin with it any more
    put(target, of_subject(tmp_path, labels={"trial": "Trial-1", "condition": "shoes"}))
    assert len(far.shelf.of_type("MocapClip")) == 3


def test_two_subjects_of_that_name_are_a_persons_task(far, capture):
    project = far.shelf.of_type("Project")[1]["id"]
    ids = sorted(far.shelf.createPatient(None, project, SUBJECT)["patient"]["id"] for _ in range(2))
    with pytest.raises(Refused, match=", ".join(ids)) as refused:
        put(far.open(), capture)
    assert SUBJECT not in str(refused.value)


def test_subjects_and_keys_are_never_told(far, capture, caplog):
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    forms = (SUBJECT, json.dumps(SUBJECT)[1:-1], "Jane%20D%C3%B6e-17")
    message = json.dumps({"errors": [{"message": f"{form} {far.secret}"} for form in forms]}, ensure_ascii=False)
    states: list[dict] = []
    for status in (200, 400, 503):
        for field, after in STEPS:
            far.empty()
            far.api.faults_at[field].extend([Fault()] * after + [Fault(status, text=message)])
            states.append({})
            with pytest.raises(Failed) as raised:
                put(far.open(), capture, states[-1])
            told += traceback.format_exception(raised.value)
    receipt = far.open().put(capture, Progress(store=lambda state: states.append(dict(state))))
    everything = "".join(told) + caplog.text + json.dumps([receipt, states])
    assert "(subject) ***" in everything
    assert [secret for secret in (*forms, far.secret) if secret in everything] == []
    assert not [request.path for request in far.store.requests if "Jane" in request.path]


def test_what_breaks_while_the_daemon_stops_is_no_fault(far, capture):
    stop = threading.Event()
    far.api.faults_at["createClips"].append(Fault(500))
    execute, far.api.take = far.api.take, lambda *given: (b"createClips" in given[1] and stop.set(), execute(*given))[1]
    with pytest.raises(Stopped):
        far.open().put(capture, Progress(stop=stop))


def test_one_waits_for_another_and_still_hears_of_the_end(far, capture, tmp_path):
    """The second waits for its turn to look up places, which the first has."""
    target, stop = far.open_patient(), threading.Event()
    far.api.faults.append(Fault(hang=True))

    def waits() -> None:
        with pytest.raises(Stopped):
            put(target, capture)

    first = threading.Thread(target=waits)
    first.start()
    assert far.api.hanging.wait(10)
    beats: list[int] = []

    def beat(count: int) -> None:
        beats.append(count)
        stop.set()

    with pytest.raises(Stopped):
        target.put(of_subject(tmp_path / "other"), Progress(stop=stop, advance=beat))
    assert beats == [0]
    target.close()
    first.join(10)
