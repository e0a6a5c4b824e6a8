"""The benchmarks' own machinery: results that add up, are told, drawn and compared; loads and peers that do what is
measured. What they measure is no matter here."""

import dataclasses
import importlib
import json
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import urllib3

import bench.__main__ as command
from agent.catalogue import Catalogue
from agent.database import Database
from bench import GROUPS, LONG, Measure, _decoding, _far_end, _owed, _process, _texts
from bench._results import Group, load, save, told, worse
from bench._sink import Sink

SLOW = Measure("writing", 2.0, "s", "peer: 1 s", 2.0, "at most 1 s", False, reason="the disk took 1.9 s")
FAST = Measure("reading", 9.0, "MB/s", "peer: 3 MB/s", 3.0, "faster", True, lower_is_better=False, peers={"peer": 3.0})
FOLLOWED = Measure("memory", 5.0, "MiB", "-", 1.0, "-", True, curve=((0.0, 4.0), (1.0, 5.0)), curve_over="s")


def group(*measures: Measure, **more: object) -> Group:
    return Group(
        **{
            "about": "What is measured.",
            "command": "python -m bench serial",
            "machine": "a computer",
            "commit": "abc",
            "date": "2026-11-21",
            "seconds": 3.0,
            "load": 0.1,
            "measures": list(measures),
            **more,
        }
    )


def test_every_group_can_be_measured_and_says_what_it_is_about() -> None:
    for name in (*GROUPS, *LONG):
        module = importlib.import_module(f"bench.{name}")
        assert callable(module.measure)
        assert module.__doc__


def test_what_was_measured_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    groups = {"serial": group(SLOW, FAST), "imu": group(FOLLOWED)}
    save(path, groups)
    found = load(path)
    assert list(found) == ["serial", "imu"]
    assert found["serial"].measures == [SLOW, FAST]
    assert found["imu"].measures == [FOLLOWED]


def test_an_aim_that_is_missed_is_told_with_its_reason() -> None:
    text = told({"serial": group(SLOW, FAST)})
    assert "Of 2 figures 1 misses its aim" in text
    assert "| writing | 2 s | peer: 1 s | 2 | at most 1 s | NO |" in text
    assert "- writing: the disk took 1.9 s." in text
    assert "- reading" not in text


def changed(measure: Measure, ratio: float) -> Measure:
    return dataclasses.replace(measure, ratio=ratio)


def test_a_quarter_worse_is_found_in_either_direction_and_better_is_not() -> None:
    before = group(SLOW, FAST)
    assert not worse(group(changed(SLOW, 2.4), changed(FAST, 2.5)), before)
    assert not worse(group(changed(SLOW, 0.1), changed(FAST, 30.0)), before)
    assert worse(group(changed(SLOW, 2.6), changed(FAST, 2.3)), before) == {
        "writing": "ratio 2.6, was 2",
        "reading": "ratio 2.3, was 3",
    }


def test_a_peer_that_is_not_here_is_not_worse() -> None:
    assert not worse(group(changed(FAST, 0.0)), group(FAST))
    assert not worse(group(SLOW), group(changed(SLOW, 0.0)))


def test_what_disk_and_chance_decide_is_not_compared() -> None:
    chance = dataclasses.replace(SLOW, ratio=9.0, compared=False)
    assert not worse(group(chance), group(SLOW))


def test_what_is_worse_is_measured_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [group(changed(SLOW, 4.0)), group(SLOW)]
    monkeypatch.setattr(command, "run", lambda name: answers.pop(0))
    assert command.compare(["serial"], {"serial": group(SLOW)}) == 0
    assert not answers
    answers.extend([group(changed(SLOW, 4.0)), group(changed(SLOW, 4.0))])
    assert command.compare(["serial"], {"serial": group(SLOW)}) == 1


def test_a_run_of_one_group_leaves_the_others_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "HERE", tmp_path)
    monkeypatch.setattr(command, "_RESULTS", tmp_path / "results.json")
    save(tmp_path / "results.json", {"serial": group(FAST), "imu": group(FOLLOWED)})
    monkeypatch.setattr(command, "draw", lambda one, path: path.touch())
    monkeypatch.setattr(command, "run", lambda name: group(SLOW, commit="new"))
    monkeypatch.setattr("sys.argv", ["bench", "imu"])
    assert command.main() == 0, "its aim is missed, and the reason is known"
    found = load(tmp_path / "results.json")
    assert found["serial"].measures == [FAST]
    assert (found["imu"].commit, found["imu"].measures) == ("new", [SLOW])
    assert (tmp_path / "imu.png").exists() and not (tmp_path / "serial.png").exists()
    assert "## serial" in (tmp_path / "RESULTS.md").read_text()


def test_an_aim_that_is_missed_for_no_known_reason_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "HERE", tmp_path)
    monkeypatch.setattr(command, "_RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(command, "draw", lambda one, path: path.touch())
    monkeypatch.setattr(command, "run", lambda name: group(dataclasses.replace(SLOW, reason="")))
    monkeypatch.setattr("sys.argv", ["bench", "imu"])
    assert command.main() == 1


def test_a_picture_is_small_and_the_same_each_time(tmp_path: Path) -> None:
    save(tmp_path / "results.json", {"imu": group(SLOW, FAST, FOLLOWED, dataclasses.replace(FAST, peers={}))})
    program = """
import pathlib, sys
from bench._drawing import draw
from bench._results import load
folder = pathlib.Path(sys.argv[1])
for name in ("a.png", "b.png"):
    draw(load(folder / "results.json")["imu"], folder / name)
"""  # in a process of its own, since matplotlib keeps its fonts open
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, cwd=Path(command.__file__).parents[1])
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < 60_000
    assert content == (tmp_path / "b.png").read_bytes()


def test_every_decoder_is_measured_whole_and_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_decoding, "PACKETS", 100)
    monkeypatch.setattr(_decoding, "LINES", 1000)
    monkeypatch.setattr(
        _decoding, "best_cpu_s", lambda works: {name: 1.0 for name, work in works.items() if work() is not works}
    )
    monkeypatch.setattr(_decoding, "where", lambda work: "here")
    found = [measure.what for measure in _decoding.decoding()]
    for driver in ("SSI v2", "text_lines", "struct_frames", "mplab_stream"):
        whats = [what for what in found if driver in what]
        assert sum("damaged" in what for what in whats) == len(whats) / 2 > 0


def test_the_far_end_sends_the_same_over_and_over(tmp_path: Path) -> None:
    data = struct.pack("<300I", *range(300))
    with _far_end.far_end(tmp_path, data) as path:
        assert _far_end.copied_cpu_s(path, tmp_path / "out", 5000) >= 0
    got = (tmp_path / "out").read_bytes()
    assert len(got) >= 5000
    assert got in data * (len(got) // len(data) + 2), "opening a tty throws away what has come"


@pytest.mark.parametrize("delivered", [False, True])
def test_a_database_of_many_captures_is_like_one_that_grew(tmp_path: Path, delivered: bool) -> None:
    path = _owed.filled(tmp_path / "agent", 250, delivered=delivered, days=10)
    with Database(path, quarantine=tmp_path) as database:
        assert not database.rebuilt_because
        catalogue, outbox = Catalogue(database, tmp_path), _owed.outbox_of(database)
        _owed.owe(database, catalogue, outbox, [_owed.capture_of(tmp_path, 1000)], durable=False)
        count = outbox.counts()[_owed.TARGET]
        assert (count.owed, count.delivered) == ((1, 250) if delivered else (251, 0))
        parcels = outbox.claim(_owed.TARGET, 50, lease_s=60)
        assert len(parcels) == (1 if delivered else 50)
        outbox.settle([parcel.delivered(_owed.RECEIPT) for parcel in parcels])
        assert outbox.counts()[_owed.TARGET].delivered == (251 if delivered else 50)
    connection = sqlite3.connect(path)
    days = connection.execute("SELECT count(DISTINCT day) FROM capture").fetchone()[0]
    connection.close()
    assert days >= 10


def test_a_sink_counts_what_it_takes() -> None:
    from bench._servers import free_port

    port = free_port()
    with Sink(port, rate=1e9).listening() as sink, urllib3.PoolManager() as pool:
        for number in range(3):
            assert pool.urlopen("PUT", f"http://127.0.0.1:{port}/{number}", body=bytes(100_000)).status == 201
    assert (sink.files, sink.bytes) == (3, 300_000)


def test_peers_write_the_samples_that_they_get(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.int16).reshape(2, 6) - 5
    names = tuple("abcdef")
    _texts.by_csv_writer(tmp_path / "csv", rows, names)
    assert (tmp_path / "csv").read_text().split() == ["sequence,a,b,c,d,e,f", "0,-5,-4,-3,-2,-1,0", "1,1,2,3,4,5,6"]
    _texts.by_json_lines(tmp_path / "json", rows, names)
    lines = [json.loads(line) for line in (tmp_path / "json").read_text().splitlines()]
    assert lines[1] == {"sequence": 1, "a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}


def test_the_processor_of_a_thread_is_told_by_its_name() -> None:
    program = """
import sys, threading
def work():
    open(f"/proc/self/task/{threading.get_native_id()}/comm", "w").write("(odd) one")
    while True:
        sum(range(1000))
threading.Thread(target=work, daemon=True).start()
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        spent: dict[str, float] = {}
        while spent.get("(odd) one", 0.0) < 0.05:
            spent = _process.cpu_s_by_thread(process.pid)
        assert _process.cpu_s_of(process.pid) >= 0.05
        process.kill()
    said = _process.busiest({"(odd) one": spent["(odd) one"] - 0.02}, {**spent, "idle": 0.0}, 1.0)
    assert "(odd) one 2.0 %" in said
    assert "idle" not in said
