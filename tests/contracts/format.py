"""What every format of samples does: a test of one subclasses `FormatContract` and says how to open it."""

import errno
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.capture import SCHEMA, Capture
from agent.film import Film
from agent.formats import Format, format_module
from agent.negative import NegativeWriter, identity_as_json
from drivers import Block, Channel, Identity

START_NS = 10**15
WALL_NS = 1_790_000_000_123_456_789

IMU = Identity(
    "MPU-6050",
    1000.0,
    (
        Channel("Accelerometer X", "g", scale=1 / 4096),
        Channel("Gyroscope (z)", "deg/s", scale=1 / 16.4),
        Channel("Temperature", "C", scale=1 / 340, offset=36.53),
    ),
)
MCU = Identity("Nano 33", 100.0, (Channel("Temperature", "C"), Channel("Größe", "", scale=0.5, offset=-2)))


def samples(identity: Identity, first: int, count: int) -> np.ndarray:
    """Noise over the whole range of int16, different for each index and channel."""
    made = np.zeros(count, identity.dtype)
    for place, name in enumerate(identity.dtype.names or ()):
        index = np.arange(first, first + count, dtype=np.uint64)
        bits = (index * np.uint64(2654435761) + np.uint64(place * 40503)) >> np.uint64(7)
        made[name] = bits.astype(np.uint16).view(np.int16)
    return made


def block(identity: Identity, first: int, count: int, **more: Any) -> Block:
    """A block seen the moment its last sample was taken."""
    seen = START_NS + int((first + count - 1) * 1e9 / identity.rate_hz)
    return Block(first, samples(identity, first, count), **{"observed_ns": seen, "newest": first + count - 1, **more})


def write_negative(
    path: Path, streams: dict[str, Identity], blocks: list[tuple[int, Block]], *, fill: str = "hold"
) -> Path:
    """A finished negative of these blocks, ordered by when they were seen."""
    head = {
        "uuid": "7a7b4a54-9d1a-4a32-8f0c-0d6f1a0f0d6e",
        "name": "bay3.walk.20260921T143320.123Z.7a7b4a54",
        "recording": "walk",
        "settings": {"fill": fill},
        "configuration": {"uuid": "", "name": "walk", "document": {}},
        "device": {"name": "bay3", "id": "0badcafe", "model": ""},
        "labels": {"activity": "walking"},
        "streams": [
            {"name": name, "driver": "mpu6050", "identity": identity_as_json(identity)}
            for name, identity in streams.items()
        ],
        "started": {"boot_time_ns": START_NS, "wall_ns": WALL_NS},
    }
    writer = NegativeWriter(path, head)
    for place, one in sorted(blocks, key=lambda pair: pair[1].observed_ns):
        writer.write(place, one)
        writer.flush()
    writer.finish({"reason": "stop"})
    return path


def capture_of(film: Film, folder: Path) -> Capture:
    """The capture that this film would be, as far as reading its payloads needs."""
    document = {
        "schema": SCHEMA,
        "start": {"boot_time_ns": film.start_ns},
        "streams": film.describe(),
    }
    return Capture(folder, json.loads(json.dumps(document)))


class FormatContract:
    """Subclass it as Test..., with `kind` and, where there are any, `options`."""

    kind: str
    options: dict[str, Any] = {}  # noqa: RUF012  replaced as a whole
    native = False
    """Whether each stream is there on its own clock; else all are on the fastest one's."""

    @pytest.fixture
    def form(self) -> Format:
        """The format under test."""
        form: Format = format_module(self.kind).Settings(**self.options).open()
        return form

    def develop(self, form: Format, negative: Path) -> tuple[Film, Path, int]:
        """(film, payload, how often it breathed)."""
        film = Film.scan(negative)
        path = negative.with_suffix(f"{form.suffix}.part")
        breaths: list[int] = []
        told = form.develop(film, path, lambda: breaths.append(1))
        assert isinstance(told, dict)
        return film, path, len(breaths)

    def read(self, form: Format, film: Film, path: Path) -> dict[str, list[Block]]:
        """What the payload holds, by the name of the first channel of each block."""
        found: dict[str, list[Block]] = {}
        for one in form.read(path, capture_of(film, path.parent)):
            found.setdefault(str((one.samples.dtype.names or ("",))[0]), []).append(one)
        return found

    def gappy(self, folder: Path) -> Path:
        """12,000 rows of one stream with three gaps, one of them over a chunk's end."""
        firsts = [first for first in range(100, 12_100, 50) if first not in (500, 4100, 4150, 4200, 9000)]
        return write_negative(folder / "n", {"imu": IMU}, [(0, block(IMU, first, 50)) for first in firsts])

    def test_says_what_it_is(self, form: Format) -> None:
        assert form.suffix.startswith(".")
        assert "/" in form.media_type

    def test_gaps_and_odd_names_read_back_as_they_were(self, form: Format, tmp_path: Path) -> None:
        film, path, breaths = self.develop(form, self.gappy(tmp_path))
        (blocks,) = self.read(form, film, path).values()
        indexes = np.concatenate([np.arange(one.first, one.end) for one in blocks])
        gaps = [range(500, 550), range(4100, 4250), range(9000, 9050)]
        assert indexes.tolist() == [n for n in range(100, 12_100) if not any(n in gap for gap in gaps)]
        assert [one.lost for one in blocks if one.lost] == [50, 150, 50]
        assert breaths >= 3
        for one in blocks:
            expected = samples(IMU, one.first, one.count)
            assert one.samples.dtype.names == ("Accelerometer X", "Gyroscope _z_", "Temperature")
            for name, written in zip(one.samples.dtype.names, IMU.dtype.names or (), strict=True):
                assert one.samples[name].dtype == np.int16
                assert (one.samples[name] == expected[written]).all()
            assert abs(one.observed_ns - START_NS - one.newest * 1_000_000) < 5_000_000
            assert one.newest == one.end - 1
            assert not one.samples.flags.writeable

    def test_two_streams_are_both_there(self, form: Format, tmp_path: Path) -> None:
        blocks = [(0, block(IMU, first, 50)) for first in range(0, 10_000, 50)]
        blocks += [(1, block(MCU, first, 5)) for first in range(0, 1000, 5)]
        film, path, _ = self.develop(form, write_negative(tmp_path / "n", {"imu": IMU, "mcu": MCU}, blocks))
        found = self.read(form, film, path)
        imu, mcu = ("Accelerometer X", "Gyroscope _z_", "imu_Temperature"), ("mcu_Temperature", "Gr__e")
        lead = np.concatenate([one.samples for one in found["Accelerometer X"]])
        assert len(lead) == 10_000
        for name, written in zip(imu, IMU.dtype.names or (), strict=True):
            assert (lead[name] == samples(IMU, 0, 10_000)[written]).all()
        slow = np.concatenate([one.samples for one in found["mcu_Temperature"]]) if self.native else lead
        expected = samples(MCU, 0, 1000)
        for name, written in zip(mcu, MCU.dtype.names or (), strict=True):
            if self.native:
                assert (slow[name] == expected[written]).all()
            else:  # each held for ten rows, give or take the nanoseconds of the fit
                assert (slow[name][5::10] == expected[written]).all()

    def test_a_film_without_samples_is_a_whole_file(self, form: Format, tmp_path: Path) -> None:
        film, path, _ = self.develop(form, write_negative(tmp_path / "n", {"imu": IMU}, []))
        assert self.read(form, film, path) == {}

    def test_memory_is_flat(self, form: Format, tmp_path: Path) -> None:
        def peak(count: int) -> int:
            blocks = ((0, block(IMU, first, 1000)) for first in range(0, count, 1000))
            film = Film.scan(write_negative(tmp_path / str(count), {"imu": IMU}, list(blocks)))
            tracemalloc.start()
            form.develop(film, tmp_path / "p.part", lambda: None)
            top = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return top

        peak(10_000)  # tables are made once
        assert peak(240_000) < peak(60_000) + 1_000_000

    def test_leaves_the_interpreter_to_others_between_chunks(self, form: Format, tmp_path: Path) -> None:
        blocks = [(0, block(IMU, first, 1000)) for first in range(0, 40_000, 1000)]
        _, _, breaths = self.develop(form, write_negative(tmp_path / "n", {"imu": IMU}, blocks))
        assert breaths >= 40_000 / 4096

    def test_an_error_on_the_way_comes_out_and_leaves_no_file(self, form: Format, tmp_path: Path) -> None:
        class Broken(Exception):
            pass

        def breathe() -> None:
            raise Broken

        film = Film.scan(self.gappy(tmp_path))
        with pytest.raises(Broken):
            form.develop(film, tmp_path / "p.part", breathe)
        assert not (tmp_path / "p.part").exists()
        with pytest.raises(OSError):
            form.develop(film, tmp_path / "no such folder" / "p.part", lambda: None)

    def test_a_full_disk_is_told_from_a_bad_film(self, form: Format, tmp_path: Path) -> None:
        """The developer tries again when there is room, so it must see that it was the disk."""
        (tmp_path / "p.part").symlink_to("/dev/full")
        with pytest.raises(OSError) as caught:
            form.develop(Film.scan(self.gappy(tmp_path)), tmp_path / "p.part", lambda: None)
        assert caught.value.errno == errno.ENOSPC
        assert not (tmp_path / "p.part").is_symlink()

    def test_writes_nothing_but_the_file_it_was_given(self, form: Format, tmp_path: Path) -> None:
        _, path, _ = self.develop(form, self.gappy(tmp_path))
        assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "n", path])
        first = path.read_bytes()
        self.develop(form, tmp_path / "n")
        assert path.read_bytes() == first  # and the same each time
