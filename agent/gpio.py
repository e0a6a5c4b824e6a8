"""Edges at a GPIO pin, stamped with boot time the moment they are heard of."""

import os
import queue
import tempfile
from typing import Any

from drivers.ports import boottime_ns


class EdgeError(Exception):
    """The pin cannot be watched; the message says why and what to do."""


class Edges:
    """Watches one pin from `open` to `close`; the times of its edges come in order."""

    def __init__(self, pin: int, edge: str, pull: str) -> None:
        """`edge`: rising, falling or both; `pull`: down, up or none."""
        self._pin = pin
        self._edge = edge
        self._pull = pull
        self._times: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._device: Any = None

    def open(self) -> None:
        """EdgeError where gpiozero is not installed, or there is no such pin, or somebody else has it."""
        # lgpio makes a pipe in the working directory, which a service cannot write to, unless it is told where
        os.environ.setdefault("LG_WD", tempfile.gettempdir())
        try:
            import gpiozero  # noqa: PLC0415  an extra, needed only where a pin is configured
        except ImportError:
            raise EdgeError(
                "gpiozero is not installed: apt install python3-gpiozero, or pip install 'capture-agent[gpio]'"
            ) from None
        pull_up = {"down": False, "up": True, "none": None}[self._pull]
        try:
            device = gpiozero.DigitalInputDevice(
                self._pin, pull_up=pull_up, active_state=True if pull_up is None else None
            )
        except Exception as error:  # each library for pins has exceptions of its own: lgpio.error is nobody's child
            raise EdgeError(f"pin GPIO{self._pin} cannot be watched: {error}") from None
        # with a pull-up, gpiozero calls the low level active
        rises, falls = ("when_deactivated", "when_activated") if pull_up else ("when_activated", "when_deactivated")
        for name, edge in ((rises, "rising"), (falls, "falling")):
            if self._edge in (edge, "both"):
                setattr(device, name, self._heard)
        self._device = device

    def _heard(self) -> None:
        """Called in a thread of gpiozero's: nothing but a stamp."""
        self._times.put(boottime_ns())

    def take(self) -> list[int]:
        """CLOCK_BOOTTIME of the edges since the last call; never waits."""
        return [self._times.get_nowait() for _ in range(self._times.qsize())]

    def close(self) -> None:
        """May be called twice."""
        device, self._device = self._device, None
        if device is not None:
            device.close()
