"""A recording that begins by itself holds exactly what is around its triggers, whatever the blocks and the rounds."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.device import Device
from agent.film import Film
from agent.gate import Gate
from agent.negative import NegativeReader
from agent.recording import Orders, RecordingSettings
from agent.ring import Ring
from agent.schedule import Schedule
from agent.stream import Stream
from agent.takes import Takes
from agent.trigger import Event, TriggerSettings
from agent.trigger_source import TriggerSource
from agent.triggered_writer import TriggeredWriter
from drivers import Block, Channel, Identity
from tests.test_sample_writer import StillClock

MS = 1_000_000
CHANNELS = (Channel("X", "g", "<i4"), Channel("Index", dtype="<i4"))
KHZ = Identity("1 kHz", 1000.0, CHANNELS)
FAST = Identity("16 kHz", 16000.0, CHANNELS)
SLOW = Identity("100 Hz", 100.0, CHANNELS)


class Bench:
    """A triggered writer whose streams are fed by the test; X is 0, or 100 at the samples where it says so."""

    def __init__(
        self, folder: Path, identities: dict[str, Identity], *, watch: str = "s", ring_s: float = 10, **trigger: Any
    ) -> None:
        schedule = trigger.pop("schedule", {})
        recipe = {name: trigger.pop(name) for name in ("length_s", "length_samples", "streams") if name in trigger}
        self.chance = random.Random(5)
        self.clock = StillClock()
        self.begun_ns = self.clock.now_ns
        self.streams = {
            name: Stream(name, "test", None, ring=Ring(ring_s, 1 << 24), clock=self.clock, jitter=self.chance)  # type: ignore[arg-type]
            for name in identities
        }
        for name, identity in identities.items():
            self.streams[name]._begin(identity)
        options = {"kind": "level", "channels": ("X",), "threshold": 50.0, "stream": watch, **trigger}
        names = recipe.pop("streams", tuple(identities))
        self.recipe = RecordingSettings(
            streams=names, when="trigger", trigger=TriggerSettings(**options), **recipe, **schedule
        )
        self.finished: list[Path] = []
        self.full = ""
        self.orders = Orders("test", self.recipe)
        self.takes = Takes(
            self.orders,
            self.recipe,
            folder=folder,
            clock=self.clock,
            device=Device("bay3", "00000001"),
            finished=self.finished.append,
            room=lambda: self.full,
        )
        self.source = TriggerSource(self.recipe.trigger, self.streams.get(watch))
        gate = Gate(None if self.recipe.schedule.always else Schedule(self.recipe.schedule), self.clock)
        self.writer = TriggeredWriter(
            [self.streams[name] for name in names], self.takes, self.source, clock=self.clock, gate=gate
        )
        self.source.open()
        self.next = dict.fromkeys(identities, 0)
        self.spikes: dict[str, set[int]] = {name: set() for name in identities}
        self.late: dict[str, int] = dict.fromkeys(identities, 0)
        self.racing = 0
        """Samples that arrive between the look at what fired and the look into the rings."""
        poll = self.source.poll

        def poll_and_more() -> list[Event]:
            events = poll()
            for name in identities if self.racing else ():
                self.bring(name, self.next[name] + self.racing)
            return events

        self.source.poll = poll_and_more  # type: ignore[method-assign]

    def fires(self, name: str, *indexes: int) -> None:
        self.spikes[name] |= set(indexes)

    def bring(self, name: str, until: int, lost: int = 0) -> None:
        """All samples before `until`, in blocks of any size, after `lost` that never come."""
        stream = self.streams[name]
        identity = stream.identity
        assert identity is not None
        self.next[name] += lost
        while (first := self.next[name]) < until:
            count = min(until - first, self.chance.randint(1, max(2, round(identity.rate_hz / 40))))
            samples = np.zeros(count, identity.dtype)
            samples["Index"] = np.arange(first, first + count)
            samples["X"] = [100 * (index in self.spikes[name]) for index in range(first, first + count)]
            observed = self.begun_ns + round((first + count) * 1e9 / identity.rate_hz) + self.chance.randrange(2 * MS)
            stream._take(Block(first, samples, observed + self.late[name] * MS, first + count - 1, lost))
            self.next[name], lost = first + count, 0

    def run(self, seconds: float, *names: str) -> None:
        """Time passes in rounds of 100 ms, in which each stream brings what was taken, as late as it is."""
        for _ in range(round(seconds * 10)):
            self.clock.now_ns += 100 * MS
            for name in names or self.streams:
                identity = self.streams[name].identity
                assert identity is not None
                passed_s = (self.clock.now_ns - self.begun_ns) / 1e9 - self.late[name] / 1e3
                self.bring(name, max(0, round(passed_s * identity.rate_hz)))
            self.writer.step()

    @property
    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.writer.health()["trigger"]
        return counts


Make = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path) -> Make:
    return lambda identities, **options: Bench(tmp_path, identities, **options)


def held(path: Path, name: str = "s") -> list[int]:
    """The indexes that a developed capture has of a stream."""
    film = Film.scan(path)
    (track,) = [track for track in film.tracks if track.name == name]
    return [int(value) for chunk in track.chunks() for value in chunk.samples["Index"]]


@pytest.mark.parametrize("identity", [KHZ, FAST], ids=lambda identity: identity.model)
@pytest.mark.parametrize("fired", [3_217, 4_000, 5_999])
def test_a_capture_is_exactly_pre_and_post_around_the_sample(bench: Make, identity: Identity, fired: int) -> None:
    scale = round(identity.rate_hz / 1000)
    b = bench({"s": identity}, pre_s=1.5, post_s=0.75)
    b.fires("s", fired * scale + scale - 1)
    b.run(8)
    (path,) = b.finished
    at = fired * scale + scale - 1
    assert held(path) == list(range(at - 1500 * scale, at + 750 * scale + 1))
    film = Film.scan(path)
    assert (film.lead.first, film.lead.end, film.lead.lost) == (at - 1500 * scale, at + 750 * scale + 1, 0)
    assert film.trigger is not None
    said = {key: film.trigger[key] for key in ("kind", "stream", "channels", "sample", "value", "units", "extended")}
    assert said == {
        "kind": "level",
        "stream": "s",
        "channels": ["X"],
        "sample": at,
        "value": 100.0,
        "units": "physical",
        "extended": 0,
    }
    assert abs(film.trigger["boot_time_ns"] - b.begun_ns - (at + 1) * 1e9 / identity.rate_hz) < 3 * MS
    assert b.counts == {"triggers": 1, "extended": 0, "missed": 0, "ignored": 0}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 1500), max_size=9, unique=True),
    st.integers(0, 700),
    st.integers(0, 700),
    st.sampled_from([0.0, 0.15]),
    st.integers(0, 1 << 30),
    st.integers(0, 250),
)
def test_it_is_as_a_plain_loop_says(
    tmp_path: Path, spikes: list[int], pre: int, post: int, holdoff_s: float, seed: int, racing: int
) -> None:
    b = Bench(tmp_path, {"s": KHZ}, pre_samples=pre, post_samples=post, post_s=0.0, holdoff_s=holdoff_s)
    b.chance, b.racing = random.Random(seed), racing
    fired = sorted(2 * spike + 2 for spike in spikes)
    b.fires("s", *fired)
    while b.next["s"] < 4500:
        b.run(0.1)
    b.racing = 0
    b.run(2)
    wanted: list[list[int]] = []
    held_until, ignored = 0, 0
    for index in fired:
        if index < held_until:
            ignored += 1
            continue
        held_until = index + round(holdoff_s * 1000)
        if wanted and index <= wanted[-1][1]:
            wanted[-1][1] = index + post
        else:
            wanted.append([max(0, index - pre), index + post])
    assert [[found[0], found[-1]] for found in map(held, b.finished)] == wanted
    assert all(found == list(range(found[0], found[-1] + 1)) for found in map(held, b.finished))
    assert (b.counts["triggers"], b.counts["ignored"], b.counts["missed"]) == (len(wanted), ignored, 0)


def test_pre_and_post_may_be_samples(bench: Make) -> None:
    b = bench({"s": KHZ}, pre_samples=7, post_samples=0, post_s=0)
    b.fires("s", 1000)
    b.run(2)
    assert held(b.finished[0]) == list(range(993, 1001))


def test_triggers_within_a_capture_extend_it_and_one_just_after_it_has_a_capture_of_its_own(bench: Make) -> None:
    b = bench({"s": KHZ}, pre_s=0.5, post_s=1)
    b.fires("s", 2000, 2700, 3700, 4701)
    b.run(8)
    assert [held(path) for path in b.finished] == [list(range(1500, 4701)), list(range(4201, 5702))]
    assert [(film.trigger or {})["extended"] for film in map(Film.scan, b.finished)] == [2, 0]
    assert b.counts == {"triggers": 2, "extended": 2, "missed": 0, "ignored": 0}


def test_what_fires_within_the_hold_off_is_counted_and_does_not_extend(bench: Make) -> None:
    b = bench({"s": KHZ}, post_s=1, holdoff_s=5)
    b.fires("s", 2000, 2700, 2900)
    b.run(5)
    assert held(b.finished[0]) == list(range(2000, 3001))
    assert b.counts["ignored"] == 2


def test_a_writer_that_was_held_up_records_all_captures_of_the_time_exactly(bench: Make) -> None:
    b = bench({"s": KHZ}, pre_s=0.2, post_s=0.2)
    b.fires("s", 1000, 1300, 3000, 3900)
    b.run(0.5)
    b.clock.now_ns += 5000 * MS
    b.bring("s", 5500)
    b.run(1)
    assert [held(path) for path in b.finished] == [
        list(range(800, 1201)),
        list(range(1100, 1501)),
        list(range(2800, 3201)),
        list(range(3700, 4101)),
    ]


def test_what_the_ring_had_dropped_is_counted_as_missing(bench: Make) -> None:
    b = bench({"s": KHZ}, pre_s=4, post_s=0.5, ring_s=2)
    b.fires("s", 6000)
    b.run(8)
    film = Film.scan(b.finished[0])
    first = held(b.finished[0])[0]
    assert 3800 < first < 4200
    assert held(b.finished[0]) == list(range(first, 6501))
    assert [tuple(gap) for gap in film.lead.gaps] == [(2000, first - 2000, True)]
    assert film.lead.lost == first - 2000 == b.writer.health()["dropped"]


def test_a_stream_that_has_just_begun_has_nothing_missing(bench: Make) -> None:
    b = bench({"s": KHZ}, pre_s=4, post_s=0.5)
    b.fires("s", 300)
    b.run(2)
    film = Film.scan(b.finished[0])
    assert held(b.finished[0]) == list(range(801))
    assert (film.lead.lost, b.writer.health()["dropped"]) == (0, 0)


def test_losses_within_are_counted_also_at_both_edges_and_those_outside_are_not(bench: Make) -> None:
    b = bench({"s": KHZ}, pre_samples=500, post_samples=500, post_s=0)
    b.fires("s", 2000)
    b.bring("s", 1480)
    b.bring("s", 1700, lost=40)  # 1480 ... 1519, of which the first 20 lie before
    b.bring("s", 2490)
    b.bring("s", 2700, lost=30)  # 2490 ... 2519, of which 2501 and later lie after
    b.clock.now_ns += 3000 * MS
    b.writer.step()
    b.run(1)
    film = Film.scan(b.finished[0])
    assert held(b.finished[0]) == list(range(1520, 2490))
    assert [tuple(gap) for gap in film.lead.gaps] == [(1500, 20, True), (2490, 11, True)]


def test_long_extended_captures_are_cut_but_never_what_is_around_one_trigger(bench: Make) -> None:
    b = bench({"s": KHZ}, pre_s=0.5, post_s=1, length_s=1.2)
    b.fires("s", 2000, *range(2500, 4000, 500))
    b.run(7)
    assert [held(path) for path in b.finished] == [
        list(range(1500, 3001)),
        list(range(3001, 4501)),
    ]
    alone = bench({"s": KHZ}, pre_s=0.5, post_s=1, length_samples=10)
    alone.fires("s", 2000)
    alone.run(4)
    assert held(alone.finished[0]) == list(range(1500, 3001))


@pytest.mark.parametrize("late", [{"slow": 0, "s": 0}, {"slow": 300, "s": 0}, {"slow": 0, "s": 400}])
def test_one_stream_triggers_another(bench: Make, late: dict[str, int]) -> None:
    b = bench({"slow": SLOW, "s": KHZ}, watch="slow", streams=("s",), pre_s=1, post_s=0.5)
    b.late = late
    b.fires("slow", 300, 340)
    b.run(8)
    (path,) = b.finished
    found = held(path)
    film = Film.scan(path)
    assert found == list(range(found[0], found[-1] + 1))
    assert film.trigger is not None
    lead = film.trigger["lead"]
    assert (found[0], found[-1] - found[0]) == (lead["sample"] - 1000, 1500 + 400)
    apart = 3009 + late["slow"] - late["s"] - lead["sample"]
    assert abs(apart) <= 6, "nearest to the moment, as far as times are known"
    assert (film.trigger["stream"], film.trigger["sample"], film.trigger["extended"]) == ("slow", 300, 1)


def test_slower_streams_reach_the_edges_of_a_capture(bench: Make) -> None:
    b = bench({"slow": SLOW, "s": KHZ}, pre_s=2, post_s=1)
    b.fires("s", 5000)
    b.run(8)
    (path,) = b.finished
    assert held(path) == list(range(3000, 6001))
    slow = held(path, "slow")
    assert slow == list(range(slow[0], slow[-1] + 1))
    assert abs(slow[0] - 300) <= 1
    assert abs(slow[-1] - 600) <= 1


def test_a_person_gets_what_is_around_the_moment_of_asking(bench: Make) -> None:
    b = bench({"s": KHZ}, kind="command", channels=(), pre_s=1, post_s=2)
    b.run(5.05)
    assert b.writer.trigger() == "one capture: 1 s before it and 2 s after"
    b.run(4)
    (path,) = b.finished
    found = held(path)
    assert len(found) == 3001
    assert abs(found[1000] - 5000) <= 60
    assert (Film.scan(path).trigger or {})["kind"] == "command"


def test_it_is_armed_only_while_wanted_and_a_stop_ends_what_is_in_progress(bench: Make) -> None:
    b = bench({"s": KHZ}, post_s=3)
    assert b.writer.health()["state"] == "armed"
    b.fires("s", 1000, 3500, 5000)
    b.run(2)
    assert b.writer.health()["state"] == "recording"
    b.orders.end()
    b.run(2)
    assert b.writer.health()["state"] == "idle"
    assert b.writer.trigger() == "it is not armed; start it first"
    assert held(b.finished[0]) == list(range(1000, 2000))
    b.orders.begin()
    b.run(5)
    assert held(b.finished[1]) == list(range(5000, 8001))
    assert b.counts["triggers"] == 2


def test_what_has_fired_behind_what_is_in_progress_is_missed_by_a_stop_and_counted(
    bench: Make, caplog: pytest.LogCaptureFixture
) -> None:
    b = bench({"s": KHZ, "w": SLOW}, watch="w", streams=("s",), post_s=0.3)
    b.fires("w", 200, 270)
    b.run(2.2)
    b.run(0.7, "w")
    assert b.counts["triggers"] == 1
    b.orders.end()
    b.run(1)
    assert b.counts["missed"] == 1
    assert "missed: it was stopped" in caplog.text


def test_it_is_armed_only_within_its_schedule_but_finishes_what_it_began(bench: Make) -> None:
    b = bench({"s": KHZ}, post_s=3, schedule={"schedule": _every(10, 5)})
    into = b.clock.wall_ns() // MS % 10_000
    assert into == 0
    b.fires("s", 1000, 4800, 8000, 12000)
    b.run(4)
    assert b.writer.health()["schedule"]["on"]
    b.run(2)
    assert b.writer.health()["schedule"]["on"] is False
    assert b.writer.health()["state"] == "recording"
    b.run(3)
    assert b.writer.health()["state"] == "scheduled"
    assert b.writer.trigger() == "it waits for its schedule"
    b.run(7)
    assert [(held(path)[0], held(path)[-1]) for path in b.finished] == [(1000, 4000), (4800, 7800), (12000, 15000)]


def _every(every_s: float, for_s: float) -> Any:
    from agent.schedule import ScheduleSettings

    return ScheduleSettings(every_s=every_s, for_s=for_s)


def test_a_lead_that_falls_silent_ends_its_capture_with_what_there_is(bench: Make) -> None:
    b = bench({"s": KHZ}, pre_s=1, post_s=2)
    b.fires("s", 3000)
    b.run(4)
    for _ in range(80):
        b.clock.now_ns += 100 * MS
        b.writer.step()
    assert held(b.finished[0]) == list(range(2000, 4000))
    assert _end(b.finished[0])["reason"] == "silent"
    assert b.writer.health()["state"] == "armed"


def test_hardware_that_comes_back_different_within_goes_on_in_a_capture_of_its_own(bench: Make) -> None:
    b = bench({"s": KHZ}, pre_s=1, post_s=2)
    b.fires("s", 3000)
    b.run(4)
    stream = b.streams["s"]
    stream._begin(Identity("Other", 1000.0, CHANNELS))
    samples = np.zeros(2000, KHZ.dtype)
    samples["Index"] = np.arange(4000, 6000)
    b.clock.now_ns += 2000 * MS
    stream._take(Block(0, samples, b.clock.now_ns, 1999))
    b.writer.step()
    b.clock.now_ns += 2000 * MS
    b.writer.step()
    first, second = b.finished
    assert held(first) == list(range(2000, 4000))
    assert held(second)[0] == 4000
    assert [NegativeReader(path).identities[0].model for path in b.finished] == ["1 kHz", "Other"]


def test_a_full_disk_misses_triggers_and_counts_them(bench: Make) -> None:
    b = bench({"s": KHZ}, post_s=1)
    b.fires("s", 1000, 4000)
    b.full = "the disk is full"
    b.run(3)
    assert b.counts["missed"] == 1
    assert b.writer.health()["state"] == "refused"
    b.full = ""
    b.run(4)
    assert held(b.finished[0]) == list(range(4000, 5001))
    assert b.writer.health()["error"] == ""


def test_a_disk_that_fills_up_within_keeps_what_it_has_and_counts_the_rest(bench: Make) -> None:
    b = bench({"s": KHZ}, post_s=3)
    b.fires("s", 1000)
    b.run(2)
    b.full = "the disk is full"
    b.run(3)
    assert held(b.finished[0]) == list(range(1000, 2000))
    assert b.writer.health()["unrecorded"] == 2001


def test_a_channel_that_is_not_there_is_said_and_people_can_still_trigger(bench: Make) -> None:
    b = bench({"s": KHZ}, channels=("Z",), post_s=1)
    b.run(2)
    health = b.writer.health()
    assert health["state"] == "refused"
    assert "no channel 'Z'; it has X, Index" in health["error"]
    b.writer.trigger()
    b.run(3)
    assert len(held(b.finished[0])) == 1001


def _end(path: Path) -> dict[str, Any]:
    return Film.scan(path).end or {}
