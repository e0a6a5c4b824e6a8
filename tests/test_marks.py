"""Marks: a moment that a person marks is a segment of the capture that holds its sample; buttons mark, and toggle."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gpiozero
import pytest
from gpiozero.pins.mock import MockFactory

from agent.annotations import extent
from agent.buttons import Buttons, ButtonSettings
from agent.capture import Capture
from agent.config.loading import ConfigError, load
from agent.control import CommandError
from agent.film import Film
from agent.marks import Marks, marked
from agent.recording import Orders, RecordingSettings
from agent.timing import Fit
from drivers.ports import boottime_ns
from tests.running import Running

CONFIG = """
[stream.mcu]
driver = "ssi"
port = "virtual"
virtual = { seed = 5, rate_hz = 1000 }

[stream.slow]
driver = "mpu6050"
bus = "virtual"
rate_hz = 50

[recording.walk]
streams = ["slow", "mcu"]
length_s = 0.4

[recording.idle]
streams = ["mcu"]
when = "command"
"""


def segments(captures: list[Capture]) -> list[tuple[Capture, dict[str, Any]]]:
    return [(capture, one) for capture in captures for one in capture.document.get("segments", ())]


@pytest.mark.alone
def test_each_mark_is_in_one_capture_at_its_moment_also_at_the_edge_of_two(tmp_path: Path) -> None:
    marked: list[int] = []
    with Running(tmp_path, CONFIG) as running:
        running.until(lambda status: status["recordings"]["walk"]["finished"] >= 1)
        for number in range(60):
            before = boottime_ns()
            assert running.ask("mark", labels={"number": number})["marked"] == ["walk"]
            marked.append((before + boottime_ns()) // 2)
            time.sleep(0.025)
        with pytest.raises(CommandError, match="no capture of samples"):
            running.ask("mark", recording="idle")
        running.finish()
        captures = running.captures("walk")
    found = segments(captures)
    assert sorted(one["labels"]["number"] for _, one in found) == list(range(60)), "each once"
    assert len({capture.uuid for capture, _ in found}) >= 3
    for capture, one in found:
        first, end, _ = extent(capture.document)
        assert first <= one["first"] < end and one["samples"] == 0
        taken_ns = capture.document["start"]["boot_time_ns"] + one["begin_s"] * 1e9
        assert abs(taken_ns - marked[one["labels"]["number"]]) < 50e6


def test_a_mark_survives_a_kill(tmp_path: Path) -> None:
    config = CONFIG.replace("length_s = 0.4", "length_s = 0")
    with Running(tmp_path, config) as running:
        running.until(lambda status: status["recordings"]["walk"]["samples"] > 200)
        running.ask("mark", labels={"activity": "jump"})
        time.sleep(0.3)  # three rounds of the writer, of which each hands what it has to the kernel
        assert running.process is not None
        running.process.kill()
        running.process.wait()
        (negative,) = (running.data / "recording").glob("*.walk.*.negative.part")
    film = Film.scan(negative)
    ((name, mark),) = film.notes
    assert (name, mark["stream"], mark["labels"]) == ("mark", "mcu", {"activity": "jump"})
    assert film.lead.first <= mark["sample"] < film.lead.end


class Steady:
    """Dating of a stream that has brought one sample each millisecond since boot."""

    def fit(self, stream: object, now_ns: int) -> Fit:
        return Fit(0, 0, 1e6, 0.0, 2, 1, measured=True)


class Taking:
    """A take, as marks see it."""

    def __init__(self) -> None:
        self.streams = [SimpleNamespace(name="mcu")]
        self.lead = 0
        self.first, self.end, self.reason = 0, 1_000_000, "length"
        self.noted: list[int] = []
        self.negative = SimpleNamespace(note=lambda name, document: self.noted.append(document["sample"]))


def test_a_mark_is_noted_once_in_each_negative_that_may_hold_its_sample() -> None:
    orders = Orders("walk", RecordingSettings(streams=("mcu",)))
    marks = Marks(orders, Steady())  # type: ignore[arg-type]
    before, during, next_one, much_later = (Taking() for _ in range(4))
    second = 1_000_000_000

    def note(now_ns: int, *takes: Taking) -> None:
        marks.note(takes, now_ns)  # type: ignore[arg-type]

    orders.mark(7_100_000, {"lap": 1})
    note(second, before, during)
    note(second + 1, during)
    assert (before.noted, during.noted) == ([7], [7])
    note(2 * second, next_one)
    orders.mark(2_000_000_000, {"lap": 2})
    note(3 * second, next_one)
    assert next_one.noted == [7, 2000], "what was read late comes late"
    note(30 * second, much_later)
    note(31 * second, much_later)
    assert much_later.noted == []


def test_a_mark_whose_sample_never_came_is_counted_as_lost() -> None:
    orders = Orders("walk", RecordingSettings(streams=("mcu",)))
    marks = Marks(orders, Steady())  # type: ignore[arg-type]
    full, empty = Taking(), Taking()
    full.end = 1000
    empty.first = None  # type: ignore[assignment]
    orders.mark(999_000_000, {"lap": 1})
    orders.mark(1_020_000_000, {"lap": 2})
    marks.note([full, empty], 1_100_000_000)  # type: ignore[list-item]
    assert marks.lost == 0, "it may come yet"
    marks.settle()
    assert marks.lost == 1


def test_a_mark_while_nothing_is_recorded_is_lost_and_counted() -> None:
    orders = Orders("walk", RecordingSettings(streams=("mcu",)))
    marks = Marks(orders)
    orders.mark(1_000_000_000, {"mark": "here"})
    marks.note([], 2_000_000_000)
    assert (marks.lost, len(orders.marks)) == (0, 1), "a negative may be opened yet that holds it"
    marks.note([], 7_000_000_000)
    assert (marks.lost, len(orders.marks)) == (1, 0)


def test_a_mark_is_a_segment_of_the_capture_that_holds_its_sample() -> None:
    def document(first: int, reason: str = "length") -> dict[str, Any]:
        channel = {"name": "X"}
        rate_hz = {"nominal": 1000.0, "measured": None}
        mcu = {"name": "mcu", "first": first, "samples": 100, "gaps": [], "channels": [channel], "rate_hz": rate_hz}
        return {"name": "a capture", "streams": [mcu], "end": {"reason": reason}}

    notes = [
        (name, {"stream": stream, "sample": sample, "labels": {"at": sample}})
        for name, stream, sample in (
            ("mark", "mcu", 100),
            ("mark", "mcu", 99),
            ("mark", "slow", 50),
            ("labels", "mcu", 51),
            ("mark", "mcu", 0),
        )
    ]
    assert [one["first"] for one in marked(document(0), notes)] == [0, 99]
    assert [one["first"] for one in marked(document(100), notes)] == [100]
    assert marked(document(200), notes) == []
    last = marked(document(0, "command"), notes)
    assert [(one["first"], one["labels"]) for one in last] == [
        (0, {"at": 0}),
        (99, {"at": 100}),
        (99, {"at": 99}),
    ], "no capture follows, and what was measured at that moment had not come yet"


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    before = gpiozero.Device.pin_factory
    factory = gpiozero.Device.pin_factory = MockFactory()
    yield factory
    factory.reset()
    gpiozero.Device.pin_factory = before


@dataclasses.dataclass
class Recording:
    """A recording as buttons see it."""

    orders: Orders
    busy: bool = True

    def open_negatives(self) -> list[object]:
        return [object()] if self.busy else []


@pytest.fixture
def recordings() -> dict[str, Recording]:
    settings = RecordingSettings(streams=("imu",), labels={"activity": "walking"})
    return {name: Recording(Orders(name, settings)) for name in ("walk", "photos")}


def pressed(pins: MockFactory, number: int = 17) -> None:
    """To ground, and released."""
    pins.pin(number).drive_low()
    pins.pin(number).drive_high()


class Watched:
    """Buttons that are stepped by hand, with a clock that only goes when it is told to."""

    def __init__(self, recordings: dict[str, Recording], **buttons: ButtonSettings) -> None:
        self.buttons = Buttons(buttons, lambda: recordings, boottime_ns)
        self.buttons.step()

    def close(self) -> None:
        for button in self.buttons._buttons:
            button.edges.close()


def test_a_press_marks_what_is_being_recorded(pins: MockFactory, recordings: dict[str, Recording]) -> None:
    recordings["photos"].busy = False
    watched = Watched(recordings, lap=ButtonSettings(pin=17, holdoff_s=0))
    before = boottime_ns()
    pressed(pins)
    pressed(pins)
    watched.buttons.step()
    marks = list(recordings["walk"].orders.marks)
    assert [labels for _, labels in marks] == [{"lap": True}] * 2
    assert before <= marks[0][0] <= marks[1][0] <= boottime_ns()
    assert not recordings["photos"].orders.marks
    recordings["walk"].busy = False
    pressed(pins)
    watched.buttons.step()
    assert watched.buttons.health() == {"lap": {"pressed": 3, "unheard": 1, "error": ""}}
    watched.close()


def test_a_bouncing_button_is_one_press(pins: MockFactory, recordings: dict[str, Recording]) -> None:
    watched = Watched(recordings, lap=ButtonSettings(pin=17, holdoff_s=60, label="event", value="jump"))
    for _ in range(5):
        pressed(pins)
    watched.buttons.step()
    assert [labels for _, labels in recordings["walk"].orders.marks] == [{"event": "jump"}]
    watched.close()


def test_a_toggle_gives_the_label_and_takes_it_away(pins: MockFactory, recordings: dict[str, Recording]) -> None:
    button = ButtonSettings(pin=17, holdoff_s=0, does="toggle", label="bad", recordings=("walk",))
    watched = Watched(recordings, bad=button)
    seen = []
    for _ in range(3):
        pressed(pins)
        watched.buttons.step()
        seen.append(dict(recordings["walk"].orders.labels))
    assert seen == [{"activity": "walking", "bad": True}, {"activity": "walking"}, {"activity": "walking", "bad": True}]
    assert recordings["photos"].orders.labels == {"activity": "walking"}
    watched.close()


def test_a_pin_that_cannot_be_watched_is_said_and_the_others_work(
    pins: MockFactory, recordings: dict[str, Recording]
) -> None:
    taken = gpiozero.DigitalInputDevice(4)
    watched = Watched(recordings, lap=ButtonSettings(pin=17), other=ButtonSettings(pin=4))
    pressed(pins)
    watched.buttons.step()
    health = watched.buttons.health()
    assert "GPIO4" in health["other"]["error"] and health["lap"]["pressed"] == 1
    taken.close()
    watched.close()


def test_the_thread_lets_its_pins_go(pins: MockFactory, recordings: dict[str, Recording]) -> None:
    errors: list[BaseException] = []
    buttons = Buttons({"lap": ButtonSettings(pin=17)}, lambda: recordings, boottime_ns)
    worker = buttons.start(lambda name, error: errors.append(error))
    while not pins.pin(17).when_changed:
        time.sleep(0.005)
    pressed(pins)
    while not recordings["walk"].orders.marks:
        time.sleep(0.005)
    assert worker.stop(5) and not errors
    gpiozero.DigitalInputDevice(17).close()


def test_a_button_in_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[agent]\ndata_dir = "{tmp_path}"\n{CONFIG}[button.lap]\npin = 17\nrecordings = ["walk"]\n')
    assert load(path).buttons == {"lap": ButtonSettings(pin=17, recordings=("walk",))}
    path.write_text(path.read_text().replace('["walk"]', '["wlak"]'))
    with pytest.raises(ConfigError, match=r"button.lap.recordings\[0\].*walk"):
        load(path)
    path.write_text(path.read_text().replace("pin = 17", 'does = "flash"'))
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert {"button.lap.pin", "button.lap.does"} <= {mistake.path for mistake in raised.value.mistakes}
