"""Targets: where parcels go; each module turns one capture into one receipt."""

import contextlib
import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from agent.capture import Capture, Payload
from agent.targets._templates import placeholders as placeholders
from agent.targets._templates import placeholders_of as placeholders_of
from agent.targets._templates import template_mistake as template_mistake

Receipt = Mapping[str, Any]
"""What a target answers once a capture is there: JSON-able; ids, URLs, hashes.

`final`: true says that nothing of it can be amended there: later revisions of the sidecar are then not owed.
"""


class Refused(Exception):
    """Never: this capture will not be taken by this target; the message is the reason. The parcel is parked."""

    def __init__(self, reason: str = "", *, doubtful: bool = False) -> None:
        """`doubtful`: it may be the address that takes nothing. Of one capture alone it is believed, though not at
        once; where several in a row are told so, it is the target's trouble, and nothing is parked."""
        super().__init__(reason)
        self.doubtful = doubtful


class Later(Exception):
    """Not yet, and no attempt: the target is reachable but asks to wait (`after_s`), or has not finished."""

    def __init__(self, reason: str, after_s: float = 30.0, *, pending: bool = False) -> None:
        """`pending`: this capture is there, and being worked on; else it is the target that asks to wait."""
        super().__init__(reason)
        self.after_s = after_s
        self.pending = pending


class Unreachable(Exception):
    """Nobody answers there: no network, no host, no mount, credentials missing. Concerns the target, not the parcel:
    no attempt is counted, and until it is over a single parcel probes."""


class Failed(Exception):
    """This try went wrong, and the message, one line, says how: an attempt. (So is any exception not named here, but
    those are logged with their traceback.)"""


class Stopped(Exception):
    """The daemon is stopping; raised out of `Progress.check` or a torn-down transfer. No attempt."""


@dataclasses.dataclass(slots=True)
class Progress:
    """One delivery as its target sees it: what was saved before, a way to save, to show life, and to notice the end."""

    state: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What `save` stored in an earlier try of this parcel."""
    receipt: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the target answered to an earlier revision of the capture. Payloads never change: what lies where it would
    go now, with the same hash, need not be sent again."""
    store: Callable[[dict[str, Any]], None] = lambda state: None
    stop: threading.Event = dataclasses.field(default_factory=threading.Event)
    sent_bytes: int = 0
    advance: Callable[[int], None] = lambda count: None
    piece_bytes: int = 1 << 16
    """So much goes out without a pause: little, where a low rate limit would make one that no server waits for."""

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

    def sending(self, chunk: bytes | memoryview) -> Iterator[memoryview]:
        """A chunk in pieces, of each of which `sent` hears once it went out."""
        for begin in range(0, len(chunk), self.piece_bytes):
            piece = memoryview(chunk)[begin : begin + self.piece_bytes]
            yield piece
            self.sent(len(piece))

    def check(self) -> None:
        """Raises Stopped when the daemon is stopping."""
        if self.stop.is_set():
            raise Stopped


class Target(Protocol):
    """Where parcels go. `put` may be called by several threads at once; the target keeps no memory of deliveries.

    Whether a fault is Unreachable or Failed decides who waits: the whole target, or this parcel alone.
    """

    formats: tuple[str, ...]
    """Formats it takes, the preferred first; empty: every payload that the capture has. See `chosen`."""

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

    def path(self, name: str) -> Path:
        """The file of a credential or secret; a path is as it is. Unreachable, which says where it looked."""
        return Path(name) if "/" in name else self._found(name)[0]

    def secret(self, name: str) -> str:
        """The text of a credential or file called `name`, stripped. Unreachable, which says where it looked."""
        return self._found(name)[1].strip()

    def _found(self, name: str) -> tuple[Path, str]:
        places = [self.secrets / name]
        if self.credentials is not None:  # one credential, or a file of the folder that the unit loads as "secrets"
            places[:0] = [self.credentials / name, self.credentials / f"secrets_{name}"]
        if "/" in name:
            places = [Path(name)]
        for place in places:
            try:
                return place, place.read_text()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not text"
                raise Unreachable(f"secret {name!r}: {place} cannot be read: {reason}") from None
        raise Unreachable(f"secret {name!r} is in none of {', '.join(map(str, places))}")


class TargetSettings(Protocol):
    """What TOML says of one target: a frozen dataclass named `Settings` in the target's module.

    Options that every target has (targets of a daemon share them) are in `agent.sync.Delivery`, not here.
    """

    def open(self, home: Home) -> Target:
        """Makes the target; never touches the network."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the configuration tells beforehand of one recording's captures."""

    name: str
    """Of a capture, as long as it gets: a file's name without its suffix."""
    formats: Mapping[str, Any]
    """Settings of its formats by name, in order."""
    pictures: bool
    picture_name: str
    rates_hz: tuple[float, ...]
    """Of its streams, those that are known; 0: on demand."""
    labels: Mapping[str, Any]
    metadata: Mapping[str, Any]


@runtime_checkable
class Particular(Protocol):
    """Optional, for settings of a target: knows beforehand what it would refuse of a recording.

    A field or class variable `formats` tells of formats; what takes none of a recording's is said without `mistakes`.
    """

    def mistakes(self, plan: Plan) -> Iterable[tuple[str, object, str]]:
        """(option of the recording, what it says, what to have there instead), each a mistake of the configuration."""


@runtime_checkable
class NeedsDate(Protocol):
    """Optional, for settings of a target: says that captures had better wait for their date, where that may yet come:
    what has been delivered cannot be dated anew there."""

    needs_date: bool


@runtime_checkable
class Probing(Protocol):
    """Optional, for a target: can be tried without a capture, by `capture-agent targets test`."""

    def probe(self) -> list[str]:
        """What was found, a line each: credentials tried, a round trip made, nothing left behind. Raises as `put`."""


@runtime_checkable
class Removing(Protocol):
    """Optional, for a target: takes back what it was given, for `capture-agent withdraw` and `remote NAME delete`."""

    def remove(self, capture: str, receipt: Receipt) -> Sequence[str]:
        """Removes the capture (uuid) that this receipt was given for, and nothing else; what is gone already is no
        fault. What of it stays there all the same, in words without names of people; empty where nothing does.

        Raises as `put`; Refused, which says why, where only a person can.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """How much a target takes at once."""

    captures: int
    """At most so many captures."""
    capture_bytes: int
    """A capture with more bytes of payloads goes alone."""
    all_bytes: int
    """At most so many bytes of payloads, of all captures together."""


@runtime_checkable
class Bundling(Target, Protocol):
    """Optional, for a target: takes many small captures at once, where each alone would cost a round trip."""

    bundle: Bundle | None
    """None: not as it is configured."""

    def put_many(self, captures: Iterable[Capture], progress: Progress) -> Sequence[Receipt | Exception]:
        """Delivers captures together: for each, in order, its receipt or what `put` would have raised.

        Captures are read as they are asked for, and should not all be kept. `progress` has no state and saves none.
        What this raises itself is of all of them: Later, Unreachable, Stopped, or an attempt; they are then tried in
        smaller bundles, in the end each alone by `put`, so that it can be one of them that is to blame.
        """


def target_module(kind: str) -> ModuleType:
    """The module whose `Settings` a target's `kind = "name"` means; LookupError lists what there is."""
    from drivers.registry import find  # noqa: PLC0415  importlib.metadata is slow and needed at set-up only

    return find("capture_agent.targets", "agent.targets", kind)


def chosen(capture: Capture, formats: tuple[str, ...]) -> tuple[Payload, ...]:
    """The payloads that a target with these `formats` gets: all, or the first it takes. Refused where it takes none."""
    payloads = capture.payloads
    if not formats:
        return payloads
    for format in formats:
        for payload in payloads:
            if payload.format == format:
                return (payload,)
    has = ", ".join(payload.format for payload in payloads) or "no payload"
    raise Refused(f"the target takes {', '.join(formats)} and the capture has {has}")


def verified(capture: Capture, payload: Payload, chunk_bytes: int) -> Iterator[memoryview]:
    """The bytes of a payload, in chunks that are good until the next one is asked for, hashed as they pass.

    The last chunk only comes once length and sha256 have proved to be the sidecar's, so a far end never gets the whole
    of a file that is not ours. Refused where the file is gone or has changed; Failed where the disk cannot read it.
    """
    try:
        with capture.path(payload).open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size != payload.size:
                raise Refused(f"{payload.file} has changed: {size} bytes instead of {payload.size}")
            digest = hashlib.sha256()
            buffer = memoryview(bytearray(min(chunk_bytes, payload.size)))
            left = payload.size
            while left:
                count = file.readinto(buffer[: min(left, len(buffer))])
                if not count:
                    raise Refused(f"{payload.file} has changed: it became {left} bytes shorter while it was read")
                digest.update(buffer[:count])
                left -= count
                if not left and digest.hexdigest() != payload.sha256:
                    raise Refused(f"{payload.file} has changed: its sha256 is not the sidecar's")
                yield buffer[:count]
    except FileNotFoundError:
        raise Refused(f"{payload.file} is gone from this device") from None
    except OSError as error:
        raise Failed(f"{payload.file} cannot be read: {error.strerror}") from None


def sidecar_content(capture: Capture) -> bytes:
    """The sidecar's bytes: those that lie here, so that they are the same everywhere, unless a later revision does."""
    with contextlib.suppress(OSError, ValueError):
        content = capture.sidecar.read_bytes()
        if json.loads(content) == capture.document:
            return content
    return capture.sidecar_bytes()
