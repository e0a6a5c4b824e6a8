"""Lines of text as pure bytes: the vectors of the Edge Impulse forwarder, the plotter's labels, damage, any cuts."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import Samples
from drivers._line import Heard, Piece, nominal_hz
from drivers._text_lines import LONGEST, Decoder, Layout, Survey, arrivals, number, values_of
from drivers.ports.virtual.motion import Motion
from drivers.ports.virtual.text_lines import lines
from tests.models.text_lines import decode, dtype, flat, rows_of


def surveyed(line: bytes, every_s: float, window_s: float = 1.0) -> tuple[Survey, float]:
    """What is made of a device that prints this line (after the end of another one) at these intervals."""
    survey = Survey()
    pieces = [Piece(b"tail\n", 0)]
    pieces += [Piece(line, int(n * every_s * 1e9)) for n in range(1 + int(window_s / every_s + 1e-9))]
    for piece in pieces:
        survey.count(*piece)
    rows = arrivals(pieces, survey.layout) if survey.layout else []
    if sum(n for _, n in rows[1:]) < 2:
        return survey, 0.0
    return survey, Heard([], rows).rate_hz()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2d302e31322c2d362e32302c372e39300d0a", [-0.12, -6.2, 7.9]),
        ("310932 09 330a", [1, 2, 3]),
        ("312c20322c20330a", [1, 2, 3]),
        ("312c322c332c0a", [1, 2, 3]),
        (b"12 -5 16384 0 3 -1\n".hex(), [12, -5, 16384, 0, 3, -1]),
        (b"1e3,0x10,-.5,+7.,0b11,0o17\n".hex(), [1000, 16, -0.5, 7, 3, 15]),
    ],
)
def test_vectors(text: str, values: list[float]) -> None:
    line = bytes.fromhex(text)
    survey, rate_hz = surveyed(line, 0.01)
    assert survey.layout == (len(values), ())
    assert rate_hz == pytest.approx(100)
    decoder = Decoder(Layout(len(values)), dtype(len(values)), 100.0)
    blocks = decode(b"tail\n" + line * 3, decoder)
    assert rows_of(blocks) == [tuple(values)] * 3
    assert decoder.counters == {"lines": 3, "bad_lines": 0, "banner_lines": 0}


@pytest.mark.parametrize(
    "line",
    [b"1;2;3\n", b"nan,1\n", b"1,inf\n", b"1,Infinity\n", b"1_0\n", b"1,1e999\n", b"0x\n", b"1,a:2\n", b"1-2\n"],
)
def test_what_is_no_line_of_numbers(line: bytes) -> None:
    assert surveyed(line, 0.01)[0].layout is None
    assert values_of(line) is None


def test_one_line_in_900_ms_is_too_few() -> None:
    survey, rate_hz = surveyed(b"1,2\n", 0.9)
    assert survey.layout == (2, ())
    assert rate_hz == 0


def test_a_banner_is_tolerated() -> None:
    survey = Survey()
    text = b"\nStarted\nax,ay,az\n" + b"1,2,3\n" * 50
    survey.count(text, 0)
    assert survey.layout == (3, ())
    decoder = Decoder(Layout(3), dtype(3), 100.0)
    blocks = decode(text, decoder)
    assert rows_of(blocks) == [(1, 2, 3)] * 50
    assert (blocks[0].first, blocks[0].lost) == (0, 0)
    assert decoder.counters == {"lines": 50, "bad_lines": 0, "banner_lines": 2}


def test_the_first_line_is_dropped_and_the_last_waits_for_its_end() -> None:
    decoder = Decoder(Layout(3), dtype(3), 100.0)
    assert rows_of(decode(b"2,3\n1,2,3\n4,5,6", decoder)) == [(1, 2, 3)]
    assert rows_of(decoder.feed(b"\n", 1)) == [(4, 5, 6)]
    decoder = Decoder(Layout(3), dtype(3), 100.0)
    assert decoder.feed(b"2,3\n", 0) == [] == decoder.feed(b"1,2,", 1)
    assert rows_of(decoder.feed(b"3\n", 2)) == [(1, 2, 3)], "a piece may end with a line"


@pytest.mark.parametrize("line", [b"ERR: no sensor\r\n", b"<ERR> bus\n", b"error 5\n"])
def test_err_ends_the_stream(line: bytes) -> None:
    decoder = Decoder(Layout(2), dtype(2), 100.0)
    blocks = decode(b"\n1,2\n3,4\n" + line + b"5,6\n", decoder)
    assert rows_of(blocks) == [(1, 2), (3, 4)]
    assert line.strip().decode() in decoder.fatal


@pytest.mark.parametrize(
    ("measured_hz", "nominal"),
    [
        (97.9, 100),
        (101.9, 100),
        (0.496, 0.5),
        (61.9, 62.5),
        (104.2, 104),
        (1003.0, 1000),
        (12.4, 12.5),
        (98765, 100000),
    ],
)
def test_measured_rates_become_the_usual_ones(measured_hz: float, nominal: float) -> None:
    assert nominal_hz(measured_hz) == pytest.approx(nominal, rel=0.005 if nominal != 104 else 0.05)


@pytest.mark.parametrize(
    "line", [b"T:21.5,Hum:40\r\n", b"T:21.5\tHum:40\n", b"T: 21.5 Hum: 40\n", b"T : 21.5,\tHum : 40,\n"]
)
def test_labels_name_the_columns(line: bytes) -> None:
    survey, _ = surveyed(line, 0.01)
    assert survey.layout == (2, (b"T", b"Hum"))
    decoder = Decoder(survey.layout, dtype(2), 100.0)
    swapped = b"Hum:41,T:22\n"
    blocks = decode(b"\n" + line * 2 + swapped + b"T:1,Hum:x\nT:1\nT:1,P:2\n1,2\nT:1,T:2\n", decoder)
    assert rows_of(blocks) == [(21.5, 40), (21.5, 40), (22, 41)]
    assert decoder.counters["bad_lines"] == 5
    assert decoder.last_bad == b"T:1,T:2"


def test_lost_ends_of_lines_lose_two_rows_and_messages_none() -> None:
    whole = [b"%d,%d,%d\n" % (n, 10 + n, 20 + n) for n in range(100, 200)]
    sent = whole.copy()
    sent[10] = sent[10].replace(b"\n", b"")
    sent[50] = b"sensor is warm, still counting\n" + sent[50]
    decoder = Decoder(Layout(3), dtype(3), 100.0)
    blocks = decode(b"\n" + b"".join(sent), decoder, range(0, 1200, 37))
    assert [(b.first, row[0]) for b in blocks for row in b.samples[:1].tolist()] == [
        (b.first, b.first + 100) for b in blocks
    ]
    assert sum(b.lost for b in blocks) == 2
    assert decoder.counters == {"lines": 98, "bad_lines": 2, "banner_lines": 0}


def test_a_pause_is_told_from_time() -> None:
    decoder = Decoder(Layout(1), dtype(1), 100.0)
    second = 10**9
    blocks = decoder.feed(b"\n" + b"1\n" * 10, second)
    blocks += decoder.feed(b"2\n" * 10, second + second // 10)
    blocks += decoder.feed(b"3\n" * 100, 2 * second + second // 10)  # late, and all of it
    blocks += decoder.feed(b"4\n" * 10, 4 * second + second // 10)
    assert [(b.first, b.lost, b.exact, b.segment) for b in blocks] == [
        (0, 0, True, 0),
        (10, 0, True, 0),
        (20, 0, True, 0),
        (310, 190, False, 1),
    ]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_bytes_in_any_pieces(data: st.DataObject) -> None:
    """Nothing raises, memory stays bounded, good lines are found again, and cuts change nothing."""
    good = b"".join(lines(Motion(3, 100.0).rows(0, 8), False))
    scraps = st.one_of(
        st.binary(max_size=80),
        st.text("0123456789+-.,:eExX \t\r\n_aTnif", max_size=40).map(str.encode),
        st.sampled_from([b"nan\n", b"1e999\n", b"," * 50, b"9" * 400, b"0x" + b"f" * 300 + b"\n", good[:30]]),
    )
    noise = b"".join(data.draw(st.lists(scraps, max_size=8)))
    line = b"\n" + good + noise + b"\n" + good
    cuts = data.draw(st.lists(st.integers(0, len(line)), max_size=12))
    once, pieces = Decoder(Layout(6), dtype(), 0.0), Decoder(Layout(6), dtype(), 0.0)
    expected = flat(decode(line, once))
    got = flat(decode(line, pieces, cuts))
    assert [row for _, row in got] == [row for _, row in expected]
    assert once.counters["lines"] == pieces.counters["lines"] == len(expected)
    if not once.fatal:
        assert once.counters == pieces.counters
        assert [row for _, row in expected][-8:] == [row.tobytes() for row in _rows(8)]
    assert len(pieces._rest) <= LONGEST + len(line)
    survey = Survey()
    for begin, end in itertools.pairwise([0, *sorted(cuts), len(line)]):
        survey.count(line[begin:end], 0)
    assert survey.error or survey.layout


def _rows(count: int) -> Samples:
    return Motion(3, 100.0).rows(0, count).astype("<f8").view(dtype()).reshape(-1)


def test_memory_stays_bounded_whatever_comes() -> None:
    chance = random.Random(1)
    decoder, survey = Decoder(Layout(6), dtype(), 100.0), Survey()
    for noise in (b"\x00" * 4096, b"1" * 4096, b"1,2,3,4,5,6,", b"\n" * 4096, chance.randbytes(4096)):
        for time in range(50):
            decoder.feed(noise, time)
            survey.count(noise, time)
            assert len(decoder._rest) <= LONGEST
            assert len(survey._rest) <= LONGEST
            assert len(decoder.last_bad) <= LONGEST
    assert len(survey._layouts) < 1000


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_to_the_last_bit(value: float) -> None:
    assert number(repr(value).encode()) == value
    blocks = decode(b"\n%s,0\n" % repr(value).encode(), Decoder(Layout(2), dtype(2), 1.0))
    assert rows_of(blocks) == [(value, 0)]
