"""SSI version 2 as pure bytes: the vendor's vectors, damage of every kind, and any cuts."""

import random
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import Block
from drivers._ssi2 import Decoder
from drivers.ports.virtual.ssi import frames
from tests.models.ssi import DTYPE, KINDS, Tally, as_samples, damaged, one_in_ten, one_percent, packets

# hex of the frame, channel, sequence, columns, rows: made by the vendor's C encoder, read by the vendor's decoder
VECTORS = [
    ("ff0c000000010000000100ffffe803eb", 0, 1, 3, [[1, -1, 1000]]),
    (
        "ff1e00000002000000010002000300040005000600f9fff8fff7fff6fff5fff4ff04",
        0,
        2,
        6,
        [[1, 2, 3, 4, 5, 6], [-7, -8, -9, -10, -11, -12]],
    ),
    ("ff0a000002010000000080ff7f03", 2, 1, 2, [[-32768, 32767]]),
    ("ff0e00000003000000ffffffffffffffff03", 0, 3, 4, [[-1, -1, -1, -1]]),
    ("ff08000001fdff0000000003", 1, 65533, 1, [[0]]),
    ("ff1a00000301000000000001010202030304040505060607070808090902", 3, 1, 1, [[257 * n] for n in range(10)]),
    ("ff12000000ffffffff01000200030004000500060007", 0, 2**32 - 1, 6, [[1, 2, 3, 4, 5, 6]]),
    (
        "ff0601000302000000" + bytes(range(256)).hex() + "01",
        3,
        2,
        1,
        [[v] for v in np.frombuffer(bytes(range(256)), "<i2").tolist()],
    ),
]


def dtype(columns: int) -> np.dtype[np.void]:
    return np.dtype([(f"c{n}", "<i2") for n in range(columns)])


def decode(data: bytes, decoder: Decoder, cuts: Iterable[int] = ()) -> list[Block]:
    """Feeds the data in pieces that end at `cuts`, the n-th at time n, and settles."""
    blocks, at = [], 0
    for time, cut in enumerate([*sorted(cuts), len(data)]):
        blocks += decoder.feed(data[at:cut], time)
        at = cut
    return blocks + decoder.settle()


def runs(blocks: Iterable[Block]) -> list[tuple[int, int, int]]:
    """(first, lost, count) of what hangs together, in however many blocks it came."""
    found: list[tuple[int, int, int]] = []
    for b in blocks:
        if found and not b.lost and b.first == found[-1][0] + found[-1][2]:
            found[-1] = (*found[-1][:2], found[-1][2] + b.count)
        else:
            found.append((b.first, b.lost, b.count))
    return found


def flat(blocks: Iterable[Block]) -> list[tuple[int, bytes, int]]:
    """Each row with its index and its block's segment: what must not depend on how the bytes were cut."""
    return [(b.first + n, b.samples[n].tobytes(), b.segment) for b in blocks for n in range(b.count)]


@pytest.mark.parametrize(("text", "channel", "sequence", "columns", "values"), VECTORS)
def test_vendor_vectors(text: str, channel: int, sequence: int, columns: int, values: list[list[int]]) -> None:
    frame, rows = bytes.fromhex(text), np.array(values, np.int16)
    made = frames(rows, len(rows), sequence, channel)
    assert made.tobytes() == frame, "what the virtual device sends is what the vendor's firmware sends"
    following = frames(rows, len(rows), sequence + 1, channel).tobytes()
    decoder = Decoder(dtype(columns), len(rows), 100.0, channel)
    (block,) = decode(frame + following, decoder)
    assert [list(row) for row in block.samples.tolist()] == values * 2
    assert (block.first, block.lost, decoder.counters["packets"]) == (0, 0, 2)


def test_a_wrong_checksum_is_refused() -> None:
    bad = damaged(bytes.fromhex(VECTORS[0][0]), "flip", 10, 1)
    decoder = Decoder(dtype(3), 1, 100.0)
    good = [frames(np.array([[n, n, n]]), 1, n).tobytes() for n in (2, 3)]
    (block,) = decode(bad + b"".join(good), decoder)
    assert block.samples.tolist() == [(2, 2, 2), (3, 3, 3)]
    assert decoder.counters["bad_checksums"] == 1
    assert decoder.counters["garbage_bytes"] == len(bad)


def test_the_last_frame_waits_for_its_successor_or_for_silence() -> None:
    one, two, three = packets(3, 8)
    decoder = Decoder(DTYPE, 8, 100.0)
    assert decoder.feed(one + two, 5) == []  # and the first for a second one, as its number is not known yet
    assert decoder.pending
    (block,) = decoder.settle()
    assert (block.first, block.count, block.observed_ns) == (0, 16, 5)
    assert not decoder.pending
    assert decoder.feed(three, 7) == []
    (block,) = decoder.feed(b"\xff\x66\x00\x00", 9)
    assert (block.first, block.observed_ns) == (16, 7), "dated when its last byte came, not its successor's first"


def test_sequence_numbers_wrap() -> None:
    whole = packets(5, 2, sequence=2**32 - 2)
    decoder = Decoder(DTYPE, 2, 100.0)
    del whole[2]
    blocks = decode(b"".join(whole), decoder)
    assert runs(blocks) == [(0, 0, 4), (6, 2, 4)]
    assert decoder.counters["lost_packets"] == 1


def test_lost_packets_are_counted_exactly() -> None:
    whole = packets(400, 8)
    kept = [n for n in range(400) if n not in {5, 6, 7, 100, 300, 301, 302, 303, 304, 399}]
    decoder = Decoder(DTYPE, 8, 100.0)
    tally = Tally(whole, set(range(400)) - set(kept), decode(b"".join(whole[n] for n in kept), decoder), 8)
    assert not tally.missing
    assert not tally.invented
    assert tally.counts_on()
    assert decoder.counters["lost_packets"] == 9
    assert [lost for _, lost, _ in runs(tally.blocks)] == [0, 24, 8, 40]


def test_every_second_packet_lost_is_believed() -> None:
    whole = packets(60, 8)
    decoder = Decoder(DTYPE, 8, 100.0)
    blocks = decode(b"".join(whole[::2]), decoder)
    assert [b.first for b in blocks] == [16 * n for n in range(29)], "the last one has nothing to speak for it"
    assert {b.lost for b in blocks} == {0, 8}


def test_a_jump_needs_a_witness() -> None:
    whole = packets(20, 8)
    wrong = frames(np.zeros((8, 6), np.int16), 8, 70_000).tobytes()  # a good frame with an unlikely number
    decoder = Decoder(DTYPE, 8, 100.0)
    blocks = decode(b"".join([*whole[:10], wrong, *whole[11:]]), decoder)
    assert runs(blocks) == [(0, 0, 80), (88, 8, 72)]
    assert decoder.counters["refused_packets"] == 1


def test_a_packet_that_comes_twice_is_taken_once() -> None:
    whole = packets(20, 8)
    blocks = decode(b"".join(whole[:10] + whole[9:]), Decoder(DTYPE, 8, 100.0))
    assert runs(blocks) == [(0, 0, 160)]
    assert np.array_equal(np.concatenate([b.samples for b in blocks]), as_samples(whole))


def test_a_device_that_starts_anew_begins_a_segment() -> None:
    decoder = Decoder(DTYPE, 8, 100.0)
    old, new = packets(20, 8, sequence=1000), packets(20, 8, sequence=1, seed=4)
    before = decoder.feed(b"".join(old), 1_000_000_000)
    before += decoder.settle()
    after = decoder.feed(b"Booting\r\n" + b"".join(new), 4_000_000_000)
    after += decoder.settle()
    assert {b.segment for b in before} == {0}
    assert {b.segment for b in after} == {1}
    assert (after[0].lost, after[0].exact) == (300 - 8, False), "3 s at 100 Hz, without the packet that came"
    assert after[0].first == before[-1].end + after[0].lost
    assert np.array_equal(np.concatenate([b.samples for b in after]), as_samples(new))
    assert decoder.counters["device_restarts"] == 1


@pytest.mark.parametrize("channel", [0, 2])
def test_one_of_several_channels(channel: int) -> None:
    rows = np.arange(4 * 30 * 6, dtype=np.int16).reshape(4, 30, 6)
    of = [frames(rows[n], 1, 1, n) for n in range(4)]
    mixed = [of[n][k].tobytes() for k in range(30) for n in range(4)]
    del mixed[4 * 10 + channel]
    decoder = Decoder(DTYPE, 1, 100.0, channel)
    blocks = decode(b"".join(mixed), decoder)
    assert runs(blocks) == [(0, 0, 10), (11, 1, 19)]
    got = np.concatenate([b.samples["AccelerometerX"] for b in blocks])
    assert got.tolist() == np.delete(rows[channel, :, 0], 10).tolist()
    assert decoder.counters["other_channel_packets"] == 90


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rows", [1, 8])
def test_a_lost_ff_does_not_swallow_the_next_packet(rows: int, channels: int) -> None:
    """The XOR of a packet that has lost a 0xFF is the next one's sync byte: the trap of this checksum."""
    values = np.full((20 * rows, 6), -2, np.int16)
    whole = [
        frame.tobytes()
        for k in range(20)
        for n in range(channels)
        for frame in frames(values[k * rows : (k + 1) * rows], rows, 255 + k, n)
    ]
    at = whole[10].rindex(b"\xff", 0, -1)
    for sent in (damaged(whole[10], "drop", at), damaged(whole[10], "drop", 5)):
        decoder = Decoder(DTYPE, rows, 100.0)
        blocks = decode(b"".join([*whole[:10], sent, *whole[11:]]), decoder)
        assert sum(b.count for b in blocks) == (20 - 1) * rows
        assert sum(b.lost for b in blocks) == rows


def test_a_header_within_the_payload_is_no_reason_to_refuse() -> None:
    rows = np.zeros((40, 6), np.int16)
    rows[:, :3] = np.frombuffer(b"\x00\xff\x12\x00\x00\x00", "<i2")
    whole = [frame.tobytes() for frame in frames(rows, 1, 1)]
    for kind in KINDS:
        for at in range(4):
            sent = [*whole[:20], damaged(whole[20], kind, at), *whole[21:]]
            tally = Tally(whole, {20}, decode(b"".join(sent), Decoder(DTYPE, 1, 100.0)), 1)
            assert sum(b.count for b in tally.blocks) >= 39


def unknowable(whole: list[bytes], sent: list[bytes]) -> set[int]:
    """Packets that end in 0xFF and whose successor has lost its own: a packet that has lost a 0xFF looks the same."""
    return {n for n in range(len(whole) - 1) if whole[n][-1] == 0xFF and sent[n + 1][:2] == whole[n + 1][1:3]}


@pytest.mark.parametrize(("rows", "count"), [(1, 6000), (8, 3000), (32, 1500)])
@pytest.mark.parametrize("seed", [1, 2])
def test_one_byte_flipped_or_dropped_in_a_tenth_of_the_packets(rows: int, count: int, seed: int) -> None:
    whole = packets(count, rows, seed=seed)
    sent, bad = one_in_ten(whole, random.Random(seed), ("flip", "drop"))
    decoder = Decoder(DTYPE, rows, 100.0)
    tally = Tally(whole, bad, decode(b"".join(sent), decoder, range(0, count * rows * 8, 4096)), rows)
    assert len(bad) > count / 20
    assert tally.missing <= unknowable(whole, sent), "every undamaged packet is there"
    assert not tally.invented, "and nothing else"
    assert tally.counts_on()


@pytest.mark.parametrize(("rows", "count"), [(1, 6000), (8, 3000), (32, 1500)])
@pytest.mark.parametrize("seed", [1, 2])
def test_one_percent_of_all_bytes_flipped_dropped_or_doubled(rows: int, count: int, seed: int) -> None:
    whole = packets(count, rows, seed=seed)
    sent, bad = one_percent(whole, random.Random(seed))
    decoder = Decoder(DTYPE, rows, 100.0)
    tally = Tally(whole, bad, decode(b"".join(sent), decoder, range(0, count * rows * 8, 4096)), rows)
    assert tally.missing <= unknowable(whole, sent)
    assert tally.accepted <= 0.05 * len(bad)
    assert tally.counts_on()
    assert max(set(range(count)) - bad) < tally.end <= count, "rows and losses add up to what was sent"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_bytes_in_any_pieces(data: st.DataObject) -> None:
    """Nothing raises, memory stays bounded, the next good frames are found, and cuts change nothing."""
    whole = packets(12, 2)
    scraps = st.one_of(
        st.binary(max_size=80),
        st.sampled_from([b"\xff\x1e\x00\x00", b"\xff" * 40, whole[0], whole[3][:20], b"\n\n\nOverrun!\n\n\n"]),
    )
    noise = b"".join(data.draw(st.lists(scraps, max_size=8)))
    line = b"".join(whole[:4]) + noise + b"".join(whole[4:])
    cuts = data.draw(st.lists(st.integers(0, len(line)), max_size=12))
    once, pieces = Decoder(DTYPE, 2, 100.0), Decoder(DTYPE, 2, 100.0)
    expected = flat(decode(line, once))
    assert flat(decode(line, pieces, cuts)) == expected
    assert once.counters == pieces.counters
    tail = [row.tobytes() for row in as_samples(whole[6:])]
    assert [row for _, row, _ in expected][-len(tail) :] == tail
    assert len(pieces._framer._rest) < 2 * len(whole[0])
    bytewise = Decoder(DTYPE, 2, 100.0)
    assert flat(decode(line, bytewise, range(1, len(line)))) == expected


def test_memory_stays_bounded_whatever_comes() -> None:
    chance = random.Random(1)
    decoder = Decoder(DTYPE, 8, 100.0)
    for noise in (b"\x00" * 4096, b"\xff" * 4096, chance.randbytes(4096), b"\xff\x66\x00\x00" * 1024):
        for time in range(20):
            assert decoder.feed(noise, time) == []
            assert len(decoder._framer._rest) < 250
            assert len(decoder._framer._arrivals) <= 250
    counters = decoder.counters  # some of the last noise does look like frames, of channel 255
    skipped = counters["garbage_bytes"] + (counters["refused_packets"] + counters["other_channel_packets"]) * 106
    assert skipped > 20 * 4 * 4096 - 500
