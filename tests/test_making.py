"""A target that takes none of a capture's formats gets one that is made for it: the same bytes as if it had been asked
for from the start."""

import contextlib
import hashlib
import json
import tracemalloc

import numpy as np
import pytest
from pyarrow import parquet

from agent.capture import Capture
from agent.formats import format_module
from agent.parcel import Parcel
from agent.sync.attempt import attempt, attempt_many
from agent.sync.making import Recipe, made, needed, recipe
from agent.targets import Home, Progress, Receipt
from agent.targets.directory import Settings as Directory
from drivers import Block, Channel, Identity, samples_dtype
from tests import sensiml
from tests.captures import make_capture
from tests.contracts.format import IMU, START_NS, block
from tests.recorded import run
from tests.test_config_targets import with_target
from tests.test_sync import House
from tests.viam import JPEG, sampled

SLOW = Identity(
    "BME280", 100.0, (Channel("Temperature", "Celsius", "<i2", 0.01), Channel("Humidity", "percent", "<f4"))
)
ROWS = ("csv", "csv_gz", "parquet")


def both(folder, *kinds: str, streams=("imu",), **more) -> Capture:
    """A fast stream with a gap, and where it is asked for one a tenth as fast that comes late and has integers and
    fractions."""
    known = {"imu": IMU, "air": SLOW}
    blocks = [(0, block(IMU, first, 10)) for first in range(100, 1100, 10) if first not in (500, 510, 900)]
    for first in range(20, 100):
        samples = np.array([(first, first / 7)], samples_dtype(SLOW.channels))
        samples.flags.writeable = False
        at = (1, Block(first, samples, START_NS + (first - 10) * 10_000_000, first))
        blocks.append(at)
    blocks = [(place, each) for place, each in blocks if place < len(streams)]
    return sampled(folder, {name: known[name] for name in streams}, blocks, *kinds, **more)


@pytest.mark.parametrize("wanted", [*ROWS, "wav", "flac"])
@pytest.mark.parametrize("source", [*ROWS, "mcap"])
def test_what_is_made_is_what_would_have_been_recorded(tmp_path, source, wanted):
    if source == wanted:
        return
    uuid = "7e57ab1e-0000-4000-8000-000000000000"
    capture = both(tmp_path / "here", source, uuid=uuid)
    direct = both(tmp_path / "there", wanted, uuid=uuid)
    with made(capture, Recipe(source, wanted), tmp_path / "scratch", lambda: None) as (other, said):
        (payload,) = other.payloads
        if wanted in ("csv", "csv_gz", "wav", "flac"):
            assert other.path(payload).read_bytes() == direct.files[0].read_bytes()
        same(other, direct)
        assert other.damage() == ""
        assert said["sha256"] == payload.sha256
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("fill", ["hold", "linear"])
@pytest.mark.parametrize("wanted", [*ROWS, "mcap"])
@pytest.mark.parametrize("source", ROWS)
def test_of_two_streams_in_one_table(tmp_path, source, wanted, fill):
    """Those in rows are the same rows again; where streams are apart, what was in the table is."""
    if source == wanted:
        return
    uuid = "7e57ab1e-0000-4000-8000-000000000000"
    capture = both(tmp_path / "here", source, streams=("imu", "air"), uuid=uuid, fill=fill)
    with made(capture, Recipe(source, wanted), tmp_path / "scratch", lambda: None) as (other, said):
        if wanted != "mcap":
            direct = both(tmp_path / "there", wanted, streams=("imu", "air"), uuid=uuid, fill=fill)
            same(other, direct)
            if wanted == "csv" and fill == "hold":
                assert other.path(other.payloads[0]).read_bytes() == direct.files[0].read_bytes()
        assert "slower streams" in said["loss"]


def test_out_of_mcap_each_stream_keeps_its_own_rate(tmp_path):
    capture = both(tmp_path / "here", "mcap", streams=("imu", "air"))
    with made(capture, Recipe("mcap", "csv"), tmp_path / "scratch", lambda: None) as (other, said):
        lines = other.path(other.payloads[0]).read_text().splitlines()
    assert lines[0].startswith("sequence,") and lines[0].endswith(",Humidity")
    assert len(lines) == 971
    assert "loss" not in said


def test_what_is_made_has_the_times_of_the_recording(tmp_path):
    """Those by the measured rate, a hundredth off the nominal one here."""
    blocks = [
        (0, block(IMU, first, 50, observed_ns=START_NS + (first + 49) * 990_000)) for first in range(0, 20_000, 50)
    ]
    capture, direct = (sampled(tmp_path / kind, {"imu": IMU}, blocks, kind) for kind in ("csv", "parquet"))
    with made(capture, Recipe("csv", "parquet"), tmp_path / "scratch", lambda: None) as (other, _):
        times = [parquet.read_table(one.path(one.payloads[0]))["timestamp"].to_numpy() for one in (other, direct)]
    assert abs(times[0][-1] - 19_999 * 990_000) < 1_000_000
    np.testing.assert_allclose(*times, atol=20_000)  # nanoseconds: of a period, a fiftieth


def same(one: Capture, other: Capture) -> None:
    """Their payloads hold the same, as far as a float32 can tell: of what was interpolated, no more is kept."""
    np.testing.assert_allclose(table(one), table(other), rtol=1e-6)


def table(capture: Capture) -> np.ndarray:
    """All samples in its payload, with their indexes."""
    (payload,) = capture.payloads
    blocks = format_module(payload.format).Settings().open().read(capture.path(payload), capture)
    return np.array([(b.first + at, *row) for b in blocks for at, row in enumerate(b.samples.tolist())])


class Folder:
    """A folder as a target, which takes some formats alone."""

    def __init__(self, path, *formats: str) -> None:
        path.mkdir()
        self.path = path
        self.target = Directory(path=str(path), formats=formats, fsync=False).open(Home("bay3", "0badcafe", path))

    def attempt(self, capture: Capture, scratch) -> tuple:
        return attempt(
            "nas", self.target, parcel(capture), catalogue=Shelf(capture), progress=Progress(), scratch=scratch
        )

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.path.rglob("*.*")}


class Shelf:
    """A catalogue of these captures."""

    def __init__(self, *captures: Capture) -> None:
        self._captures = {capture.uuid: capture for capture in captures}

    def get(self, uuid: str) -> Capture:
        return self._captures[uuid]


def parcel(capture: Capture) -> Parcel:
    return Parcel(1, capture.uuid, capture.name, "2026-11-21", "nas", "leased", 1, capture.size, 0, "", {}, None, "")


def test_a_delivery_has_it_made_and_leaves_nothing_behind(tmp_path):
    capture = both(tmp_path / "captures", "parquet")
    far, scratch = Folder(tmp_path / "nas", "csv"), tmp_path / "scratch"
    outcome, error = far.attempt(capture, scratch)
    assert error is None
    assert outcome.kind == "delivered"
    csv = f"{capture.name}.csv"
    assert outcome.receipt["made"] | {"sha256": ""} == {
        "file": csv,
        "size": len(far.files()[csv]),
        "sha256": "",
        "of": capture.payloads[0].file,
    }
    sidecar = json.loads(far.files()[f"{capture.name}.json"])
    assert [payload["file"] for payload in sidecar["payloads"]] == [csv], "what it says is there, is"
    assert hashlib.sha256(far.files()[csv]).hexdigest() == sidecar["payloads"][0]["sha256"]
    assert list(scratch.iterdir()) == []
    assert far.attempt(capture, scratch)[0].receipt["new"] == [], "made once more it is the same"


def test_what_the_made_file_cannot_hold_is_in_the_receipt(tmp_path):
    outcome, _ = Folder(tmp_path / "nas", "wav").attempt(both(tmp_path / "captures", "csv"), tmp_path / "scratch")
    assert outcome.receipt["made"]["loss"] == "where samples were lost, the one before is repeated"


def test_a_payload_that_is_there_is_taken_as_it_is(tmp_path):
    capture = both(tmp_path / "captures", "csv", "parquet")
    far = Folder(tmp_path / "nas", "wav", "parquet")
    outcome, _ = far.attempt(capture, tmp_path / "scratch")
    assert "made" not in outcome.receipt
    assert far.files()[capture.files[1].name] == capture.files[1].read_bytes()
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"x" + p.read_bytes()[1:])])
def test_of_a_payload_that_is_not_the_sidecars_nothing_is_made(tmp_path, damage):
    capture, far = both(tmp_path / "captures", "csv"), Folder(tmp_path / "nas", "parquet")
    damage(capture.files[0])
    outcome, error = far.attempt(capture, tmp_path / "scratch")
    assert (outcome.kind, far.files()) == ("refused", {})
    assert capture.files[0].name in str(error)


def test_what_fits_no_format_is_refused_with_the_reason(tmp_path):
    capture = both(tmp_path / "captures", "csv", streams=("imu", "air"))  # a float among the channels
    outcome, error = Folder(tmp_path / "nas", "wav").attempt(capture, tmp_path / "scratch")
    assert outcome.kind == "refused"
    assert "wav cannot be made of" in str(error)
    assert "Humidity is <f4" in str(error)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_pictures_are_made_into_nothing(tmp_path):
    capture = make_capture(tmp_path / "captures", b"jpeg", kind=JPEG)
    assert needed(capture, ("csv",)) is None
    assert recipe(["jpeg"], ["csv"]) is recipe(["csv"], ["jpeg"]) is recipe(["no-such"], ["csv"]) is None
    outcome, error = Folder(tmp_path / "nas", "csv").attempt(capture, tmp_path / "scratch")
    assert outcome.kind == "refused"
    assert "takes csv and the capture has jpeg" in str(error)


def test_the_source_that_keeps_streams_apart_is_preferred():
    assert recipe(["parquet", "mcap"], ["wav", "csv"]) == Recipe("mcap", "wav")


def test_a_full_disk_is_an_attempt(tmp_path):
    (tmp_path / "scratch").write_text("no folder")
    outcome, error = Folder(tmp_path / "nas", "csv").attempt(both(tmp_path / "c", "parquet"), tmp_path / "scratch")
    assert outcome.kind == "failed"
    assert "cannot be made" in str(error)


def test_a_daemon_that_stops_does_not_finish_it(tmp_path):
    capture, far = both(tmp_path / "captures", "csv"), Folder(tmp_path / "nas", "parquet")
    progress = Progress()
    progress.stop.set()
    outcome, error = attempt(
        "nas", far.target, parcel(capture), catalogue=Shelf(capture), progress=progress, scratch=tmp_path / "scratch"
    )
    assert (outcome.kind, error, far.files()) == ("released", None, {})
    assert not list(tmp_path.glob("scratch/*"))


def test_in_a_bundle_it_goes_alone(tmp_path):
    fits, other = both(tmp_path / "captures", "csv"), both(tmp_path / "captures", "parquet")
    bundles: list[list[str]] = []

    class Bundling:
        formats = ("csv",)
        bundle = None

        def put(self, capture: Capture, progress: Progress) -> Receipt:
            return {"alone": capture.payloads[0].file}

        def put_many(self, captures, progress):
            bundles.append([capture.name for capture in captures])
            return [{"bundle": True} for _ in bundles[0]]

        def close(self) -> None:
            pass

    results = attempt_many(
        "lab",
        Bundling(),
        [parcel(other), parcel(fits)],
        catalogue=Shelf(fits, other),
        progress=Progress(),
        scratch=tmp_path / "scratch",
    )
    assert bundles == [[fits.name]]
    receipts = [outcome.receipt for outcome, _ in results]
    assert receipts[0]["alone"] == receipts[0]["made"]["file"] == f"{other.name}.csv"
    assert receipts[1] == {"bundle": True}


def test_a_long_capture_needs_no_memory(tmp_path):
    blocks = [(0, block(IMU, first, 1000)) for first in range(0, 60_000, 1000)]
    capture = sampled(tmp_path / "captures", {"imu": IMU}, blocks, "csv")
    tracemalloc.start()
    try:
        with made(capture, Recipe("csv", "csv_gz"), tmp_path / "scratch", lambda: None):
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20, f"{peak} bytes at once"


def test_such_a_recording_is_no_mistake_and_check_says_what_becomes_of_it(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(with_target('kind = "directory"\npath = "/mnt/nas"\nformats = ["parquet"]'))
    said = run("check", config).output
    assert "far takes none of these: parquet is made of mcap at each delivery" in " ".join(said.split())


def test_sensiml_gets_a_csv_of_a_recording_in_parquet(tmp_path):
    with contextlib.ExitStack() as stack:
        house = House(tmp_path, stack)
        far = stack.enter_context(sensiml.serving(tmp_path))
        capture = both(tmp_path / "captures", "parquet")
        with house.database.transaction(durable=True) as connection:
            house.catalogue.add(connection, [capture])
            house.outbox.owe(connection, [(capture.uuid, capture.size, ["ml"])])
        sync = house.sync(ml=far.open())
        house.until(lambda: sync.health()["ml"]["delivered"] == 1)
        sync.stop()
        (receipt,) = (parcel.receipt for parcel in house.outbox.list("ml", "delivered"))
        assert receipt["made"]["of"] == capture.payloads[0].file
        assert list(far.files()) == [f"{capture.name}.csv"]
        assert list((tmp_path / "scratch").iterdir()) == []
