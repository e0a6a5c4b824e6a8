"""Captures, outbox and configurations on the command line, read from a real data folder while no daemon runs."""

import contextlib
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.capture import Capture
from agent.cli import figures
from agent.cli.show import followed
from agent.cli.store import moment_ns
from agent.clock import iso
from agent.folder import DataFolder
from agent.series import Samples, Series
from tests.recorded import SECOND, STARTED_NS, make_data_folder, make_negative, run


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return make_data_folder(tmp_path / "data")


def names(data_dir: Path, *filters: str) -> list[str]:
    found = json.loads(run("captures", "list", "--json", *filters, "--data", data_dir).output)
    return [f"{entry['recording']} {entry['started'][11:13]}" for entry in found]


def test_list_filters(data_dir: Path) -> None:
    assert names(data_dir) == ["rest 16", "walk 15", "walk 14"] or len(names(data_dir)) == 3
    first, second, third = reversed(names(data_dir))
    since = iso(STARTED_NS + 1800 * SECOND)
    assert names(data_dir, "--since", since) == [third, second]
    assert names(data_dir, "--until", since[:19]) == [first]
    assert names(data_dir, "--recording", "walk") == [second, first]
    assert names(data_dir, "--label", "activity=lying") == [third]
    assert names(data_dir, "--label", "activity", "--metadata", "subject=7", "--stream", "imu") == [
        third,
        second,
        first,
    ]
    assert names(data_dir, "--stream", "mcu") == []
    assert names(data_dir, "--name", "bay3.rest.*") == [third]
    entry = json.loads(run("captures", "list", "--json", "--data", data_dir).output)[0]
    assert names(data_dir, "--uuid", entry["uuid"][:8], "--configuration", entry["configuration"][:6]) == [third]
    said = run("captures", "list", "--limit", "2", "--data", data_dir).output
    assert "There are more than these 2" in said
    assert "bay3.rest" in said
    assert all(len(line) <= 80 for line in said.splitlines())
    run("captures", "list", "--since", "yesterdayish", "--data", data_dir, code=2)
    assert "no data folder" in run("captures", "list", "--data", data_dir / "none", code=1).output


def test_show_and_stats(data_dir: Path) -> None:
    said = run("captures", "list", "--json", "--recording", "rest", "--data", data_dir).output
    entry = json.loads(said)[0]
    said = run("captures", "show", entry["name"], "--data", data_dir).output
    for text in ("activity lying", "subject 7", "MPU-6050", "350", "AccelerometerX", "deg/s", entry["uuid"]):
        assert text in said
    document = json.loads(run("captures", "show", entry["uuid"][:8], "--json", "--data", data_dir).output)
    assert document["uuid"] == entry["uuid"]
    assert "no capture" in run("captures", "show", "nothing", "--data", data_dir, code=1).output
    sums = json.loads(run("captures", "stats", "--json", "--data", data_dir).output)
    assert sums["walk"]["captures"] == 2
    assert sums["walk"]["standing"] == {"delivered": 1, "owed": 1}
    assert "walk" in run("captures", "stats", "--data", data_dir).output


def test_export_copies_converts_and_verifies(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "3 of 3 captures written" in run("captures", "export", out, "--data", data_dir).output
    assert len(list(out.iterdir())) == 9, "csv, mcap and sidecar of each"
    assert all(not Capture.load(sidecar).damage() for sidecar in out.glob("*.json"))
    assert "0 of 3 captures written" in run("captures", "export", out, "--data", data_dir).output
    wavs = tmp_path / "wavs"
    run("captures", "export", wavs, "--recording", "rest", "--format", "wav", "--data", data_dir)
    (converted,) = [Capture.load(sidecar) for sidecar in wavs.glob("*.json")]
    assert not converted.damage()
    assert [payload.format for payload in converted.payloads] == ["wav"]
    csvs = tmp_path / "csvs"
    (tmp_path / "mcap").mkdir()
    run("captures", "export", csvs, "--recording", "rest", "--format", "csv", "--data", data_dir)
    (plain,) = csvs.glob("*.csv")
    assert plain.read_bytes() == next(out.glob("bay3.rest.*.csv")).read_bytes()
    damaged = next((data_dir / "captures").glob("*/bay3.rest.*.csv"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"9")
    said = run("captures", "export", tmp_path / "again", "--data", data_dir, code=1).output
    assert "2 of 3 captures written" in said
    assert "bay3.rest" in said
    assert not list((tmp_path / "again").glob("bay3.rest.*.csv"))


def test_a_converted_capture_has_the_same_samples(data_dir: Path, tmp_path: Path) -> None:
    source = Capture.load(next((data_dir / "captures").glob("*/bay3.rest.*.json")))
    only_mcap = Capture(source.folder, {**source.document, "payloads": source.document["payloads"][1:]})
    from agent.cli.export import Export

    exporting = Export(tmp_path, "csv")
    exporting.add(only_mcap)
    assert not exporting.failed
    assert (tmp_path / f"{source.name}.csv").read_bytes() == source.path(source.payloads[0]).read_bytes()


def test_plot_draws_a_png_or_lines(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = json.loads(run("captures", "list", "--json", "--data", data_dir).output)[0]["name"]
    path = tmp_path / "plot.png"
    # in a process of its own, since matplotlib keeps its fonts open
    command = [sys.executable, "-m", "agent.cli", "captures", "plot", name, "-o", str(path), "--data", str(data_dir)]
    assert "1 gap\n" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert min(struct.unpack(">II", head[16:])) > 400
    said = run("captures", "plot", name, "--terminal", "--data", data_dir).output
    assert "AccelerometerX" in said
    assert "█" in said
    assert re.search(r"AccelerometerX .* -0\.976\d to 0\.976\d g\n", said)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "matplotlib is not installed" in run("captures", "plot", name, "--data", data_dir).output


def test_gaps_are_blank_in_a_sparkline() -> None:
    assert figures.sparkline(np.array([0.0, 1.0, np.nan, 7.0]), 4) == "▁▂ █"
    assert figures.sparkline(np.array([]), 4) == " "
    assert figures.sparkline(np.full(8, 3.0), 4) == "▁▁▁▁"
    times = np.arange(2.0)
    both = Samples((Series("a", "g", times, np.array([1.0, 2])), Series("b", "", times, np.full(2, np.nan))), (), 2)
    assert figures.lines(both, 80) == ["a ▁█ 1 to 2 g", "b    nothing"]


def test_axes_of_one_sensor_share_a_panel() -> None:
    names = ["aX", "bX", "aY", "bY", "t", "u"]
    nothing = np.empty(0)
    drawn = figures.panels(tuple(Series(name, "C" if name == "t" else "", nothing, nothing) for name in names))
    assert [[one.name for one in group] for _, group in drawn] == [["aX", "aY"], ["bX", "bY"], ["t"], ["u"]]


def test_thinning_keeps_peaks_and_gaps() -> None:
    values = np.zeros(100_000)
    values[[123, 77_777]] = 9, -9
    values[50_000] = np.nan
    times, kept = figures.thinned(np.arange(100_000.0), values)
    assert len(kept) < 5000
    assert set(times[np.isin(kept, (9, -9)) | np.isnan(kept)]) == {123, 50_000, 77_777}


def test_outbox_without_a_daemon(data_dir: Path) -> None:
    found = json.loads(run("outbox", "list", "--json", "--data", data_dir).output)
    assert {parcel["state"] for parcel in found["parcels"]} == {"waiting", "refused"}
    assert (found["counts"]["lab"]["owed"], found["counts"]["lab"]["delivered"]) == (1, 1)
    assert "no such project" in " ".join(run("outbox", "list", "--data", data_dir).output.split())
    assert (
        "1 parcel will" in run("outbox", "retry", "--capture", found["parcels"][1]["name"], "--data", data_dir).output
    )
    assert json.loads(run("outbox", "list", "--json", "--data", data_dir).output)["counts"]["lab"]["owed"] == 2
    run("outbox", "drop", "--data", data_dir, code=2)
    assert "0 parcels" in run("outbox", "drop", "--target", "lab", "--yes", "--data", data_dir).output
    assert "2 parcels" in run("outbox", "drop", "--target", "lab", "--owed", "--yes", "--data", data_dir).output
    assert "Nothing is owed" in run("outbox", "list", "--data", data_dir).output


def test_configurations(data_dir: Path) -> None:
    (found,) = json.loads(run("configurations", "list", "--json", "--data", data_dir).output)
    assert found["captures"] == 3
    assert found["uuid"] in run("configurations", "list", "--data", data_dir).output
    said = run("configurations", "show", found["uuid"][:8], "--data", data_dir).output
    assert re.search(r"accel_range_g\s+8", said)
    assert "no configurations" in run("configurations", "show", "x", "--data", data_dir, code=1).output


def test_status_at_rest(data_dir: Path) -> None:
    said = run("status", "--data", data_dir).output
    assert "No daemon runs" in said
    assert re.search(r"lab\s+1 ", said)
    assert json.loads(run("status", "--json", "--data", data_dir).output)["running"] is False


def test_recover_a_negative_and_a_sidecar(data_dir: Path, tmp_path: Path) -> None:
    negative = make_negative(
        tmp_path, recording="lost", wall_ns=STARTED_NS, labels={"activity": "found"}, formats=["csv"]
    )
    config = tmp_path / "config.toml"
    config.write_text(
        f'[agent]\ndata_dir = "{data_dir}"\n[stream.imu]\ndriver = "mpu6050"\n[recording.lost]\nstreams = "imu"\n'
        f'targets = "lab"\n[target.lab]\nkind = "directory"\npath = "{tmp_path}"\n'
    )
    out = tmp_path / "out"
    assert "1 payloads" in run("recover", negative, "--output", out).output
    assert sorted(path.suffix for path in out.iterdir()) == [".csv", ".json"]
    assert not Capture.load(next(out.glob("*.json"))).damage()
    for file in (negative, next(out.glob("*.json"))):
        run("recover", file, "--config", config)
        assert len(names(data_dir, "--label", "activity=found")) == 1
    owed = json.loads(run("outbox", "list", "--json", "--state", "waiting", "--data", data_dir).output)["parcels"]
    assert [parcel["name"].split(".")[1] for parcel in owed] == ["walk", "lost"]
    assert negative.exists(), "what is recovered stays where it was"
    (tmp_path / "junk").write_bytes(b"junk")
    assert "junk" in run("recover", tmp_path / "junk", "--data", data_dir, code=1).output
    with DataFolder(data_dir):
        assert "another capture-agent runs" in run("recover", negative, "--data", data_dir, code=1).output


def test_moments() -> None:
    import datetime

    now = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
    noon = int(now.timestamp()) * SECOND
    assert moment_ns("2h", now) == noon - 7200 * SECOND
    assert moment_ns("1.5 d ago", now) == noon - 129_600 * SECOND
    assert moment_ns("2026-11-21T12:00", now) == noon
    assert moment_ns("2026-11-21T13:00+01:00", now) == noon
    assert moment_ns("2026-11-21", now) == noon - 43_200 * SECOND
    with pytest.raises(ValueError, match="isoformat"):
        moment_ns("soon", now)


def test_who_waits_at_a_terminal_sees_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with followed(["a", "b"], "Fetching") as bar:
            assert list(bar) == ["a", "b"]
    seen = b""
    with os.fdopen(ours, "rb", buffering=0) as shown, contextlib.suppress(OSError):  # the other end is closed
        while piece := shown.read(10_000):
            seen += piece
    assert b"Fetching" in seen
    assert b"2/2" in seen
