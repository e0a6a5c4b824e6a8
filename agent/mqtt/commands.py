"""Commands through the broker: each is checked, obeyed at most once, and answered once; a flood costs little.

The payload on `command/NAME` is the arguments, a JSON object (nothing: none). On `command` it is the question as on
the socket: {"command": "start", "arguments": {"recording": "walk"}}. Either may have a text `correlation` for those
who speak MQTT 3.1.1; else it is MQTT 5's correlation data.
"""

import dataclasses
import hashlib
import json
import logging
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from agent.commands import COMMANDS
from agent.control import CommandError
from agent.mqtt.queue import Queue
from agent.mqtt.topics import Topics

log = logging.getLogger(__name__)

LONGEST = 1 << 16
"""Bytes of a payload that are read."""
_LONGEST_CORRELATION = 128
_BURST_S = 2.0
_SAY_AGAIN_NS = 60_000_000_000
_HELD = 100
"""Answers that wait here while the database takes none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """A message as the broker brought it."""

    topic: str
    payload: bytes
    retained: bool = False
    response_topic: str = ""
    correlation: bytes | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Answer:
    """One on its way to the queue. `remembered`: (who asked it, what), so that it is not obeyed again."""

    topic: str
    document: Mapping[str, Any]
    correlation: bytes | None
    remembered: tuple[str, str] | None = None
    again: bool = False


class Commands:
    """Obeys what is allowed. Used by one thread; `health` by any. Answers that the database does not take yet wait.

    `obey(command, arguments)` raises CommandError to refuse; `now` is CLOCK_BOOTTIME in nanoseconds.
    """

    def __init__(
        self,
        topics: Topics,
        queue: Queue,
        obey: Callable[[str, Mapping[str, Any]], Any],
        *,
        allowed: tuple[str, ...],
        per_s: float,
        now: Callable[[], int],
        wall_time: Callable[[], str],
    ) -> None:
        self._topics = topics
        self._queue = queue
        self._obey = obey
        self._allowed = allowed
        self._per_s = per_s
        self._most = max(1.0, per_s * _BURST_S)
        self._now = now
        self._wall_time = wall_time
        self._left, self._since_ns = self._most, now()
        self._said_ns = self._said_retained_ns = -_SAY_AGAIN_NS
        self._told_ns = -1_000_000_000
        self._answered = self._refused = self._ignored = self._unanswered = 0
        self._held: deque[_Answer] = deque()
        self._waits = False

    def take(self, received: Received) -> None:
        """Answers a message of a command's topic, by way of the queue.

        A retained one is ignored, for nobody knows when it was meant. Of those that come too fast one a second is
        answered, and all are counted.
        """
        if received.retained:
            self._ignored += 1
            self._say_retained(received.topic)
            return
        if not self._in_time():
            self._refused += 1
            self._say_flood()
            if self._now() - self._told_ns >= 1_000_000_000:
                self._told_ns = self._now()
                self._reply(received, error=f"too many commands: {self._per_s:g} a second are taken")
            return
        try:
            name, arguments, correlation = self._question(received)
        except CommandError as error:
            self._reply(received, error=str(error))
            return
        self._do(received, name, arguments, correlation)

    def health(self) -> dict[str, int]:
        """Since the start: `refused` came too fast, `ignored` were retained, `unanswered` had no room to wait in."""
        return {
            "answered": self._answered,
            "refused": self._refused,
            "ignored": self._ignored,
            "unanswered": self._unanswered,
        }

    @property
    def held(self) -> int:
        """Answers that wait for the database."""
        return len(self._held)

    def settle(self) -> None:
        """Queues the answers that wait, oldest first, or says once that the database has to be waited for."""
        try:
            while self._held:
                answer = self._held[0]
                if answer.again:
                    self._queue.again(answer.topic, answer.document, answer.correlation)
                else:
                    self._queue.answer(answer.topic, answer.document, answer.correlation, remembered=answer.remembered)
                self._held.popleft()
        except OSError as error:
            if not self._waits:
                log.error("mqtt: answers wait for the disk: %s", error)
            self._waits = True
        else:
            self._waits = False

    def _question(self, received: Received) -> tuple[str, dict[str, Any], str]:
        """(command, arguments, correlation that the payload has). CommandError."""
        name = self._topics.command_name(received.topic) or ""
        if len(received.payload) > LONGEST:
            raise CommandError(f"a question has at most {LONGEST} bytes")
        if received.correlation is not None and not 0 < len(received.correlation) <= _LONGEST_CORRELATION:
            raise CommandError(f"correlation data has 1 to {_LONGEST_CORRELATION} bytes")
        try:
            document = json.loads(received.payload.decode() or "{}")
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise CommandError("the payload is no JSON object")
        correlation = document.pop("correlation", "")
        if not isinstance(correlation, str) or len(correlation) > _LONGEST_CORRELATION:
            raise CommandError(f"correlation is text of at most {_LONGEST_CORRELATION} characters")
        arguments = document
        if not name:
            name, arguments = document.pop("command", None), document.pop("arguments", {})
            if not isinstance(name, str) or not isinstance(arguments, dict) or document:
                raise CommandError('not a question: {"command": "status", "arguments": {}}')
        return name, arguments, correlation

    def _do(self, received: Received, name: str, arguments: Mapping[str, Any], correlation: str) -> None:
        where = self._where(received)
        asker, question = "", _digest(name, json.dumps(arguments, sort_keys=True))
        known = COMMANDS.get(name)
        if (received.correlation or correlation) and known is not None and not known.reads_only:
            wanted = received.response_topic or where
            asker = _digest(wanted, (received.correlation or correlation.encode(errors="surrogatepass")).hex())
            try:
                before = self._before(asker)
            except OSError as error:  # whether it was obeyed before is not known, so it is not obeyed now
                self._reply(received, name, correlation, error=f"{error}; ask again")
                return
            if before is not None and before[0] == question:
                self._answer(_Answer(where, before[1], received.correlation, again=True))
                return
            if before is not None:
                self._reply(received, name, correlation, error="this correlation id belongs to another command")
                return
        why_not = received.response_topic and self._topics.no_answer_there(received.response_topic)
        try:
            if why_not:
                raise CommandError(why_not)
            if known is not None and name not in self._allowed:
                raise CommandError(f"{name} may not come through the broker; [mqtt] commands allows it")
            self._reply(received, name, correlation, result=self._obey(name, arguments), remembered=(asker, question))
        except (CommandError, OSError) as error:  # OSError: the disk is full, the database busy
            self._reply(received, name, correlation, error=str(error), remembered=(asker, question))

    def _reply(
        self,
        received: Received,
        name: str = "",
        correlation: str = "",
        *,
        remembered: tuple[str, str] = ("", ""),
        **what: Any,
    ) -> None:
        """Queues the answer: `what` is a result or an error."""
        document = {
            "id": uuid.uuid4().hex,
            "time": self._wall_time(),
            "ok": "error" not in what,
            **({"command": name} if name in COMMANDS else {}),
            **({"correlation": correlation} if correlation else {}),
            **what,
        }
        asked = remembered if remembered[0] else None
        self._answer(_Answer(self._where(received), document, received.correlation, asked))

    def _answer(self, answer: _Answer) -> None:
        self._answered += 1
        self._held.append(answer)
        if len(self._held) > _HELD:
            self._held.popleft()
            self._unanswered += 1
        self.settle()

    def _before(self, asker: str) -> tuple[str, Mapping[str, Any]] | None:
        """(What was asked, what was answered) before, also where that answer waits still."""
        for held in self._held:
            if held.remembered is not None and held.remembered[0] == asker:
                return held.remembered[1], held.document
        return self._queue.answered(asker)

    def _where(self, received: Received) -> str:
        """Where its answer goes: not everywhere that a stranger may wish."""
        wanted = received.response_topic
        return wanted if wanted and not self._topics.no_answer_there(wanted) else self._topics.response

    def _in_time(self) -> bool:
        now = self._now()
        self._left = min(self._most, self._left + (now - self._since_ns) / 1e9 * self._per_s)
        self._since_ns = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def _say_flood(self) -> None:
        if self._now() - self._said_ns >= _SAY_AGAIN_NS:
            self._said_ns = self._now()
            log.warning(
                "mqtt: more commands come than the %g a second that are taken; the rest is refused", self._per_s
            )

    def _say_retained(self, topic: str) -> None:
        if self._now() - self._said_retained_ns >= _SAY_AGAIN_NS:
            self._said_retained_ns = self._now()
            log.warning("mqtt: a retained command on %.200r is ignored: publish commands without retain", topic)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()
