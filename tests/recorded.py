"""A data folder with captures in it, made by the real developer and the real outbox; and the command line on it."""

import random
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from agent import __version__
from agent.capture import CaptureConfiguration
from agent.catalogue import Catalogue
from agent.cli.tree import cli
from agent.clock import Clock, iso, stamp
from agent.database import Database
from agent.developer import Developer
from agent.finishing import Finishing
from agent.folder import DataFolder
from agent.negative import NegativeWriter, identity_as_json
from agent.outbox import Outbox
from agent.sync.owing import Owing
from drivers import Block, Channel, Identity, samples_dtype

SECOND = 1_000_000_000
STARTED_NS = 1_795_256_100 * SECOND
CHANNELS = (
    *(Channel(f"Accelerometer{axis}", "g", "<i2", 1 / 4096) for axis in "XYZ"),
    *(Channel(f"Gyroscope{axis}", "deg/s", "<i2", 1 / 16.4) for axis in "XYZ"),
)
IMU = Identity("MPU-6050", 100.0, CHANNELS, {"accel_range_g": 8})


def rows(count: int) -> np.ndarray[Any, Any]:
    """Something to see: a sine for each axis."""
    samples = np.zeros(count, samples_dtype(CHANNELS))
    for index, channel in enumerate(CHANNELS):
        samples[channel.name] = 4000 * np.sin(np.arange(count) / 20 + index)
    samples.flags.writeable = False
    return samples


def make_negative(folder: Path, *, recording: str, wall_ns: int, labels: dict[str, Any], formats: list[str]) -> Path:
    """Four seconds at 100 Hz, of which samples 200 ... 249 are missing."""
    capture_uuid = str(uuid.uuid4())
    name = f"bay3.{recording}.{stamp(wall_ns)}.{capture_uuid[:8]}"
    configuration = CaptureConfiguration.of("imu", [(IMU, [channel.name for channel in CHANNELS])])
    head = {
        "uuid": capture_uuid,
        "name": name,
        "recording": recording,
        "settings": {"format": formats, "fill": "hold"},
        "configuration": configuration.as_json(),
        "device": {"name": "bay3", "id": "0123abcd", "model": "a board"},
        "software": {"name": "capture-agent", "version": __version__},
        "started": {
            "boot_time_ns": SECOND,
            "boot_id": "this boot",
            "wall_ns": wall_ns,
            "wall_time": iso(wall_ns),
            "clock": "synchronised",
        },
        "labels": labels,
        "metadata": {"subject": 7},
        "streams": [{"name": "imu", "driver": "mpu6050", "identity": identity_as_json(IMU)}],
    }
    samples = rows(400)
    negative = NegativeWriter(folder / f"{name}.negative", head)
    for first in (*range(0, 200, 10), *range(250, 400, 10)):
        observed_ns = SECOND + (first + 9) * SECOND // 100
        block = Block(first, samples[first : first + 10], observed_ns, first + 9, lost=50 if first == 250 else 0)
        negative.write(0, block)
    negative.finish({"reason": "length"})
    return negative.path


def make_data_folder(place: Path) -> Path:
    """A data folder with three captures: one delivered, one owed, one refused."""
    clock = Clock()
    with ExitStack() as stack:
        folder = stack.enter_context(DataFolder(place))
        database = stack.enter_context(Database(folder.database, quarantine=folder.quarantine))
        catalogue = Catalogue(database, folder.captures)
        outbox = Outbox(database, boot_id=clock.boot_id, now=clock.boottime_ns, jitter=random.Random(1))
        finishing = Finishing(
            database=database,
            catalogue=catalogue,
            owing=Owing(outbox, {"walk": ["lab"], "rest": ["lab"]}),
            captures=folder.captures,
            owed=lambda: None,
        )
        developer = Developer(folder=folder.recording, quarantine=folder.quarantine, finishing=finishing, clock=Clock())
        for index, (recording, activity) in enumerate((("walk", "walking"), ("walk", "running"), ("rest", "lying"))):
            negative = make_negative(
                folder.recording,
                recording=recording,
                wall_ns=STARTED_NS + index * 3600 * SECOND,
                labels={"activity": activity},
                formats=["csv", "mcap"],
            )
            assert developer.step(negative, lambda: None), developer.health()
        delivered, _, refused = outbox.claim("lab", 3, lease_s=60)
        outbox.settle([delivered.delivered({"id": 1}), refused.refused("no such project")])
        outbox.release_all()
    return place


def run(*arguments: object, code: int = 0, input: str | None = None) -> Result:
    """One command of `capture-agent`, which must end with `code`; `input` is what a person types."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], input=input)
    assert result.exit_code == code, (result.output, result.exception)
    return result
