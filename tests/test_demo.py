"""The demo: proves that nothing is lost or changed, and would notice if it were."""

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest

from agent import control
from agent.capture import Capture
from agent.demo import main
from agent.demo.proof import prove
from agent.demo.receiver import Receiver


def received(folder: Path) -> Receiver:
    """The receiver as it was at the end of a demo."""
    receiver = Receiver(folder / "received")
    receiver.received = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "received").iterdir()
    }
    return receiver


def rewritten(sidecar: Path, payload: Path, old: bytes, new: bytes) -> None:
    """Another payload, which its sidecar vouches for."""
    before = payload.read_bytes()
    assert old in before
    payload.write_bytes(before.replace(old, new, 1))
    document = sidecar.read_text()
    for one in (hashlib.sha256, hashlib.md5):
        document = document.replace(one(before).hexdigest(), one(payload.read_bytes()).hexdigest())
    sidecar.write_text(document)


@pytest.mark.alone
def test_it_proves_that_nothing_is_lost_and_notices_what_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status: dict[str, Any] = {}

    def ask(*args: Any, **given: Any) -> Any:
        answer = real(*args, **given)
        if isinstance(answer, dict) and "streams" in answer:
            status.update(answer)
        return answer

    real = control.ask
    monkeypatch.setattr(control, "ask", ask)
    lines: list[str] = []
    proof = main(tmp_path / "demo", 6.0, lines.append)
    assert proof.complaints == []
    assert {name: lost for name, _, _, lost in proof.streams} == {"imu": 0, "mcu": 0, "cam": 0}
    assert all(delivered == proof.captures and not owed for _, delivered, _, owed in proof.targets)
    assert any("switched off" in line for line in lines)

    folder, receiver = proof.folder, received(proof.folder)
    assert prove(folder, status, receiver, 0).complaints == []
    assert prove(folder, status, receiver, 70).complaints == ["the daemon ended with exit code 70"]

    owed = copy.deepcopy(status)
    owed["targets"]["lab"]["owed"] = 2
    assert prove(folder, owed, receiver, 0).complaints == ["target lab: 2 captures still owed"]

    busy = copy.deepcopy(status)
    busy["streams"]["imu"] |= {"lost": 90, "lost_exact": False}
    (complaint,) = prove(folder, busy, receiver, 0).complaints
    assert "about 90 samples lost" in complaint
    assert "too busy" in complaint

    name = next(iter(receiver.received))
    digest = receiver.received.pop(name)
    assert prove(folder, status, receiver, 0).complaints == [f"{name} is not at the receiver as it is here"]
    receiver.received[name] = digest

    capture = next(c for c in map(Capture.load, (folder / "data").rglob("*.json")) if c.recording == "mcu")
    wav = next(path for path in capture.files if path.suffix == ".wav")
    sample = wav.read_bytes()[-12:]
    rewritten(capture.sidecar, wav, sample, bytes([sample[0] ^ 1]) + sample[1:])
    found = prove(folder, status, receiver, 0).complaints
    assert any(f"{wav.name}, stream mcu: AccelerometerX is not what was sent" in complaint for complaint in found)
