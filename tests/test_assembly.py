"""What runs is changed to what a configuration says, and no order is lost meanwhile."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.assembly import Assembly
from agent.config.loading import load
from agent.database import Database
from agent.outbox import Outbox
from agent.recording import Orders, RecordingSettings
from agent.sync.owing import Owing
from agent.worker import Worker

CONFIG = """
[stream.imu]
driver = "mpu6050"
bus = "virtual"

[recording.walk]
streams = ["imu"]
"""


class Idle:
    """A stream or recorder that does nothing until it ends, and then what `last` does."""

    def __init__(self, orders: Orders | None = None) -> None:
        self.orders = orders
        self.cursors: dict[str, Any] = {}
        self.last = lambda: None

    def start(self, failed: Any) -> Worker:
        return Worker("idle", self.run, failed, silence_s=60.0).start()

    def run(self, worker: Worker) -> None:
        while not worker.wait(0.01):
            pass
        self.last()


class Recorders:
    def make(self, name: str, recipe: RecordingSettings, streams: Any, **more: Any) -> Idle:
        return Idle(Orders(name, recipe))


@pytest.mark.parametrize(("changed", "wanted"), [("length_s = 5", False), ('when = "trigger"', True)])
def test_a_stop_amid_a_change_holds_unless_that_says_when_anew(tmp_path: Path, changed: str, wanted: bool) -> None:
    path = tmp_path / "config.toml"
    broken: list[str] = []
    with Database(tmp_path / "agent.db", quarantine=tmp_path / "quarantine") as database:
        outbox = Outbox(database, boot_id="b", now=lambda: 0, jitter=random.Random(1))
        assembly = Assembly(
            sync=SimpleNamespace(),  # type: ignore[arg-type]
            home=SimpleNamespace(),  # type: ignore[arg-type]
            recorders=Recorders(),  # type: ignore[arg-type]
            stream=lambda given: Idle(),  # type: ignore[arg-type,return-value]
            owing=Owing(outbox, {}),
            failed=lambda thread, error: broken.append(thread),
            left_s=lambda most_s: most_s,
        )
        try:
            path.write_text(CONFIG)
            assembly.change(load(path))
            first: Any = assembly.recorders["walk"]
            first.last = first.orders.end
            path.write_text(CONFIG + changed)
            assert assembly.change(load(path)) == ["recording walk restarted"]
            assert assembly.recorders["walk"] is not first
            assert assembly.recorders["walk"].orders.wanted == wanted
        finally:
            assembly.close()
    assert broken == []
