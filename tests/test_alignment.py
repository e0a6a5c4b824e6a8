"""Two sensors of one motion, their clocks 1.5 % apart, one of them up to 80 ms late: their columns still agree.

The microcontroller is the virtual one itself, run in the time of the test, and its bytes go through the real decoder;
what each row is worth is the moment at which it was taken, so that a column says by itself how wrong it is.
"""

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest

from agent.film import Film
from agent.negative import NegativeWriter, identity_as_json
from drivers import Block, Channel, Identity, samples_dtype
from drivers._ssi2 import Decoder
from drivers.ports.virtual.ssi import Ssi
from drivers.ssi import VirtualSsi

MS = 1_000_000
BEGUN_NS = 10_000_000 * MS
FAST = Identity("IMU", 1000.0, (Channel("Taken", dtype="<f8"),))
SLOW = Identity("MCU", 500.0, (Channel("Taken", dtype="<f8"),))


def imu(seconds: float, chance: random.Random) -> list[Block]:
    """A FIFO that is read when there is time, at 1000 Hz of its own clock, which is right."""
    blocks = []
    now_ns, end = BEGUN_NS, 0
    while now_ns < BEGUN_NS + seconds * 1e9:
        now_ns += int(chance.uniform(10, 60) * MS)
        level = int((now_ns - BEGUN_NS) / MS)
        taken = BEGUN_NS + (np.arange(end, level) + 1.0) * MS
        blocks.append(Block(end, taken.view(FAST.dtype), now_ns, level - 1))
        end = level
    return blocks


def mcu(seconds: float, seed: int, rows: int) -> list[Block]:
    """The virtual microcontroller at 507.5 rows a second, which it calls 500; each delivery up to 80 ms late."""
    options = VirtualSsi(seed=seed, rate_hz=500, samples_per_packet=rows, clock_ppm=15_000, delay_s=0.08)
    device = Ssi({**options.document(), **dataclasses.asdict(options)})
    device.power_on(0)
    connected_ns = BEGUN_NS - 123 * MS
    device.hear(b"connect", connected_ns)
    axes = tuple(Channel(name) for name in "abcdef")
    decoder = Decoder(samples_dtype(axes), rows, 500.0)
    blocks = []
    while True:
        now_ns = device.due_ns()
        assert now_ns is not None
        if now_ns > BEGUN_NS + seconds * 1e9:
            return blocks
        for block in (*decoder.feed(b"".join(device.pieces(now_ns)), now_ns), *decoder.settle()):
            taken = connected_ns + (np.arange(block.first, block.end) + 1.0) * 1e9 / 507.5
            blocks.append(dataclasses.replace(block, samples=taken.view(SLOW.dtype)))


@pytest.mark.parametrize(("seed", "rows"), [(1, 1), (2, 5), (3, 5), (4, 8), (5, 2), (6, 5)])
def test_their_columns_agree_within_two_milliseconds_after_ten_seconds(tmp_path: Path, seed: int, rows: int) -> None:
    streams = [("imu", FAST, imu(10, random.Random(seed))), ("mcu", SLOW, mcu(10, seed, rows))]
    head = {
        "uuid": "0",
        "settings": {"fill": "linear"},
        "started": {"boot_time_ns": BEGUN_NS},
        "streams": [
            {"name": name, "driver": "test", "identity": identity_as_json(identity)} for name, identity, _ in streams
        ],
    }
    negative = NegativeWriter(tmp_path / "both.negative", head)
    both = [(block.observed_ns, place, block) for place, (_, _, blocks) in enumerate(streams) for block in blocks]
    for _, place, block in sorted(both, key=lambda each: each[:2]):
        negative.write(place, block)
    negative.finish({"reason": "length"})
    film = Film.scan(tmp_path / "both.negative")
    worst_ms = 0.0
    rows_seen = 0
    for chunk in film.rows():
        fast, slow = chunk.columns
        there = chunk.present[1] if chunk.present[1] is not None else np.ones(len(slow), np.bool_)
        rows_seen += int(there.sum())
        worst_ms = max(worst_ms, float(np.abs(fast - slow)[there].max(initial=0.0)) / MS)
    assert rows_seen > 9000
    assert worst_ms < 2.0
    rate = film.describe()[1]["rate_hz"]
    assert abs(rate["measured"] / 507.5 - 1) < 200e-6
