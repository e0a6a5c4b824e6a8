"""The server behind an `http` target: requests that carry our credentials, and that it may ask for anew."""

import urllib.parse
from collections.abc import Callable, Mapping

from agent.targets import Failed, Later, Progress, Refused, Unreachable
from agent.targets._credentials import Credentials
from agent.targets._transport import Answer, Body, Host, judge, retry_after_s


class Server:
    """One host and one secret. Safe for several threads."""

    def __init__(self, host: Host, credentials: Credentials) -> None:
        self._host = host
        self._credentials = credentials

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Callable[[], Body] | None = None,
        *,
        answer_bytes: int = 4096,
        take: Callable[[bytes], object] | None = None,
    ) -> Answer:
        """One request; a second one where the server refuses our secret and there is a new one."""
        content = body or _nothing
        given = {"Content-Length": "0", **headers}
        for _ in range(2):
            answer = self._host.send(
                method, url, given | self._credentials.headers(), content, answer_bytes=answer_bytes, take=take
            )
            if answer.status != 401 or not self._credentials.renewed():
                break
        return answer

    def look(self, url: str) -> int:
        """The status of a HEAD, which sends and changes nothing. Raises where it tells that we are refused."""
        try:
            answer = self.request("HEAD", url, {})
            if answer.status in (401, 403, 407) or answer.status >= 500:
                judge(answer)
        except Exception as error:
            self.censor(error, Progress())
            raise
        return answer.status

    def held(self, url: str) -> tuple[int | None, str] | None:
        """(size or None, `sha256:...` or nothing) of what is at an address, as HEAD tells; None where nothing is."""
        try:
            answer = self.request("HEAD", url, {})
            if answer.status in (404, 410):
                return None
            if answer.status in (405, 501):
                raise Refused(f"the server takes no HEAD: {answer.status}")
            judge(answer)
        except Exception as error:
            self.censor(error, Progress())
            raise
        size, sha256 = answer.headers.get("content-length", ""), answer.headers.get("x-content-sha256", "").lower()
        return int(size) if size.isdecimal() else None, f"sha256:{sha256}" if sha256 else ""

    def own(self, url: str) -> str:
        """A URL of this server as we address it; empty where scheme, host or port are not the configuration's."""
        if origin(url) != origin(self._host.url):
            return ""
        parts = urllib.parse.urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        return self._host.url.rstrip("/") + (parts.path or "/") + query

    def censor(self, error: Exception, progress: Progress) -> None:
        """Takes our secret out of an error, should the server have repeated it. Raises Stopped when stopping."""
        if isinstance(error, Refused | Later | Unreachable | Failed):
            progress.check()  # what comes of cutting the connection is no fault
            error.args = tuple(self._credentials.hidden(str(text)) for text in error.args)

    def close(self) -> None:
        """Aborts what hangs and lets the connections go; may be called twice, from any thread."""
        self._host.close()


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL (RFC 6454); empty where it is no URL."""
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", "", None


def accept(answer: Answer) -> None:
    """`judge`, with the two meanings of 409: still at it (with Retry-After), or another one is there."""
    if answer.status == 409 and (after_s := retry_after_s(answer.headers)) is not None:
        raise Later(str(answer), after_s, pending=True)
    judge(answer)


def _nothing() -> Body:
    yield from ()
