"""A film lines up what its streams recorded, dates it, and says what is missing."""

import itertools
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.film import Film, column_names
from agent.negative import NegativeWriter, identity_as_json
from drivers import Block, Channel, Identity

START_NS = 10**15
IMU = Identity(
    "MPU-6050", 200.0, tuple(Channel(f"Accelerometer{a}", "g", scale=1 / 4096) for a in "XY"), {"range_g": 8}, "7"
)
MCU = Identity("Nano 33", 100.0, (Channel("Light", "lx", "<f4"), Channel("Temperature", "C", "|u1", 0.5, -40)))


def head(streams: dict[str, Identity], fill: str = "hold") -> dict[str, Any]:
    return {
        "uuid": "7a7b4a54-9d1a-4a32-8f0c-0d6f1a0f0d6e",
        "settings": {"fill": fill},
        "streams": [
            {"name": name, "driver": "ssi", "identity": identity_as_json(identity)}
            for name, identity in streams.items()
        ],
        "started": {"boot_time_ns": START_NS, "wall_ns": 1_700_000_000 * 10**9},
    }


def ramp(identity: Identity, first: int, count: int) -> np.ndarray:
    """Samples that tell their own index."""
    samples = np.zeros(count, identity.dtype)
    for name in identity.dtype.names or ():
        dtype = identity.dtype[name]
        samples[name] = (np.arange(first, first + count) % (100 if dtype.itemsize == 1 else 10_000)).astype(dtype)
    return samples


def block(identity: Identity, first: int, count: int, **more: Any) -> Block:
    """A block seen the moment its last sample was taken, on a true clock that began at START_NS."""
    seen = START_NS + int((first + count - 1) * 1e9 / identity.rate_hz)
    return Block(first, ramp(identity, first, count), **{"observed_ns": seen, "newest": first + count - 1, **more})


def film(
    path: Path,
    streams: dict[str, Identity],
    blocks: list[tuple[int, Block]],
    *,
    fill: str = "hold",
    ranges: list[Any] | None = None,
) -> Film:
    writer = NegativeWriter(path / "n", head(streams, fill))
    for place, one in sorted(blocks, key=lambda pair: (pair[1].segment, pair[1].observed_ns)):
        writer.write(place, one)
    writer.finish({"reason": "length", "ranges": ranges} if ranges else {"reason": "length"})
    return Film.scan(path / "n")


def whole(film: Film) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """(sequence, time, columns as float with NaN where there is nothing) of all rows."""
    sequence, times, columns = [], [], []
    for rows in film.rows():
        sequence.append(rows.sequence)
        times.append(rows.time_ns)
        columns.append(
            [
                np.where(True if there is None else there, values.astype(float), np.nan)
                for values, there in zip(rows.columns, rows.present, strict=True)
            ]
        )
    return np.concatenate(sequence), np.concatenate(times), [np.concatenate(c) for c in zip(*columns, strict=True)]


def test_one_stream_comes_back_as_it_was(tmp_path: Path) -> None:
    made = film(tmp_path, {"imu": IMU}, [(0, block(IMU, first, 20)) for first in range(100, 12_100, 20)])
    sequence, times, columns = whole(made)
    assert sequence.tolist() == list(range(100, 12_100))
    assert np.abs(times - START_NS - sequence * 5_000_000).max() <= 1
    assert all((column == sequence % 10_000).all() for column in columns)
    assert [column.name for column in made.columns] == ["AccelerometerX", "AccelerometerY"]
    assert made.samples == 12_000
    assert made.duration_s == pytest.approx(11_999 / 200)
    assert all(len(rows.sequence) <= 4096 for rows in made.rows())
    assert next(made.rows()).columns[0].dtype == np.int16


def test_the_sidecar_part_follows_the_schema(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, 0, 400)), (0, block(IMU, 410, 390, lost=10, exact=False, segment=1))]
    blocks += [(0, block(IMU, first, 20, segment=1)) for first in range(800, 4000, 20)]
    made = film(tmp_path, {"imu": IMU, "mcu": MCU}, [*blocks, *[(1, block(MCU, f, 10)) for f in range(0, 2000, 10)]])
    described = made.describe()
    schema = json.loads((Path(__file__).parent.parent / "agent" / "capture.schema.json").read_text())
    for stream in described:
        jsonschema.validate(stream, {"$ref": "#/$defs/stream", "$defs": schema["$defs"]})
    imu, mcu = described
    assert (imu["name"], imu["driver"], imu["model"], imu["serial"]) == ("imu", "ssi", "MPU-6050", "7")
    assert (imu["first"], imu["samples"]) == (0, 3990)
    assert imu["lost"] == {"samples": 10, "exact": False}
    assert imu["gaps"] == [{"first": 400, "samples": 10, "exact": False}]
    assert imu["rate_hz"]["measured"] == pytest.approx(200)
    assert abs(imu["rate_hz"]["ppm"]) < 1
    assert mcu["rate_hz"]["nominal"] == 100.0
    assert (mcu["first"], mcu["samples"], mcu["lost"]) == (0, 2000, {"samples": 0, "exact": True})


@pytest.mark.parametrize(
    ("identity", "values", "clipped"),
    [
        (Identity("a", 100, (Channel("A"),)), [-32768, -32767, 0, 32766, 32767, 32767], 3),
        (Identity("a", 100, (Channel("A", limits=(-100, 100)),)), [-101, -100, -99, 99, 100, 101], 4),
        (Identity("a", 100, (Channel("A", dtype="|u1"),)), [0, 1, 254, 255, 255, 3], 3),
        (Identity("a", 100, (Channel("A", dtype="<f4"),)), [0, 1e30, -1e30, np.nan, np.inf, 3], 0),
        (Identity("a", 100, (Channel("A", dtype="<f4", limits=(-1.0, 1.0)),)), [0, 1, -1.5, np.nan, 0.9, 3], 3),
    ],
)
def test_clipped_samples_are_counted(tmp_path: Path, identity: Identity, values: list[float], clipped: int) -> None:
    samples = np.array([(value,) for value in values], identity.dtype)
    made = film(tmp_path, {"a": identity}, [(0, Block(0, samples, START_NS, len(values) - 1))])
    assert made.describe()[0]["channels"][0]["clipped"] == clipped


def test_rows_outside_the_leads_range_are_left_out(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, first, 20)) for first in range(0, 2000, 20)]
    made = film(tmp_path, {"imu": IMU}, blocks, ranges=[[30, 1990]])
    assert whole(made)[0].tolist() == list(range(30, 1990))
    assert (made.describe()[0]["first"], made.describe()[0]["samples"]) == (30, 1960)


def test_what_damage_took_from_the_range_is_counted(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, first, 20)) for first in range(40, 1000, 20) if first != 400]
    made = film(tmp_path, {"imu": IMU}, blocks, ranges=[[20, 1030]])
    assert made.describe()[0]["gaps"] == [
        {"first": 20, "samples": 20, "exact": True},
        {"first": 400, "samples": 20, "exact": True},
        {"first": 1000, "samples": 30, "exact": True},
    ]
    assert made.describe()[0]["lost"] == {"samples": 70, "exact": True}


def test_a_loss_at_the_cut_belongs_to_the_capture_after_it(tmp_path: Path) -> None:
    made = film(tmp_path, {"imu": IMU}, [(0, block(IMU, 100, 20, lost=7))], ranges=[[100, 120]])
    assert made.describe()[0]["gaps"] == [{"first": 93, "samples": 7, "exact": True}]


def test_copied_and_overlapping_blocks_are_there_once(tmp_path: Path) -> None:
    firsts = [0, 10, 0, 10, 20, 25, 40]
    blocks = [(0, block(IMU, first, 10, observed_ns=START_NS + n)) for n, first in enumerate(firsts)]
    made = film(tmp_path, {"imu": IMU}, blocks)
    sequence, _, columns = whole(made)
    assert sequence.tolist() == [*range(35), *range(40, 50)]
    assert (columns[0] == sequence).all()
    assert made.describe()[0]["lost"] == {"samples": 5, "exact": True}


def test_the_fastest_stream_leads_and_columns_keep_the_recordings_order(tmp_path: Path) -> None:
    blocks = [(0, block(MCU, first, 10)) for first in range(0, 200, 10)]
    blocks += [(1, block(IMU, first, 20)) for first in range(0, 400, 20)]
    made = film(tmp_path, {"mcu": MCU, "imu": IMU}, blocks)
    assert made.lead.name == "imu"
    assert [column.name for column in made.columns] == ["Light", "Temperature", "AccelerometerX", "AccelerometerY"]
    sequence, _, (light, _, x, _) = whole(made)
    assert (x == sequence % 10_000).all()
    assert np.nanmax(np.abs(light - sequence // 2)) <= 1


SLOW = Identity("Slow", 10.0, (Channel("S", dtype="<i4"),))


def slow_film(path: Path, fill: str, gap: range, count: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A 10 Hz stream without the samples of `gap` beside a 200 Hz one; (seconds, S, which S it would be)."""
    blocks = [(0, block(IMU, first, 20)) for first in range(0, 20 * count, 20)]
    blocks += [(1, block(SLOW, n, 1)) for n in range(count) if n not in gap]
    made = film(path, {"imu": IMU, "slow": SLOW}, blocks, fill=fill)
    sequence, times, (*_, values) = whole(made)
    return (times - START_NS) / 1e9, values, sequence / 20


@pytest.mark.parametrize("fill", ["hold", "nearest", "linear"])
def test_a_slower_stream_fills_its_columns(tmp_path: Path, fill: str) -> None:
    _, values, position = slow_film(tmp_path, fill, range(0))
    last = position > 99
    exact = {"hold": np.floor(position), "nearest": np.rint(position), "linear": position}[fill]
    tie = (fill == "nearest") & (position % 1 == 0.5)
    assert np.allclose(values[~last & ~tie], exact[~last & ~tie], atol=1e-6)
    # behind its last sample a stream has values for its own period at most
    after = {"hold": 1.0, "nearest": 0.5, "linear": 0.0}[fill]
    assert np.isnan(values[position > 99 + after + 0.01]).all()


@pytest.mark.parametrize("fill", ["hold", "nearest", "linear"])
def test_two_periods_are_filled_and_nothing_over_a_longer_gap(tmp_path: Path, fill: str) -> None:
    _, values, position = slow_film(tmp_path, fill, range(40, 41))
    assert not np.isnan(values[position <= 99]).any()
    (tmp_path / "n").unlink()
    _, values, position = slow_film(tmp_path, fill, range(40, 42))
    own = {"hold": (1.0, 0.0), "nearest": (0.5, 0.5), "linear": (0.0, 0.0)}[fill]
    inside = (position > 39 + own[0] + 0.01) & (position < 42 - own[1] - 0.01)
    assert inside.sum() > 30
    assert np.isnan(values[inside]).all()
    assert not np.isnan(values[(position <= 39) | ((position >= 42) & (position <= 99))]).any()


def test_slower_streams_are_cut_to_the_leads_period_but_help_at_its_edges(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, first, 20)) for first in range(1010, 3010, 20)]  # 5.05 s ... 15.045 s
    blocks += [(1, block(SLOW, n, 1)) for n in range(40, 160)]
    made = film(tmp_path, {"imu": IMU, "slow": SLOW}, blocks, ranges=[[1010, 3010], None], fill="linear")
    sequence, _, (*_, values) = whole(made)
    assert np.allclose(values, sequence / 20, atol=1e-6)
    assert list(itertools.chain(*(chunk.indexes.tolist() for chunk in made.tracks[1].chunks()))) == [*range(51, 151)]
    assert (made.describe()[1]["first"], made.describe()[1]["samples"]) == (51, 100)
    assert made.describe()[1]["lost"]["samples"] == 0


def test_a_given_range_cuts_a_slower_stream_exactly(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, first, 20)) for first in range(1000, 3000, 20)]
    blocks += [(1, block(SLOW, n, 1)) for n in range(40, 160)]
    made = film(tmp_path, {"imu": IMU, "slow": SLOW}, blocks, ranges=[[1000, 3000], [48, 152]])
    assert list(itertools.chain(*(chunk.indexes.tolist() for chunk in made.tracks[1].chunks()))) == [*range(48, 152)]


def test_captures_in_a_row_share_a_slower_stream_without_doubles(tmp_path: Path) -> None:
    seen: list[int] = []
    for number, (start, stop) in enumerate(((0, 1003), (1003, 2001), (2001, 3000))):
        blocks = [(0, block(IMU, start, 7)), (0, block(IMU, start + 7, stop - start - 7))]
        blocks += [(1, block(SLOW, n, 1)) for n in range(max(0, start // 20 - 10), min(150, stop // 20 + 5))]
        folder = tmp_path / str(number)
        folder.mkdir()
        made = film(folder, {"imu": IMU, "slow": SLOW}, blocks, ranges=[[start, stop], None])
        seen += [int(index) for chunk in made.tracks[1].chunks() for index in chunk.indexes]
    assert seen == list(range(150))


@pytest.mark.parametrize("seed", range(4))
def test_two_clocks_of_one_motion_are_lined_up(tmp_path: Path, seed: int) -> None:
    """An IMU 1.5 % fast beside a serial board read up to 80 ms late: after 10 s their columns agree within 2 ms."""
    rng = np.random.default_rng(seed)
    imu = Identity("IMU", 1000.0, (Channel("Imu", dtype="<f8"),))
    mcu = Identity("MCU", 500.0, (Channel("Mcu", dtype="<f8"),))

    def samples(identity: Identity, ppm: float, rows: int, poll_s: float) -> list[Block]:
        """The motion is the true time itself: each sample says when it was taken."""
        period, done, now, blocks = 1 / (identity.rate_hz * (1 + ppm * 1e-6)), 0, 0.0, []
        while now < 12:
            now += rng.uniform(0.001, poll_s)
            there = int(now / period) // rows * rows
            if there > done:
                values = np.array([(n * period,) for n in range(done, there)], identity.dtype)
                blocks.append(Block(done, values, START_NS + int(now * 1e9), there - 1))
                done = there
        return blocks

    blocks = [(0, b) for b in samples(imu, 15_000, 1, 0.02)] + [(1, b) for b in samples(mcu, 0, 6, 0.08)]
    made = film(tmp_path, {"imu": imu, "mcu": mcu}, blocks, fill="linear")
    _, _, (ours, theirs) = whole(made)
    both = ~np.isnan(theirs)
    assert both.sum() > 11_000
    assert np.abs(ours - theirs)[both].max() < 0.002


def test_a_reconnected_stream_is_dated_anew_and_time_rises(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, first, 20)) for first in range(0, 2000, 20)]
    for first in range(2300, 4300, 20):  # 300 were estimated while in truth 2 s passed
        blocks.append((0, block(IMU, first, 20, segment=1, observed_ns=START_NS + (first + 100) * 5_000_000)))
    blocks[100] = (0, block(IMU, 2300, 20, segment=1, lost=300, exact=False, observed_ns=START_NS + 2400 * 5_000_000))
    made = film(tmp_path, {"imu": IMU}, blocks)
    sequence, times, _ = whole(made)
    assert (np.diff(times) > 0).all()
    assert times[2000] - START_NS == pytest.approx((2300 + 81) * 5_000_000, abs=1000)
    assert made.describe()[0]["lost"] == {"samples": 300, "exact": False}
    assert sequence[2000] == 2300


def test_a_short_segment_has_the_rate_that_a_long_one_tells(tmp_path: Path) -> None:
    period_ns, blocks = 4_900_000, []  # 2 % fast
    for first in [*range(0, 4000, 20), *range(4200, 4400, 20)]:
        observed_ns = START_NS + (first + 19) * period_ns
        blocks.append((0, block(IMU, first, 20, segment=int(first >= 4200), observed_ns=observed_ns)))
    _, times, _ = whole(film(tmp_path, {"imu": IMU}, blocks))
    assert np.abs(np.diff(times[-200:]) - period_ns).max() <= 2


def test_segments_whose_times_overlap_still_rise(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, first, 20)) for first in range(0, 1800, 20)]
    for first in range(2000, 4000, 20):
        blocks.append((0, block(IMU, first, 20, segment=1, observed_ns=START_NS + (first - 250) * 5_000_000)))
    made = film(tmp_path, {"imu": IMU}, blocks)
    assert (np.diff(whole(made)[1]) > 0).all()


def test_an_unfinished_negative_is_developed_as_far_as_it_goes(tmp_path: Path) -> None:
    writer = NegativeWriter(tmp_path / "n", head({"imu": IMU}))
    for first in range(0, 400, 20):
        writer.write(0, block(IMU, first, 20))
    writer.flush()
    writer.close()
    data = (tmp_path / "n").read_bytes()
    (tmp_path / "n").write_bytes(data[:-30])
    made = Film.scan(tmp_path / "n")
    assert whole(made)[0].tolist() == list(range(380))
    assert (made.end, made.damaged) == (None, 1)


def test_a_recording_without_samples_is_an_empty_film(tmp_path: Path) -> None:
    made = film(tmp_path, {"imu": IMU, "mcu": MCU}, [])
    assert list(made.rows()) == []
    assert (made.samples, made.duration_s, made.start_ns) == (0, 0.0, START_NS)
    assert [stream["samples"] for stream in made.describe()] == [0, 0]


def test_a_stream_that_never_spoke_leaves_its_columns_empty(tmp_path: Path) -> None:
    made = film(tmp_path, {"imu": IMU, "mcu": MCU}, [(1, block(MCU, f, 10)) for f in range(0, 100, 10)])
    assert made.lead.name == "mcu"
    sequence, _, columns = whole(made)
    assert len(sequence) == 100
    assert np.isnan(columns[0]).all()
    assert not np.isnan(columns[2]).any()


def test_alike_columns_get_their_streams_name() -> None:
    odd = Identity("x", 1, (Channel("Mic (left)"), Channel("sequence"), Channel("A.B"), Channel("A-B")))
    assert column_names([("imu", IMU), ("mcu", MCU)]) == [
        ("AccelerometerX", "AccelerometerY"),
        ("Light", "Temperature"),
    ]
    assert column_names([("left", IMU), ("r.t", IMU), ("odd", odd)]) == [
        ("left_AccelerometerX", "left_AccelerometerY"),
        ("r_t_AccelerometerX", "r_t_AccelerometerY"),
        ("Mic _left_", "odd_sequence", "A_B", "A-B"),
    ]


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=3), st.lists(st.text(alphabet="aX._2 é", max_size=4), max_size=4)),
        max_size=3,
        unique_by=lambda pair: pair[0],
    )
)
def test_column_names_are_safe_and_all_different(streams: list[tuple[str, list[str]]]) -> None:
    pairs = [(name, Identity("m", 1, tuple(map(Channel, channels)))) for name, channels in streams]
    names = [name for columns in column_names(pairs) for name in columns]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_ -]+", name) for name in names)
    assert not {"sequence", "timestamp"} & set(names)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_sample_that_was_written_is_a_row_or_in_a_gap(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    blocks, first, segment = [], data.draw(st.integers(0, 1000)), 0
    begin = first
    for _ in range(data.draw(st.integers(1, 30))):
        lost = data.draw(st.sampled_from([0, 0, 1, 30, 5000]))
        segment += lost == 5000
        first += lost
        count = data.draw(st.integers(1, 400))
        blocks.append((0, block(IMU, first, count, lost=lost, segment=segment)))
        first += count
    made = film(tmp_path_factory.mktemp("film"), {"imu": IMU}, blocks)
    sequence = whole(made)[0]
    gaps = [range(g["first"], g["first"] + g["samples"]) for g in made.describe()[0]["gaps"]]
    assert sorted([*sequence.tolist(), *itertools.chain(*gaps)]) == list(range(begin, first))


def test_memory_is_flat(tmp_path: Path) -> None:
    def peak(seconds: int) -> int:
        writer = NegativeWriter(tmp_path / str(seconds), head({"imu": IMU, "mcu": MCU}))
        for second in range(seconds):
            writer.write(0, block(IMU, second * 200, 200))
            writer.write(1, block(MCU, second * 100, 100))
            writer.flush()
        writer.finish({})
        tracemalloc.start()
        rows = sum(len(rows.sequence) for rows in Film.scan(tmp_path / str(seconds)).rows())
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert rows == seconds * 200
        return top

    assert peak(1600) < peak(200) + 300_000
