"""The socket: one question a line, one answer; refusals are answers, and nothing that comes in can break it."""

import json
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import commands
from agent.control import CommandError, Control, NoDaemon, ask, serving, socket_path
from agent.database import DatabaseDamaged


class Fake:
    """Stands for the daemon's answers: tells what it was asked, or fails as nobody thought it could."""

    def measure(self, stream: str) -> Any:
        raise ZeroDivisionError("no sample")

    def __getattr__(self, name: str) -> Any:
        return lambda **arguments: {"asked": name, **arguments}


def answer(name: str, given: Mapping[str, Any]) -> Any:
    return commands.obey(Fake(), name, given)


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    errors: list[BaseException] = []
    worker = Control(tmp_path, answer).start(lambda name, error: errors.append(error))
    yield tmp_path
    assert worker.stop(5)
    assert not errors
    assert not socket_path(tmp_path).exists()


def test_a_question_is_answered_with_every_argument_filled_in(data_dir: Path) -> None:
    assert ask(data_dir, "start", recording="walk") == {"asked": "start", "recording": "walk"}
    assert ask(data_dir, "label", labels={"a": 1}) == {
        "asked": "label",
        "labels": {"a": 1},
        "metadata": {},
        "recording": None,
    }


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("strat", {}, "no command 'strat'"),
        ("start", {}, "start needs recording"),
        ("start", {"recording": 5}, "recording = 5"),
        ("start", {"recording": "walk", "now": True}, "takes no now"),
        ("label", {"labels": {"a": [1]}}, "labels"),
    ],
)
def test_a_wrong_question_is_refused_with_the_reason(
    data_dir: Path, command: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        ask(data_dir, command, **arguments)


def test_a_command_that_fails_is_answered_and_logged_and_the_next_one_is_answered_too(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CommandError, match=r"measure failed, .* ZeroDivisionError: no sample"):
        ask(data_dir, "measure", stream="imu")
    assert "Traceback" in caplog.text
    assert ask(data_dir, "status")["asked"] == "status"


def test_a_database_that_is_damaged_is_no_answer() -> None:
    def damaged() -> None:
        raise DatabaseDamaged("malformed")

    fake = Fake()
    fake.status = damaged  # type: ignore[attr-defined]
    with pytest.raises(DatabaseDamaged):
        commands.obey(fake, "status", {})


def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoDaemon, match="no daemon runs"):
        ask(tmp_path, "status")


def test_the_socket_is_for_its_owner_and_group_alone(data_dir: Path) -> None:
    assert stat.S_IMODE(socket_path(data_dir).stat().st_mode) == 0o660


def test_a_socket_left_by_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    socket_path(tmp_path).parent.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(socket_path(tmp_path)))
    worker = Control(tmp_path, answer).start(lambda name, error: None)
    assert ask(tmp_path, "status")["asked"] == "status"
    worker.stop(5)


def test_a_data_folder_with_a_very_long_name_has_a_socket_too(tmp_path: Path) -> None:
    folder = tmp_path / ("long-" * 30)
    folder.mkdir()
    worker = Control(folder, answer).start(lambda name, error: None)
    assert ask(folder, "status")["asked"] == "status"
    worker.stop(5)


def test_where_a_daemon_runs_is_left_in_its_runtime_folder_while_it_does(tmp_path: Path) -> None:
    (runtime := tmp_path / "runtime").mkdir()
    (runtime / "served").symlink_to("/left/by/a/killed/one")
    worker = Control(tmp_path, answer, runtime).start(lambda name, error: None)
    assert serving(runtime) == tmp_path
    worker.stop(5)
    assert serving(runtime) is None
    without = Control(tmp_path, answer, tmp_path / "none").start(lambda name, error: None)
    assert ask(tmp_path, "status")["asked"] == "status"
    without.stop(5)


@given(st.binary(max_size=200))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_line_is_answered_or_hung_up_on(data_dir: Path, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(socket_path(data_dir)))
        connection.sendall(line.replace(b"\n", b"") + b"\n")
        document = json.loads(connection.makefile("rb").readline())
    assert document["ok"] is False
    assert document["error"]


def test_a_line_without_end_is_hung_up_on(data_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(socket_path(data_dir)))
        with pytest.raises(OSError):  # broken pipe or reset, as the kernel likes
            for _ in range(100):
                connection.sendall(b"x" * 65536)
            while connection.recv(100):
                pass
            raise ConnectionResetError
