"""The negative gives every whole block back, whatever happened to the file."""

import json
import random
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader

from agent.negative import NegativeError, NegativeReader, NegativeWriter, identity_as_json
from agent.negative_records import BLOCK_MAGIC, HEADER
from drivers import Block, Channel, Identity

IMU = Identity("MPU-6050", 1000.0, tuple(Channel(f"Accelerometer{axis}") for axis in "XYZ"), {"range_g": 4}, "42")
MIC = Identity("Mic", 16000.0, (Channel("Microphone", dtype="<f4", limits=(-1.0, 1.0)),))
MIC_CHANNELS = json.loads(json.dumps(identity_as_json(MIC)["channels"]))  # limits: a list, as it is read back
HEAD = {
    "uuid": "7a7b4a54-9d1a-4a32-8f0c-0d6f1a0f0d6e",
    "streams": [
        {"name": "imu", "driver": "mpu6050", "identity": identity_as_json(IMU)},
        {"name": "mic", "driver": "ssi", "identity": {**identity_as_json(MIC), "channels": MIC_CHANNELS}},
    ],
}
ROWS = 20


def block(number: int, stream: int) -> Block:
    """Block `number` of a stream; its content can be told from its number."""
    dtype = (IMU, MIC)[stream].dtype
    rng = np.random.default_rng((number, stream))
    samples = np.frombuffer(rng.bytes(ROWS * dtype.itemsize), dtype)
    first = number * ROWS + 5
    return Block(first, samples, 10**15 + number, first + ROWS + 3, number % 3, number % 2 == 0, number // 10)


def key(stream: int, block: Block) -> tuple[object, ...]:
    fields = (block.first, block.observed_ns, block.newest, block.lost, block.exact, block.segment)
    return stream, *fields, block.samples.tobytes()


def write(path: Path, blocks: int = 40, *, finish: bool = True) -> list[tuple[object, ...]]:
    """A negative of two streams; answers what it should hold."""
    writer = NegativeWriter(path, HEAD)
    written = []
    for number in range(blocks):
        for stream in range(2):
            writer.write(stream, block(number, stream))
            written.append(key(stream, block(number, stream)))
    writer.note("labels", {"activity": "walking"})
    if finish:
        writer.finish({"reason": "length", "ranges": [[5, 805], None]})
    else:
        writer.flush()
        writer.close()
    return written


def read(path: Path) -> tuple[NegativeReader, list[tuple[object, ...]]]:
    reader = NegativeReader(path)
    return reader, [key(stream, block) for stream, block in reader.blocks()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[tuple[object, ...]]]:
    """The bytes of a finished negative and the blocks in it."""
    path = tmp_path_factory.mktemp("negative") / "whole.negative"
    written = write(path)
    return path.read_bytes(), written


def intact(data: bytes, written: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Those of `written` whose own bytes, header and samples, are somewhere in `data`."""
    kept = []
    for item in written:
        stream, first, observed_ns, newest, lost, exact, segment, raw = item
        lead = HEADER.pack(BLOCK_MAGIC, stream, exact, segment, first, newest, lost, observed_ns, ROWS, 0)[:-4]
        at = data.find(lead)
        if at >= 0 and data[at + HEADER.size :].startswith(raw) and _crc_kept(data, at, lead + raw):
            kept.append(item)
    return kept


def _crc_kept(data: bytes, at: int, proven: bytes) -> bool:
    return int.from_bytes(data[at + HEADER.size - 4 : at + HEADER.size], "little") == zlib.crc32(proven)


def test_gives_back_what_was_written(tmp_path: Path) -> None:
    written = write(tmp_path / "n")
    reader, found = read(tmp_path / "n")
    assert found == written
    assert reader.head == HEAD
    assert reader.identities == (IMU, MIC)
    assert reader.notes == [("labels", {"activity": "walking"})]
    assert reader.end == {"reason": "length", "ranges": [[5, 805], None]}
    assert reader.damaged == 0
    assert [key(*b) for b in reader.blocks(only=1)] == [item for item in written if item[0] == 1]


def test_is_an_mcap_file_that_the_library_reads(tmp_path: Path) -> None:
    written = write(tmp_path / "n")
    with (tmp_path / "n").open("rb") as file:
        messages = list(make_reader(file).iter_messages())
    assert len(messages) == len(written)
    assert {channel.topic for _, channel, _ in messages} == {"imu", "mic"}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_cut_anywhere_keeps_every_whole_block(
    data: st.DataObject, whole: tuple[bytes, list[tuple[object, ...]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    original, written = whole
    start = original.index(BLOCK_MAGIC)
    cut = original[: data.draw(st.integers(start, len(original)))]
    path = tmp_path_factory.mktemp("cut") / "n"
    path.write_bytes(cut)
    reader, found = read(path)
    assert found == intact(cut, written)
    assert reader.damaged <= 1


@pytest.mark.parametrize("seed", range(12))
def test_flipped_dropped_and_doubled_bytes_cost_only_the_blocks_they_hit(
    seed: int, whole: tuple[bytes, list[tuple[object, ...]]], tmp_path: Path
) -> None:
    original, written = whole
    start = original.index(BLOCK_MAGIC)
    chance = random.Random(seed)
    for _ in range(10):
        bad = bytearray(original)
        places = chance.sample(range(start, len(original)), chance.randrange(13))
        for place in sorted(places, reverse=True):  # from the back: none is moved by what happens to another
            kind = chance.choice(("flip", "drop", "double"))
            if kind == "flip":
                bad[place] ^= chance.randrange(1, 256)
            elif kind == "drop":
                del bad[place]
            else:
                bad.insert(place, bad[place])
        path = tmp_path / "n"
        path.write_bytes(bad)
        reader, found = read(path)
        assert found == intact(bytes(bad), written)
        if len(found) < len(written):
            assert reader.damaged >= 1


def test_a_block_whose_record_frame_is_damaged_is_found(tmp_path: Path) -> None:
    written = write(tmp_path / "n")
    data = bytearray((tmp_path / "n").read_bytes())
    at = -1
    for _ in range(20):
        at = data.index(BLOCK_MAGIC, at + 1)
    for opcode in (3, 4, 12, 15, 0):
        data[at - 31] = opcode
        (tmp_path / "n").write_bytes(data)
        reader, found = read(tmp_path / "n")
        assert found == written
        assert reader.damaged == 1
        assert reader.end is not None


def test_the_end_is_found_behind_a_damaged_block(tmp_path: Path) -> None:
    write(tmp_path / "n")
    data = bytearray((tmp_path / "n").read_bytes())
    data[data.rindex(BLOCK_MAGIC) + 60] ^= 1
    (tmp_path / "n").write_bytes(data)
    reader, found = read(tmp_path / "n")
    assert len(found) == 79
    assert reader.end == {"reason": "length", "ranges": [[5, 805], None]}


@pytest.mark.parametrize("place", ["magic", "name", "inside", "gone"])
def test_the_copy_of_a_damaged_head_is_used(tmp_path: Path, place: str) -> None:
    written = write(tmp_path / "n")
    data = bytearray((tmp_path / "n").read_bytes())
    at = data.index(b"recording")
    if place == "magic":
        data[:200] = bytes(200)
    elif place == "name":
        data[at] ^= 1
    elif place == "inside":
        data[data.index(b"1000.0")] = ord("7")  # still JSON, and another rate
    else:
        del data[at - 4 : data.index(BLOCK_MAGIC) - 31]
    (tmp_path / "n").write_bytes(data)
    reader, found = read(tmp_path / "n")
    assert reader.head == HEAD
    assert found == written
    assert reader.damaged >= 1


@pytest.mark.parametrize("content", [b"", b"\x89MCAP0\r\n", b"nothing of the kind" * 100])
def test_what_is_no_negative_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "n").write_bytes(content)
    with pytest.raises(NegativeError, match="no recording head"):
        NegativeReader(tmp_path / "n")


def test_a_negative_that_nobody_finished_is_whole(tmp_path: Path) -> None:
    written = write(tmp_path / "n", finish=False)
    reader, found = read(tmp_path / "n")
    assert found == written
    assert (reader.end, reader.damaged) == (None, 0)


def test_what_was_not_flushed_is_not_there_and_what_was_is(tmp_path: Path) -> None:
    writer = NegativeWriter(tmp_path / "n", HEAD)
    writer.write(0, block(0, 0))
    writer.flush()
    writer.write(0, block(1, 0))
    assert [item[1] for item in read(tmp_path / "n")[1]] == [5]
    assert writer.nbytes > (tmp_path / "n").stat().st_size
    writer.close()
    writer.close()


def test_reading_needs_little_memory_even_where_lengths_are_damaged(tmp_path: Path) -> None:
    writer = NegativeWriter(tmp_path / "n", HEAD)
    for number in range(4000):
        writer.write(0, block(number, 0))
        writer.flush()
    writer.close()
    data = bytearray((tmp_path / "n").read_bytes())
    for _ in range(3):
        at = data.index(BLOCK_MAGIC, len(data) // 2)
        data[at - 30 : at - 22] = b"\xff" * 8
    (tmp_path / "n").write_bytes(data)
    del data
    tracemalloc.start()
    count = sum(1 for _ in NegativeReader(tmp_path / "n").blocks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 4000
    assert peak < 1_000_000


def test_a_block_too_large_to_be_found_again_is_refused(tmp_path: Path) -> None:
    writer = NegativeWriter(tmp_path / "n", HEAD)
    with pytest.raises(ValueError, match="too large"):
        writer.write(0, Block(0, np.zeros(3_000_000, IMU.dtype), 0, 3_000_000))
    writer.close()
