"""The sample writer: takes begin, are cut at the very sample, follow on one another, and lose nothing in between."""

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.clock import Clock
from agent.device import Device
from agent.film import Film
from agent.gate import Gate
from agent.negative import NegativeReader
from agent.recording import Orders, RecordingSettings
from agent.ring import Ring
from agent.sample_writer import SampleWriter
from agent.schedule import Schedule
from agent.stream import Stream
from agent.takes import Takes
from agent.worker import Worker
from drivers import Block, Channel, Identity

MS = 1_000_000
FAST = Identity("Fast", 1000.0, (Channel("X"),))
SLOW = Identity("Slow", 100.0, (Channel("Y"),))


class StillClock(Clock):
    """A clock that stands where the test puts it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 1_000_000 * MS

    def boottime_ns(self) -> int:
        return self.now_ns

    def wall_ns(self, boot_ns: int | None = None) -> int:
        return 1_800_000_000_000 * MS + (self.now_ns if boot_ns is None else boot_ns)


class Bench:
    """A writer whose streams are fed by the test, sample by sample; no threads."""

    def __init__(self, folder: Path, identities: dict[str, Identity], **settings: Any) -> None:
        self.clock = StillClock()
        self.begun_ns = self.clock.now_ns
        self.streams = {
            name: Stream(name, "test", None, ring=Ring(3600, 1 << 24), clock=self.clock, jitter=random.Random(1))  # type: ignore[arg-type]
            for name in identities
        }
        for name, identity in identities.items():
            self.plug(name, identity)
        self.finished: list[Path] = []
        self.full = ""
        recipe = RecordingSettings(streams=tuple(identities), **settings)
        self.orders = Orders("test", recipe)
        self.takes = Takes(
            self.orders,
            recipe,
            folder=folder,
            clock=self.clock,
            device=Device("bay3", "00000001"),
            finished=self.finished.append,
            room=lambda: self.full,
        )
        schedule = None if recipe.schedule.always else Schedule(recipe.schedule)
        self.writer = SampleWriter(
            list(self.streams.values()), self.takes, clock=self.clock, gate=Gate(schedule, self.clock)
        )
        self.next = dict.fromkeys(identities, 0)

    def plug(self, name: str, identity: Identity) -> None:
        self.streams[name]._begin(identity)

    def unplug(self, name: str) -> None:
        self.streams[name].state = "lost"

    def feed(self, name: str, count: int, lost: int = 0) -> None:
        """Samples that have just arrived: value = index."""
        identity = self.streams[name].identity
        assert identity is not None
        first = self.next[name] + lost
        samples = np.zeros(count, identity.dtype)
        samples[identity.channels[0].name] = np.arange(first, first + count)
        self.streams[name]._take(Block(first, samples, self.clock.now_ns, first + count - 1, lost))
        self.next[name] = first + count

    def run(self, seconds: float, *names: str) -> None:
        """Time passes in rounds of 100 ms, in which each named stream brings what its rate says."""
        for _ in range(round(seconds * 10)):
            self.clock.now_ns += 100 * MS
            for name in names:
                identity = self.streams[name].identity
                assert identity is not None
                self.feed(name, round(identity.rate_hz / 10))
            self.writer.step()

    def end(self) -> None:
        self.orders.end()
        self.writer.step()
        self.clock.now_ns += 10_000 * MS
        self.writer.step()


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    return lambda identities, **settings: Bench(tmp_path, identities, **settings)


Make = Callable[..., Bench]


def values(path: Path, place: int = 0) -> list[int]:
    """All samples of one stream of a negative, in order."""
    reader = NegativeReader(path)
    name = reader.identities[place].channels[0].name
    return [int(v) for at, block in reader.blocks() if at == place for v in block.samples[name]]


def developed(b: Bench, name: str) -> list[int]:
    """All samples of a stream that its captures have, as they are developed."""
    tracks = [track for path in b.finished for track in Film.scan(path).tracks if track.name == name]
    column = b.streams[name].identity.channels[0].name  # type: ignore[union-attr]
    return [int(value) for track in tracks for chunk in track.chunks() for value in chunk.samples[column]]


def test_captures_of_a_number_of_samples_are_cut_at_the_very_sample(bench: Make) -> None:
    b = bench({"s": FAST}, length_samples=250, length_s=0)
    b.run(1.0, "s")
    b.end()
    assert [values(path) for path in b.finished] == [list(range(at, at + 250)) for at in (0, 250, 500, 750)]
    assert [reader.end["ranges"] for reader in map(_read, b.finished)] == [
        [[at, at + 250]] for at in (0, 250, 500, 750)
    ]


def test_captures_of_a_length_in_seconds_are_cut_where_time_says_and_do_not_drift(bench: Make) -> None:
    b = bench({"s": FAST}, length_s=0.333)
    b.run(2.0, "s")
    b.end()
    lengths = [len(values(path)) for path in b.finished]
    assert sum(lengths) == 2000
    assert all(abs(length - 333) <= 2 for length in lengths[1:-1])
    assert [v for path in b.finished for v in values(path)] == list(range(2000))


def test_captures_of_a_number_of_bytes_end_with_the_block_that_fills_them(bench: Make) -> None:
    b = bench({"s": FAST}, length_s=0, length_bytes=3000)
    b.run(2.0, "s")
    b.end()
    assert [v for path in b.finished for v in values(path)] == list(range(2000))
    assert len(b.finished) > 2


def test_what_was_lost_before_a_block_is_told_once(bench: Make) -> None:
    b = bench({"s": FAST}, length_samples=100, length_s=0)
    b.feed("s", 50)
    b.feed("s", 120, lost=7)
    b.writer.step()
    b.end()
    lost = [block.lost for path in b.finished for _, block in NegativeReader(path).blocks()]
    assert lost == [0, 7, 0]


def test_slower_streams_overlap_so_that_both_captures_reach_their_edges(bench: Make) -> None:
    b = bench({"slow": SLOW, "fast": FAST}, length_samples=2000, length_s=0)
    b.run(5.0, "slow", "fast")
    b.end()
    assert [values(path, 1) for path in b.finished[:2]] == [list(range(2000)), list(range(2000, 4000))]
    first, second = (values(path, 0) for path in b.finished[:2])
    assert max(first) >= 205, "goes on for a while after the cut"
    assert min(second) <= 150, "begins a while before it"
    assert set(first) | set(second) >= set(range(max(second) + 1))


def test_it_waits_for_all_streams_and_begins_without_one_that_stays_away(bench: Make) -> None:
    b = bench({"slow": SLOW, "fast": FAST}, length_s=0)
    b.unplug("slow")
    b.run(9.0, "fast")
    assert b.writer.health()["state"] == "waiting"
    b.run(3.0, "fast")
    b.end()
    (path,) = b.finished
    assert [stream["name"] for stream in NegativeReader(path).head["streams"]] == ["fast"]
    assert values(path) == list(range(12_000)), "and with what came while it waited"
    assert b.takes.unrecorded == 0


def test_what_a_slower_stream_brought_before_the_fastest_came_and_the_recording_began_is_no_part_of_it(
    bench: Make,
) -> None:
    b = bench({"slow": SLOW, "fast": FAST}, length_s=0)
    b.unplug("fast")
    b.run(4.0, "slow")
    b.plug("fast", FAST)
    b.run(2.0, "slow", "fast")
    b.end()
    assert developed(b, "fast") == list(range(2000))
    assert set(developed(b, "slow")) >= set(range(400, 600))
    assert len(b.finished) == 1
    assert b.takes.unrecorded == 0


def test_a_stream_that_comes_back_begins_a_new_capture_with_it(bench: Make) -> None:
    b = bench({"slow": SLOW, "fast": FAST}, length_s=0)
    b.run(1.0, "slow", "fast")
    b.unplug("slow")
    b.run(2.0, "fast")
    b.plug("slow", SLOW)
    b.run(2.0, "slow", "fast")
    b.end()
    names = [[stream["name"] for stream in NegativeReader(path).head["streams"]] for path in b.finished]
    assert names == [["slow", "fast"], ["fast"], ["slow", "fast"]]
    fast = [values(path, len(each) - 1) for path, each in zip(b.finished, names, strict=True)]
    assert [v for part in fast for v in part] == list(range(5000))


def test_what_was_read_before_the_only_stream_was_lost_is_kept_where_a_capture_ends_amid_it(bench: Make) -> None:
    b = bench({"fast": FAST}, length_samples=1000)
    b.run(0.9, "fast")
    b.feed("fast", 150)
    b.unplug("fast")
    b.run(0.1)
    b.end()
    assert [n for path in b.finished for n in values(path)] == list(range(b.next["fast"]))
    assert len(b.finished) == 2
    assert b.takes.unrecorded == 0


def test_hardware_that_comes_back_different_is_never_mixed_into_one_capture(bench: Make) -> None:
    other = Identity("Other", 1000.0, (Channel("X", dtype="<f4"),))
    b = bench({"s": FAST}, length_s=0)
    b.run(0.5, "s")
    b.plug("s", other)
    b.next["s"] = 0
    b.run(0.5, "s")
    b.end()
    models = [NegativeReader(path).identities[0].model for path in b.finished]
    assert models == ["Fast", "Other"]
    assert [len(values(path)) for path in b.finished] == [500, 500]


def test_on_command_it_records_only_between_start_and_stop(bench: Make) -> None:
    b = bench({"s": FAST}, when="command", length_s=0)
    b.run(0.5, "s")
    b.orders.begin()
    b.run(0.5, "s")
    b.orders.end()
    b.run(0.5, "s")
    (path,) = b.finished
    assert values(path) == list(range(500, 1100)), "with what came in the round of the stop"
    assert b.writer.idle()


def test_a_trigger_takes_one_length_and_no_more(bench: Make) -> None:
    b = bench({"s": FAST}, when="command", length_samples=300, length_s=0)
    b.run(0.2, "s")
    b.writer.trigger()
    b.run(1.0, "s")
    (path,) = b.finished
    assert values(path) == list(range(200, 500))
    assert b.writer.idle()


def test_labels_given_meanwhile_stand_on_what_begins_afterwards(bench: Make) -> None:
    b = bench({"s": FAST}, length_samples=500, length_s=0, labels={"activity": "still"})
    b.run(0.1, "s")
    b.orders.label({"activity": "walking", "shoe": "left"}, {"subject": 7})
    b.run(0.9, "s")
    b.end()
    first, second = (NegativeReader(path).head for path in b.finished)
    assert (first["labels"], first["metadata"]) == ({"activity": "still"}, {})
    assert (second["labels"], second["metadata"]) == ({"activity": "walking", "shoe": "left"}, {"subject": 7})


def test_a_full_disk_ends_the_capture_is_counted_and_recording_goes_on_with_room(bench: Make) -> None:
    b = bench({"s": FAST}, length_s=0)
    b.run(0.5, "s")
    b.full = "the disk is full"
    b.run(0.5, "s")
    assert b.writer.health()["state"] == "refused"
    assert b.writer.health()["error"] == "the disk is full"
    b.full = ""
    b.run(0.5, "s")
    b.end()
    assert [v for path in b.finished for v in values(path)] == [*range(500), *range(1000, 1500)]
    assert b.writer.health()["unrecorded"] == 500
    assert b.writer.health()["error"] == ""


def test_another_set_up_than_the_required_one_is_refused_with_the_difference(tmp_path: Path) -> None:
    from agent.capture import CaptureConfiguration

    wanted = CaptureConfiguration.of("test", [(Identity("Fast", 500.0, (Channel("X"),)), ["X"])])
    b = Bench(tmp_path, {"s": FAST}, require_configuration=wanted.uuid)
    b.takes._required = wanted.document
    b.run(0.5, "s")
    health = b.writer.health()
    assert health["state"] == "refused"
    assert "streams[0].rate_hz: 500.0 wanted, 1000.0 found" in health["error"]
    assert health["unrecorded"] == 500
    assert not list(tmp_path.iterdir())


def test_the_disk_that_refuses_a_write_keeps_what_it_has(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    b = bench({"s": FAST}, length_s=0)
    b.run(0.5, "s")
    write = os.write
    monkeypatch.setattr(os, "write", _raise(OSError(errno.ENOSPC, "No space left on device")))
    b.run(0.1, "s")
    assert "No space left" in b.writer.health()["error"]
    monkeypatch.setattr(os, "write", write)
    b.run(0.5, "s")
    b.end()
    assert values(b.finished[0])[:500] == list(range(500))


def test_a_trigger_whose_stream_falls_silent_takes_no_second_length(bench: Make) -> None:
    b = bench({"s": FAST}, when="command", length_s=1.0)
    b.run(0.1, "s")
    b.writer.trigger()
    b.run(0.5, "s")
    b.run(5.8)
    b.run(3.0, "s")
    b.end()
    assert [len(values(path)) for path in b.finished] == [500]


@pytest.mark.parametrize("silent_s", [3.0, 5.5, 30.0])
@pytest.mark.parametrize("more", [{"length_s": 2.0}, {"length_s": 0, "length_samples": 2500}, {"length_s": 60.0}])
def test_what_slower_streams_bring_while_the_fastest_is_silent_is_kept(
    bench: Make, silent_s: float, more: dict[str, Any]
) -> None:
    b = bench({"fast": FAST, "slow": SLOW}, **more)
    b.run(2.2, "fast", "slow")
    b.run(silent_s, "slow")
    missing = round(silent_s * 1000)
    b.feed("fast", 1, lost=missing)
    b.run(2.2, "fast", "slow")
    b.end()
    assert [value & 0xFFFF for value in developed(b, "fast")] == [*range(2200), *range(2200 + missing, b.next["fast"])]
    slow = developed(b, "slow")
    assert set(slow) == set(range(b.next["slow"]))
    assert len(slow) - len(set(slow)) <= 30, "of which hardly any are in two captures"
    assert b.takes.unrecorded == 0


@pytest.mark.parametrize("away_s", [0.5, 1.5, 5.0])
def test_all_that_was_read_is_kept_where_the_fastest_is_lost_and_comes_back(bench: Make, away_s: float) -> None:
    b = bench({"fast": FAST, "slow": SLOW}, length_s=20.0)
    b.run(2.0, "fast", "slow")
    b.unplug("fast")
    b.run(away_s, "slow")
    b.plug("fast", FAST)
    b.run(4.0, "fast", "slow")
    b.end()
    assert developed(b, "fast") == list(range(6000))
    assert set(developed(b, "slow")) == set(range(b.next["slow"]))
    assert b.takes.unrecorded == 0


def test_a_long_absence_does_not_teach_patience_with_silence(bench: Make) -> None:
    b = bench({"fast": FAST, "slow": SLOW}, length_s=0)
    b.run(2.0, "fast", "slow")
    b.unplug("fast")
    b.run(60.0, "slow")
    b.plug("fast", FAST)
    b.run(2.0, "fast", "slow")
    b.run(20.0, "slow")
    b.end()
    assert [stream["name"] for stream in _read(b.finished[-1]).head["streams"]] == ["slow"]
    assert set(developed(b, "slow")) == set(range(b.next["slow"]))


def test_packets_of_a_slower_stream_that_come_long_after_the_cut_belong_to_both_sides_of_it(bench: Make) -> None:
    packets = Identity("Packets", 10.0, (Channel("Y"),))
    b = bench(
        {"fast": dataclasses.replace(FAST, channels=(Channel("X", dtype="<i4"),)), "slow": packets}, length_s=10.0
    )
    for round_ in range(64 * 10):
        if round_ % 32 == 31:
            b.feed("slow", 32)
        b.run(0.1, "fast")
    b.end()
    assert developed(b, "fast") == list(range(64_000))
    assert set(developed(b, "slow")) == set(range(b.next["slow"]))


def test_a_slow_value_is_known_from_the_first_row_on(bench: Make) -> None:
    rare = Identity("Rare", 0.1, (Channel("Y"),))
    b = bench({"fast": FAST, "slow": rare}, length_s=7.0)
    b.feed("slow", 1)
    for _ in range(6):
        b.run(10.0, "fast")
        b.feed("slow", 1)
    b.end()
    for path in b.finished[1:-1]:
        for rows in Film.scan(path).rows():
            assert rows.present[1] is None or rows.present[1].all()


def test_one_that_takes_over_goes_on_at_once_with_what_runs(bench: Make) -> None:
    b = bench({"fast": FAST, "slow": SLOW}, length_s=0)
    b.run(1.0, "fast", "slow")
    b.takes.stop()
    b.unplug("fast")

    class Minute(Worker):
        """Five seconds of the slow stream alone, then one of both."""

        rounds = 0

        def wait(self, seconds: float) -> bool:
            self.rounds += 1
            b.clock.now_ns += 100 * MS
            b.feed("slow", 10)
            if self.rounds == 50:
                b.plug("fast", FAST)
            if self.rounds > 50:
                b.feed("fast", 100)
            return self.rounds == 60

    after = SampleWriter(list(b.streams.values()), b.takes, clock=b.clock, gate=Gate(None, b.clock))
    after.cursors.update(b.writer.cursors)
    after.run(Minute("test", lambda worker: None, lambda name, error: None, silence_s=60.0))
    assert developed(b, "fast") == list(range(b.next["fast"]))
    assert set(developed(b, "slow")) == set(range(b.next["slow"]))


def test_a_negative_that_cannot_be_begun_amid_a_round_is_counted(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    b = bench({"s": FAST}, length_samples=250, length_s=0)
    b.run(0.2, "s")
    with monkeypatch.context() as disk:
        disk.setattr("agent.takes.open_take", _raise(OSError(errno.EMFILE, "Too many open files", "x")))
        b.run(1.0, "s")
    b.run(6.0, "s")
    b.end()
    recorded = sum(len(values(path)) for path in b.finished)
    assert values(b.finished[0]) == list(range(250))
    assert recorded + b.writer.health()["unrecorded"] == 7200
    assert b.writer.health()["error"] == ""


def _read(path: Path) -> NegativeReader:
    reader = NegativeReader(path)
    for _ in reader.blocks():
        pass
    return reader


def _raise(error: Exception) -> Callable[..., int]:
    def fail(*args: object, **more: object) -> int:
        raise error

    return fail


def test_a_disk_that_stays_full_is_tried_again_every_few_seconds_and_said_once(
    bench: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import errno
    import os

    b = bench({"s": FAST}, length_s=0)
    write = os.write
    monkeypatch.setattr(os, "write", _raise(OSError(errno.ENOSPC, "No space left on device")))
    b.run(60.0, "s")
    assert len([record for record in caplog.records if "No space left" in record.message]) == 1
    assert b.writer.health()["unrecorded"] == 60000
    assert b.finished == []
    monkeypatch.setattr(os, "write", write)
    b.run(6.0, "s")
    b.end()
    assert b.writer.health()["error"] == ""
    assert len(values(b.finished[0])) + b.writer.health()["unrecorded"] == 66000
