"""CSV, WAV and MCAP: the contract, and what is particular to each."""

import csv
import io
import struct
import wave
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from mcap import records
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader

from agent.film import Film
from agent.formats import _digits as digits
from agent.formats import _protobuf as protobuf
from agent.formats import format_module
from agent.formats.wav import Wav
from drivers import Block, Channel, Identity, SettingsError
from tests.contracts.format import (
    IMU,
    MCU,
    START_NS,
    WALL_NS,
    FormatContract,
    block,
    capture_of,
    samples,
    write_negative,
)


class TestCsv(FormatContract):
    kind = "csv"


class TestCsvPhysical(FormatContract):
    kind = "csv"
    options = {"units": "physical", "timestamp": "seconds"}  # noqa: RUF012


class TestWav(FormatContract):
    kind = "wav"


class TestMcap(FormatContract):
    kind = "mcap"
    native = True


def develop(kind: str, negative: Path, **options: Any) -> tuple[Film, Path]:
    film, path = Film.scan(negative), negative.with_suffix(f".{kind}")
    format_module(kind).Settings(**options).open().develop(film, path, lambda: None)
    return film, path


def of(identity: Identity, rows: list[tuple[Any, ...]]) -> list[tuple[int, Block]]:
    """Rows as blocks of the first stream, each row seen as it was taken."""
    values = np.array(rows, identity.dtype)
    return [(0, Block(n, values[n : n + 1], START_NS + int(n * 1e9 / identity.rate_hz), n)) for n in range(len(values))]


# --- CSV


def test_csv_is_what_the_csv_module_would_write(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, first, 50)) for first in (9950, 10_000, 10_100, 99_999_990)]
    _, path = develop("csv", write_negative(tmp_path / "n", {"imu": IMU}, blocks))
    expected = io.StringIO()
    writer = csv.writer(expected, lineterminator="\n")
    writer.writerow(["sequence", "Accelerometer X", "Gyroscope _z_", "Temperature"])
    for _, one in blocks:
        writer.writerows([one.first + n, *row] for n, row in enumerate(one.samples.tolist()))
    assert path.read_text() == expected.getvalue()


def test_csv_leaves_cells_empty_where_nothing_was(tmp_path: Path) -> None:
    fast = Identity("Fast", 100.0, (Channel("A"), Channel("F", dtype="<f4")))
    slow = Identity("Slow", 10.0, (Channel("S", dtype="|u1"), Channel("L", dtype="<f8")))
    blocks = [(0, Block(n, np.array([(n, n / 8)], fast.dtype), START_NS + n * 10_000_000, n)) for n in range(100)]
    blocks += [(1, Block(n, np.array([(n, n)], slow.dtype), START_NS + n * 100_000_000, n)) for n in (3, 4, 9)]
    negative = write_negative(tmp_path / "n", {"fast": fast, "slow": slow}, blocks)
    film, path = develop("csv", negative)
    rows = path.read_text().splitlines()
    assert rows[0] == "sequence,A,F,S,L"
    assert rows[1] == "0,0,0.0,,"
    assert rows[1 + 35] == "35,35,4.375,3,3.0"
    assert rows[1 + 70] == "70,70,8.75,,"
    found = np.concatenate(
        [one.samples for one in format_module("csv").Settings().open().read(path, capture_of(film, tmp_path))]
    )
    assert found["A"].dtype == np.int16
    assert found["F"].dtype == np.float32
    assert np.isnan(found["S"]).sum() == rows.count("") + sum(row.endswith(",,") for row in rows)


def test_csv_timestamps_are_seconds_since_the_start(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, first, 50)) for first in range(1000, 4000, 50)]
    _, path = develop("csv", write_negative(tmp_path / "n", {"imu": IMU}, blocks), timestamp="seconds")
    rows = [row.split(",") for row in path.read_text().splitlines()]
    assert rows[0][:2] == ["sequence", "timestamp"]
    assert rows[1][1] == "0.000000"
    assert [float(row[1]) for row in rows[1:]] == pytest.approx([n / 1000 for n in range(3000)], abs=2e-6)


def test_csv_in_physical_units(tmp_path: Path) -> None:
    imu = Identity(
        "IMU",
        100.0,
        (
            Channel("A", "g", scale=1 / 4096),
            Channel("T", "C", scale=1 / 340, offset=36.53),
            Channel("P", "Pa", dtype="<u4", scale=0.01, offset=-5),
            Channel("N"),
            Channel("F", "V", dtype="<f4", scale=2),
        ),
    )
    rows = [(-32768, -12_000, 4_294_967_295, 7, 0.125), (0, 0, 0, -7, np.nan), (1, 1, 1, 0, -1e-7)]
    film, path = develop("csv", write_negative(tmp_path / "n", {"imu": imu}, of(imu, rows)), units="physical")
    lines = path.read_text().splitlines()
    assert lines[1] == "0,-8.00000,1.2359,42949667.950,7,0.25"
    assert lines[2] == "1,0.00000,36.5300,-5.000,-7,"
    (read,) = format_module("csv").Settings().open().read(path, capture_of(film, tmp_path))
    for name in "ATPN":
        assert read.samples[name].tolist() == [row["ATPN".index(name)] for row in rows]
    assert read.samples["F"][0] == 0.125


def test_csv_reads_back_every_int16_from_physical_units(tmp_path: Path) -> None:
    every = np.arange(-32768, 32768).astype("<i2")
    imu = Identity(
        "IMU", 1000.0, tuple(Channel(f"C{n}", "", scale=s) for n, s in enumerate((1e-6, 0.061e-3, 2.5, 7e3)))
    )
    values = np.zeros(len(every), imu.dtype)
    for name in imu.dtype.names or ():
        values[name] = every
    negative = write_negative(tmp_path / "n", {"imu": imu}, [(0, Block(0, values, START_NS, len(values) - 1))])
    for kind, options in (("csv", {"units": "physical"}), ("mcap", {})):
        film, path = develop(kind, negative, **options)
        read = list(format_module(kind).Settings().open().read(path, capture_of(film, tmp_path)))
        assert (np.concatenate([one.samples for one in read]) == values).all()


def test_csv_options_are_checked() -> None:
    with pytest.raises(SettingsError, match="timestamp"):
        format_module("csv").Settings(timestamp="maybe")


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30), st.integers(0, 9))
def test_digits_are_those_of_python(values: list[int], places: int) -> None:
    text = digits.joined([digits.fixed(np.array(values, np.int64), places)]).decode()
    sign = [("-" if value < 0 else "", abs(value)) for value in values]
    whole = [f"{s}{v // 10**places}" + (f".{v % 10**places:0{places}d}" if places else "") for s, v in sign]
    assert text == "".join(f",{number}" for number in whole)


def test_digits_of_every_int16() -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    assert digits.joined([digits.int16(every)]).decode() == "".join(f",{n}" for n in range(-32768, 32768))


@pytest.mark.parametrize("dtype", ["|i1", "|u1", "<u2", "<u4", "<i4", "<u8", "<i8"])
def test_digits_of_the_ends_of_each_type(dtype: str) -> None:
    ends = np.iinfo(dtype)
    text = digits.joined([digits.fixed(np.array([ends.min, 0, ends.max], dtype))]).decode()
    assert text == f",{ends.min},0,{ends.max}"


# --- WAV


def test_wav_fills_gaps_with_the_value_before(tmp_path: Path) -> None:
    mic = Identity("Mic", 15999.7, (Channel("channel_0"),))
    blocks = [(0, block(mic, first, 50)) for first in range(200, 10_000, 50) if not 1000 <= first < 6000]
    film, path = develop("wav", write_negative(tmp_path / "n", {"mic": mic}, blocks))
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        assert file.getnframes() == 9800
        frames = np.frombuffer(file.readframes(9800), "<i2")
    expected = samples(mic, 200, 9800)["channel_0"].copy()
    expected[800:5800] = expected[799]
    assert (frames == expected).all()
    assert film.describe()[0]["gaps"] == [{"first": 1000, "samples": 5000, "exact": True}]
    assert path.stat().st_size == 44 + 9800 * 2
    assert struct.unpack("<I", path.read_bytes()[4:8])[0] == path.stat().st_size - 8


def test_wav_holds_a_slower_streams_last_value(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, first, 50)) for first in range(0, 2000, 50)]
    blocks += [(1, block(MCU, first, 5)) for first in range(50, 150, 5)]
    _, path = develop("wav", write_negative(tmp_path / "n", {"imu": IMU, "mcu": MCU}, blocks))
    with wave.open(str(path)) as file:
        frames = np.frombuffer(file.readframes(2000), "<i2").reshape(-1, 5)
    assert (frames[:495, 3] == 0).all()
    assert (frames[1500:, 3] == samples(MCU, 149, 1)["Temperature"]).all()


def test_wav_refuses_what_it_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    light = Identity("L", 10.0, (Channel("Light", dtype="<f4"), Channel("A")))
    with pytest.raises(ValueError, match="Light is <f4"):
        develop("wav", write_negative(tmp_path / "n", {"l": light}, of(light, [(0, 0)])))
    assert Wav.unfit(light.channels)
    assert not Wav.unfit(IMU.channels)
    monkeypatch.setattr("agent.formats.wav._LARGEST", 2000)
    with pytest.raises(ValueError, match="4 GiB"):
        develop("wav", write_negative(tmp_path / "m", {"imu": IMU}, [(0, block(IMU, 0, 500))]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "n"]


# --- MCAP


def parse(message: bytes) -> list[tuple[int, int, Any]]:
    """A protobuf message by its wire format alone: (number, wire type, value) of each field."""

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    at, fields = 0, []
    while at < len(message):
        tag = varint()
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value: Any = varint()
        else:
            size = {1: 8, 5: 4}.get(wire) or varint()
            value = message[at : at + size]
            at += size
        fields.append((number, wire, value))
    return fields


def decoded(schema: bytes, message: bytes) -> dict[str, float]:
    """A message by the FileDescriptorSet that stands beside it, as a viewer reads it."""
    (file_descriptor,) = (value for _, _, value in parse(schema))
    file = {number: value for number, _, value in parse(file_descriptor)}
    fields = {}
    for number, _, content in parse(file[4]):
        if number == 2:
            entry = {n: v for n, _, v in parse(content)}
            fields[entry[3]] = (entry[1].decode(), {1: "<d", 2: "<f"}[entry[5]])
    return {fields[n][0]: struct.unpack(fields[n][1], value)[0] for n, _, value in parse(message)}


def test_mcap_messages_are_told_by_their_own_schema(tmp_path: Path) -> None:
    blocks = [(0, block(IMU, first, 50)) for first in range(0, 30_000, 50) if first != 700]
    blocks += [(1, block(MCU, first, 5)) for first in range(0, 3000, 5)]
    _, path = develop("mcap", write_negative(tmp_path / "n", {"imu": IMU, "mcu": MCU}, blocks))
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert {channel.topic for channel in summary.channels.values()} == {"imu", "mcu"}
        assert all(schema.encoding == "protobuf" for schema in summary.schemas.values())
        assert len(summary.chunk_indexes) > 1
        assert all(index.compression == "zstd" for index in summary.chunk_indexes)
        seen: dict[str, list[int]] = {"imu": [], "mcu": []}
        last_ns = 0
        for schema, channel, message in reader.iter_messages():
            assert schema is not None
            assert channel.message_encoding == "protobuf"
            assert message.log_time >= last_ns
            last_ns = message.log_time
            identity = {"imu": IMU, "mcu": MCU}[channel.topic]
            assert abs(message.log_time - WALL_NS - message.sequence * 1e9 / identity.rate_hz) < 1000
            seen[channel.topic].append(message.sequence)
            if message.sequence % 997 == 0:
                raw = samples(identity, message.sequence, 1)[0]
                wanted = [raw[c.name] * c.scale + c.offset for c in identity.channels]
                assert list(decoded(schema.data, message.data).values()) == pytest.approx(wanted, rel=1e-6, abs=1e-5)
        assert seen["imu"] == [n for n in range(30_000) if not 700 <= n < 750]
        assert seen["mcu"] == list(range(3000))
        (note,) = reader.iter_metadata()
        assert note.metadata["recording"] == "walk"
        channel = next(channel for channel in summary.channels.values() if channel.topic == "imu")
        assert channel.metadata["unit.Accelerometer_X"] == "g"


def test_mcap_indexes_lead_to_the_messages(tmp_path: Path) -> None:
    """A viewer jumps by them, so each entry is followed here, and the summary's checksum is made again."""
    blocks = [(0, block(IMU, first, 50)) for first in range(0, 30_000, 50)]
    blocks += [(1, block(MCU, first, 5)) for first in range(0, 3000, 5)]
    _, path = develop("mcap", write_negative(tmp_path / "n", {"imu": IMU, "mcu": MCU}, blocks))
    with path.open("rb") as file:
        found = list(StreamReader(file, emit_chunks=True, validate_crcs=True).records)
    content, followed = b"", 0
    for record in found:
        if isinstance(record, records.Chunk):
            content = zstandard.decompress(record.data, max_output_size=record.uncompressed_size)
        elif isinstance(record, records.MessageIndex):
            for log_time, offset in record.records:
                assert content[offset] == Opcode.MESSAGE
                channel, _, there = struct.unpack_from("<HIQ", content, offset + 9)
                assert (channel, there) == (record.channel_id, log_time)
                followed += 1
    assert followed == 33_000
    indexes = [record for record in found if isinstance(record, records.ChunkIndex)]
    assert len(indexes) > 1
    data = path.read_bytes()
    for index in indexes:
        assert data[index.chunk_start_offset] == Opcode.CHUNK
        assert all(data[offset] == Opcode.MESSAGE_INDEX for offset in index.message_index_offsets.values())
    (footer,) = (record for record in found if isinstance(record, records.Footer))
    assert zlib.crc32(data[footer.summary_start : -12]) == footer.summary_crc


def test_mcap_tells_wide_values_exactly(tmp_path: Path) -> None:
    wide = Identity("W", 10.0, tuple(Channel(f"C{n}", dtype=d) for n, d in enumerate(("<i4", "<f8", "<f4", "|u1") * 5)))
    row = (2**31 - 1, 0.1, 0.1, 255) * 5  # twenty fields: tags of two bytes, too
    film, path = develop("mcap", write_negative(tmp_path / "n", {"w": wide}, of(wide, [row])))
    (read,) = format_module("mcap").Settings().open().read(path, capture_of(film, tmp_path))
    assert read.samples.tolist() == np.array([row], wide.dtype).tolist()
    with path.open("rb") as file:
        ((schema, _, message),) = make_reader(file).iter_messages()
    assert schema is not None
    assert list(decoded(schema.data, message.data).values()) == pytest.approx(row)


def test_mcap_without_a_wall_clock_is_in_boot_time(tmp_path: Path) -> None:
    film = Film.scan(write_negative(tmp_path / "n", {"imu": IMU}, [(0, block(IMU, 0, 50))]))
    film.head["started"]["wall_ns"] = 0
    format_module("mcap").Settings().open().develop(film, tmp_path / "m", lambda: None)
    with (tmp_path / "m").open("rb") as file:
        _, _, message = next(iter(make_reader(file).iter_messages()))
    assert message.log_time == film.start_ns


def test_mcap_damage_is_noticed(tmp_path: Path) -> None:
    film, path = develop("mcap", write_negative(tmp_path / "n", {"imu": IMU}, [(0, block(IMU, 0, 5000))]))
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
        assert summary is not None
        index = summary.chunk_indexes[0]
    data = bytearray(path.read_bytes())
    data[index.chunk_start_offset + 9 + 8 + 8 + 8] ^= 1  # the checksum of its content
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        list(format_module("mcap").Settings().open().read(path, capture_of(film, tmp_path)))


@given(st.lists(st.text(alphabet="aAxX_2 é-.", max_size=4), max_size=6))
def test_protobuf_identifiers_are_valid_and_different(names: list[str]) -> None:
    found = protobuf.identifiers(names)
    assert all(name.isidentifier() and name.isascii() and name[0].isalpha() for name in found)
    assert len({name.replace("_", "").lower() for name in found}) == len(names)


@pytest.mark.parametrize("kind", ["csv", "wav"])
@pytest.mark.parametrize("fill", ["nearest", "linear"])
def test_interpolated_columns_are_rendered(tmp_path: Path, kind: str, fill: str) -> None:
    blocks = [(0, block(IMU, first, 50)) for first in range(0, 2000, 50)]
    blocks += [(1, block(MCU, first, 5)) for first in range(0, 200, 5)]
    negative = write_negative(tmp_path / "n", {"imu": IMU, "mcu": MCU}, blocks, fill=fill)
    film, path = develop(kind, negative)
    read = np.concatenate(
        [b.samples for b in format_module(kind).Settings().open().read(path, capture_of(film, tmp_path))]
    )
    slow = samples(MCU, 0, 200)["Temperature"].astype(float)
    position = np.arange(2000) / 10
    inside = position <= 199
    expected = np.interp(position, np.arange(200), slow)
    if fill == "nearest":
        inside &= position % 1 != 0.5
        expected = slow[np.minimum(np.rint(position).astype(int), 199)]
    # a sample's time is known to a few nanoseconds, its neighbour may be 65,535 away
    assert np.allclose(read["mcu_Temperature"][inside], expected[inside], atol=1.0 if kind == "wav" else 0.05)
