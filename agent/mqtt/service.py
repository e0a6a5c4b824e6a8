"""The service: one thread that keeps a connection to the broker, and sends and takes what is to be sent and taken."""

import functools
import json
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from agent.capture import safe_name
from agent.catalogue import Catalogue
from agent.clock import Clock, iso
from agent.database import Database
from agent.device import Device
from agent.mqtt.client import Broken
from agent.mqtt.commands import Commands
from agent.mqtt.connection import ENDED_EARLY, Connection
from agent.mqtt.discovery import Announced
from agent.mqtt.events import Watch, tell_of_captures
from agent.mqtt.live import Live
from agent.mqtt.permissions import Permissions
from agent.mqtt.post import Post
from agent.mqtt.probe import Probe
from agent.mqtt.queue import Queue
from agent.mqtt.settings import MqttSettings
from agent.mqtt.sparkplug import Node
from agent.mqtt.topics import Topics
from agent.targets import Home
from agent.worker import Worker

log = logging.getLogger(__name__)

Obey = Callable[[str, Mapping[str, Any]], Any]

_LOOK_S = 2.0
"""How often health is compared with what it was."""
_TURN_S = 0.25
_BOUND_S = 5.0
_FIRST_REST_S, _LONGEST_REST_S = 1.0, 60.0
_STEADY_S = 30.0
"""A connection that held so long begins the rests anew."""
_READ_PER_S = 200
"""Messages a second that are taken from the network; a flood beyond stays there, and costs nothing here."""


class Mqtt:
    """Made before anything is captured, so that every event is queued; started when there is somebody to ask."""

    def __init__(
        self,
        settings: MqttSettings,
        *,
        device: Device,
        home: Home,
        database: Database,
        catalogue: Catalogue,
        clock: Clock,
        jitter: random.Random | None = None,
    ) -> None:
        """`jitter` spreads the tries to connect."""
        self._settings = settings
        self._device = device
        self._home = home
        self._clock = clock
        self._database = database
        self._catalogue = catalogue
        self._jitter = jitter or random.Random()  # noqa: S311  guards nothing
        self._topics = Topics(settings.prefix_of(home), settings.home_assistant)
        self._queue = Queue(database, settings.queue_messages)
        self._announced = Announced(database)
        self._permissions = Permissions(clock.boottime_ns)
        self._watch = Watch(self._queue.add, self._wall_time)
        self._commands: Commands | None = None
        self._obey: Obey = lambda name, given: {}
        self._state, self._error = "starting", ""
        self._rests = 0
        self._look_ns = self._bound_ns = 0
        self._status: Mapping[str, Any] = {}
        self._waits = ""
        self._node: Node | None = None
        if settings.sparkplug_group:
            self._node = Node(
                settings.sparkplug_group,
                safe_name(device.name),
                every_s=settings.latest_every_s,
                database=database,
                asked=lambda: (self._obey("status", {}), self._obey("streams", {})),
                wall_ns=clock.wall_ns,
            )

    def listen(self) -> None:
        """From now on captures that are finished and delivered queue their events."""
        tell_of_captures(self._database)

    def start(self, failed: Callable[[str, BaseException], None], obey: Obey) -> Worker:
        """Starts the thread; `obey(command, arguments)` asks the daemon, and raises CommandError where it refuses."""
        self._obey = obey
        self._commands = Commands(
            self._topics,
            self._queue,
            obey,
            allowed=self._settings.commands,
            per_s=self._settings.commands_per_s,
            now=self._clock.boottime_ns,
            wall_time=self._wall_time,
        )
        return Worker("mqtt", self.run, failed, silence_s=180.0).start()

    def health(self) -> dict[str, Any]:
        """For any thread. `state` is starting, connected or unreachable."""
        commands = self._commands
        return {
            "state": self._state,
            "broker": self._settings.broker,
            "error": self._error,
            **self._queue.health(),
            "commands": commands.health() if commands else {"answered": 0, "refused": 0, "ignored": 0, "unanswered": 0},
        }

    def run(self, worker: Worker) -> None:
        """Connects, serves, and connects again, until the worker stops. Nothing that the broker does ends it."""
        while not worker.stopping.is_set():
            will = self._will()
            if will is None:
                self._rest(worker)
                continue
            connection = Connection(self._settings, self._home, self._permissions, will=will)
            begun_ns = self._clock.boottime_ns()
            try:
                connection.open(worker.stopping)
                self._serve(worker, connection)
            except Broken as error:
                if not worker.stopping.is_set():
                    self._lost(str(error))
            finally:
                connection.close()
            if self._clock.boottime_ns() - begun_ns > _STEADY_S * 1e9:
                self._rests = 0
            self._rest(worker)
        if self._commands is not None and self._commands.held:
            log.error("mqtt: %d answers to commands were never given: the disk took none", self._commands.held)

    def _serve(self, worker: Worker, connection: Connection) -> None:
        """Until the worker stops, or Broken."""
        assert self._commands is not None
        commands = self._commands
        now = self._clock.boottime_ns
        topics = self._topics
        post = Post(self._queue, connection, topics, permissions=self._permissions, now=now)
        live = Live(
            self._settings,
            topics,
            connection,
            device=self._device,
            catalogue=self._catalogue,
            obey=self._obey,
            now=now,
            announced=self._announced,
            permissions=self._permissions,
        )
        node = self._node
        more = [topics.home_assistant, node.commands if node else ""]
        connection.subscribe([topics.command, f"{topics.command}/+", *filter(None, more)])
        self._state, self._error = "connected", ""
        log.info("mqtt: connected to %s, topics %s/...", self._settings.broker, topics.prefix)
        if node is None:
            live.publish(topics.status, self._life("online", ""), sure=True, retain=True)
        probe = Probe(connection, topics)
        live.publish(topics.probe, probe.token, sure=True)
        # live first, as its birth is what others wait for; then in turn: neither keeps the other from a slow network
        steps: list[Callable[[], None]] = [
            lambda: post.step(holds=live.goes_alone),
            lambda: self._step_live(live, connection),
        ]
        second_ns, read = now(), 0
        try:
            while not worker.stopping.is_set():
                worker.beat()
                connection.turn(_TURN_S)
                while connection.inbox:
                    received = connection.inbox.popleft()
                    read += 1
                    if received.topic == topics.home_assistant:
                        live.announce_again(received.payload)
                    elif node is not None and received.topic == node.commands:
                        node.heard(received.payload)
                    elif not probe.heard(received) and topics.command_name(received.topic) is not None:
                        self._patiently(functools.partial(commands.take, received))
                        live.hurry()
                probe.look(now(), self._settings.user, under_way=live.under_way(topics.probe))
                self._patiently(lambda: self._tick(steps))
                if read >= _READ_PER_S and worker.wait(max(0.0, 1.0 - (now() - second_ns) / 1e9)):
                    break
                if now() - second_ns >= 1_000_000_000:
                    second_ns, read = now(), 0
            if node is not None:
                node.end(connection)
            elif topics.status not in self._permissions.refused():
                connection.publish(topics.status, self._life("offline", "stopped"), sure=True, retain=True)
        finally:
            commands.settle()
            self._patiently(post.settle)

    def _tick(self, steps: list[Callable[[], None]]) -> None:
        self._look()
        steps.reverse()
        for step in steps:
            step()

    def _step_live(self, live: Live, connection: Connection) -> None:
        if self._node is None:
            live.step(self._status, self._wall_time())
        else:
            live.flush()
            self._node.step(connection, self._clock.boottime_ns())

    def _will(self) -> tuple[str, bytes, bool] | None:
        """What the broker says when the connection to come is lost; None where the database has to be waited for."""
        if self._node is None:
            return self._topics.status, self._life("offline", "connection lost"), True
        wills: list[tuple[str, bytes, bool]] = []
        node = self._node
        self._patiently(lambda: wills.append(node.connecting()))
        return wills[0] if wills else None

    def _look(self) -> None:
        """Queues what has changed, and bounds the queue; connected or not."""
        now = self._clock.boottime_ns()
        if self._commands is not None and self._commands.held:
            self._commands.settle()
        if now >= self._look_ns:
            self._look_ns = now + int(_LOOK_S * 1e9)
            self._status = self._obey("status", {})
            self._watch.look(self._status)
        if now >= self._bound_ns:
            self._bound_ns = now + int(_BOUND_S * 1e9)
            if dropped := self._queue.bound():
                log.error("mqtt: %d messages were dropped, the oldest: the broker has not taken them in time", dropped)

    def _look_meanwhile(self) -> None:
        self._look()
        if self._node is not None and self._state == "unreachable":
            self._node.keep(self._clock.boottime_ns())

    def _patiently(self, step: Callable[[], Any]) -> None:
        """Does it, or says once that the database or the disk has to be waited for."""
        try:
            step()
        except OSError as error:
            if not self._waits:
                log.error("mqtt: messages wait for the disk: %s", error)
            self._waits = str(error)
        else:
            self._waits = ""

    def _lost(self, why: str) -> None:
        if why == ENDED_EARLY and self._error.startswith(ENDED_EARLY):
            why = self._error
        if why != self._error:
            log.warning("mqtt: broker %s: %s; it is tried again", self._settings.broker, why)
        self._state, self._error = "unreachable", why

    def _rest(self, worker: Worker) -> None:
        """A random pause that doubles with each failure, in which events are still queued."""
        longest_s = min(_LONGEST_REST_S, _FIRST_REST_S * 2.0**self._rests)
        self._rests = min(self._rests + 1, 10)
        end_ns = self._clock.boottime_ns() + int(longest_s * self._jitter.uniform(0.5, 1.0) * 1e9)
        while not worker.stopping.is_set():
            self._patiently(self._look_meanwhile)
            left_s = (end_ns - self._clock.boottime_ns()) / 1e9
            if left_s <= 0 or worker.wait(min(left_s, 1.0)):
                return

    def _life(self, state: str, reason: str) -> bytes:
        said = {"state": state, "device": self._device.name, "time": self._wall_time(), "boot_id": self._clock.boot_id}
        return json.dumps({**said, **({"reason": reason} if reason else {})}).encode()

    def _wall_time(self) -> str:
        return iso(self._clock.wall_ns())
