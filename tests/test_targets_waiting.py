"""Servers that keep one upload waiting, at Viam, Sticky Pi and Moveshelf: all the others show life meanwhile."""

import pytest

from tests import moveshelf, sticky_pi, viam
from tests.beats import all_show_life, longest_silence
from tests.captures import make_capture
from tests.contracts.target import CONTENT
from tests.models.viam import UNAUTHENTICATED, Fault
from tests.receiver import Fault as HttpFault


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Whoever waits for a lock does not rest for a second between two signs of life."""
    monkeypatch.setattr("agent.targets._alone._BEAT_S", 0.01)


def test_viam_that_gives_no_token(tmp_path):
    with viam.awake(), viam.serving(tmp_path) as far:
        far.cloud.line.pause_s = 60.0
        captures = [make_capture(tmp_path / "captures", b"content") for _ in range(8)]
        assert all_show_life(far.open_patient(), captures)
        far.cloud.line.cut()


def test_viam_between_any_two_calls(tmp_path):
    with viam.awake(), viam.serving(tmp_path) as far:
        far.cloud.faults["FileUpload"].append(Fault(code=UNAUTHENTICATED, text="expired"))
        capture = viam.walk(tmp_path / "captures", 3000)
        assert longest_silence(far.open(samples="both", idle_timeout_s=60), capture, far.cloud) == 1


def test_sticky_pi_that_gives_no_token(tmp_path):
    with sticky_pi.serving(tmp_path) as far:
        far.model.faults_at[sticky_pi.LOGIN].append(HttpFault(hang=True))
        names = [f"512858f4.2024-03-05_06-07-{second:02}" for second in range(8)]
        captures = [sticky_pi.picture(tmp_path / "captures", name=name) for name in names]
        assert all_show_life(far.open_patient(), captures)


def test_sticky_pi_between_any_two_requests(tmp_path):
    with sticky_pi.serving(tmp_path) as far:
        far.model.faults_at[sticky_pi.ASK].append(HttpFault(401))
        far.model.take = sticky_pi.hiding(far.model, 1)
        assert longest_silence(far.open_patient(), sticky_pi.picture(tmp_path / "captures"), far.model) == 1


def test_moveshelf_that_tells_no_project(tmp_path):
    with moveshelf.serving(tmp_path) as far:
        far.api.faults.append(HttpFault(hang=True))
        captures = [moveshelf.of_subject(tmp_path / "captures") for _ in range(8)]
        assert all_show_life(far.open_patient(), captures)


def test_moveshelf_between_any_two_requests(tmp_path):
    with moveshelf.serving(tmp_path) as far:
        capture = moveshelf.of_subject(tmp_path / "captures", CONTENT)
        assert longest_silence(far.open_patient(), capture, far.api, far.store) == 1
        later = capture.amended(labels={"activity": "running"})
        later.write_sidecar()
        assert longest_silence(far.open_patient(), later, far.api, far.store) == 1
