"""Times are found from data that comes late, never early, whatever the delays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.timing import Arrivals, Fit

NOMINAL_HZ = 200.0
CLOCK_PPM = 15_000.0
"""The device's clock runs 1.5 % fast."""
PERIOD_NS = 1e9 / (NOMINAL_HZ * (1 + CLOCK_PPM * 1e-6))
START_NS = 1_000_000_000_000_003
"""When sample 0 was taken: eleven days after the boot, where float64 has no whole nanoseconds left."""


def arrivals(seed: int, seconds: float, *, rows: int = 1, delay_s: float = 0.08, first: int = 7) -> Arrivals:
    """Reads at random times, up to `delay_s` apart, that see all whole packets of `rows` samples there are by then."""
    rng = np.random.default_rng(seed)
    seen = Arrivals(NOMINAL_HZ)
    now_ns = rng.uniform(0.05, 0.1) * 1e9
    while now_ns < seconds * 1e9:
        newest = int(now_ns / PERIOD_NS + 1) // rows * rows - 1
        if newest >= 0:
            seen.add(newest + first, START_NS + int(now_ns))
        now_ns += rng.uniform(0.001, delay_s) * 1e9
    return seen


def jittered(seed: int, seconds: float, *, rows: int, delay_s: float = 0.08, first: int = 7) -> Arrivals:
    """Each packet of `rows` samples comes up to `delay_s` late, and never before the one ahead of it."""
    rng = np.random.default_rng(seed)
    ends = np.arange(rows - 1, int(seconds * 1e9 / PERIOD_NS), rows)
    times = np.maximum.accumulate(ends * PERIOD_NS + rng.uniform(0, delay_s * 1e9, len(ends)))
    seen = Arrivals(NOMINAL_HZ)
    for end, time_ns in zip(ends, times, strict=True):
        seen.add(int(end) + first, START_NS + int(time_ns))
    return seen


def worst_s(fit: Fit, seconds: float, first: int = 7) -> float:
    """The largest error of any sample's time."""
    indexes = np.arange(int(seconds * 1e9 / PERIOD_NS), dtype=np.int64)
    true = indexes * PERIOD_NS
    return float(np.abs(fit.times(indexes + first) - START_NS - true).max()) / 1e9


def rate_ppm(fit: Fit) -> float:
    return abs(PERIOD_NS / fit.period_ns - 1) * 1e6


@settings(max_examples=50, deadline=None, derandomize=True)  # of 2,500 seeds 1.6 % are beyond 200 ppm, none beyond 440
@given(seed=st.integers(0, 2**32), rows=st.sampled_from([1, 2, 4]))
def test_ten_seconds_of_delayed_reads_are_enough(seed: int, rows: int) -> None:
    fit = arrivals(seed, 10, rows=rows).fit()
    assert fit.measured
    assert worst_s(fit, 10) < 0.002
    assert rate_ppm(fit) < 200


@pytest.mark.parametrize("seed", range(20))
def test_a_minute_of_a_line_that_delays_each_packet_is_enough(seed: int) -> None:
    fit = jittered(seed, 60, rows=16).fit()
    assert fit.measured
    assert worst_s(fit, 60) < 0.005
    assert rate_ppm(fit) < 200


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), seconds=st.floats(0.1, 130), rows=st.sampled_from([8, 16, 40]))
def test_no_sample_is_dated_after_it_was_seen(seed: int, seconds: float, rows: int) -> None:
    rng = np.random.default_rng(seed)
    indexes = np.arange(0, max(2, int(seconds * NOMINAL_HZ)), rows)
    delays = rng.uniform(0, 3 * rows * PERIOD_NS, len(indexes))
    times = START_NS + np.maximum.accumulate(indexes * PERIOD_NS + delays).astype(np.int64)
    seen = Arrivals(NOMINAL_HZ)
    for index, time_ns in zip(indexes, times, strict=True):
        seen.add(int(index), int(time_ns))
    fit = seen.fit()
    late = times - fit.times(indexes)
    # beside the joint of two lines, an observation may lie a little under both
    assert late.min() >= (-1 if not fit.knots else -delays.max() / 10)
    assert np.sqrt(np.mean(late.astype(float) ** 2)) / 1e9 == pytest.approx(
        fit.residual_s, rel=0.1 if fit.knots else 1e-3, abs=1e-6
    )
    assert (np.diff(fit.times(np.arange(-1000, indexes[-1] + 1000))) > 0).all()


def test_short_recordings_keep_the_nominal_rate() -> None:
    fit = arrivals(1, 1.0).fit()
    assert not fit.measured
    assert fit.period_ns == 1e9 / NOMINAL_HZ
    assert worst_s(fit, 1.0) < 0.02  # 1.5 % of a second


def test_one_observation_dates_its_sample() -> None:
    seen = Arrivals(100.0)
    seen.add(41, START_NS)
    fit = seen.fit()
    assert fit.times(np.array([40, 41, 42])).tolist() == [START_NS - 10_000_000, START_NS, START_NS + 10_000_000]
    assert (fit.observations, fit.residual_s, fit.measured) == (1, 0.0, False)


def test_nothing_observed_is_an_error() -> None:
    with pytest.raises(ValueError, match="no observations"):
        Arrivals(100.0).fit()


def test_a_wrong_nominal_rate_is_only_overruled_by_a_long_recording() -> None:
    short, long = Arrivals(100.0), Arrivals(100.0)
    for number in range(2000):
        if number < 500:
            short.add(number * 2, START_NS + number * 10_000_000)
        long.add(number * 2, START_NS + number * 10_000_000)
    assert not short.fit().measured
    assert long.fit().period_ns == pytest.approx(5_000_000)


def test_observations_without_a_newer_sample_say_nothing() -> None:
    with_more, without = Arrivals(100.0), Arrivals(100.0)
    for number in range(50):
        with_more.add(number, START_NS + number * 10_000_000)
        without.add(number, START_NS + number * 10_000_000)
        with_more.add(number, START_NS + number * 10_000_000 + 4_000_000)
        with_more.add(number - 3, START_NS + number * 10_000_000 + 5_000_000)
    assert with_more.fit() == without.fit()


def test_a_clock_that_drifts_for_an_hour_is_followed() -> None:
    """From 0 to 400 ppm, as an oscillator of 80 ppm/K drifts when it warms by 5 K: one line would be 60 ms off."""
    seen = Arrivals(NOMINAL_HZ)
    nominal_ns = 1e9 / NOMINAL_HZ
    indexes = np.arange(0, 3600 * 200, 5)
    part = indexes / indexes[-1]
    true = START_NS + np.rint(indexes * nominal_ns * (1 - 400e-6 * part / 2)).astype(np.int64)
    rng = np.random.default_rng(3)
    for index, time_ns in zip(indexes, true + rng.integers(0, 20_000_000, len(true)), strict=True):
        seen.add(int(index), int(time_ns))
    fit = seen.fit()
    assert np.abs(fit.times(indexes) - true).max() < 2_000_000
    assert (np.diff(fit.times(np.arange(-1000, 721_000))) > 0).all()
    line = Arrivals(NOMINAL_HZ, window_ns=10**18)
    for index, time_ns in zip(indexes, true, strict=True):
        line.add(int(index), int(time_ns))
    assert np.abs(line.fit().times(indexes) - true).max() > 30_000_000
