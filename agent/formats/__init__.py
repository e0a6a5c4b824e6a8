"""Formats: each develops what was recorded into one payload file, and reads such a file back as blocks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from agent.capture import Capture
from agent.film import Film
from drivers import Block


class Unfit(ValueError):
    """A film cannot be told in this format, now or ever; the message says why. It is left out, the others are made."""


class Format(Protocol):
    """Streams from a film to a file with flat memory, in slices that hold the interpreter for at most 5 ms."""

    suffix: str
    """With its dot: `.csv`."""
    media_type: str

    def develop(self, film: Film, path: Path, breathe: Callable[[], None]) -> dict[str, Any]:
        """Writes the payload to `path` (a `.part` name), unsynced; calls `breathe` between slices.

        Returns what the sidecar should say of this payload besides hashes (usually nothing). Raises Unfit before
        anything is written.
        """

    def read(self, path: Path, capture: Capture) -> Iterator[Block]:
        """The samples of a payload as blocks, raw values where the file has them, with the capture's channels."""


class FormatSettings(Protocol):
    """Options of one format: a frozen dataclass named `Settings` in the format's module."""

    def open(self) -> Format: ...


def format_module(name: str) -> ModuleType:
    """The module whose `Settings` a recording's `format = "name"` means; LookupError lists what there is."""
    from drivers.registry import find  # noqa: PLC0415  importlib.metadata is slow and needed at set-up only

    return find("capture_agent.formats", "agent.formats", name)
