"""Values of names at SensiML, which never go away again: made without asking for all, and remembered within bounds."""

import pytest

from agent.targets import Progress, Refused
from tests.contracts.target import put
from tests.receiver import Fault
from tests.sensiml import asked, recorded, serving


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


def seen(far, capture) -> dict[str, str]:
    return far.metadata(capture.files[0].name)


def lists(far) -> dict[str, int]:
    return {kind: len(far.model.asked("GET", f"/{kind}")) for kind in ("metadata", "label", "labelvalue")}


def another_device_makes(far, name: str, *values: str) -> None:
    """Values of a name that is there."""
    project = far.project.facts["uuid"]
    (label,) = (each["uuid"] for each in far.project.names.values() if each["name"] == name)
    for value in values:
        path = f"project/{project}/metadata/{label}/labelvalue/"
        assert asked(far, "POST", path, {"value": value, "color": "#000000"})[0] == 201


def test_a_new_value_is_made_without_asking_for_all_others(far, tmp_path):
    target = far.open(facts=())
    for number in range(10):
        capture = recorded(tmp_path, metadata={"run": f"run {number}"}, labels={"activity": f"kind {number}"})
        put(target, capture)
        assert seen(far, capture) == {"run": f"run {number}"}
    assert lists(far) == {"metadata": 1, "label": 1, "labelvalue": 0}
    assert len(far.model.asked("POST", "labelvalue")) == 20


def test_a_value_that_another_device_made_meanwhile_is_looked_up_alone(far, tmp_path):
    target = far.open(facts=())
    put(target, recorded(tmp_path, metadata={"run": "1"}))
    another_device_makes(far, "run", "2", "3")
    capture = recorded(tmp_path, metadata={"run": "3"})
    put(target, capture)
    assert seen(far, capture) == {"run": "3"}
    assert lists(far) == {"metadata": 1, "label": 0, "labelvalue": 1}


def test_a_project_with_more_values_than_fit_into_an_answer(far, tmp_path):
    put(far.open(facts=()), recorded(tmp_path, metadata={"place": "0", "run": "1"}))
    for name in far.project.names.values():
        if name["name"] == "place":
            (value,) = name["label_values"].values()
            for number in range(40_000):
                name["label_values"][f"u{number}"] = {**value, "value": f"value {number}", "uuid": f"u{number}"}
    target = far.open(facts=())
    for place in ("value 39999", "never seen", "value 0"):
        capture = recorded(tmp_path, metadata={"place": place, "run": "1"})
        put(target, capture)
        assert seen(far, capture) == {"place": place, "run": "1"}
    assert lists(far)["metadata"] == 2
    assert len(target._project._values) <= 2000


def test_what_is_not_remembered_any_more_is_asked_for_again(far, tmp_path, monkeypatch):
    monkeypatch.setattr("agent.targets._sensiml_project._VALUES", 4)
    monkeypatch.setattr("agent.targets._sensiml_project._NAMES", 1)
    for target in (far.open(facts=()), far.open(facts=())):
        for number in (*range(8), *range(8)):
            said = {"run": f"run {number}", "always": "this", f"name {number}": "x"}
            capture = recorded(tmp_path, metadata=said)
            put(target, capture)
            assert seen(far, capture) == said
            assert len(target._project._values) <= 4
    assert len(far.project.names) == 10


def test_a_value_that_is_not_kept_is_not_told(far, tmp_path):
    put(far.open(facts=()), recorded(tmp_path, metadata={"doctor": "Bob"}))
    target = far.open(facts=())
    taken = Fault(400, text='{"detail": "The fields label, value must make a unique set."}')
    far.model.faults_at["labelvalue"].append(taken)
    with pytest.raises(Refused, match="'doctor': the server does not keep") as refused:
        put(target, recorded(tmp_path, metadata={"doctor": "Alice"}))
    assert "Alice" not in str(refused.value)


def test_numbers_that_are_ever_new_are_left_out_in_the_end(far, tmp_path):
    def delivered(target, value):
        capture = recorded(tmp_path, metadata={"Latitude": value, "fix": 3, "run": str(value)})
        return seen(far, capture) if not target.put(capture, Progress())["left_out"] else "left out"

    target = far.open(facts=(), numbers=4)
    assert delivered(target, 47.5) == {"Latitude": "47.5", "fix": "3", "run": "47.5"}
    another_device_makes(far, "Latitude", "47.1", "47.2")
    target = far.open(facts=(), numbers=4)
    assert delivered(target, 47.6)["Latitude"] == "47.6"
    assert delivered(target, 47.7) == "left out"
    assert delivered(target, 47.5)["Latitude"] == "47.5", "which is there already"
    assert delivered(far.open(facts=(), numbers=5), 47.7)["Latitude"] == "47.7"


def test_what_is_left_out_is_told_and_the_rest_is_said(far, tmp_path):
    capture = recorded(tmp_path, metadata={"Latitude": 47.5, "fix": 3})
    receipt = far.open(facts=(), numbers=0).put(capture, Progress())
    assert receipt["left_out"] == ["Latitude = 47.5, of which there are 0 other values"]
    assert seen(far, capture) == {"fix": "3"}
    assert [name["name"] for name in far.project.names.values()] == ["fix"]
