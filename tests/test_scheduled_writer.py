"""A recording on a schedule: one capture for each window, ended at the very sample, and nothing of what is outside."""

from pathlib import Path

from agent.negative import NegativeReader
from agent.schedule import ScheduleSettings
from tests.test_sample_writer import FAST, MS, SLOW, Bench, values


def _reason(path: Path) -> str:
    reader = NegativeReader(path)
    for _ in reader.blocks():
        pass
    return str((reader.end or {})["reason"])


def test_each_window_is_one_capture_also_where_it_is_as_long_as_a_capture_may_be(tmp_path: Path) -> None:
    for length_s in (0.0, 5.0, 60.0):
        folder = tmp_path / f"{length_s}"
        folder.mkdir()
        b = Bench(folder, {"s": FAST}, length_s=length_s, schedule=ScheduleSettings(every_s=20, for_s=5))
        assert b.clock.wall_ns() % 20_000_000_000 == 0
        b.run(30, "s")
        b.end()
        assert [len(values(path)) for path in b.finished] == [5000, 5100], "with what the round brought"
        assert [values(path)[-1] for path in b.finished] == [4999, 24999]
        assert {_reason(path) for path in b.finished} == {"schedule"}
        assert b.writer.health()["unrecorded"] == 0
        assert b.writer.health()["samples"] == 10100


def test_within_a_window_captures_follow_on_one_another_and_the_last_is_no_splinter(tmp_path: Path) -> None:
    b = Bench(tmp_path, {"s": FAST}, length_s=2.0, schedule=ScheduleSettings(every_s=20, for_s=6.5))
    b.run(15, "s")
    b.end()
    assert [v for path in b.finished for v in values(path)] == list(range(6500))
    lengths = [len(values(path)) for path in b.finished]
    assert len(lengths) == 3
    assert min(lengths) > 1900


def test_a_window_ends_though_its_stream_has_fallen_silent(tmp_path: Path) -> None:
    b = Bench(tmp_path, {"s": FAST}, length_s=0, schedule=ScheduleSettings(every_s=20, for_s=5))
    b.run(3, "s")
    b.run(10)
    assert b.writer.health()["state"] == "scheduled"
    (path,) = b.finished
    assert values(path) == list(range(3000))


def test_slower_streams_reach_the_end_of_a_window(tmp_path: Path) -> None:
    b = Bench(tmp_path, {"slow": SLOW, "fast": FAST}, length_s=60, schedule=ScheduleSettings(every_s=20, for_s=5))
    b.run(15, "slow", "fast")
    (path,) = b.finished
    assert values(path, 1) == list(range(5000))
    assert max(values(path, 0)) >= 500


def test_a_clock_set_back_makes_no_longer_captures_and_no_name_twice(tmp_path: Path) -> None:
    b = Bench(tmp_path, {"s": FAST}, length_s=0, schedule=ScheduleSettings(every_s=20, for_s=5))
    wall_ns = b.clock.wall_ns
    b.run(4, "s")
    b.clock.wall_ns = lambda boot_ns=None: wall_ns(boot_ns) - 4000 * MS  # type: ignore[method-assign]
    b.run(15, "s")
    b.end()
    assert [(values(path)[0], values(path)[-1]) for path in b.finished] == [(0, 4999), (5000, 8999)]
    assert len({path.name.partition(".negative")[0] for path in b.finished}) == 2
    assert not list(tmp_path.glob("*.part"))
