"""Recordings: recipes that turn the streams' blocks into negatives, and pictures into captures."""

import dataclasses
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

from agent.occasion import Occasion
from agent.schedule import ScheduleSettings
from agent.trigger import TriggerSettings
from drivers.settings import check, option

log = logging.getLogger(__name__)

_QUIET_NS = 5_000_000_000
"""What is missed with shorter breaks is one occasion."""

Scalar = str | int | float | bool


CONTEXT = ("session", "subject", "condition", "trial")
"""Names that say whose capture it is: options of a recording, and keys of a capture's metadata."""


@dataclasses.dataclass(frozen=True)
class RecordingSettings:
    """What TOML says of one recording."""

    streams: tuple[str, ...] = option("the streams to record; several make one capture", example=["imu", "mcu"])
    format: tuple[str | Mapping[str, Any], ...] = option(
        'payload formats, each made once: a name, or a table { kind = "csv", timestamp = "seconds" }', ("csv",)
    )
    targets: tuple[str, ...] = option("targets that are owed each capture; none: it only stays here", ())
    when: str = option(
        "continuous: from start to stop; command: only between start and stop commands, or for one length on trigger;"
        " trigger: what is around each trigger",
        "continuous",
        choices=("continuous", "command", "trigger"),
    )
    length_s: float = option(
        "seconds of one capture, 0: no such limit; what is around one trigger is never cut",
        60.0,
        at_least=0,
        at_most=86400,
    )
    length_samples: int = option("samples (of the fastest stream) of one capture, 0: no such limit", 0, at_least=0)
    length_bytes: int = option("bytes of one capture as recorded, 0: no such limit", 0, at_least=0)
    fill: str = option(
        "how a slower stream's columns get a value at each row of the fastest: hold, nearest or linear",
        "hold",
        choices=("hold", "nearest", "linear"),
    )
    picture_name: str = option(
        "second: <8 hex device>.<YYYY-MM-DD_HH-MM-SS>.jpg; full: device.recording.time with milliseconds.id",
        "second",
        choices=("second", "full"),
    )
    labels: Mapping[str, Scalar] = option("labels of each capture", factory=dict)
    metadata: Mapping[str, Scalar] = option("metadata of each capture", factory=dict)
    session: str = option("metadata `session` of each capture", "")
    subject: str = option("metadata `subject` of each capture: who or what is measured", "")
    condition: str = option("metadata `condition` of each capture", "")
    trial: str = option("metadata `trial` of each capture", "")
    tags_from: tuple[str, ...] = option(
        "streams (GPS, environment) whose newest values are each capture's metadata, and EXIF tags of pictures", ()
    )
    tags_age_s: float = option("how old, at most, such a value may be, seconds", 60.0, at_least=0.1, at_most=86400)
    require_configuration: str = option("uuid of the only capture configuration that may be recorded here", "")
    trigger: TriggerSettings = option('what begins a capture where when = "trigger"', factory=TriggerSettings)
    schedule: ScheduleSettings = option("when it is on at all", factory=ScheduleSettings)

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        if not self.streams:
            mistakes.append(("streams", self.streams, "at least one stream"))
        if not self.format:
            mistakes.append(("format", self.format, "at least one format"))
        if self.when != "trigger" and self.trigger != TriggerSettings():
            mistakes.append(("when", self.when, '"trigger", since there is a trigger table'))
        if self.when == "command" and not self.schedule.always:
            mistakes.append(("when", self.when, '"continuous" or "trigger", since there is a schedule'))
        for name in CONTEXT:
            if getattr(self, name) and name in self.metadata:
                mistakes.append((name, getattr(self, name), f"either {name} or metadata.{name}"))
        check(self, *mistakes)

    @property
    def said(self) -> dict[str, Scalar]:
        """The metadata of each capture, session, subject, condition and trial among them."""
        return {**{name: getattr(self, name) for name in CONTEXT if getattr(self, name)}, **self.metadata}

    @property
    def watches(self) -> tuple[str, ...]:
        """All streams it looks at: those it records, the one that triggers it, and those it takes tags from."""
        looked_at = (*self.streams, *filter(None, [self.trigger.stream]), *self.tags_from)
        return tuple(dict.fromkeys(looked_at))


class Orders:
    """What people asked of one recording, from any thread; only flags, which the recording's own thread acts on."""

    def __init__(self, name: str, settings: RecordingSettings) -> None:
        self.name = name
        self.when = settings.when
        self.wanted = settings.when != "command"
        self.once = False
        """Whether one length was asked for and nothing after it."""
        self.pictures = 0
        """Pictures asked for by name, still to come."""
        self.labels: dict[str, Scalar] = dict(settings.labels)
        self.metadata: dict[str, Scalar] = settings.said
        self.configured = [dict(self.labels), dict(self.metadata)]
        """Labels and metadata as the configuration has them."""
        self.marks: deque[tuple[int, Mapping[str, Scalar]]] = deque()
        """Moments (CLOCK_BOOTTIME) to be marked in what is being written, with their labels."""
        self.error = ""
        """Why it does not record though it should; empty where it does."""
        self._occasion = Occasion(log)
        self._unrecorded = self._told = self._missed_ns = 0

    def begin(self) -> None:
        """Records from now on."""
        self.once, self.wanted = False, True

    def end(self) -> None:
        """Finishes the capture in progress and records no further."""
        self.once = self.wanted = False

    def follow(self, before: "Orders") -> None:
        """Goes on where those of the same recording ended, which people could give orders to until now."""
        if before.when == self.when and not before.once:
            self.wanted = before.wanted

    def label(self, labels: Mapping[str, Scalar | None], metadata: Mapping[str, Scalar | None]) -> None:
        """Sets (None: removes) what is stamped on each capture that begins from now on."""
        for kept, given in ((self.labels, labels), (self.metadata, metadata)):
            for key, value in given.items():
                if value is None:
                    kept.pop(key, None)
                else:
                    kept[key] = value

    def mark(self, time_ns: int, labels: Mapping[str, Scalar]) -> None:
        """Labels this moment (CLOCK_BOOTTIME) in the capture in progress."""
        self.marks.append((time_ns, labels))

    def refuse(self, why: str) -> None:
        """Remembers why nothing can be recorded, and says so once, also where it comes and goes."""
        self._occasion.trouble(f"recording {self.name}: {why}")
        self.error = why

    def missed(self, unrecorded: int, now_ns: int, *, last: bool = False) -> None:
        """Hears again and again how many samples it could not take since its beginning, and says how many more they
        are once they have been as many for a while, or where it hears it for the last time."""
        if unrecorded != self._unrecorded:
            self._unrecorded, self._missed_ns = unrecorded, now_ns
        if unrecorded != self._told and (last or now_ns - self._missed_ns >= _QUIET_NS):
            log.warning("recording %s: %d samples could not be recorded", self.name, unrecorded - self._told)
            self._told = unrecorded

    def resume(self) -> None:
        """Hears again and again that it records."""
        self._occasion.well(f"recording {self.name}: records again")
        self.error = ""
