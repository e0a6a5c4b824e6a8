"""A take: one capture of samples in progress, its negative, its streams, and where its lead begins and ends."""

import dataclasses
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent import __version__
from agent.capture import CaptureConfiguration, safe_name, short_id
from agent.clock import Clock, iso, stamp
from agent.device import Device
from agent.negative import NegativeWriter, identity_as_json
from agent.recording import Orders, RecordingSettings
from agent.stream import Stream
from drivers import Block, Identity

OVERLAP_NS = 1_000_000_000
"""How much of the slower streams two captures in a row share, so that the columns of both reach their edges."""


_LATEST_NS = 20_000_000_000
"""How long a capture waits for a packet of a slower stream, at most."""


@dataclasses.dataclass
class Take:
    """One negative being written. Its lead is the fastest stream: on its clock the capture begins, is cut and ends."""

    negative: NegativeWriter
    streams: list[Stream]
    identities: list[Identity]
    lead: int
    begun_ns: int
    first: int | None = None
    end: int | None = None
    samples: int = 0
    """Of the lead."""
    kept: int = 0
    """Of these, handed to the kernel."""
    others: int = 0
    """Samples of the other streams later than what they share with the capture before."""
    led_ns: int = 0
    """When the newest sample of the lead was observed; 0 before the first."""
    cut_ns: int = 0
    """When it was cut; 0 while it is not. Its slower streams may still bring what belongs here."""
    reason: str = ""
    since: int | None = None
    """Index with which the lead should begin: what is missing from there on is counted. None: with what comes first."""
    trigger: Mapping[str, Any] | None = None
    """What began it, as the sidecar has it."""
    until_ns: int | None = None
    """When the schedule ends it, as far as is known."""

    def __post_init__(self) -> None:
        self._seen_ns = [0] * len(self.streams)
        self._every_ns = [0] * len(self.streams)

    def fits(self, stream: Stream, block: Block) -> bool:
        """Whether the block is of a stream of this take, and was read from the same hardware."""
        return stream in self.streams and (
            stream.identity_at(block.segment) is self.identities[self.streams.index(stream)]
        )

    def write(self, stream: Stream, block: Block) -> None:
        """Appends a block of one of its streams."""
        place = self.streams.index(stream)
        self.negative.write(place, block)
        self._seen_ns[place] = block.observed_ns
        self._every_ns[place] = max(self._every_ns[place], span_ns(block, self.identities[place]))
        if place == self.lead:
            self.led_ns = block.observed_ns
            if self.first is None:
                self.first = block.first
                self.begun_ns = min(self.begun_ns, block.observed_ns - span_ns(block, self.identities[place]))
            self.end = block.end
            self.samples += block.count
        elif block.observed_ns > self.begun_ns + OVERLAP_NS:
            self.others += block.count

    def whole(self, now_ns: int) -> bool:
        """Whether its slower streams have brought what they took before the cut, or have had their time."""
        since_ns = now_ns - self.cut_ns
        if len(self.streams) == 1 or self.first is None:
            return True
        late = [
            every_ns
            for place, (stream, seen_ns, every_ns) in enumerate(
                zip(self.streams, self._seen_ns, self._every_ns, strict=True)
            )
            if place != self.lead and stream.state == "running" and seen_ns < self.cut_ns
        ]
        return since_ns >= OVERLAP_NS // 2 and all(since_ns > min(2 * every_ns, _LATEST_NS) for every_ns in late)

    @property
    def empty(self) -> bool:
        """Whether it holds nothing that is in no other capture."""
        return self.first is None and not self.others

    def room_in(self, block: Block, settings: RecordingSettings) -> int | None:
        """How many samples of this block of the lead still belong here; None: all, and more may follow."""
        if settings.length_samples and self.samples + block.count >= settings.length_samples:
            return settings.length_samples - self.samples
        due_ns = self.due_ns(settings)
        if due_ns is not None and block.observed_ns >= due_ns:
            late = int((block.observed_ns - due_ns) * self.identities[self.lead].rate_hz / 1e9)
            return min(block.count, max(0, block.newest + 1 - late - block.first))
        if settings.length_bytes and self.negative.nbytes + block.nbytes >= settings.length_bytes:
            return block.count
        return None

    def due_ns(self, settings: RecordingSettings) -> int | None:
        """When time ends it: its length, or the schedule, also where that leaves less than a second after it."""
        length_ns = self.begun_ns + int(settings.length_s * 1e9) if settings.length_s else None
        if self.until_ns is None or (length_ns is not None and length_ns <= self.until_ns - OVERLAP_NS):
            return length_ns
        return self.until_ns

    def finish(self) -> Path | None:
        """Ends the negative and gives it its finished name; None where it is empty.

        OSError where the disk is full: what was flushed stays under its `.part` name, readable.
        """
        part = self.negative.path
        if self.empty:
            self.negative.close()
            part.unlink()
            return None
        given = None if self.first is None else [self.first if self.since is None else self.since, self.end]
        ranges = [given if place == self.lead else None for place in range(len(self.streams))]
        try:
            self.negative.finish({"reason": self.reason, "ranges": ranges, "trigger": self.trigger})
        finally:
            self.negative.close()
        path = part.with_suffix("")
        part.rename(path)
        return path


def open_take(
    orders: Orders,
    settings: RecordingSettings,
    configuration: CaptureConfiguration,
    streams: Sequence[Stream],
    *,
    begun_ns: int,
    folder: Path,
    clock: Clock,
    device: Device,
    trigger: Mapping[str, Any] | None = None,
    tags: Mapping[str, float] | None = None,
) -> Take:
    """A new negative in `folder`, its head telling all that developing it will need.

    `tags` are metadata, too; where both have a name, what people said counts.
    """
    identities = [stream.identity for stream in streams if stream.identity is not None]
    lead = fastest(identities)
    capture_uuid = str(uuid.uuid4())
    wall_ns = clock.wall_ns(begun_ns)
    name = f"{safe_name(device.name)}.{safe_name(orders.name)}.{stamp(wall_ns)}.{short_id(capture_uuid)}"
    head = {
        "uuid": capture_uuid,
        "name": name,
        "recording": orders.name,
        "settings": json.loads(json.dumps(dataclasses.asdict(settings))),
        "configuration": configuration.as_json(),
        "device": device.as_json(),
        "software": {"name": "capture-agent", "version": __version__},
        "started": {
            "boot_time_ns": begun_ns,
            "boot_id": clock.boot_id,
            "wall_ns": wall_ns,
            "wall_time": iso(wall_ns),
            **clock.trust(),
        },
        "labels": dict(orders.labels),
        "metadata": {**(tags or {}), **orders.metadata},
        "streams": [
            {
                "name": stream.name,
                "driver": stream.driver,
                "identity": identity_as_json(identity),
                "calibration": stream.fitting_calibration(identity),
            }
            for stream, identity in zip(streams, identities, strict=True)
        ],
        "trigger": trigger,
    }
    negative = NegativeWriter(folder / f"{name}.negative.part", head)
    return Take(negative, list(streams), identities, lead, begun_ns, trigger=trigger)


def span_ns(block: Block, identity: Identity) -> int:
    """Time from the block's first sample to the newest that had been taken when it was observed."""
    return int((block.newest - block.first) * 1e9 / max(identity.rate_hz, 1e-3))


def fastest(identities: Sequence[Identity]) -> int:
    """The place of the lead: the highest rate, the first of equals."""
    return max(range(len(identities)), key=lambda place: (identities[place].rate_hz, -place))


def split(block: Block, count: int) -> tuple[Block | None, Block | None]:
    """The first `count` samples and the rest, each a block of its own with the same observation; None where empty."""
    if count >= block.count:
        return block, None
    if count <= 0:
        return None, block
    head = dataclasses.replace(block, samples=block.samples[:count])
    return head, dataclasses.replace(block, samples=block.samples[count:], first=block.first + count, lost=0)


def mismatch(required: str, known: Mapping[str, Any] | None, found: CaptureConfiguration) -> str:
    """Why this set-up may not be recorded where only configuration `required` may; empty where it may."""
    if not required or found.uuid == required:
        return ""
    text = f"the set-up is configuration {found.uuid}, and only {required} may be recorded"
    if known is None:
        return text + "; the required one is not in this device's catalogue, so the difference cannot be shown"
    return text + "; it differs in " + "; ".join(difference(known, found.document))


def difference(wanted: object, found: object, path: str = "") -> list[str]:
    """Where two documents differ, for people: `streams[0].rate_hz: 1000 wanted, 500 found`."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        keys = [*wanted, *(key for key in found if key not in wanted)]
        return [d for k in keys for d in difference(wanted.get(k), found.get(k), f"{path}.{k}" if path else str(k))]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [d for place, (a, b) in pairs for d in difference(a, b, f"{path}[{place}]")]
    return [] if wanted == found else [f"{path}: {wanted!r} wanted, {found!r} found"]
