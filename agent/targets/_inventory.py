"""What a platform has: the optional part of the contract that tells of it."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from agent.capture import Capture
from agent.targets import Receipt, Target


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """One file that a platform has."""

    file: str
    """Its name here."""
    size: int | None = None
    """Bytes; None where the platform does not tell."""
    hash: str = ""
    """As `sha256:...` or `md5:...`, in lower-case hex digits; empty where the platform does not tell."""
    id: str = ""
    """What the platform knows it by."""


@runtime_checkable
class Inventoried(Target, Protocol):
    """Optional, for a target: can be asked what it has, for `capture-agent reconcile` and `remote`."""

    def inventory(self, asked: Sequence[tuple[Capture, Receipt]]) -> Iterator[Held]:
        """The files there are of these captures, which were delivered with these receipts; others may be among them.

        Changes nothing. Raises as `put`; Refused, which says why, where the platform or its configuration does not
        allow to ask.
        """


@runtime_checkable
class Recognising(Protocol):
    """Optional, for settings of a target: says whether it recognises a capture that it was given before, when nothing
    but the capture is known here any more. Without it: it does."""

    @property
    def recognises(self) -> bool:
        """False: what comes again is there again, or nobody can be sure."""


@runtime_checkable
class Fetching(Inventoried, Protocol):
    """Optional, for a target: gives back what it has, for `capture-agent remote NAME download`."""

    def fetch(self, held: Held, take: Callable[[bytes], object]) -> None:
        """Gives the content of a file of `inventory` to `take`, in pieces. Raises as `put`."""
