"""Targets: where parcels go; each module turns one capture into one receipt."""

import dataclasses
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from agent.capture import Capture

Receipt = Mapping[str, Any]
"""What a target answers once a capture is there: JSON-able; ids, URLs, hashes."""


class Refused(Exception):
    """Never: this capture will not be taken by this target; the message is the reason. The parcel is parked."""


class Later(Exception):
    """Not yet, and no attempt: the target is reachable but asks to wait (`after_s`), or has not finished."""

    def __init__(self, reason: str, after_s: float = 30.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Unreachable(Exception):
    """Nobody answers there: no network, no host, no mount, credentials missing. Concerns the target, not the parcel:
    no attempt is counted, and until it is over a single parcel probes."""


class Stopped(Exception):
    """The daemon is stopping; raised out of `Progress.check` or a torn-down transfer. No attempt."""


@dataclasses.dataclass(slots=True)
class Progress:
    """One delivery as its target sees it: what was saved before, a way to save, to show life, and to notice the end."""

    state: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What `save` stored in an earlier try of this parcel."""
    store: Callable[[dict[str, Any]], None] = lambda state: None
    stop: threading.Event = dataclasses.field(default_factory=threading.Event)
    sent_bytes: int = 0
    advance: Callable[[int], None] = lambda count: None

    def save(self, state: Mapping[str, Any]) -> None:
        """Merges into `state` and commits it before returning."""
        self.state.update(state)
        self.store(self.state)

    def sent(self, count: int) -> None:
        """Says that `count` more bytes went out: feeds the watchdog, the rate limit (it may sleep) and the meters.

        Raises Stopped when the daemon is stopping.
        """
        self.sent_bytes += count
        self.check()
        self.advance(count)
        self.check()

    def check(self) -> None:
        """Raises Stopped when the daemon is stopping."""
        if self.stop.is_set():
            raise Stopped


class Target(Protocol):
    """Where parcels go. `put` may be called by several threads at once; the target keeps no memory of deliveries."""

    formats: tuple[str, ...]
    """Formats it takes, the preferred first; empty: whatever the capture has, in the capture's order."""

    def put(self, capture: Capture, progress: Progress) -> Receipt:
        """Delivers payloads and sidecar, streaming from disk, verified by length and hash; blocking, own time-outs.

        Idempotent as far as the platform allows. Raises Refused, Later, Unreachable, Stopped; any other exception is
        one failed attempt of this parcel alone.
        """

    def close(self) -> None:
        """Lets connections go and aborts what hangs; may be called twice, from another thread."""


@dataclasses.dataclass(frozen=True)
class Home:
    """What a target may need of the daemon to open: who this is, and where its secrets are."""

    device: str
    device_id: str
    secrets: Path
    """Folder for tokens that platforms renew (0700)."""
    credentials: Path | None = None
    """systemd's $CREDENTIALS_DIRECTORY."""

    def secret(self, name: str) -> str:
        """The text of a credential or file called `name`, stripped. Unreachable, which says where it looked."""
        places = [base / name for base in (self.credentials, self.secrets) if base is not None]
        if "/" in name:
            places = [Path(name)]
        for place in places:
            if place.is_file():
                return place.read_text().strip()
        raise Unreachable(f"secret {name!r} is in none of {', '.join(map(str, places))}")


class TargetSettings(Protocol):
    """What TOML says of one target: a frozen dataclass named `Settings` in the target's module.

    Options that every target has (targets of a daemon share them) are in `agent.sync.Delivery`, not here.
    """

    def open(self, home: Home) -> Target:
        """Makes the target; never touches the network."""


def target_module(kind: str) -> ModuleType:
    """The module whose `Settings` a target's `kind = "name"` means; LookupError lists what there is."""
    from drivers.registry import find  # noqa: PLC0415  importlib.metadata is slow and needed at set-up only

    return find("capture_agent.targets", "agent.targets", kind)
