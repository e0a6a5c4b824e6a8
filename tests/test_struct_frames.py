"""A user's own binary frames: what TOML can describe, exact losses, damage of every kind, and a device on a tty."""

import binascii
import dataclasses
import random
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import Block, DriverError, Identity, Samples, SettingsError
from drivers._line import VirtualRows
from drivers._struct_frames import Decoder
from drivers.ports.virtual.motion import Motion
from drivers.ports.virtual.struct_frames import encoded, stuffed
from drivers.struct_frames import Field, Settings, StructFrames
from tests.contracts.driver import DriverContract, read_blocks

IMU = (
    Field("Length", "uint8", use="skip", equals=8),
    Field("Sequence", "uint16", use="sequence"),
    Field("AccelerometerX", "int16", unit="g", scale=1 / 4096),
    Field("Temperature", "float32"),
)
SYNC: dict[str, Any] = {"fields": IMU, "checksum": "crc16-modbus"}
COBS: dict[str, Any] = {"fields": IMU, "framing": "cobs", "checksum": "crc32", "byte_order": "big"}
RECORDED = np.dtype([("AccelerometerX", "<i2"), ("Temperature", "<f4")])


def made(options: dict[str, Any]) -> Settings:
    return Settings("virtual", **options)


def sent(options: dict[str, Any], count: int, first: int = 0) -> list[bytes]:
    frame = dataclasses.asdict(made(options))
    return encoded(frame, first * frame["rows"], Motion(3, 100.0).rows(first * frame["rows"], count * frame["rows"]))


def decoder(options: dict[str, Any], rate_hz: float = 0.0) -> Decoder:
    config = made(options)
    return Decoder(config.layout(), cobs=config.framing == "cobs", rate_hz=rate_hz)


def rows(first: int, count: int, motion: Motion) -> Samples:
    columns = motion.rows(first, count)
    made = np.empty(count, RECORDED)
    made["AccelerometerX"], made["Temperature"] = columns[:, 0], columns[:, 1]
    return made


def decode(data: bytes, into: Decoder, cuts: Iterable[int] = ()) -> list[Block]:
    blocks, at = [], 0
    for time, cut in enumerate([*sorted(cuts), len(data)]):
        blocks += into.feed(data[at:cut], time)
        at = cut
    return blocks


def flat(blocks: Iterable[Block]) -> list[tuple[int, bytes]]:
    return [(b.first + n, b.samples[n].tobytes()) for b in blocks for n in range(b.count)]


@contextmanager
def started(virtual: dict[str, Any] | None = None, **options: Any) -> Iterator[tuple[StructFrames, Identity]]:
    options = {"connect_timeout_s": 2, "rate_hz": 1000} | options
    driver = Settings("virtual", virtual=VirtualRows(**{"rate_hz": 1000.0, **(virtual or {})}), **options).open()
    try:
        yield driver, driver.start()
    finally:
        driver.close()


class _Contract(DriverContract):
    options: dict[str, Any]

    def settings(self, **virtual: Any) -> Settings:
        return Settings("virtual", rate_hz=1000, virtual=VirtualRows(rate_hz=1000.0, **virtual), **self.options)

    def expected(self, first: int, count: int) -> Samples:
        return rows(first, count, Motion(1, 1000.0))


class TestSync(_Contract):
    options = SYNC


class TestCobs(_Contract):
    options = COBS


def test_frames_packed_by_hand() -> None:
    """As a user's firmware packs them: here with the standard library alone."""
    little = [b"\xaa\x55" + struct.pack("<BHhf", 8, n % 65536, n - 65536, n / 4) for n in range(65534, 65538)]
    options = SYNC | {"checksum": "crc16-xmodem", "checksum_order": "big"}
    line = b"".join(f + binascii.crc_hqx(f[2:], 0).to_bytes(2, "big") for f in little)
    (block,) = decode(line, decoder(options))
    assert block.samples.tolist() == [(-2, 16383.5), (-1, 16383.75), (0, 16384.0), (1, 16384.25)]
    options = SYNC | {"checksum": "crc32", "checksum_covers": "frame"}
    line = b"".join(f + zlib.crc32(f).to_bytes(4, "little") for f in little[:2])
    assert decode(line, decoder(options))[0].count == 2
    big = [struct.pack(">BHhf", 8, n, n, n) for n in range(3)]
    line = b"\0" + b"".join(stuffed(f + zlib.crc32(f).to_bytes(4, "little")) + b"\0" for f in big)
    (block,) = decode(line, decoder(COBS))
    assert block.samples.tolist() == [(0, 0), (1, 1), (2, 2)]


# --- numbers


@pytest.mark.parametrize("options", [SYNC, COBS, SYNC | {"checksum": "none"}, SYNC | {"checksum": "crc8"}])
def test_lost_frames_are_counted_exactly(options: dict[str, Any]) -> None:
    whole = sent(options, 400)
    gone = {5, 6, 7, 100, 300, 301, 302, 303, 304}
    into = decoder(options)
    lead = b"\0" if options is COBS else b""
    line = lead + b"".join(f for n, f in enumerate(whole) if n not in gone)
    blocks = decode(line, into, range(0, len(line), 100))
    got = np.concatenate([b.samples for b in blocks])
    index = np.concatenate([np.arange(b.first, b.end) for b in blocks])
    assert np.array_equal(got, rows(0, 400, Motion(3, 100.0))[index])
    assert set(range(399)) - set(index.tolist()) == gone
    assert [b.lost for b in blocks if b.lost] == [3, 1, 5]
    assert all(b.exact and not b.segment for b in blocks)
    assert into.counters["lost_frames"] == 9


def test_numbers_wrap_and_repeat_and_start_anew() -> None:
    fields = (Field("N", "uint8", use="sequence"), Field("AccelerometerX", "int16"), Field("Temperature", "float32"))
    options = {"fields": fields, "checksum": "crc16-arc"}
    whole = sent(options, 600)
    into = decoder(options, 100.0)
    blocks = into.feed(b"".join([*whole[:300], whole[299], *whole[310:320]]), 10**9)
    assert [(b.first, b.lost, b.exact) for b in blocks] == [(0, 0, True), (310, 10, True)]
    assert into.counters["repeated_frames"] == 1
    blocks = into.feed(b"".join(whole[:10]), 4 * 10**9)
    assert [(b.first, b.lost, b.exact, b.segment) for b in blocks] == [(320 + 290, 290, False, 1)], "after 3 s"
    blocks = into.feed(b"".join(whole[410:420]), 8 * 10**9)
    assert [(b.first, b.lost, b.exact, b.segment) for b in blocks] == [(620 + 400, 400, False, 2)], "it wrapped"


def test_several_rows_a_frame() -> None:
    options = SYNC | {"rows": 5}
    whole = sent(options, 20)
    assert len(whole[0]) == 2 + 3 + 5 * 6 + 2
    del whole[7]
    blocks = decode(b"".join(whole), decoder(options))
    assert [(b.first, b.count, b.lost) for b in blocks] == [(0, 35, 0), (40, 60, 5)]
    assert np.array_equal(blocks[1].samples, rows(40, 60, Motion(3, 100.0)))


def test_without_numbers_losses_are_estimated() -> None:
    fields = tuple(field for field in IMU if field.use != "sequence")
    options = SYNC | {"fields": fields}
    whole = sent(options, 100)
    whole[30] = whole[30][:5] + b"!" + whole[30][6:]
    into = decoder(options, 100.0)
    blocks = into.feed(b"".join(whole[:50]), 10**9) + into.feed(b"".join(whole[80:]), 15 * 10**8)
    assert [(b.first, b.lost, b.exact, b.segment) for b in blocks] == [
        (0, 0, True, 0),
        (31, 1, False, 0),
        (80, 30, False, 1),
    ]
    assert into.counters["bad_checksums"] == 1


# --- damage


@pytest.mark.parametrize("checksum", ["none", "xor8", "crc8", "crc16-modbus", "crc32"])
@pytest.mark.parametrize("framing", ["sync", "cobs"])
def test_damage_in_a_tenth_of_the_frames(framing: str, checksum: str) -> None:
    options = SYNC | {"checksum": checksum, "framing": framing}
    whole, chance = sent(options, 1000), random.Random(5)
    line, bad = list(whole), {n for n in range(10, 990) if chance.random() < 0.1}
    for n in bad:
        frame, at = whole[n], chance.randrange(len(whole[n]))
        part = (bytes([frame[at] ^ chance.randrange(1, 256)]), b"", frame[at : at + 1] * 2)[chance.randrange(3)]
        line[n] = frame[:at] + part + frame[at + 1 :]
    into = decoder(options)
    data = b"\0" + b"".join(line) + (whole[-1][:2] if framing == "sync" else b"")
    blocks = decode(data, into, range(0, len(data), 1000))
    got = dict(flat(blocks))
    truth = {n: row.tobytes() for n, row in enumerate(rows(0, 1000, Motion(3, 100.0)))}
    right = {n for n, row in got.items() if truth.get(n) == row}
    missing = set(range(1000)) - right - bad
    wrong = set(got) - right
    if checksum == "none":  # nothing says what became of a frame whose start and end are whole
        assert len(missing) <= 1.2 * len(bad)
    else:
        assert len(missing) <= (0.02 * len(bad) if framing == "sync" else len(bad))  # a lost zero joins two frames
        assert len(wrong) <= (0 if "crc16" in checksum or "crc32" in checksum else 0.02 * len(bad))
    assert max(got) < 1000
    assert into.counters["device_restarts"] == 0


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([SYNC, COBS, SYNC | {"checksum": "none", "sync": "AA"}, COBS | {"checksum": "sum8"}]))
def test_any_bytes_in_any_pieces(data: st.DataObject, options: dict[str, Any]) -> None:
    """Nothing raises, memory stays bounded, the next good frames are found, and cuts change nothing."""
    whole = sent(options, 16)
    scraps = st.one_of(
        st.binary(max_size=80), st.sampled_from([b"\xaa\x55" * 20, b"\0" * 30, b"\1" * 30, whole[0], whole[3][:7]])
    )
    noise = b"".join(data.draw(st.lists(scraps, max_size=8)))
    line = b"\0" + b"".join(whole[:4]) + noise + b"\0" + b"".join(whole[4:])
    cuts = data.draw(st.lists(st.integers(0, len(line)), max_size=12))
    once, pieces, bytewise = decoder(options), decoder(options), decoder(options)
    expected = [row for _, row in flat(decode(line, once))]
    assert [row for _, row in flat(decode(line, pieces, cuts))] == expected
    assert [row for _, row in flat(decode(line, bytewise, range(len(line))))] == expected
    assert once.counters == pieces.counters == bytewise.counters
    tail = [row.tobytes() for row in rows(10, 5, Motion(3, 100.0))]
    assert any(expected[n : n + 5] == tail for n in range(len(expected)))
    assert len(pieces._framer._rest) <= 4 * 16


# --- the device


@pytest.mark.parametrize("options", [SYNC, COBS])
def test_every_frame_at_full_speed_is_the_one_that_was_sent(options: dict[str, Any]) -> None:
    with started(virtual={"flat_out": True, "rows": 8_000}, **options) as (driver, _):
        blocks = read_blocks(driver, 1)
        while sum(b.count for b in blocks) < 8_000:
            blocks += read_blocks(driver, 1)
    assert np.array_equal(np.concatenate([b.samples for b in blocks]), rows(0, 8_000, Motion(1, 1000.0)))
    assert driver.counters["lost_frames"] == 0


def test_identity_is_what_the_settings_say() -> None:
    with started(rate_hz=0, virtual={"rate_hz": 200.0}, **SYNC) as (_, identity):
        assert identity.rate_hz == 200, "measured"
        assert identity.setup == {"framing": "sync", "checksum": "crc16-modbus", "rows": 1}
        assert [(c.name, c.unit, c.dtype) for c in identity.channels] == [
            ("AccelerometerX", "g", "<i2"),
            ("Temperature", "", "<f4"),
        ]


def test_garbled_frames_are_not_believed() -> None:
    with started(virtual={"faults": ("0 garble 60",)}, **SYNC) as (driver, _):
        blocks = read_blocks(driver, 20)
    motion = Motion(1, 1000.0)
    # the first frames may be garbled: then the first good one has index 0
    base = next(n for n in range(100) if rows(n, 1, motion)[0] == blocks[0].samples[0])
    for block in blocks:
        assert np.array_equal(block.samples, rows(base + block.first, block.count, motion))
    assert driver.counters["bad_checksums"] > 2


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"port": "ttyACM0"}, "port"),
        ({"fields": ()}, "fields"),
        ({"fields": IMU[:2]}, "fields"),
        ({"fields": (IMU[2], IMU[2])}, "fields"),
        ({"fields": (Field("a", "int8", use="sequence"), Field("b", "int8", use="sequence"), IMU[2])}, "fields"),
        ({"fields": (IMU[2], IMU[1], IMU[3]), "rows": 2}, "rows"),
        ({"rows": 1000, "framing": "cobs"}, "fields"),
        ({"sync": "xy"}, "sync"),
        ({"sync": ""}, "sync"),
        ({"checksum": "crc7"}, "checksum"),
        ({"rate_hz": 0.1}, "rate_hz"),
    ],
)
def test_wrong_settings_are_refused_at_once(options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**({"port": "virtual", "fields": IMU} | options))
    assert [name for name, _, _ in caught.value.mistakes] == [wrong]


@pytest.mark.parametrize(
    "options",
    [
        {"name": "a", "type": "float32", "use": "sequence"},
        {"name": "a", "type": "uint8", "equals": 256},
        {"name": "a", "type": "short"},
        {"name": "a/b", "type": "int8"},
    ],
)
def test_wrong_fields_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Field(**options)


def test_a_wrong_description_is_explained() -> None:
    with pytest.raises(DriverError, match=r"no good frames of 13 bytes with sync aa 55; check `baud`"):
        config = made(SYNC | {"connect_timeout_s": 1})
        driver = StructFrames(config, made(SYNC | {"checksum": "crc16-arc"}).open().port)
        try:
            driver.start()
        finally:
            driver.close()


INNER = (
    Field("Kind", "int8", use="skip", equals=-3),
    Field("A", "int16"),
    Field("Marker", "uint32", use="skip", equals=0xDEADBEEF),
    Field("B", "float64"),
)


@pytest.mark.parametrize(
    "options",
    [
        SYNC,
        {**SYNC, "byte_order": "big", "checksum": "crc8"},
        {"fields": INNER, "checksum": "crc32-mpeg2", "checksum_order": "big"},
        {"fields": INNER, "byte_order": "big", "checksum": "none"},
        {"fields": INNER, "checksum": "sum8", "checksum_covers": "frame"},
    ],
)
@given(st.data())
def test_a_frame_is_as_good_alone_as_among_many(options: dict[str, Any], data: st.DataObject) -> None:
    layout = made(options).layout()
    (frame,) = sent(options, 1, data.draw(st.integers(0, 999)))
    frame = bytearray(frame[: layout.size])
    assert layout.valid_one(frame, 0)
    frame[data.draw(st.integers(len(layout.sync), len(frame) - 1))] = data.draw(st.integers(0, 255))
    many = np.frombuffer(bytes(frame) * 2, np.uint8).reshape(2, layout.size)
    assert [layout.valid_one(bytes(frame), 0)] * 2 == layout.valid(many).tolist()
