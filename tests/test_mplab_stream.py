"""MPLAB Data Visualizer's stream: the vendor's vectors, three frames to lock, damage, and a device on a tty."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import Block, DriverError, Identity, Samples, SettingsError
from drivers._fields import Field, wire_type
from drivers._line import VirtualRows
from drivers._mplab_stream import Decoder, is_auto_configuration
from drivers.mplab_stream import MplabStream, Settings
from drivers.ports.virtual.motion import Motion
from drivers.ports.virtual.mplab_stream import AUTO_CONFIGURATION, frames, variables
from drivers.ports.virtual.uart import VirtualLine
from tests.contracts.driver import DriverContract, read_blocks

AXES = ("AccelerometerX", "AccelerometerY", "AccelerometerZ", "GyroscopeX", "GyroscopeY", "GyroscopeZ")
IMU = tuple(Field(name, "int16") for name in AXES)
MIXED = tuple(
    Field(kind, kind) for kind in ("uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64")
)

# hex, start byte, types, values
VECTORS = [
    ("a50100ffffe80300000080ff7f5a", 0xA5, ["int16"] * 6, (1, -1, 1000, 0, -32768, 32767)),
    ("a50a00f6ff00405a", 0xA5, ["int16"] * 3, (10, -10, 16384)),
    ("a55aa5a55aa5a55a", 0xA5, ["int16"] * 3, (-23206, 23205, -23131)),
    ("03b94afc701101000000c03ffc", 0x03, ["uint8", "int16", "uint32", "float32"], (185, -950, 70000, 1.5)),
]


def dtype(types: Iterable[str]) -> np.dtype[np.void]:
    return np.dtype([(f"{n}", wire_type(kind, "little")) for n, kind in enumerate(types)])


def motion(first: int, count: int) -> Samples:
    return Motion(1, 1000.0).rows(first, count).astype("<i2").view([(name, "<i2") for name in AXES]).reshape(-1)


def sent(count: int, seed: int = 3) -> list[bytes]:
    return frames(variables(Motion(seed, 100.0).rows(0, count), ["int16"] * 6), 0xA5)


def decode(data: bytes, decoder: Decoder, cuts: Iterable[int] = ()) -> list[Block]:
    blocks, at = [], 0
    for time, cut in enumerate([*sorted(cuts), len(data)]):
        blocks += decoder.feed(data[at:cut], time)
        at = cut
    return blocks


def payloads(blocks: Iterable[Block]) -> list[bytes]:
    return [block.samples[n].tobytes() for block in blocks for n in range(block.count)]


@contextmanager
def started(virtual: dict[str, Any] | None = None, **options: Any) -> Iterator[tuple[MplabStream, Identity]]:
    options = {"fields": IMU, "connect_timeout_s": 2} | options
    driver = Settings("virtual", virtual=VirtualRows(**{"rate_hz": 1000.0, **(virtual or {})}), **options).open()
    try:
        yield driver, driver.start()
    finally:
        driver.close()


class TestContract(DriverContract):
    def settings(self, **virtual: Any) -> Settings:
        return Settings("virtual", fields=IMU, rate_hz=1000, virtual=VirtualRows(rate_hz=1000.0, **virtual))

    def expected(self, first: int, count: int) -> Samples:
        return motion(first, count)


@pytest.mark.parametrize(("text", "start", "types", "values"), VECTORS)
def test_vendor_vectors(text: str, start: int, types: list[str], values: tuple[float, ...]) -> None:
    frame = bytes.fromhex(text)
    assert frames(np.array([values], dtype(types)), start) == [frame], "the virtual device sends what firmware sends"
    decoder = Decoder(dtype(types), start, 100.0)
    assert decoder.feed(frame * 2, 0) == [], "two frames may be chance"
    (block,) = decoder.feed(frame, 1)
    assert block.samples.tolist() == [values] * 3
    assert (block.first, block.lost) == (0, 0)
    (block,) = decoder.feed(frame, 2)
    assert block.samples.tolist() == [values]
    assert decoder.counters["garbage_bytes"] == 0


def test_auto_configuration_between_frames_is_no_loss() -> None:
    assert is_auto_configuration(AUTO_CONFIGURATION)
    for n in range(19):
        changed = AUTO_CONFIGURATION[:n] + bytes([AUTO_CONFIGURATION[n] ^ 1]) + AUTO_CONFIGURATION[n + 1 :]
        assert not is_auto_configuration(changed)
    whole = sent(60)
    line = b"".join([*whole[:30], AUTO_CONFIGURATION, *whole[30:]])
    for cuts in ((), range(len(line)), range(0, len(line), 7)):
        decoder = Decoder(dtype(["int16"] * 6), 0xA5, 100.0)
        blocks = decode(line, decoder, cuts)
        assert payloads(blocks) == [frame[1:-1] for frame in whole]
        assert all(not b.lost for b in blocks)
        assert decoder.counters == {
            "frames": 60,
            "garbage_bytes": 0,
            "resyncs": 0,
            "auto_configuration_packets": 1,
        }


def test_single_bytes_between_markers() -> None:
    decoder = Decoder(dtype(["int8"]), 0x03, 100.0)
    line = b"".join(frames(np.array([(n,) for n in range(20)], dtype(["int8"])), 0x03))
    assert payloads(decode(AUTO_CONFIGURATION + line, decoder, range(40))) == [bytes([n]) for n in range(20)]


def test_all_types_through_a_device() -> None:
    with started(fields=MIXED, start_byte=0x03, rate_hz=1000) as (driver, identity):
        blocks = read_blocks(driver, 3)
    assert [c.dtype for c in identity.channels] == ["|u1", "|i1", "<i2", "<u2", "<i4", "<u4", "<f4", "<f8"]
    rows = Motion(1, 1000.0).rows(0, blocks[-1].end)
    got = np.concatenate([b.samples for b in blocks])
    for n, kind in enumerate(identity.channels):
        assert np.array_equal(got[kind.name], rows[:, n % 6].astype(kind.dtype))


def test_identity_is_what_the_settings_say() -> None:
    fields = tuple(Field(name, "int16", "g", 1 / 4096) for name in AXES)
    with started(fields=fields, virtual={"rate_hz": 200.0}) as (_, identity):
        assert identity.rate_hz == 200, "measured"
        assert identity.setup == {"start_byte": 0xA5}
        assert {(c.unit, c.scale) for c in identity.channels} == {("g", 1 / 4096)}


def test_wrong_fields_are_explained() -> None:
    document = VirtualRows(rate_hz=1000.0).document() | {"types": ["int16"] * 6, "start_byte": 0xA5}
    line = VirtualLine("mplab_stream", document)
    driver = Settings(line.path, fields=IMU[:5], connect_timeout_s=1).open()
    try:
        with pytest.raises(DriverError, match=r"no three frames of 12 bytes .* check `baud`"):
            driver.start()
    finally:
        driver.close()
        line.close()


def test_every_frame_at_full_speed_is_the_one_that_was_sent() -> None:
    with started(virtual={"flat_out": True, "rows": 40_000}, rate_hz=1000) as (driver, _):
        blocks = read_blocks(driver, 1)
        while sum(b.count for b in blocks) < 40_000:
            blocks += read_blocks(driver, 1)
    assert np.array_equal(np.concatenate([b.samples for b in blocks]), motion(0, 40_000))
    assert driver.counters["garbage_bytes"] == 2, "what it sent before its packet and the first frame"


@pytest.mark.parametrize("kind", ["flip", "drop", "double"])
def test_damage_loses_little_and_is_counted(kind: str) -> None:
    chance, whole = random.Random(4), sent(4000)
    line, bad = list(whole), set(range(20, 3990, 37))
    for n in bad:
        at = chance.choice((0, 13)) if kind == "flip" else chance.randrange(14)
        frame = whole[n]
        line[n] = frame[:at] + {"flip": bytes([frame[at] ^ 8]), "drop": b"", "double": frame[at : at + 1] * 2}[kind]
        line[n] += frame[at + 1 :]
    decoder = Decoder(dtype(["int16"] * 6), 0xA5, 0.0)
    blocks = decode(b"".join(line), decoder, range(0, 56_000, 1000))
    got = {b.first + n: b.samples[n].tobytes() for b in blocks for n in range(b.count)}
    right = [n for n in range(4000) if got.get(n) == whole[n][1:-1]]
    assert set(range(4000)) - set(right) <= bad, "every undamaged frame is there, under its own number"
    assert len(got) <= len(right) + (0.1 * len(bad) if kind != "flip" else 0)
    assert all(not b.exact for b in blocks if b.lost)
    assert decoder.counters["resyncs"] >= 0.9 * len(bad)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_bytes_in_any_pieces(data: st.DataObject) -> None:
    """Nothing raises, memory stays bounded, the next good frames are found, and cuts change nothing."""
    whole = sent(12)
    scraps = st.one_of(
        st.binary(max_size=80),
        st.sampled_from([b"\xa5" * 30, b"\x5a" * 30, whole[0] * 2, whole[3][:9], AUTO_CONFIGURATION, b"\x5f\xb4"]),
    )
    noise = b"".join(data.draw(st.lists(scraps, max_size=8)))
    line = b"".join(whole[:4]) + noise + b"".join(whole[4:])
    cuts = data.draw(st.lists(st.integers(0, len(line)), max_size=12))
    once, pieces, bytewise = (Decoder(dtype(["int16"] * 6), 0xA5, 0.0) for _ in range(3))
    expected = payloads(decode(line, once))
    assert payloads(decode(line, pieces, cuts)) == expected
    assert payloads(decode(line, bytewise, range(len(line)))) == expected
    assert once.counters["frames"] == pieces.counters["frames"] == bytewise.counters["frames"]
    assert expected[-5:] == [frame[1:-1] for frame in whole[-5:]]
    assert len(pieces._rest) <= 3 * 14


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"port": "ttyACM0", "fields": IMU}, "port"),
        ({"port": "virtual", "fields": ()}, "fields"),
        ({"port": "virtual", "fields": IMU[:1] * 2}, "fields"),
        ({"port": "virtual", "fields": (Field("a", "int64"),)}, "fields"),
        ({"port": "virtual", "fields": IMU, "start_byte": 0x5F}, "start_byte"),
        ({"port": "virtual", "fields": IMU, "rate_hz": 0.01}, "rate_hz"),
    ],
)
def test_wrong_settings_are_refused_at_once(options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**options)
    assert [name for name, _, _ in caught.value.mistakes] == [wrong]


def test_a_wrong_field_says_what_is_allowed() -> None:
    with pytest.raises(SettingsError, match="int16"):
        Field("a", "short")
    with pytest.raises(SettingsError, match="letters"):
        Field("a/b", "int16")
