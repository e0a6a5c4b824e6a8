"""The trigger: it fires at the very sample, whatever the blocks, with hysteresis, hold-off, slopes and windows."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.trigger import Detector, TriggerSettings
from drivers import Block, Channel, Identity, SettingsError

XYZ = Identity("Test", 100.0, tuple(Channel(name, "g", "<i2", 0.5, 1.0) for name in "XYZ"))
FLOATS = Identity("Test", 100.0, (Channel("X", dtype="<f4"), Channel("Y", dtype="<f4")))
Fired = list[tuple[int, float]]


def trigger(kind: str = "level", **options: Any) -> TriggerSettings:
    return TriggerSettings(kind=kind, **{"channels": ("X",), "threshold": 10.0, "units": "raw", **options})


def blocks(identity: Identity, rows: Any, cuts: tuple[int, ...] = (), first: int = 0) -> list[Block]:
    """The rows (a list of values is the first channel alone) cut into blocks."""
    table = np.asarray(rows, np.float64)
    samples = np.zeros(len(table), identity.dtype)
    for place, channel in enumerate(identity.channels[: 1 if table.ndim == 1 else None]):
        samples[channel.name] = table if table.ndim == 1 else table[:, place]
    edges = [0, *sorted({min(cut, len(table)) for cut in cuts} - {0, len(table)}), len(table)]
    return [Block(first + a, samples[a:b], 1_000_000 * b, first + b - 1) for a, b in itertools.pairwise(edges)]


def fired(options: TriggerSettings, rows: Any, *cuts: int, identity: Identity = XYZ) -> Fired:
    detector = Detector(options, identity)
    return [hit for block in blocks(identity, rows, cuts) for hit in detector.feed(block)]


def test_it_fires_where_the_threshold_is_reached_from_below() -> None:
    assert fired(trigger(), [0, 9, 10, 11, 9, 12]) == [(2, 10.0), (5, 12.0)]
    assert fired(trigger(direction="below"), [20, 11, 10, 9, 11, 8]) == [(2, 10.0), (5, 8.0)]


def test_what_is_there_from_the_beginning_is_no_event() -> None:
    assert fired(trigger(), [15, 15, 3, 15]) == [(3, 15.0)]


def test_it_fires_again_only_once_the_value_was_behind_by_more_than_the_hysteresis() -> None:
    rows = [0, 10, 7, 10, 6, 10, 8, 10]
    assert [at for at, _ in fired(trigger(hysteresis=3), rows)] == [1, 5]
    assert [at for at, _ in fired(trigger(), rows)] == [1, 3, 5, 7]


def test_within_the_hold_off_it_is_counted_and_nothing_else() -> None:
    detector = Detector(trigger(holdoff_s=0.04), XYZ)
    hits = [hit for block in blocks(XYZ, [0, 10, 0, 10, 0, 10, 0, 10, 0, 10], (3, 6)) for hit in detector.feed(block)]
    assert [at for at, _ in hits] == [1, 5, 9]
    assert detector.ignored == 2


def test_several_channels_are_their_magnitude_and_units_are_physical_unless_raw_is_said() -> None:
    rows = [[0, 0, 0], [4, 2, 0], [6, 2, 2]]  # physical: (1, 1, 1), (3, 2, 1), (4, 2, 2)
    both = {"channels": ("X", "Y", "Z"), "units": "physical"}
    assert fired(trigger(threshold=4.5, **both), rows) == [(2, pytest.approx(math.sqrt(24)))]
    assert fired(trigger(threshold=4.4, channels=("X", "Y")), rows) == [(1, pytest.approx(math.sqrt(20)))]
    assert fired(trigger(threshold=2.0, units="physical"), rows) == [(1, 3.0)]


def test_a_slope_is_the_change_a_second() -> None:
    rows = [0, 1, 2, 5, 6, 7, 7, 20]
    assert fired(trigger("slope", threshold=300), rows) == [(3, 300.0), (7, 1300.0)]
    assert fired(trigger("slope", threshold=200, window_s=0.02), rows) == [(3, 200.0), (7, 650.0)]
    assert fired(trigger("slope", threshold=-100, direction="below"), [5, 5, 4, 4]) == [(2, -100.0)]


def test_a_root_mean_square_needs_its_whole_window() -> None:
    rows = [0, 0, 0, 0, 20, 0, 0, 0, 0, 20, 20]
    assert fired(trigger("rms", window_s=0.04), rows) == [(4, 10.0), (9, 10.0)]
    assert fired(trigger("rms", window_s=0.04), [0, 20, 0]) == []


def test_it_is_as_a_plain_loop_says() -> None:
    noise = np.random.default_rng(7).integers(-30, 30, (2000, 3))
    options = trigger("rms", channels=("X", "Y", "Z"), window_s=0.17, threshold=29.0, hysteresis=0.5, units="physical")
    plain, armed = [], False
    physical = noise * 0.5 + 1.0
    options = TriggerSettings(**{**options.__dict__, "threshold": 15.0})
    for at in range(16, 2000):
        value = math.sqrt((physical[at - 16 : at + 1] ** 2).sum() / 17)
        if armed and value >= 15:
            plain.append((at, pytest.approx(value)))
        armed = value < 14.5 or (armed and value < 15)
    assert len(plain) > 10
    assert fired(options, noise, *range(0, 2000, 23)) == plain


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-40, 40, width=32), st.floats(-40, 40, width=32)), min_size=1, max_size=120),
    st.sampled_from(["level", "slope", "rms"]),
    st.sampled_from([("X",), ("X", "Y")]),
    st.sampled_from([0.01, 0.03, 0.1]),
    st.floats(-30, 30),
    st.sampled_from([0.0, 5.0]),
    st.sampled_from([0.0, 0.05]),
    st.lists(st.integers(0, 120), max_size=12),
)
def test_no_way_of_cutting_blocks_changes_a_single_bit(
    rows: list[tuple[float, float]],
    kind: str,
    channels: tuple[str, ...],
    window_s: float,
    threshold: float,
    hysteresis: float,
    holdoff_s: float,
    cuts: list[int],
) -> None:
    options = trigger(
        kind,
        channels=channels,
        window_s=window_s,
        threshold=threshold * (100 if kind == "slope" else 1),
        hysteresis=hysteresis,
        holdoff_s=holdoff_s,
    )
    whole = fired(options, rows, identity=FLOATS)
    assert fired(options, rows, *cuts, identity=FLOATS) == whole
    assert fired(options, rows, *range(len(rows)), identity=FLOATS) == whole


def test_what_was_lost_begins_slopes_and_windows_anew_but_a_level_is_seen_across_it() -> None:
    low, high = blocks(XYZ, [0] * 10)[0], blocks(XYZ, [50] * 3, first=15)[0]
    for options, wanted in (
        (trigger("level"), [(15, 50.0)]),
        (trigger("slope", threshold=1000), []),
        (trigger("rms", window_s=0.04), []),
    ):
        detector = Detector(options, XYZ)
        assert [*detector.feed(low), *detector.feed(high)] == wanted, options.kind


def test_what_is_not_a_number_neither_fires_nor_arms() -> None:
    nan = math.nan
    assert fired(trigger(), [nan, 12, 0, nan, 12, nan, 12], identity=FLOATS) == [(4, 12.0)]


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        (Identity("Odd", 100.0, (Channel("A"),)), "no channel 'X'; it has A"),
        (Identity("Odd", 0.0, XYZ.channels), "no rate"),
    ],
)
def test_a_stream_that_cannot_be_watched_says_why(identity: Identity, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Detector(trigger(), identity)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "level"},
        {"kind": "rms", "channels": ("X",)},
        {"kind": "gpio"},
        {"pre_s": 1.0, "pre_samples": 5},
        {"kind": "sometimes"},
    ],
)
def test_what_is_no_trigger_is_a_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        TriggerSettings(**wrong)
