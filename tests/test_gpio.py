"""Edges at a pin: gpiozero's own mock pins are driven, and each edge that is meant fires at the time it is heard."""

import os
from collections.abc import Iterator
from pathlib import Path

import gpiozero
import pytest
from gpiozero.pins.mock import MockFactory

from agent import trigger_source
from agent.gpio import EdgeError, Edges
from agent.trigger import TriggerSettings
from agent.trigger_source import TriggerSource
from drivers.ports import boottime_ns


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    before = gpiozero.Device.pin_factory
    factory = gpiozero.Device.pin_factory = MockFactory()
    yield factory
    factory.reset()
    gpiozero.Device.pin_factory = before


@pytest.mark.parametrize("pull", ["down", "up", "none"])
@pytest.mark.parametrize(("edge", "heard"), [("rising", 2), ("falling", 1), ("both", 3)])
def test_the_edges_that_are_meant_are_heard_whatever_the_resistor(
    pins: MockFactory, pull: str, edge: str, heard: int
) -> None:
    pin = pins.pin(17)
    if pull == "none":
        pin.drive_low()
    edges = Edges(17, edge, pull)
    edges.open()
    assert edges.take() == [], "a level that is there from the beginning is no edge"
    pin.drive_low()
    edges.take()
    begun = boottime_ns()
    pin.drive_high()
    pin.drive_low()
    pin.drive_high()
    times = edges.take()
    edges.close()
    edges.close()
    assert len(times) == heard
    assert begun <= times[0] <= times[-1] <= boottime_ns()
    assert edges.take() == []


def test_the_pipe_of_lgpio_is_not_made_in_the_working_directory(
    pins: MockFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LG_WD", "")
    monkeypatch.delenv("LG_WD")  # and taken away again afterwards
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    edges = Edges(17, "rising", "down")
    edges.open()
    edges.close()
    assert os.environ["LG_WD"] == str(tmp_path)


def test_a_pin_that_somebody_has_is_an_error_that_names_it(pins: MockFactory) -> None:
    with gpiozero.LED(17), pytest.raises(EdgeError, match="GPIO17"):
        Edges(17, "rising", "down").open()


def test_an_error_of_the_library_for_pins_is_one_of_the_pin(pins: MockFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    class LibraryError(Exception):
        """As lgpio.error: of no family."""

    def busy(*args: object, **more: object) -> None:
        raise LibraryError("GPIO busy")

    monkeypatch.setattr(pins, "pin", busy)
    with pytest.raises(EdgeError, match="GPIO17 cannot be watched: GPIO busy"):
        Edges(17, "rising", "down").open()


def test_a_switch_that_bounces_fires_once(pins: MockFactory) -> None:
    source = TriggerSource(TriggerSettings(kind="gpio", pin=4, pull="up", edge="falling", holdoff_s=60), None)
    source.open()
    for _ in range(5):
        pins.pin(4).drive_low()
        pins.pin(4).drive_high()
    events = source.poll()
    source.close()
    assert [event.kind for event in events] == ["gpio"]
    assert (source.ignored, source.error) == (4, "")


def test_without_pins_a_person_can_still_trigger_and_the_reason_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "native")
    monkeypatch.setattr(gpiozero.Device, "pin_factory", None)
    monkeypatch.setitem(__import__("sys").modules, "gpiozero", None)
    source = TriggerSource(TriggerSettings(kind="gpio", pin=4), None)
    source.open()
    assert "pip install 'capture-agent[gpio]'" in source.error
    source.ask(5)
    assert [event.kind for event in source.poll()] == ["command"]
    source.close()


def test_a_pin_that_somebody_has_at_first_is_tried_again(
    pins: MockFactory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    later_ns = 0
    monkeypatch.setattr(trigger_source, "boottime_ns", lambda: boottime_ns() + later_ns)
    source = TriggerSource(TriggerSettings(kind="gpio", pin=17), None)
    with gpiozero.LED(17):
        source.open()
        assert "GPIO17" in source.error
        later_ns = 31_000_000_000
        assert source.poll() == []
        assert len(caplog.records) == 1, "said once"
    later_ns = 62_000_000_000
    assert source.poll() == []
    assert source.error == ""
    pins.pin(17).drive_high()
    assert [event.kind for event in source.poll()] == ["gpio"]
    source.close()
