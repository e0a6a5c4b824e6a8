"""SensiML's ways in: an API key, or a login whose tokens rotate and are on the disk before they are used."""

import contextlib
import dataclasses
import json
import os
import tempfile
import threading
import urllib.parse
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from agent.capture import sync_directory
from agent.targets import Failed, Home, Progress, Refused, Unreachable
from agent.targets._alone import alone
from agent.targets._credentials import Credentials, without
from agent.targets._transport import Answer, judge
from drivers import boottime_ns

_EARLY_S = 60.0
"""A token is renewed this long before it ends: a refusal would come after a whole file was sent."""


class Pass(Protocol):
    """What lets requests in. Safe for several threads."""

    def header(self, progress: Progress, refused: str = "") -> str:
        """The value of Authorization; another one than `refused`, where there is one. Unreachable, Failed."""

    def hidden(self, text: str) -> str:
        """`text` without any secret, should the server have repeated one."""


class Key:
    """An API key, sent as it is."""

    def __init__(self, home: Home, file: str) -> None:
        self._credentials = Credentials(home, file)

    def header(self, progress: Progress, refused: str = "") -> str:
        """The key, read again where it is refused."""
        if refused:
            self._credentials.renewed()
        return self._credentials.headers()["Authorization"]

    def hidden(self, text: str) -> str:
        """`text` without the key."""
        return self._credentials.hidden(text)


@dataclasses.dataclass(frozen=True)
class Login:
    """Who logs in. The secrets are names for `Home.secret`; `client_secret_file` empty: a public client."""

    username: str
    password_file: str
    client_id: str
    client_secret_file: str


@dataclasses.dataclass(frozen=True)
class _Pair:
    """What one grant gives. Using `refresh` ends both of them at once."""

    access: str
    refresh: str

    @property
    def header(self) -> str:
        return f"Bearer {self.access}"


class Tokens:
    """Tokens for a name and a password, kept in a file that other processes of this device may renew as well."""

    def __init__(self, home: Home, login: Login, file: str, ask: Callable[[bytes], Answer]) -> None:
        """`file`: name of the file in the folder of secrets; `ask` posts a form to the server's `oauth/token/`."""
        self._home = home
        self._login = login
        self._path = home.secrets / file
        self._ask = ask
        self._lock = threading.Lock()
        self._pair: _Pair | None = None
        self._until_ns: int | None = None
        self._secrets: set[str] = set()
        """Password and client's secret, and what they were before."""
        self._told: deque[str] = deque(maxlen=16)
        """The last tokens; both are what an answer could repeat."""

    def header(self, progress: Progress, refused: str = "") -> str:
        """The value of Authorization: of a new token where there is none, it is too old, or it is `refused`."""
        with alone(self._lock, progress):
            pair = self._pair
            if pair is not None and self._until_ns is not None and boottime_ns() > self._until_ns:
                refused = pair.header
            if pair is None or pair.header == refused:
                pair = self._renewed(refused, progress)
            return pair.header

    def hidden(self, text: str) -> str:
        """`text` without password, client secret and tokens."""
        return without(text, (*self._secrets, *self._told))  # without the lock, which waits for the server

    def _renewed(self, refused: str, progress: Progress) -> _Pair:
        kept = self._load()
        if kept is not None and kept.header != refused:
            self._pair, self._until_ns = kept, None  # how old it is, nobody knows
            return kept
        known, pair = kept or self._pair, None
        if known is not None:
            pair = self._granted({"grant_type": "refresh_token", "refresh_token": known.refresh}, progress)
        if pair is None:  # the refresh token was used up: by an answer that got lost, or by somebody else
            login = {"username": self._login.username, "password": self._secret(self._login.password_file)}
            pair = self._granted({"grant_type": "password", **login}, progress)
        if pair is None:
            raise Unreachable(
                f"the server does not let {self._login.username} in with this password; check the target's credentials"
            )
        self._pair = pair
        return pair

    def _granted(self, fields: Mapping[str, str], progress: Progress) -> _Pair | None:
        """The pair, already on the disk; None where what was shown for it is not good."""
        client = {"client_id": self._login.client_id}
        if self._login.client_secret_file:
            client["client_secret"] = self._secret(self._login.client_secret_file)
        progress.sent(0)
        begun_ns = boottime_ns()
        answer = self._ask(urllib.parse.urlencode({**fields, **client}).encode())
        if answer.status == 400 and "invalid_grant" in answer.text:
            return None
        if answer.status in (400, 401):
            raise Unreachable(f"{answer}; check the target's credentials: client_id and client_secret_file")
        try:
            judge(answer)
        except Refused as error:  # no fault of a capture's
            raise Unreachable(f"{error}; check the target's url") from None
        match _json(answer.text):
            case {"access_token": str(access), "refresh_token": str(refresh), **more} if _plain(access, refresh):
                life_s = more.get("expires_in")
            case _:  # whatever it is, it may hold a secret
                raise Failed("the server's answer to a login has no tokens: is it SensiML's?")
        self._told.extend((access, refresh))
        pair = _Pair(access, refresh)
        self._keep(pair)
        self._until_ns = None
        if isinstance(life_s, int | float) and life_s > 2 * _EARLY_S:
            self._until_ns = begun_ns + int((life_s - _EARLY_S) * 1e9)
        return pair

    def _secret(self, name: str) -> str:
        secret = self._home.secret(name)
        if secret:
            self._secrets.add(secret)
        return secret

    def _load(self) -> _Pair | None:
        """What is on the disk; None where nothing is that can be used: then there still is the password."""
        try:
            document = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return None
        match document:
            case {"access": str(access), "refresh": str(refresh)} if _plain(access, refresh):
                self._told.extend((access, refresh))
                return _Pair(access, refresh)
        return None

    def _keep(self, pair: _Pair) -> None:
        try:
            _replace(self._path, json.dumps(dataclasses.asdict(pair)).encode())
        except OSError as error:
            raise Unreachable(
                f"{self._path} cannot be written, which a login needs: {error.strerror}; "
                "run as the daemon's user, and let the daemon make its folder of secrets"
            ) from None


def _replace(path: Path, content: bytes) -> None:
    """The file, whole and durable when this returns, for its owner alone."""
    fd, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        try:
            os.write(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise
    sync_directory(path.parent)


def _plain(*tokens: str) -> bool:
    return all(token and token.isascii() and token.isprintable() for token in tokens)


def _json(text: str) -> object:
    """None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
