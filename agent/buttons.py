"""Buttons: a person presses, and this moment is marked in the captures in progress, or a label comes and goes."""

import dataclasses
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from agent.gpio import EdgeError, Edges
from agent.recording import Orders
from agent.worker import Worker
from drivers.settings import check, option

log = logging.getLogger(__name__)

_ROUND_S = 0.05
_AGAIN_NS = 30_000_000_000
"""How long a pin that cannot be watched is left alone."""


@dataclasses.dataclass(frozen=True)
class ButtonSettings:
    """What TOML says of one button: `[button.NAME]`."""

    pin: int = option("number of the pin (BCM)", example=17, at_least=0, at_most=1000)
    edge: str = option("the edge that is a press", "falling", choices=("rising", "falling"))
    pull: str = option("the resistor at the pin; up for a button to ground", "up", choices=("down", "up", "none"))
    holdoff_s: float = option("presses within as many seconds of one are not heard", 0.2, at_least=0, at_most=3600)
    does: str = option(
        "mark: labels this moment of the captures in progress; toggle: gives captures that begin next the label, or"
        " takes it away again, which a restart forgets",
        "mark",
        choices=("mark", "toggle"),
    )
    label: str = option("name of the label; empty: the button's name", "")
    value: str = option("its value; empty: true", "")
    recordings: tuple[str, ...] = option("for these recordings alone; empty: all", ())

    def __post_init__(self) -> None:
        check(self)

    def labels(self, name: str) -> dict[str, Any]:
        """What a press of the button `name` says."""
        return {self.label or name: self.value or True}


class Markable(Protocol):
    """A recording, as a button sees it."""

    orders: Orders

    def open_negatives(self) -> Collection[object]: ...


def mark(recorders: Mapping[str, Markable], time_ns: int, labels: Mapping[str, Any]) -> list[str]:
    """Marks a moment (CLOCK_BOOTTIME) in those that have a capture of samples in progress; which these are."""
    marked = [name for name, recorder in recorders.items() if recorder.open_negatives()]
    for name in marked:
        recorders[name].orders.mark(time_ns, labels)
    return marked


class Buttons:
    """All of them, watched by one thread."""

    def __init__(
        self,
        buttons: Mapping[str, ButtonSettings],
        recorders: Callable[[], Mapping[str, Markable]],
        now: Callable[[], int],
    ) -> None:
        """`recorders`: those there are now; `now`: CLOCK_BOOTTIME in nanoseconds."""
        self._buttons = [_Button(name, settings) for name, settings in buttons.items()]
        self._recorders = recorders
        self._now = now

    def start(self, failed: Callable[[str, BaseException], None]) -> Worker:
        """Starts the thread."""
        return Worker("buttons", self.run, failed, silence_s=60.0).start()

    def run(self, worker: Worker) -> None:
        """Looks for presses until the worker stops."""
        try:
            while not worker.wait(_ROUND_S):
                self.step()
        finally:
            for button in self._buttons:
                button.edges.close()

    def step(self) -> None:
        """Does what was pressed since the last step."""
        for button in self._buttons:
            for time_ns in button.presses(self._now()):
                self._press(button, time_ns)

    def _press(self, button: "_Button", time_ns: int) -> None:
        wanted = button.settings.recordings
        chosen = {name: one for name, one in self._recorders().items() if not wanted or name in wanted}
        labels = button.settings.labels(button.name)
        if button.settings.does == "mark":
            marked = mark(chosen, time_ns, labels)
            log.info("button %s: %s", button.name, f"marked {', '.join(marked)}" if marked else "nothing is recorded")
            button.unheard += not marked
            return
        ((key, value),) = labels.items()
        on = not all(one.orders.labels.get(key) == value for one in chosen.values())
        for one in chosen.values():
            one.orders.label({key: value if on else None}, {})
        log.info("button %s: its label is %s", button.name, "on" if on else "off")

    def health(self) -> dict[str, dict[str, Any]]:
        """By button: presses since the start, those that found nothing to mark, and why it cannot be watched."""
        return {
            button.name: {"pressed": button.pressed, "unheard": button.unheard, "error": button.error}
            for button in self._buttons
        }


class _Button:
    """One pin, opened again from time to time while that fails. Used by one thread."""

    def __init__(self, name: str, settings: ButtonSettings) -> None:
        self.name = name
        self.settings = settings
        self.edges = Edges(settings.pin, settings.edge, settings.pull)
        self.pressed = self.unheard = 0
        self.error = ""
        self._open = False
        self._again_ns = 0
        self._held_until_ns = 0

    def presses(self, now_ns: int) -> list[int]:
        """When it was pressed since the last call."""
        if not self._open and now_ns >= self._again_ns:
            self._begin(now_ns)
        found = []
        for time_ns in self.edges.take():
            if time_ns >= self._held_until_ns:
                self._held_until_ns = time_ns + round(self.settings.holdoff_s * 1e9)
                found.append(time_ns)
        self.pressed += len(found)
        return found

    def _begin(self, now_ns: int) -> None:
        try:
            self.edges.open()
        except EdgeError as error:
            if str(error) != self.error:
                log.error("button %s: %s", self.name, error)
            self.error, self._again_ns = str(error), now_ns + _AGAIN_NS
        else:
            self.error, self._open = "", True
