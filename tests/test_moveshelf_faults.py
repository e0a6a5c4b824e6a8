"""Whatever goes wrong at whichever step: nothing is there twice afterwards, and nothing is left over."""

import json
import logging
import threading
import traceback

import pytest

from agent.targets import Failed, Progress, Stopped
from tests.contracts.target import CONTENT, put
from tests.moveshelf import SUBJECT, of_subject, serving
from tests.moveshelf_server import BESIDE
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
    "200 with errors beside the data": Fault(text=BESIDE),
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
        far.all_there_once(*captures)


def test_two_uploads_make_one_subject_and_one_session(far, tmp_path):
    target = far.open_patient()
    captures = [of_subject(tmp_path / "captures", CONTENT[:n], labels={"trial": "Trial-1"}) for n in range(8)]
    threads = [threading.Thread(target=put, args=(target, capture)) for capture in captures]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [kind for kind, *_ in far.places()] == ["subject", "session", "trial"]
    far.all_there_once(*captures)


def test_what_was_remembered_and_has_gone_is_looked_for_again(far, tmp_path):
    target, captures = far.open(), [of_subject(tmp_path / "captures") for _ in range(2)]
    put(target, captures[0])
    far.empty()
    with pytest.raises(Failed, match="no node"):
        put(target, captures[1])
    put(target, captures[1])
    far.all_there_once(captures[1])


def test_a_trial_that_a_person_deleted_is_made_again(far, capture):
    far.cut(10)
    state: dict = {}
    with pytest.raises(Failed):
        put(far.open(), capture, state)
    far.shelf.deleteClip(None, state["place"]["trial"])
    far.shelf.deleteAdditionalData(None, far.shelf.of_type("AdditionalData")[0]["id"])
    with pytest.raises(Failed, match="its trial has gone from Moveshelf"):
        put(far.open(), capture, state)
    put(far.open(), capture, state)
    far.all_there_once(capture)


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
    assert "X-Goog-Signature" not in "".join(told) + caplog.text
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
