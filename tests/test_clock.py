"""Who knows the time: a time service, a GPS receiver, a clock with a battery, nobody; and what is known stays known."""

from pathlib import Path

import pytest

from agent.clock import Clock, iso, kernel_keeps, redated

NS = 1_000_000_000
TRUE_NS = 1_795_255_200 * NS
"""Wall time of boot."""
HOUR = 3600
YEARS = 10 * 365 * 86400


class Board:
    """A board whose clocks and helpers the test is; it began without knowing the time."""

    def __init__(self, place: Path, rtc: tuple[str, str] | None = None) -> None:
        self.boot_ns, self.set_ns, self.kept = 60 * NS, 0, False
        self.timesyncd = place / "synchronized"
        if rtc is not None:
            for name, text in zip(("hctosys", "since_epoch"), rtc, strict=True):
                (place / name).write_text(text + "\n")
        self.clock = self.started = _Clock(self, place)

    def restarted(self) -> Clock:
        """The clock of a daemon that begins now, in the same boot."""
        return _Clock(self, self.timesyncd.parent)


class _Clock(Clock):
    def __init__(self, board: Board, place: Path) -> None:
        super().__init__(place, board.timesyncd, wall=lambda: board.set_ns + board.boot_ns, kept=lambda: board.kept)
        self._board = board

    def boottime_ns(self) -> int:
        return self._board.boot_ns


def test_at_first_nobody_knows(tmp_path: Path) -> None:
    clock = Board(tmp_path).clock
    assert (clock.synchronised(), clock.dated(), clock.dated_by()) == (False, False, "")
    assert clock.trust() == {"clock": "unsynchronised"}
    assert clock.wall_ns(5 * NS) == 5 * NS


def test_a_service_sets_the_clock(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.set_ns, board.kept = TRUE_NS, True
    assert board.clock.trust() == {"clock": "synchronised", "dated_by": "service"}
    assert board.clock.wall_ns(5 * NS) == TRUE_NS + 5 * NS


@pytest.mark.parametrize("step_s", [-HOUR, YEARS])
def test_what_was_known_stays_known_whatever_becomes_of_the_system_clock(tmp_path: Path, step_s: int) -> None:
    board = Board(tmp_path)
    board.set_ns, board.kept = TRUE_NS, True
    assert board.clock.synchronised()
    board.kept = False  # no server for nine hours, or a person has set the clock
    board.boot_ns += 9 * HOUR * NS
    board.set_ns += step_s * NS
    assert board.clock.trust() == {"clock": "synchronised", "dated_by": "service"}
    assert board.clock.wall_ns() == TRUE_NS + board.boot_ns


def test_a_service_may_step_the_clock_and_is_followed(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.set_ns, board.kept = TRUE_NS - HOUR * NS, True
    assert board.clock.synchronised()
    board.set_ns = TRUE_NS
    assert board.clock.wall_ns(0) == TRUE_NS


def test_a_daemon_that_begins_while_no_server_answers_trusts_what_timesyncd_set(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.set_ns = TRUE_NS
    assert not board.restarted().synchronised()
    board.timesyncd.touch()
    assert board.restarted().trust() == {"clock": "synchronised", "dated_by": "service"}


def test_a_clock_with_a_battery_knows_the_date_until_somebody_knows_better(tmp_path: Path) -> None:
    board = Board(tmp_path, rtc=("1", "1795255260"))
    board.set_ns = TRUE_NS
    assert (board.clock.synchronised(), board.clock.dated()) == (False, True)
    assert board.clock.trust() == {"clock": "rtc", "dated_by": "rtc"}
    board.clock.learn(board.boot_ns, TRUE_NS + board.boot_ns)
    assert board.clock.trust() == {"clock": "synchronised", "dated_by": "gps"}


@pytest.mark.parametrize("rtc", [("0", "1795255260"), ("1", "60"), ("1", "1577836860")])
def test_an_empty_battery_or_one_that_nobody_asked_knows_nothing(tmp_path: Path, rtc: tuple[str, str]) -> None:
    assert Board(tmp_path, rtc=rtc).clock.dated_by() == ""


def test_a_gps_receiver_tells_the_time_and_the_promptest_sentence_counts(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for late_ms in (400, 150, 600, 350):
        board.boot_ns += NS
        board.clock.learn(board.boot_ns, TRUE_NS + board.boot_ns - late_ms * 1_000_000)
    assert board.clock.trust() == {"clock": "synchronised", "dated_by": "gps"}
    assert board.clock.wall_ns(0) - TRUE_NS == pytest.approx(-150_000_000, abs=300_000)


@pytest.mark.parametrize("ahead_s", [1, 3, -1])
def test_a_receiver_that_began_without_the_leap_seconds_is_followed_once_it_has_them(
    tmp_path: Path, ahead_s: int
) -> None:
    board = Board(tmp_path)

    def told(seconds: int, ahead_s: int) -> None:
        for second in range(seconds):
            board.boot_ns += NS
            late_ms = (150, 400, 250)[second % 3]
            board.clock.learn(board.boot_ns, TRUE_NS + board.boot_ns + ahead_s * NS - late_ms * 1_000_000)

    told(600, ahead_s)
    assert board.clock.wall_ns(0) - TRUE_NS == pytest.approx(ahead_s * NS - 150_000_000, abs=300_000)
    told(31, 0)
    assert board.clock.wall_ns(0) - TRUE_NS == pytest.approx(-150_000_000, abs=300_000)


def test_a_receiver_that_is_late_for_a_while_changes_nothing(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for second in range(120):
        board.boot_ns += NS
        late_ms = 150 if second % 25 == 0 else 1100
        board.clock.learn(board.boot_ns, TRUE_NS + board.boot_ns - late_ms * 1_000_000)
    assert board.clock.wall_ns(0) - TRUE_NS == pytest.approx(-150_000_000, abs=3_000_000)


def test_a_board_that_drifts_against_gps_is_followed(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for _ in range(86_400):
        board.boot_ns += NS
        board.clock.learn(board.boot_ns, TRUE_NS + board.boot_ns - board.boot_ns * 50 // 1_000_000)
    assert abs(board.clock.wall_ns() - (TRUE_NS + board.boot_ns * (1_000_000 - 50) // 1_000_000)) < 1_000_000


def test_a_receiver_that_once_told_nonsense_is_believed_again(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.clock.learn(board.boot_ns, TRUE_NS + YEARS * NS)
    board.clock.learn(board.boot_ns, TRUE_NS)
    assert board.clock.wall_ns(board.boot_ns) == TRUE_NS


def test_a_service_knows_better_than_gps_and_a_receiver_in_1999_knows_nothing(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.clock.learn(board.boot_ns, 935_280_000 * NS)  # a receiver whose week number has rolled over
    assert not board.clock.synchronised()
    board.clock.learn(board.boot_ns, TRUE_NS)
    board.set_ns, board.kept = TRUE_NS, True
    assert board.clock.dated_by() == "service"
    board.kept = False
    board.clock.learn(board.boot_ns, TRUE_NS + 5 * NS)
    assert (board.clock.dated_by(), board.clock.wall_ns(0)) == ("service", TRUE_NS)


def test_a_start_is_redated_with_what_is_known_now(tmp_path: Path) -> None:
    board = Board(tmp_path)
    start = {"boot_time_ns": 5 * NS, "boot_id": "x", "wall_time": iso(5 * NS), **board.clock.trust()}
    board.clock.learn(board.boot_ns, TRUE_NS + board.boot_ns)
    assert redated(start, board.clock) == {
        "boot_time_ns": 5 * NS,
        "boot_id": "x",
        "wall_time": iso(TRUE_NS + 5 * NS),
        "clock": "redated",
        "dated_by": "gps",
    }


def test_the_real_clock_answers() -> None:
    clock = Clock()
    assert kernel_keeps() in (True, False)
    assert clock.synchronised() >= kernel_keeps()
    assert abs(clock.wall_ns(clock.boottime_ns()) - clock.wall_ns()) < NS
