"""Parquet: the contract, and what a reader finds that knows nothing of us."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from agent.config.loading import ConfigError, load
from agent.film import Film
from agent.formats.parquet import Settings
from drivers import Block, Channel, Identity, SettingsError
from drivers.ports.virtual.motion import Motion
from tests.contracts.format import (
    IMU,
    MCU,
    START_NS,
    FormatContract,
    block,
    capture_of,
    samples,
    write_negative,
)


class TestParquet(FormatContract):
    kind = "parquet"


def develop(negative: Path) -> tuple[Film, Path]:
    film, path = Film.scan(negative), negative.with_suffix(".parquet")
    Settings().open().develop(film, path, lambda: None)
    return film, path


def of(values: np.ndarray[Any, Any]) -> list[tuple[int, Block]]:
    """One block of the first stream."""
    return [(0, Block(0, values, START_NS, len(values) - 1))]


def walk(path: Path, count: int) -> tuple[np.ndarray[Any, Any], Path]:
    """(samples, negative) of synthetic motion."""
    motion = Identity("MPU-6050", 1000.0, tuple(Channel(f"C{n}") for n in range(6)))
    rows = np.ascontiguousarray(Motion(1, 1000.0).rows(0, count)).view(motion.dtype)[:, 0]
    parts = [(n, rows[n : n + 1000]) for n in range(0, count, 1000)]
    blocks = [(0, Block(n, part, START_NS + (n + len(part) - 1) * 1_000_000, n + len(part) - 1)) for n, part in parts]
    return rows, write_negative(path, {"imu": motion}, blocks)


def test_columns_are_raw_values_by_sequence_and_time(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, first, 50)) for first in range(100, 5000, 50) if first != 700]
    _, path = develop(write_negative(tmp_path / "n", {"imu": IMU}, blocks))
    table = parquet.read_table(path)
    assert table.column_names == ["sequence", "timestamp", "Accelerometer X", "Gyroscope _z_", "Temperature"]
    assert [str(kind) for kind in table.schema.types] == ["int64", "int64", "int16", "int16", "int16"]
    assert not any(field.nullable for field in table.schema)
    sequence = [n for n in range(100, 5000) if not 700 <= n < 750]
    assert table["sequence"].to_pylist() == sequence
    assert table["timestamp"].to_numpy() == pytest.approx((np.array(sequence) - 100) * 1e6, abs=1000)
    expected = samples(IMU, 100, 4900)["Gyroscope (z)"]
    assert table["Gyroscope _z_"].to_pylist() == [int(expected[n - 100]) for n in sequence]


def test_the_file_says_what_it_holds(tmp_path: Path) -> None:
    film, path = develop(write_negative(tmp_path / "n", {"imu": IMU}, [(0, block(IMU, 0, 50))]))
    schema = parquet.read_schema(path)
    told = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    assert told["uuid"] == film.uuid
    assert json.loads(told["labels"]) == {"activity": "walking"}
    assert json.loads(told["configuration"])["name"] == "walk"
    assert json.loads(told["started"])["boot_time_ns"] == START_NS
    assert json.loads(told["streams"]) == json.loads(json.dumps(film.describe()))
    temperature = {key.decode(): value.decode() for key, value in schema.field("Temperature").metadata.items()}
    assert temperature.pop("PARQUET:field_id", None) in (None, "5")
    assert temperature == {"unit": "C", "scale": repr(1 / 340), "offset": "36.53"}
    assert schema.field("timestamp").metadata[b"unit"] == b"ns"


def test_is_empty_where_nothing_was(tmp_path: Path) -> None:
    fast = Identity("Fast", 100.0, (Channel("A"),))
    slow = Identity("Slow", 10.0, (Channel("S", dtype="|u1"), Channel("L", dtype="<f8")))
    blocks = [(0, Block(n, np.array([(n,)], fast.dtype), START_NS + n * 10_000_000, n)) for n in range(100)]
    blocks += [(1, Block(n, np.array([(n, n)], slow.dtype), START_NS + n * 100_000_000, n)) for n in (3, 4, 9)]
    film, path = develop(write_negative(tmp_path / "n", {"fast": fast, "slow": slow}, blocks))
    table = parquet.read_table(path)
    assert [str(kind) for kind in table.schema.types[2:]] == ["int16", "uint8", "double"]
    for name in ("S", "L"):
        values = table[name].to_pylist()
        assert (values[35], values[45], values[95]) == (3, 4, 9)
        assert values[0] is values[25] is values[70] is None
    found = np.concatenate([one.samples for one in Settings().open().read(path, capture_of(film, tmp_path))])
    assert found["A"].dtype == np.int16
    assert np.isnan(found["S"]).sum() == table["S"].null_count > 0


def test_every_type_comes_back_exactly(tmp_path: Path) -> None:
    types = ("|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "|b1")
    wide = Identity("W", 10.0, tuple(Channel(f"C{n}", dtype=dtype) for n, dtype in enumerate(types)))
    values = np.zeros(200, wide.dtype)
    for name, dtype in zip(wide.dtype.names or (), types, strict=True):
        kind = np.dtype(dtype).kind
        ends = np.iinfo(dtype) if kind in "iu" else np.finfo(dtype) if kind == "f" else None
        # differences between the ends are wider than the type itself
        some = np.array([ends.min, ends.max, 0, ends.max, 1] if ends else [True, False, False], dtype)
        values[name] = np.resize(some, 200)
    film, path = develop(write_negative(tmp_path / "n", {"w": wide}, of(values)))
    (read,) = Settings().open().read(path, capture_of(film, tmp_path))
    assert (read.samples == values).all()
    assert read.samples.dtype == values.dtype


def test_interpolated_columns_are_floats(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, first, 50)) for first in range(0, 2000, 50)]
    blocks += [(1, block(MCU, first, 5)) for first in range(0, 200, 5)]
    _, path = develop(write_negative(tmp_path / "n", {"imu": IMU, "mcu": MCU}, blocks, fill="linear"))
    values = parquet.read_table(path)["mcu_Temperature"].to_numpy()
    expected = np.interp(np.arange(1990) / 10, np.arange(200), samples(MCU, 0, 200)["Temperature"].astype(float))
    # a sample's time is known to a few nanoseconds, its neighbour may be 65,535 away
    assert np.allclose(values[:1990], expected, atol=0.05)


def test_long_captures_come_in_row_groups_and_small(tmp_path: Path) -> None:
    """150,000 samples of six axes: at most 6 bytes each."""
    rows, negative = walk(tmp_path / "n", 150_000)
    film, path = develop(negative)
    about = parquet.read_metadata(path)
    assert [about.row_group(n).num_rows for n in range(about.num_row_groups)] == [65_536, 65_536, 18_928]
    column = about.row_group(0).column(2)
    assert column.compression == "ZSTD"
    assert "DELTA_BINARY_PACKED" in column.encodings
    assert path.stat().st_size < 6 * 150_000
    read = list(Settings().open().read(path, capture_of(film, tmp_path)))
    assert (np.concatenate([one.samples for one in read]) == rows).all()


def test_arrow_holds_one_row_group_at_a_time(tmp_path: Path) -> None:
    """What tracemalloc, by which the contract measures, does not see."""
    pool = pyarrow.default_memory_pool()
    develop(walk(tmp_path / "short", 140_000)[1])
    peak = pool.max_memory()
    develop(walk(tmp_path / "long", 700_000)[1])
    assert pool.max_memory() < peak + 1_000_000


def test_damage_is_noticed(tmp_path: Path) -> None:
    """Wherever a bit of the data flips, also where the compression would not notice."""
    film, path = develop(walk(tmp_path / "n", 20_000)[1])
    column = parquet.read_metadata(path).row_group(0).column(3)
    data, begin = path.read_bytes(), column.data_page_offset
    places = [*range(begin, begin + column.total_compressed_size, 499), len(data) - 1]
    for damaged in [data[: len(data) // 2], *(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in places)]:
        path.write_bytes(damaged)
        with pytest.raises((ValueError, OSError)):
            list(Settings().open().read(path, capture_of(film, tmp_path)))


def test_the_extra_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(SettingsError, match=r"capture-agent\[parquet\]"):
        Settings()
    config = tmp_path / "config.toml"
    config.write_text("""
        [stream.imu]
        driver = "mpu6050"
        bus = "virtual"
        [recording.walk]
        streams = ["imu"]
        format = ["csv", "parquet"]
    """)
    with pytest.raises(ConfigError) as caught:
        load(config)
    (mistake,) = caught.value.mistakes
    assert mistake.path == "recording.walk.format[1].kind"
    assert "pip install 'capture-agent[parquet]'" in str(mistake)


def test_nothing_is_loaded_until_it_is_configured() -> None:
    """Once it is, all is: not only when the first capture is developed, while sensors stream."""
    script = """
import sys
import agent.developer, agent.formats.flac, agent.formats.parquet
assert not {"pyarrow", "soundfile"} & sys.modules.keys()
agent.formats.parquet.Settings(), agent.formats.flac.Settings()
assert {"pyarrow.parquet", "soundfile"} <= sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
