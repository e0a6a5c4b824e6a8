"""Answers: what the running daemon does for each command of the table."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from agent.annotations import Annotation
from agent.buttons import mark
from agent.calibration import joined
from agent.clock import iso
from agent.control import CommandError
from agent.monitor import Parts, Recorder, snapshot
from agent.stream import Stream


class Answers:
    """One method a command; from any thread."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def status(self) -> dict[str, Any]:
        return snapshot(self._parts)

    def start(self, recording: str) -> str:
        orders = self._recorder(recording).orders
        orders.begin()
        return _noted(f"{recording} records from now on", lambda: self._parts.context.keep_wanted(orders, True))

    def stop(self, recording: str) -> str:
        orders = self._recorder(recording).orders
        orders.end()
        said = f"{recording} finishes what it has and records no further"
        return _noted(said, lambda: self._parts.context.keep_wanted(orders, False))

    def trigger(self, recording: str) -> str:
        return self._recorder(recording).trigger()

    def label(
        self, labels: Mapping[str, Any], metadata: Mapping[str, Any], recording: str | None
    ) -> dict[str, dict[str, Any]]:
        """The labels and metadata that the named recordings now stamp."""
        chosen = self._parts.recorders if recording is None else {recording: self._recorder(recording)}
        for recorder in chosen.values():
            if labels or metadata:
                self._parts.context.keep(recorder.orders, labels, metadata)
                recorder.orders.label(labels, metadata)
        return {
            name: {"labels": dict(r.orders.labels), "metadata": dict(r.orders.metadata)} for name, r in chosen.items()
        }

    def mark(self, labels: Mapping[str, Any], recording: str | None) -> dict[str, list[str]]:
        """Which recordings have this moment marked."""
        chosen = self._parts.recorders if recording is None else {recording: self._recorder(recording)}
        said = {name: value for name, value in labels.items() if value is not None}
        marked = mark(chosen, self._parts.clock.boottime_ns(), said or {"mark": True})
        if not marked:
            raise CommandError("no capture of samples is in progress that could be marked")
        return {"marked": marked}

    def session(self, recording: str | None, **names: str | None) -> dict[str, dict[str, Any]]:
        """The same, of session, subject, condition and trial; an empty name removes one."""
        return self.label({}, {level: name or None for level, name in names.items() if name is not None}, recording)

    def annotate(self, capture: str, **said: Mapping[str, Any]) -> dict[str, Any]:
        """Name and revision of the capture, as it is now."""
        try:
            amended = self._parts.amend(capture, Annotation(**said))
        except (LookupError, ValueError) as error:
            raise CommandError(str(error)) from None
        self._parts.sync.wake()
        return {"capture": amended.name, "revision": amended.revision}

    def sync(self, target: str | None) -> str:
        self._parts.sync.sync_now(self._courier(target))
        return f"{target or 'every target'} is tried now"

    def pause(self, target: str | None) -> str:
        self._parts.sync.pause(self._courier(target))
        return _noted(f"{target or 'every target'} is paused", self._keep_paused)

    def resume(self, target: str | None) -> str:
        self._parts.sync.resume(self._courier(target))
        return _noted(f"{target or 'every target'} sends again", self._keep_paused)

    def _keep_paused(self) -> None:
        self._parts.context.keep_paused(self._parts.sync.paused)

    def retry(self, target: str | None, capture: str | None) -> int:
        count = self._parts.outbox.retry(self._courier(target), self._capture(capture))
        self._parts.sync.sync_now(target)
        return count

    def drop(self, target: str | None, capture: str | None, refused_only: bool | None) -> int:
        """Also of a target that is configured no longer, as long as something is known of it."""
        if target is None and capture is None:
            raise CommandError("drop needs a target or a capture")
        outbox = self._parts.outbox
        if target not in outbox.counts():
            target = self._target(target)
        uuid = self._capture(capture)
        return outbox.drop(target, uuid, refused_only=refused_only is not False, reason="dropped by a person")

    def streams(self) -> dict[str, dict[str, Any]]:
        return {name: stream.preview() for name, stream in self._parts.streams.items()}

    def snapshot(self, stream: str) -> dict[str, Any]:
        return self._stream(stream).latest()

    def measure(self, stream: str) -> dict[str, Any]:
        return self._stream(stream).measure()

    def chip_calibration(self, stream: str) -> str:
        try:
            return self._stream(stream).chip_calibration()
        except (LookupError, TimeoutError) as error:
            raise CommandError(str(error)) from None

    def calibrate(self, stream: str, calibration: str) -> str:
        """Keeps it on the disk, then beside what is recorded."""
        found, parts = self._stream(stream), self._parts
        if found.identity is None:
            raise CommandError(f"stream {stream} has not begun: {found.error or 'wait for it'}")
        try:
            said = json.loads(calibration)
            if not isinstance(said, dict):
                raise ValueError("not a table")
            known = joined(found.calibration, said, found.identity, iso(parts.clock.wall_ns()))
        except (ValueError, RecursionError) as error:
            raise CommandError(f"calibration: {error}") from None
        parts.calibrations.keep(stream, known)
        found.calibration = known
        return f"{stream}: known from now on"

    def reload(self) -> str:
        return self._parts.reload()

    def _recorder(self, name: str) -> Recorder:
        recorder = self._parts.recorders.get(name)
        if recorder is None:
            raise CommandError(f"no recording {name!r}; there is {', '.join(self._parts.recorders)}")
        return recorder

    def _stream(self, name: str) -> Stream:
        found = self._parts.streams.get(name)
        if found is None:
            raise CommandError(f"no stream {name!r}; there is {', '.join(self._parts.streams)}")
        return found

    def _target(self, name: str | None) -> str | None:
        known = self._parts.sync.health()
        if name is not None and name not in known:
            raise CommandError(f"no target {name!r}; there is {', '.join(known)}")
        return name

    def _courier(self, name: str | None) -> str | None:
        """The same, of those that are sent to."""
        self._target(name)
        if name is not None and self._parts.sync.health()[name]["state"] == "not configured":
            raise CommandError(f"target {name!r} is not configured: its captures can only be dropped")
        return name

    def _capture(self, name: str | None) -> str | None:
        if name is None:
            return None
        try:
            return self._parts.catalogue.entry(name).uuid  # whose files may be gone: a person wants to drop just these
        except LookupError as error:
            raise CommandError(str(error)) from None


def _noted(said: str, keep: Callable[[], None]) -> str:
    """The answer to an order that is carried out, whether or not the disk takes a note of it."""
    try:
        keep()
    except OSError as error:  # of the database, or of the copy beside it
        return f"{said}; a restart forgets it, since it could not be noted: {error}"
    return said
