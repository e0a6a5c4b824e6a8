"""HTTP for targets: connections that can be cut at any moment, and answers told apart as a target's answers."""

import contextlib
import dataclasses
import email.utils
import logging
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import urllib3
from urllib3 import exceptions as trouble
from urllib3.connection import HTTPConnection, HTTPSConnection

from agent.targets import Failed, Later, Refused, Stopped, Unreachable
from agent.targets._credentials import short, unsigned
from agent.targets._transport_tls import context

Body = Generator[bytes | memoryview, None, None]

_ANSWER_BYTES = 4096
"""As much of an answer's body is read, unless more is asked for; of a longer one the connection is given up."""
_TAKEN_BYTES = 1 << 16
_ANSWER_S = 60.0
_REDIRECTS = 3


@dataclasses.dataclass(frozen=True)
class Line:
    """How a host is reached: time-outs in seconds, an own CA, a client certificate, a proxy. Empty: as usual."""

    connect_s: float
    idle_s: float
    """Longest time without any progress, in sending or in waiting for the answer."""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    proxy: str = ""
    find: Callable[[str], Path] = Path
    """Where the file of a CA, certificate or key is."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the server said: `headers` know no case, `text` is the beginning of the body."""

    status: int
    headers: Mapping[str, str]
    text: str
    url: str

    def __str__(self) -> str:
        return f"the server answers {self.status}" + (f": {short(self.text, 200)}" if self.text.strip() else "")


class _Cuttable(HTTPConnection):
    """A connection that its host can cut from another thread."""

    owner: "Host"

    def connect(self) -> None:
        self.owner._joined(self)
        super().connect()
        self.owner._check()  # a cut that came while there was no socket yet
        self.timeout = self.owner.line.idle_s
        self.sock.settimeout(self.timeout)

    def request(self, *args: Any, **options: Any) -> None:
        if self.sock is not None:  # kept alive: the pool has just set the time-out for connecting
            self.timeout = self.owner.line.idle_s
        super().request(*args, **options)

    def cut(self) -> None:
        """Wakes whoever waits on the socket with an error. The thread that uses the connection closes it."""
        sock = self.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # was cut at the far end already
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # TLS's own shutdown would pull the rug from a reader

    def close(self) -> None:
        self.owner._left(self)
        super().close()


class Host:
    """The server behind a URL, by as many connections as threads use it at once; kept alive, cut by `close`."""

    def __init__(self, url: str, line: Line) -> None:
        self.url = url
        self.line = line
        self._lock = threading.Lock()
        self._made: tuple[urllib3.PoolManager, urllib3.HTTPConnectionPool] | None = None
        self._live: set[_Cuttable] = set()
        self._closed = False

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Callable[[], Body],
        *,
        answer_bytes: int = _ANSWER_BYTES,
        take: Callable[[bytes], object] | None = None,
    ) -> Answer:
        """Sends one request, to a URL of this host, and reads its answer. 307 and 308 are followed on the host.

        `body` makes the content (headers must have its Content-Length); what it raises aborts the request and comes
        out. At least `answer_bytes` of the answer's text are read, where there are so many. `take` gets all of a 2xx
        answer's content a piece at a time, and its `text` is then empty; what it raises comes out. Raises Unreachable
        where nobody answers, Failed where it breaks off in the middle, Stopped after `close`.
        """
        try:
            for _ in range(_REDIRECTS):
                answer = self._exchange(method, url, headers, body, answer_bytes, take)
                location = joined(url, answer.headers.get("location", ""))
                if answer.status not in (307, 308) or not _same_host(location, url):
                    break
                url = location
        except (trouble.HTTPError, OSError) as error:
            if self._closed:
                raise Stopped from None
            raise _told(error, self.url) from None
        return answer

    def close(self) -> None:
        """Cuts what is under way, lets the rest go; may be called twice, from any thread."""
        with self._lock:
            self._closed = True
            made, self._made = self._made, None
            live = list(self._live)
        for connection in live:
            connection.cut()
        if made is not None:
            manager, pool = made
            pool.close()
            manager.clear()

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Callable[[], Body],
        answer_bytes: int,
        take: Callable[[bytes], object] | None,
    ) -> Answer:
        manager, pool = self._open()
        options: Any = {"headers": headers, "redirect": False, "retries": False, "preload_content": False}
        content: Any  # urllib3 sends memoryviews as well, and its types do not know
        with contextlib.closing(body()) as content:
            if manager.proxy is None:  # the pool alone is cheaper; a proxy may want the whole URL
                response = pool.urlopen(method, url[len(self.url) - 1 :], content, **options)
            else:
                response = manager.urlopen(method, url, body=content, **options)
        text, ended, until = bytearray(), response.length_remaining == 0, time.monotonic() + _ANSWER_S
        if not 200 <= response.status < 300:
            take = None
        try:
            while not ended and (take or (len(text) < answer_bytes and time.monotonic() < until)):
                piece = response.read1(_TAKEN_BYTES if take else answer_bytes)
                ended = not piece
                if take:
                    take(piece)
                else:
                    text += piece
        finally:
            if ended:
                response.read()  # nothing is left; it ends the answer, before another thread uses the connection
                response.release_conn()
            else:
                response.close()
        return Answer(response.status, response.headers, text.decode(errors="replace"), url)

    def _open(self) -> tuple[urllib3.PoolManager, urllib3.HTTPConnectionPool]:
        with self._lock:
            self._check()
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> tuple[urllib3.PoolManager, urllib3.HTTPConnectionPool]:
        logging.getLogger("urllib3").setLevel(logging.INFO)  # debug tells addresses, and signed ones are secrets
        line, secure = self.line, self.url.startswith("https:")
        options: dict[str, Any] = {
            "maxsize": 64,  # idle connections kept: more than there are ever uploads at once
            "timeout": urllib3.Timeout(connect=line.connect_s, read=line.idle_s),
        }
        if secure:
            files = (line.ca_file, line.certificate_file, line.key_file)
            options["ssl_context"] = context(*files, find=line.find)
        proxy = line.proxy or _environment_proxy(self.url)
        if proxy:
            login = urllib3.util.parse_url(proxy).auth
            login_headers = urllib3.make_headers(proxy_basic_auth=urllib.parse.unquote(login)) if login else None
            manager: urllib3.PoolManager = urllib3.ProxyManager(proxy, proxy_headers=login_headers, **options)
        else:
            manager = urllib3.PoolManager(**options)
        kinds = (_Cuttable, HTTPSConnection) if secure else (_Cuttable,)
        pool = manager.connection_from_url(self.url)
        pool.ConnectionCls = type("Connection", kinds, {"owner": self})
        return manager, pool

    def _check(self) -> None:
        if self._closed:
            raise Stopped

    def _joined(self, connection: _Cuttable) -> None:
        with self._lock:
            self._live.add(connection)

    def _left(self, connection: _Cuttable) -> None:
        with self._lock:
            self._live.discard(connection)


def judge(answer: Answer) -> None:
    """Returns for 2xx; raises what any other status means to a parcel.

    401, 403, 407: the credentials are wrong, for all parcels alike. 405, 501 and redirects: the URL or the method is.
    429, 507, and 5xx with Retry-After: Later. 408, 425 and other 5xx: Failed. Any other 4xx: Refused; 402, 404, 409 and
    410 may be of the URL as well, and are doubtful.
    """
    status = answer.status
    if 200 <= status < 300:
        return
    if status in (401, 403, 407):
        raise Unreachable(f"{answer}; check the target's credentials")
    if status in (405, 501):
        raise Unreachable(f"{answer}; check the target's url and method")
    if 300 <= status < 400:
        answer = dataclasses.replace(answer, text=unsigned(answer.text))
        location = unsigned(answer.headers.get("location", "nowhere"))
        raise Unreachable(f"{answer}, and points to {location}; check the target's url")
    after_s = retry_after_s(answer.headers)
    if status in (429, 507) or (status >= 500 and after_s is not None):
        raise Later(str(answer), 30.0 if after_s is None else after_s)
    if status in (408, 425) or status >= 500:
        raise Failed(str(answer))
    raise Refused(str(answer), doubtful=status in (402, 404, 409, 410))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After asks for, 0 to a day; None where there is none that can be read (RFC 9110, 10.2.3).

    A date counts from the answer's own Date: our clock may be wrong.
    """
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        seconds = float(value)
    else:
        until = _unix_s(value)
        if until is None:
            return None
        since = _unix_s(headers.get("date", ""))
        seconds = until - (time.time() if since is None else since)
    return min(max(seconds, 0.0), 86400.0)


def _unix_s(date: str) -> float | None:
    parsed = email.utils.parsedate_tz(date)
    return None if parsed is None else float(email.utils.mktime_tz(parsed))


def _told(error: Exception, url: str) -> Exception:
    """What an exception of urllib3 means: nobody there (the target's fault), or broken off (this parcel's attempt)."""
    host = urllib.parse.urlsplit(url).netloc
    cause: BaseException = error
    while isinstance(cause, trouble.HTTPError | ssl.SSLError) and (inner := _inner(cause)) is not None:
        cause = inner
    reason = (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__
    if isinstance(error, trouble.NameResolutionError):
        return Unreachable(f"{host} does not resolve: {reason}")
    if isinstance(error, trouble.ProxyError):
        return Unreachable(f"no way to {host} through the proxy: {reason}")
    if isinstance(error, trouble.SSLError):
        return Unreachable(f"no TLS with {host}: {reason}")
    if isinstance(error, trouble.ConnectTimeoutError):
        return Unreachable(f"{host} does not answer: {reason}")
    if isinstance(error, trouble.NewConnectionError):
        return Unreachable(f"no connection to {host}: {reason}")
    if isinstance(error, trouble.ReadTimeoutError | TimeoutError):
        return Failed(f"{host} fell silent")
    return Failed(f"the connection to {host} broke off: {reason}")


def _inner(error: BaseException) -> BaseException | None:
    """The exception that another one wraps: its cause, or the last of its arguments."""
    if error.__cause__ is not None:
        return error.__cause__
    last = error.args[-1] if error.args else None
    return last if isinstance(last, BaseException) else None


def _environment_proxy(url: str) -> str:
    """The proxy that http_proxy, https_proxy and no_proxy give for a URL; empty where none."""
    parts = urllib.parse.urlsplit(url)
    bypassed = urllib.request.proxy_bypass(parts.hostname or "")
    return "" if bypassed else urllib.request.getproxies().get(parts.scheme, "")


def joined(url: str, location: str) -> str:
    """What a Location in an answer from `url` means; empty where it is no URL."""
    try:
        return urllib.parse.urljoin(url, location)
    except ValueError:
        return ""


def _same_host(one: str, other: str) -> bool:
    return urllib.parse.urlsplit(one)[:2] == urllib.parse.urlsplit(other)[:2]
