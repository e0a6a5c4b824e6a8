"""A session with Viam: calls by somebody who is known there, with a token that is asked for and renewed."""

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Generator

from agent.targets import Failed, Home, Progress, Unreachable
from agent.targets import _viam_wire as wire
from agent.targets._alone import alone
from agent.targets._credentials import Credentials, without
from agent.targets._viam_calls import Calls, Line, Metadata, Silent, Status
from agent.targets._viam_status import UNAUTHENTICATED, meaning
from drivers import boottime_ns

_AUTHENTICATE = "/proto.rpc.v1.AuthService/Authenticate"
_REJECTED = (3, 7, UNAUTHENTICATED)
"""What may come of a key that is wrong: INVALID_ARGUMENT and PERMISSION_DENIED as well."""
_LONGEST_S = 1e9
"""What says that it lives for decades does not end."""
_EARLY_S = 60.0
"""Before a token ends, another one is asked for."""


class Session:
    """Calls with a token; with another one, once, where the server does not know it any more. Safe for several threads.

    Each shows life on the `progress` of a delivery before it waits for the server. Raises what a status means to a
    parcel; `ask` the Status itself where its caller wants to judge.
    """

    def __init__(self, line: Line, key: tuple[str, Credentials]) -> None:
        """`key`: the id of the API key, and the key as a bare header."""
        self._calls = Calls(line)
        self._host = line.address
        self._key_id, self._key = key
        self._lock = threading.Lock()
        self._token = ""
        self._until_ns: int | None = None
        self._told: deque[str] = deque(maxlen=8)
        """The last tokens, which an answer could repeat."""

    def login(self, progress: Progress) -> None:
        """Gets a token, unless there is one."""
        self._current(progress)

    def ask(self, path: str, request: bytes, progress: Progress) -> bytes:
        """The answer to one question. Raises Status, whatever it is."""
        return self._known(lambda metadata: self._calls.ask(path, request, metadata), progress)

    def send(self, path: str, request: bytes, progress: Progress) -> bytes:
        """The answer to one message that carries content."""
        return self._sending(lambda metadata: self._calls.send(path, request, metadata), progress)

    def stream(self, path: str, messages: Callable[[], Generator[bytes, None, None]], progress: Progress) -> bytes:
        """The answer to many messages; `messages` makes them, from the first, for each try."""
        return self._sending(lambda metadata: self._calls.stream(path, messages(), metadata), progress)

    def meaning(self, status: Status) -> Exception:
        """What the answer to a question means to a parcel."""
        return meaning(status, self._host, sending=False)

    def hidden(self, text: str) -> str:
        """`text` without key and tokens, should the server have repeated them."""
        return without(self._key.hidden(text), tuple(self._told))

    def close(self) -> None:
        """Cuts what is under way; may be called twice, from any thread."""
        self._calls.close()

    def _sending(self, call: Callable[[Metadata], bytes], progress: Progress) -> bytes:
        try:
            return self._known(call, progress)
        except Status as status:
            raise meaning(status, self._host, sending=True) from None
        except Silent:
            raise Failed(f"{self._host} fell silent") from None

    def _known(self, call: Callable[[Metadata], bytes], progress: Progress) -> bytes:
        token = self._current(progress)
        progress.sent(0)
        try:
            return call(_bearer(token))
        except Status as status:
            if status.code != UNAUTHENTICATED:
                raise
        token = self._current(progress, refused=token)
        progress.sent(0)
        return call(_bearer(token))

    def _current(self, progress: Progress, refused: str = "") -> str:
        """The token: a new one where there is none, it is about to end, or it is `refused`."""
        with alone(self._lock, progress):
            over = self._until_ns is not None and boottime_ns() > self._until_ns
            if self._token in ("", refused) or over:
                self._token = ""
                begun_ns = boottime_ns()
                self._token = token = self._new_token(progress)
                self._told.append(token)
                life_s = _life_s(token)
                self._until_ns = None
                if life_s is not None:
                    self._until_ns = begun_ns + int(max(life_s - _EARLY_S, life_s / 2) * 1e9)
            return self._token

    def _new_token(self, progress: Progress) -> str:
        try:
            response = self._logged_in(progress)
        except Status as status:
            if status.code in _REJECTED:
                raise Unreachable(f"{self._host} answers {status}; check the target's credentials") from None
            raise self.meaning(status) from None
        try:
            token = wire.access_token(response)
        except ValueError:
            token = ""
        if not token or not token.isascii() or not token.isprintable():
            raise Unreachable(f"the answer of {self._host} has no token; check the target's host: is it Viam's?")
        return token

    def _logged_in(self, progress: Progress) -> bytes:
        try:
            return self._authenticate(progress)
        except Status as status:
            if status.code not in _REJECTED or not self._key.renewed():
                raise
        return self._authenticate(progress)

    def _authenticate(self, progress: Progress) -> bytes:
        """Without a token: a server that gets one refuses to give another."""
        progress.sent(0)
        ((_, key),) = self._key.headers().items()
        return self._calls.ask(_AUTHENTICATE, wire.authenticate(self._key_id, "api-key", key), ())


def session(line: Line, home: Home, key_id: str, key_file: str) -> Session:
    """A session that reads its key when it first needs it."""
    return Session(line, (key_id, Credentials(home, key_file, header="key")))


def _bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def _life_s(token: str) -> float | None:
    """How long a token lives from now; None where it does not say, or our clock must be wrong.

    Viam's own library makes tokens without an end. A board without a clock of its own knows no date, so what counts is
    how long after its own date of issue a token ends.
    """
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        end = float(claims["exp"])
        life_s = end - float(claims.get("iat", time.time()))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return life_s if 0 < life_s < _LONGEST_S else None
