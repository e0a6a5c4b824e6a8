"""A Sparkplug B edge node: born with all its metrics, then telling what changes, dead by the broker's word.

Rules of the Eclipse Sparkplug specification 3.0: the death is the connection's will and has the bdSeq of the birth;
bdSeq, an Int64, counts connections, seq messages (a birth has 0), both to 255 and on from 0; births and data are QoS 0
and not kept by the broker; what was not in the birth needs another birth.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agent.database import Database
from agent.mqtt.connection import Connection
from agent.mqtt.sparkplug_payload import (
    BIRTH_DEATH,
    BOOLEAN,
    DOUBLE,
    INT64,
    REBIRTH,
    STRING,
    UINT64,
    Metric,
    payload,
    wants_rebirth,
)

log = logging.getLogger(__name__)

_NAMESPACE = "spBv1.0"
_NOTE = "bdSeq"
_MOST_KEPT = 1000
_AT_ONCE = 20

Asked = Callable[[], tuple[Mapping[str, Any], Mapping[str, Any]]]
"""(the status, the answer to the command `streams`)."""


class Node:
    """Outlives connections; used by one thread. `asked` and `wall_ns` tell what is, and when."""

    def __init__(
        self, group: str, name: str, *, every_s: float, database: Database, asked: Asked, wall_ns: Callable[[], int]
    ) -> None:
        self._topic = {kind: f"{_NAMESPACE}/{group}/{kind}/{name}" for kind in ("NBIRTH", "NDEATH", "NDATA", "NCMD")}
        self._every_ns = int(every_s * 1e9)
        self._database = database
        self._asked = asked
        self._wall_ns = wall_ns
        self._birth_death = 0
        self._seq = 0
        self._told: dict[str, Metric] = {}
        """As the last message had it; empty: there is to be a birth."""
        self._kept: deque[tuple[int, list[Metric]]] = deque()
        self._dropped = 0
        self._due_ns = 0

    @property
    def commands(self) -> str:
        """The topic to listen to."""
        return self._topic["NCMD"]

    def connecting(self) -> tuple[str, bytes, bool]:
        """(topic, payload, retain) of the death that is the next connection's will; it has a number of its own."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT value FROM note WHERE key = ?", (_NOTE,)).fetchone()
        self._birth_death = (int(row[0]) + 1) % 256 if row else 0
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                "INSERT INTO note VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (_NOTE, str(self._birth_death)),
            )
        self._told = {}
        return self._topic["NDEATH"], self._death(), False

    def heard(self, command: bytes) -> None:
        """An NCMD: the only one that is obeyed asks for another birth."""
        if wants_rebirth(command):
            self._told = {}

    def step(self, connection: Connection, now: int) -> None:
        """Is born, sends what was kept, and tells what has changed, each when it is due. Broken."""
        if not self._told:
            self._tell_birth(connection, now)
            return
        if self._kept:
            self._tell_kept(connection)
            return
        if now >= self._due_ns:
            self._due_ns = now + self._every_ns
            metrics = list(self._metrics())
            if {metric.name: metric.datatype for metric in metrics} != {
                name: metric.datatype for name, metric in self._told.items()
            }:
                self._told = {}
                return
            changed = [metric for metric in metrics if self._told[metric.name].value != metric.value]
            if changed and self._send(connection, "NDATA", changed):
                self._told.update((metric.name, metric) for metric in changed)

    def keep(self, now: int) -> None:
        """Remembers what there is while there is no connection, to be told as history."""
        if now >= self._due_ns:
            self._due_ns = now + self._every_ns
            self._kept.append((self._now_ms(), [metric for metric in self._metrics() if metric.value is not None]))
            if len(self._kept) > _MOST_KEPT:
                self._kept.popleft()
                if not self._dropped:
                    log.warning("mqtt: more than %d moments wait for the broker: the oldest are dropped", _MOST_KEPT)
                self._dropped += 1

    def end(self, connection: Connection) -> None:
        """Says that this end is meant: the broker does not publish the will of one who takes leave."""
        connection.publish(self._topic["NDEATH"], self._death(), sure=True)

    def _tell_birth(self, connection: Connection, now: int) -> None:
        metrics = [
            Metric(BIRTH_DEATH, INT64, self._birth_death),
            Metric(REBIRTH, BOOLEAN, False),
            *(born := list(self._metrics())),
        ]
        message = payload(metrics, time_ms=self._now_ms(), seq=0)
        if connection.tell(self._topic["NBIRTH"], message):
            self._seq = 0
            self._told = {metric.name: metric for metric in born}
            self._due_ns = now + self._every_ns

    def _tell_kept(self, connection: Connection) -> None:
        for _ in range(min(_AT_ONCE, len(self._kept))):
            time_ms, metrics = self._kept[0]
            known = [metric for metric in metrics if metric.name in self._told]
            if known and not self._send(connection, "NDATA", known, time_ms):
                return
            self._kept.popleft()

    def _send(self, connection: Connection, kind: str, metrics: list[Metric], then_ms: int | None = None) -> bool:
        """False where the network is still busy. With `then_ms` it is history."""
        plain = [Metric(metric.name, metric.datatype, metric.value) for metric in metrics]
        seq = (self._seq + 1) % 256
        time_ms = self._now_ms() if then_ms is None else then_ms
        if not connection.tell(
            self._topic[kind], payload(plain, time_ms=time_ms, seq=seq, historical=then_ms is not None)
        ):
            return False
        self._seq = seq
        return True

    def _death(self) -> bytes:
        return payload([Metric(BIRTH_DEATH, INT64, self._birth_death)], time_ms=self._now_ms())

    def _now_ms(self) -> int:
        return self._wall_ns() // 1_000_000

    def _metrics(self) -> Iterator[Metric]:
        status, streams = self._asked()
        yield Metric("Version", STRING, status["version"])
        yield Metric("Problems", UINT64, len(status["problems"]))
        yield Metric("Memory", UINT64, status["memory_bytes"], "B")
        yield Metric("Disk/Free", UINT64, status["disk"]["free_bytes"], "B")
        yield Metric("History/Dropped", UINT64, self._dropped)
        for name, stream in streams.items():
            below = f"Streams/{name}"
            yield Metric(f"{below}/Running", BOOLEAN, stream["state"] == "running")
            yield Metric(f"{below}/Rate", DOUBLE, stream["rate_hz"], "Hz")
            yield Metric(f"{below}/Samples", UINT64, stream["samples"])
            yield Metric(f"{below}/Lost", UINT64, stream["lost"])
            for channel, found in stream["channels"].items():
                yield Metric(f"{below}/{channel}", DOUBLE, found["value"], found["unit"])
        for name, recording in status["recordings"].items():
            yield Metric(f"Recordings/{name}/Recording", BOOLEAN, recording["state"] == "recording")
            yield Metric(f"Recordings/{name}/Captures", UINT64, recording["finished"])
        for name, target in status["targets"].items():
            yield Metric(f"Targets/{name}/Reachable", BOOLEAN, target["state"] != "unreachable")
            yield Metric(f"Targets/{name}/Owed", UINT64, target["owed"])
            yield Metric(f"Targets/{name}/Delivered", UINT64, target["delivered"])
