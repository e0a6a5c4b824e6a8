"""The SSI handshake, told of bytes and time: announcements, repeats, streaming devices, version 1's first byte."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import DriverError
from drivers._ssi_handshake import CONNECT, DISCONNECT, Announcement, Handshake, parsed
from drivers.ports.virtual.ssi import announcement

# as Microchip's firmware prints it
LINE = (
    b'{"version":2,"sample_rate":100,"samples_per_packet":8,"column_location":{"AccelerometerX":0,"AccelerometerY":1,'
    b'"AccelerometerZ":2,"GyroscopeX":3,"GyroscopeY":4,"GyroscopeZ":5}}\n'
)
FRAME = bytes.fromhex("ff66000000010000") + bytes(100)
LINE_1 = LINE.replace(b'"version":2', b'"version":1')


def document(**changes: Any) -> bytes:
    whole = {"sample_rate": 100, "samples_per_packet": 1, "column_location": {"X": 0}} | changes
    return json.dumps({key: value for key, value in whole.items() if value is not None}).encode()


def test_the_vendors_line() -> None:
    assert announcement(2, 100.0, 8) == LINE, "and the virtual device's"
    announced = parsed(LINE)
    assert announced is not None
    assert announced[:3] == (2, 100.0, 8)
    assert announced.columns == (
        "AccelerometerX",
        "AccelerometerY",
        "AccelerometerZ",
        "GyroscopeX",
        "GyroscopeY",
        "GyroscopeZ",
    )
    assert (announced.dtype, announced.payload_bytes, announced.model) == ("<i2", 96, "SSI v2 device")


def test_what_may_be_left_out_and_in_any_order() -> None:
    announced = parsed(
        document(column_location={"Z": 7, "X": 0, "Y": 3}, data_type="float", model="Nano 33", extra=[1, {"a": 2}])
    )
    assert announced == Announcement(1, 100.0, 1, ("X", "Y", "Z"), "float", "Nano 33")
    assert announced.dtype == "<f4"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"sensor sample rate set at 100Hz",
        LINE[1:],
        LINE[60:],
        LINE[:-9],
        b'{"a":1}',
        b'{"ModelNumber":0}',
        b"{" * 99,
    ],
)
def test_lines_that_announce_nothing(line: bytes) -> None:
    assert parsed(line) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_rate": None}, "sample_rate is None"),
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"sample_rate": "fast"}, "sample_rate"),
        ({"samples_per_packet": 0}, "samples_per_packet"),
        ({"samples_per_packet": 2.5}, "samples_per_packet"),
        ({"samples_per_packet": 40000}, "65529"),
        ({"version": 3}, "version is 3"),
        ({"data_type": "int24"}, "data_type"),
        ({"column_location": {}}, "column_location"),
        ({"column_location": [1, 2]}, "column_location"),
        ({"column_location": {"X": 0, "Y": 0}}, "place of its own"),
        ({"column_location": {"a.b": 0, "a:b": 1}}, "two columns of one name"),
        ({"sample_rate": -1, "version": 9}, "sample_rate is -1.*version is 9|version is 9.*sample_rate is -1"),
    ],
)
def test_announcements_that_cannot_be_followed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DriverError, match=message):
        parsed(document(**changes))


def test_names_are_made_fit_for_columns() -> None:
    announced = parsed(document(column_location={"Accel.X (g)": 0, "": 1}))
    assert announced is not None
    assert announced.columns == ("Accel_X _g_", "Column")


def test_the_first_line_is_partial_and_text_is_passed_over() -> None:
    shake = Handshake(0)
    assert shake.step(LINE[90:], 0.1) == b""
    assert shake.step(b"sensor sample rate set at 100Hz\r\n", 0.2) == b""
    assert shake.step(LINE[:50], 0.6) == b""
    assert shake.step(LINE[50:], 0.61) == CONNECT
    assert shake.announced == parsed(LINE)
    assert shake.step(b"", 0.7) == b""
    assert not shake.done
    assert shake.step(LINE[:40] + FRAME, 0.8) == b"", "an announcement cut by the first frame"
    assert shake.done
    assert shake.data == FRAME


def test_connect_is_repeated_for_as_long_as_it_announces_itself() -> None:
    shake = Handshake(0)
    assert shake.step(LINE, 0.1) == CONNECT
    assert [shake.step(LINE, 0.1 + t) for t in (0.5, 0.9, 1.0, 1.5, 2.1)] == [b"", b"", CONNECT, b"", CONNECT]
    assert "does not hear" in shake.failure()


def test_a_slow_device_is_connected_once_it_is_quiet() -> None:
    shake = Handshake(0)
    shake.step(LINE, 0.1)
    assert shake.step(b"", 1.3) == b""
    assert not shake.done
    assert shake.step(b"", 1.5) == b""
    assert (shake.done, shake.data) == (True, b"")


def test_a_device_that_streams_already_is_stopped_first() -> None:
    shake = Handshake(0)
    assert shake.step(FRAME * 3, 0.05) == DISCONNECT
    assert shake.step(FRAME, 0.1) == b""
    assert shake.step(FRAME, 1.6) == DISCONNECT, "again, as the first may have been heard in part"
    assert shake.step(FRAME[:30] + LINE, 2.0) == CONNECT
    assert shake.announced is not None


def test_a_silent_device_is_told_to_announce_itself() -> None:
    shake = Handshake(0)
    assert [shake.step(b"", t) for t in (0.5, 1.0, 1.6, 2.0, 3.2)] == [b"", b"", DISCONNECT, b"", DISCONNECT]
    assert "silent" in shake.failure()


def test_packets_of_another_size_than_announced_are_told() -> None:
    shake = Handshake(0)
    shake.step(LINE, 0.1)
    for n in range(20):
        shake.step(bytes.fromhex("ff1200000001000000") + bytes(13), 0.2 + n / 10)
    assert not shake.done
    assert "not those it announces" in shake.failure()


def test_noise_is_told_from_announcements() -> None:
    shake = Handshake(0)
    for n in range(40):
        shake.step(b"\x80\xfe\x00" * 1000, n / 10)
    assert "check `baud`" in shake.failure()
    assert len(shake._pending) <= 4096


@pytest.mark.parametrize("first", [b"\x01\x00\xff\xff", b"\n\x0a\x0d\n", b"{\x22\x00\x00", b'{"vexsion'])
def test_version_1_keeps_every_byte_after_connect(first: bytes) -> None:
    data = first + bytes(range(200))
    for cuts in ([len(data)], [1, len(data)], [2, 5, 7, len(data)]):
        shake = Handshake(0)
        assert shake.step(LINE_1[30:] + LINE_1, 0.1) == CONNECT
        at, rest = 0, b""
        for cut in cuts:
            if shake.done:
                rest += data[at:cut]
            else:
                assert shake.step(data[at:cut], 0.2) == b""
            at = cut
        assert shake.done
        assert shake.data + rest == data


def test_version_1_after_one_more_announcement() -> None:
    shake = Handshake(0)
    assert shake.step(LINE_1 + LINE_1[:30], 0.1) == CONNECT
    assert shake.step(LINE_1[30:], 0.2) == b""
    assert shake.step(b"\x01\x00", 0.3) == b""
    assert shake.data == b"\x01\x00"


def test_version_1_that_runs_into_its_announcement_begins_again() -> None:
    """There is no telling where the data began: better once more than shifted by a byte."""
    shake = Handshake(0)
    assert shake.step(LINE_1, 0.1) == CONNECT
    assert shake.step(LINE_1[:80] + bytes(500), 0.2) == DISCONNECT
    assert not shake.done
    assert shake.step(LINE_1, 1.0) == CONNECT
    shake = Handshake(0)
    shake.step(LINE_1, 0.1)
    assert shake.step(LINE_1[:80] + b"\x01\x0a\x02\x00", 0.2) == DISCONNECT


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([LINE, LINE_1, FRAME, LINE[:40], b"\n"])), max_size=20)
)
def test_whatever_comes_it_says_connect_or_disconnect_or_nothing(pieces: list[bytes]) -> None:
    shake = Handshake(0)
    for n, piece in enumerate(pieces):
        if shake.done:
            break
        assert shake.step(piece, n / 4) in (b"", CONNECT, DISCONNECT)
        assert len(shake._pending) < 8192
    assert shake.failure()
