"""Events: what has happened, queued once. Captures tell of themselves in the very transaction that changes their
rows, by triggers of the daemon's own connection; streams, targets and the disk by the change of their health."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from agent.database import Database

# While captures/ is walked after a damage to the database, captures are found again, and not finished.
_TRIGGERS = (
    """
    CREATE TEMP TRIGGER tell_finished AFTER INSERT ON main.capture
        WHEN NOT EXISTS (SELECT 1 FROM note WHERE key = 'rebuild')
    BEGIN
        INSERT INTO queued_message (uuid, kind, topic, payload)
        VALUES ('finished-' || new.uuid, 'event', 'event/capture/finished', json_object(
            'id', 'finished-' || new.uuid, 'event', 'capture/finished', 'time', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
            'capture', new.uuid, 'name', new.name, 'recording', new.recording, 'bytes', new.size,
            'start_ns', new.started_ns, 'clock', new.clock, 'duration_s', new.duration_s,
            'configuration', new.configuration
        )) ON CONFLICT DO NOTHING;
    END""",
    """
    CREATE TEMP TRIGGER tell_delivered AFTER UPDATE OF state ON main.parcel
        WHEN new.state = 'delivered' AND old.state <> 'delivered'
    BEGIN
        INSERT INTO queued_message (uuid, kind, topic, payload)
        SELECT told.id, 'event', 'event/capture/delivered', json_object(
            'id', told.id, 'event', 'capture/delivered', 'time', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
            'capture', capture.uuid, 'name', capture.name, 'recording', capture.recording, 'bytes', new.size,
            'target', new.target, 'revision', new.revision
        ) FROM capture, (
            SELECT 'delivered-' || uuid || '-' || new.target || '-' || new.revision AS id
            FROM capture WHERE id = new.capture
        ) AS told WHERE capture.id = new.capture
        ON CONFLICT DO NOTHING;
    END""",
    """
    CREATE TEMP TRIGGER tell_refused AFTER UPDATE OF state ON main.parcel
        WHEN new.state IN ('refused', 'dropped') AND old.state <> new.state
    BEGIN
        INSERT INTO queued_message (uuid, kind, topic, payload)
        SELECT told.id, 'event', 'event/capture/' || new.state, json_object(
            'id', told.id, 'event', 'capture/' || new.state, 'time', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
            'capture', capture.uuid, 'name', capture.name, 'recording', capture.recording, 'bytes', new.size,
            'target', new.target, 'revision', new.revision, 'error', coalesce(new.error, '')
        ) FROM capture, (SELECT lower(hex(randomblob(16))) AS id) AS told WHERE capture.id = new.capture;
    END""",
)


def tell_of_captures(database: Database) -> None:
    """From now on each capture that is finished, delivered, refused or dropped queues an event. Once a database."""
    with database.transaction(durable=False) as connection:
        for trigger in _TRIGGERS:
            connection.execute(trigger)


class Watch:
    """Compares each status with the last one, and tells what has changed. `tell` gets (event, payload)."""

    def __init__(self, tell: Callable[[str, Mapping[str, Any]], None], wall_time: Callable[[], str]) -> None:
        self._tell_event = tell
        self._wall_time = wall_time
        self._streams: dict[str, tuple[str, int]] = {}
        self._unreachable: set[str] = set()
        self._full = ""

    def look(self, status: Mapping[str, Any]) -> None:
        """Tells of streams lost and back, targets unreachable and back, the disk full and with room again."""
        for name, stream in status["streams"].items():
            state, reopened = self._streams.get(name, ("", stream["reopened"]))
            if stream["state"] == "lost" and state != "lost":
                self._tell("stream/lost", stream=name, error=stream["error"])
            elif stream["state"] != "lost" and state == "lost":
                if stream["state"] != "running":
                    continue  # being opened
                self._tell("stream/back", stream=name, reopened=stream["reopened"])
            elif stream["reopened"] > reopened:  # and it had been lost, between two looks
                self._tell("stream/lost", stream=name, error="and soon back")
                self._tell("stream/back", stream=name, reopened=stream["reopened"])
            self._streams[name] = (stream["state"], stream["reopened"])
        for name, target in status["targets"].items():
            if (target["state"] == "unreachable") != (name in self._unreachable):
                if target["state"] == "unreachable":
                    self._unreachable.add(name)
                    self._tell("target/unreachable", target=name, error=target["error"])
                else:
                    self._unreachable.discard(name)
                    self._tell("target/reachable", target=name)
        disk = status["disk"]
        if bool(disk["stopped"]) != bool(self._full):
            what = "disk/low" if disk["stopped"] else "disk/room"
            self._tell(what, free_bytes=disk["free_bytes"], error=disk["stopped"])
        self._full = disk["stopped"]

    def _tell(self, event: str, **more: Any) -> None:
        self._tell_event(event, {"id": uuid.uuid4().hex, "event": event, "time": self._wall_time(), **more})
