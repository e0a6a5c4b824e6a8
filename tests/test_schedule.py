"""The schedule: windows of the day, the week, the sun and of intervals, in any zone and over both clock changes."""

import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.clock import Clock
from agent.gate import Gate
from agent.schedule import Schedule, ScheduleSettings
from agent.sun import rise_and_set
from drivers import SettingsError

NS = 1_000_000_000
MINUTE = 60 * NS
BERLIN = ZoneInfo("Europe/Berlin")
TIMES = ("08:00-17:30", "mon-fri 22:00-02:00", "sat,sun 00:00-24:00", "fri-mon 02:10-02:50", "01:30-03:30", "2:30-2:30")
SUN = ("sunrise-sunset", "sunset+0:20 - sunrise-0:20", "mon sunrise-1:00 - 12:00", "18:00-sunrise", "sunset-23:00")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Kiritimati")


def schedule(zone: datetime.tzinfo = datetime.UTC, **options: Any) -> Schedule:
    return Schedule(ScheduleSettings(**options), zone)


def at(text: str, zone: datetime.tzinfo = datetime.UTC, fold: int = 0) -> int:
    """Unix time in ns of a local time."""
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()) * NS


def windows(of: Schedule, since: int, until: int) -> list[tuple[str, str]]:
    """(begin, end) in UTC of all windows that begin between two moments."""
    found, moment = [], since
    while moment < until:
        state = of.state(moment)
        end = until if state.next_change_ns is None else state.next_change_ns
        if state.on:
            found.append((said(moment), said(end)))
        moment = end
    return found


def said(ns: int) -> str:
    return datetime.datetime.fromtimestamp(ns // NS, datetime.UTC).strftime("%a %H:%M")


def test_times_are_on_on_their_days_and_over_midnight() -> None:
    week = at("2026-11-16T00:00"), at("2026-11-23T00:00")
    assert windows(schedule(times=("mon-tue 08:00-17:30",)), *week) == [
        ("Mon 08:00", "Mon 17:30"),
        ("Tue 08:00", "Tue 17:30"),
    ]
    assert windows(schedule(times=("fri 22:00-02:00",)), *week) == [("Fri 22:00", "Sat 02:00")]
    assert windows(schedule(times=("sun 22:00-02:00",)), *week)[0] == ("Mon 00:00", "Mon 02:00"), "of the Sunday before"
    assert windows(schedule(times=("fri-sat 00:00-24:00",)), *week) == [("Fri 00:00", "Sun 00:00")]
    two = schedule(times=("thu 06:00-09:00", "thu 08:00-10:00"))
    assert windows(two, *week) == [("Thu 06:00", "Thu 10:00")]


def test_an_end_belongs_to_the_window_no_more_and_a_begin_does() -> None:
    one = schedule(times=("08:00-17:30",))
    for moment, on in (("07:59:59", False), ("08:00", True), ("17:29:59", True), ("17:30", False)):
        assert one.state(at(f"2026-11-16T{moment}")).on is on, moment


def test_all_day_every_day_has_no_change_ahead() -> None:
    state = schedule(times=("00:00-24:00",)).state(at("2026-11-16T05:00"))
    assert (state.on, state.next_change_ns) == (True, None)
    assert schedule(times=("2:30-2:31", "00:00-23:59")).state(at("2026-11-16T05:00")).next_change_ns is not None


def test_intervals_are_counted_from_midnight_and_only_within_the_times() -> None:
    quarter = schedule(every_s=900, for_s=60)
    assert windows(quarter, at("2026-11-16T00:00"), at("2026-11-16T00:40")) == [
        ("Mon 00:00", "Mon 00:01"),
        ("Mon 00:15", "Mon 00:16"),
        ("Mon 00:30", "Mon 00:31"),
    ]
    both = schedule(every_s=3600, for_s=600, times=("tue 08:05-10:05",))
    assert windows(both, at("2026-11-16T00:00"), at("2026-11-18T00:00")) == [
        ("Tue 08:05", "Tue 08:10"),
        ("Tue 09:00", "Tue 09:10"),
        ("Tue 10:00", "Tue 10:05"),
    ]


def test_in_spring_what_the_clocks_skip_is_left_out() -> None:
    night = at("2026-03-28T12:00", BERLIN), at("2026-03-29T12:00", BERLIN)
    assert windows(schedule(BERLIN, times=("02:10-02:50",)), *night) == []
    assert windows(schedule(BERLIN, times=("01:30-02:30",)), *night) == [("Sun 00:30", "Sun 01:00")]
    assert windows(schedule(BERLIN, times=("02:30-03:30",)), *night) == [("Sun 01:00", "Sun 01:30")]
    assert windows(schedule(BERLIN, times=("22:00-06:00",)), *night) == [("Sat 21:00", "Sun 04:00")]


def test_in_autumn_what_comes_twice_is_recorded_once() -> None:
    night = at("2026-10-24T12:00", BERLIN), at("2026-10-25T12:00", BERLIN)
    assert windows(schedule(BERLIN, times=("02:10-02:50",)), *night) == [("Sun 00:10", "Sun 00:50")]
    assert windows(schedule(BERLIN, times=("01:30-03:30",)), *night) == [("Sat 23:30", "Sun 02:30")]
    assert windows(schedule(BERLIN, times=("22:00-06:00",)), *night) == [("Sat 20:00", "Sun 05:00")]


@pytest.mark.parametrize(
    ("where", "day", "rise", "down"),
    [  # https://gml.noaa.gov/grad/solcalc/, which rounds to minutes
        ((40.0, -105.0), "2026-03-20", "13:04", "01:12"),
        ((51.48, 0.0), "2026-06-21", "03:43", "20:21"),
        ((-36.85, 174.76), "2026-01-01", "17:05", "07:43"),
        ((64.13, -21.9), "2026-12-21", "11:22", "15:30"),
    ],
)
def test_the_sun_rises_and_sets_when_noaa_says(where: tuple[float, float], day: str, rise: str, down: str) -> None:
    noon_s = at(f"{day}T12:00") // NS - round(where[1] * 240)
    for found, wanted in zip(rise_and_set(noon_s, *where), (rise, down), strict=True):
        hours, minutes = map(int, wanted.split(":"))
        off_s = (found - (hours * 60 + minutes) * 60 + 43200) % 86400 - 43200
        assert abs(off_s) <= 120, (said(found * NS), wanted)
        assert abs(found - noon_s) < 43200


def test_where_the_sun_does_not_set_the_day_has_no_end_and_in_polar_night_no_begin() -> None:
    tromso: dict[str, Any] = {"latitude": 69.65, "longitude": 18.96}
    days = schedule(BERLIN, times=("sunrise-sunset",), **tromso)
    nights = schedule(BERLIN, times=("sunset-sunrise",), **tromso)
    june, december = at("2026-06-15T00:00"), at("2026-12-10T00:00")
    assert (days.state(june).on, days.state(june).next_change_ns) == (True, None)
    assert (nights.state(june).on, nights.state(june).next_change_ns) == (False, None)
    assert (days.state(december).on, days.state(december).next_change_ns) == (False, None)
    assert (nights.state(december).on, nights.state(december).next_change_ns) == (True, None)


def test_a_sun_bound_and_a_time_of_day_lie_on_the_days_that_people_mean() -> None:
    day = at("2026-06-16T12:00", BERLIN), at("2026-06-17T12:00", BERLIN)
    berlin: dict[str, Any] = {"latitude": 52.52, "longitude": 13.4}
    for entry, wanted in {
        "sunset-01:00": [("Tue 19:31", "Tue 23:00")],
        "20:00-sunrise": [("Tue 18:00", "Wed 02:43")],
        "sunset-21:00": [],
        "04:00-sunrise": [("Wed 02:00", "Wed 02:43")],
        "sunrise-0:30-sunrise": [("Wed 02:13", "Wed 02:43")],
    }.items():
        found = windows(schedule(BERLIN, times=(entry,), **berlin), *day)
        assert [tuple(map(_minutes, window)) for window in found] == [
            tuple(pytest.approx(_minutes(text), abs=1) for text in window) for window in wanted
        ], entry


def _minutes(text: str) -> int:
    return int(text[4:6]) * 60 + int(text[7:])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.lists(st.sampled_from(TIMES + SUN), max_size=3, unique=True),
    st.sampled_from([(0, 0), (900, 60), (5400, 3600), (100_000, 7)]),
    st.integers(at("2026-01-01T00:00"), at("2028-01-01T00:00")),
    st.floats(0, 1, exclude_max=True),
)
@example("Europe/Berlin", ["2:30-2:30"], (0, 0), at("2026-03-27T00:00"), 0.5)
@example("Australia/Lord_Howe", ["01:30-03:30"], (0, 0), at("2026-04-04T00:00"), 0.5)
def test_it_changes_when_it_says_and_not_before(
    zone: str, times: list[str], interval: tuple[float, float], now: int, part: float
) -> None:
    every_s, for_s = interval
    one = schedule(ZoneInfo(zone), times=tuple(times), every_s=every_s, for_s=for_s, latitude=47.4, longitude=8.5)
    state = one.state(now)
    if state.next_change_ns is None:
        assert one.state(now + int(part * 8 * 86400 * NS)).on == state.on
        return
    change = state.next_change_ns
    assert change > now
    assert one.state(change).on is not state.on
    assert one.state(change - 1) == state
    assert one.state(now + int(part * (change - now))) == state


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from(TIMES[:3]), st.integers(at("2026-01-01T00:00"), at("2028-01-01T00:00")))
def test_far_from_clock_changes_it_is_what_a_clock_on_the_wall_shows(zone: str, entry: str, now: int) -> None:
    shown = datetime.datetime.fromtimestamp(now // NS, ZoneInfo(zone))
    if any((shown + datetime.timedelta(days=d)).utcoffset() != shown.utcoffset() for d in (-1, 1)):
        return
    days, span = entry.rpartition(" ")[::2]
    begin, end = span.split("-")
    clock = shown.strftime("%H:%M")
    names = {"": range(7), "mon-fri": range(5), "sat,sun": (5, 6)}[days]
    if begin < end:
        wanted = begin <= clock < end and shown.weekday() in names
    else:
        wanted = (clock >= begin and shown.weekday() in names) or (clock < end and (shown.weekday() - 1) % 7 in names)
    assert schedule(ZoneInfo(zone), times=(entry,)).state(now).on == wanted


def test_the_systems_zone_is_taken_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    with monkeypatch.context() as zone:
        zone.setenv("TZ", "America/New_York")
        time.tzset()
        system = Schedule(ScheduleSettings(times=("08:00-17:30", "01:30-02:30")))
        for day in ("2026-07-01T00:00", "2026-03-08T00:00", "2026-11-01T00:00"):
            span = at(day), at(day) + 86400 * NS
            there = schedule(ZoneInfo("America/New_York"), times=("08:00-17:30", "01:30-02:30"))
            assert windows(system, *span) == windows(there, *span)
    time.tzset()


@pytest.mark.parametrize(
    "wrong",
    [
        {"times": ("8-9",)},
        {"times": ("24:30-25:00",)},
        {"times": ("foo 08:00-09:00",)},
        {"times": ("mon-tue-wed 08:00-09:00",)},
        {"times": ("sunrise-sunset",)},
        {"every_s": 60.0},
        {"every_s": 60.0, "for_s": 60.0},
        {"for_s": 60.0},
    ],
)
def test_what_is_no_schedule_is_a_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        ScheduleSettings(**wrong)


class SetClock(Clock):
    """A clock whose two times stand where the test puts them."""

    def __init__(self, wall: str) -> None:
        super().__init__(Path("/nonexistent"))
        self.now_ns = NS
        self.wall = at(wall)
        self.known = True

    def wall_ns(self, boot_ns: int | None = None) -> int:
        return self.wall + (0 if boot_ns is None else boot_ns - self.now_ns)

    def synchronised(self) -> bool:
        return self.known

    def passes(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS)
        self.wall += round(seconds * NS)


def gate(clock: SetClock, **options: Any) -> Gate:
    return Gate(Schedule(ScheduleSettings(**options), datetime.UTC), clock)


def on_for(one: Gate, clock: SetClock, seconds: float) -> float:
    """How long it is open within these seconds of boot time, looked at ten times a second."""
    opened = 0.0
    for _ in range(round(seconds * 10)):
        clock.passes(0.1)
        opened += one.step(clock.now_ns) * 0.1
    return round(opened, 1)


def test_a_gate_opens_and_closes_with_its_schedule_and_tells_when() -> None:
    clock = SetClock("2026-11-16T10:14:50")
    one = gate(clock, every_s=900, for_s=60)
    assert not one.step(clock.now_ns)
    assert one.health() == {"on": False, "next_change": "2026-11-16T10:15:00.000000Z", "waits_for": ""}
    assert on_for(one, clock, 15) == 5.1
    assert one.until_ns == clock.now_ns + 55 * NS
    assert on_for(one, clock, 100) == 54.9
    assert one.health() == {"on": False, "next_change": "2026-11-16T10:30:00.000000Z", "waits_for": ""}


def test_a_clock_set_back_stretches_no_window() -> None:
    clock = SetClock("2026-11-16T10:14:59")
    one = gate(clock, every_s=900, for_s=60)
    assert on_for(one, clock, 31) == 30.1
    clock.wall -= 25 * NS
    assert on_for(one, clock, 29.9) == 29.9
    assert not one.step(clock.now_ns + NS // 10), "a minute is over, whatever the clock says now"
    assert on_for(one, clock, 60) == 25.0, "what is left by the clock as it is now is a window of its own"
    clock.wall -= 3600 * NS
    assert not one.step(clock.now_ns)
    assert on_for(one, clock, 900) == 60


def test_a_clock_set_forward_is_believed_at_once() -> None:
    clock = SetClock("2026-11-16T10:00:10")
    one = gate(clock, times=("10:00-11:00",))
    assert one.step(clock.now_ns)
    clock.wall += 10 * 365 * 86400 * NS + 3600 * NS
    assert not one.step(clock.now_ns)
    clock.wall -= 3600 * NS
    assert one.step(clock.now_ns)


def test_a_slewed_clock_moves_the_end_with_it() -> None:
    clock = SetClock("2026-11-16T10:00:00")
    one = gate(clock, times=("10:00-10:10",))
    assert one.step(clock.now_ns)
    for _ in range(5000):
        clock.now_ns += 100_000_000
        clock.wall += 99_900_000
        assert one.step(clock.now_ns)
    assert one.until_ns == clock.now_ns + at("2026-11-16T10:10") - clock.wall


def test_times_wait_for_a_clock_that_was_set_once_and_intervals_do_not() -> None:
    clock = SetClock("2026-11-16T10:00:10")
    clock.known = False
    waiting, interval, trusting = (
        gate(clock, times=("00:00-24:00",)),
        gate(clock, every_s=60, for_s=30),
        gate(clock, times=("00:00-24:00",), wait_for_clock=False),
    )
    assert [one.step(clock.now_ns) for one in (waiting, interval, trusting)] == [False, True, True]
    assert waiting.health() == {"on": False, "next_change": None, "waits_for": "a clock that has been set"}
    clock.known = True
    clock.passes(2)
    assert waiting.step(clock.now_ns)
    clock.known = False
    clock.passes(2)
    assert waiting.step(clock.now_ns), "what was set once runs on"


def test_a_clock_with_a_battery_is_enough_unless_the_battery_was_empty(tmp_path: Path) -> None:
    for taken, seconds, dated in (("1", 1_790_000_000, True), ("0", 1_790_000_000, False), ("1", 4000, False)):
        (tmp_path / "hctosys").write_text(f"{taken}\n")
        (tmp_path / "since_epoch").write_text(f"{seconds}\n")
        assert Clock(tmp_path)._from_rtc() is dated
    assert not Clock(tmp_path / "none")._from_rtc()
