"""The far ends of a voyage: two HTTP servers that misbehave for a while when told to, and keep what they took."""

import hashlib
import random
import socket
import time

from tests.receiver import Fault, Receiver, Request

KINDS = {
    "500": Fault(500, text="broken"),
    "503": Fault(503, headers=(("Retry-After", "1"),)),
    "429": Fault(429, headers=(("Retry-After", "1"),)),
    "408": Fault(408),
    "404": Fault(404),
    "401": Fault(401),
    "413": Fault(413),
    "redirect": Fault(302, headers=(("Location", "/elsewhere"),)),
    "cut at once": Fault(cut_after=0),
    "cut midway": Fault(cut_after=700),
    "answers early": Fault(500, answer_after=300),
    "answer lost": Fault(lose_answer=True),
    "answer cut": Fault(truncate=True),
    "slow": Fault(pause_s=0.01),
    "409 strange": Fault(409),
    "507": Fault(507),
    "hangs": Fault(hang=True),
}
"""Each way in which a request goes wrong."""


class Server(Receiver):
    """A receiver whose misbehaviour is drawn from a seed, for as long as it is on."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._until = 0.0
        self._kinds: tuple[str, ...] = ()
        self.happened: dict[str, int] = {}
        self.different: list[str] = []
        """Payloads that came twice with different bytes."""

    def misbehave(self, kinds: tuple[str, ...], seconds: float) -> None:
        self._kinds, self._until = kinds, time.monotonic() + seconds

    def leave(self) -> None:
        """Nobody listens any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def come_back(self) -> None:
        """Listens again where it did."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._spawn(self._accept)

    def fault(self, path: str) -> Fault:
        if time.monotonic() >= self._until:
            return Fault()
        kind = self._chance.choice(self._kinds)
        self.happened[kind] = self.happened.get(kind, 0) + 1
        return KINDS[kind]

    def take(self, request: Request, content: bytes, fault: Fault) -> Fault:
        before = self.files.get(request.path)
        if before is not None and before != content and not request.path.endswith(".json"):
            self.different.append(f"{request.path}: {_short(before)} and {_short(content)}")
        return super().take(request, content, fault)

    def named(self) -> dict[str, bytes]:
        """What it has, by file name."""
        return {path.rsplit("/", 1)[-1]: content for path, content in self.files.items()}


def _short(content: bytes) -> str:
    return f"{len(content)} bytes {hashlib.sha256(content).hexdigest()[:8]}"
