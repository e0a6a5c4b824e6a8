"""Signed requests to an object store, and what its errors mean to a parcel."""

import dataclasses
import email.utils
import re
import time
import urllib.parse
from collections.abc import Callable, Mapping

from agent.targets import Failed, Later, Refused, Unreachable
from agent.targets._objectstore_objects import Gone, no_content
from agent.targets._objectstore_signature import EMPTY_SHA256, Request, Signature
from agent.targets._transport import Answer, Body, Host, judge, retry_after_s

_CLOCK_S = 60.0
"""A clock that is wrong by more is put right by the store's. Stores take what was signed some minutes off at most."""

_ELSEWHERE = re.compile(
    "NoSuchBucket|ContainerNotFound|InvalidBucketName|PermanentRedirect|TemporaryRedirect|AuthorizationHeaderMalformed"
    "|ExpiredToken|InvalidToken|TokenRefreshRequired|InvalidRegion|IllegalLocationConstraintException"
    "|InvalidStorageClass|InvalidTag|InvalidTagging|NotImplemented|UnsupportedHeader|MethodNotAllowed|AccountIsDisabled"
    "|InvalidUri|InvalidResourceName|ResourceNotFound|UnsupportedHttpVerb|QuotaExceeded|AllAccessDisabled"
)
"""Faults of the configuration or the account, which all captures would meet alike."""
_TOO_MUCH = re.compile("EntityTooLarge|RequestBodyTooLarge|KeyTooLong|KeyTooLongError|MetadataTooLarge")
_BUSY = re.compile("SlowDown|ServerBusy|ServiceUnavailable|TooManyRequests|ThrottlingException|RequestLimitExceeded")
_TAKEN = re.compile("PreconditionFailed|BlobAlreadyExists|ConditionNotMet|UnauthorizedBlobOverwrite")
_LOST = re.compile("NoSuchUpload|InvalidBlockList|InvalidPart|InvalidPartOrder")


class Requests:
    """Signed requests for the objects below one URL. Safe for several threads.

    The store's clock is believed more than ours: a board without a battery may be hours off.
    """

    def __init__(self, url: str, host: Host, signature: Signature, now: Callable[[], float] = time.time) -> None:
        """`url` without a slash at its end."""
        parts = urllib.parse.urlsplit(url)
        self._host = host
        self._netloc = parts.netloc
        self._base = urllib.parse.quote(urllib.parse.unquote(parts.path), safe="/-_.~")
        self._signature = signature
        self._now = now
        self._ahead_s = 0.0

    def send(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str],
        *,
        query: Mapping[str, str] | None = None,
        content: tuple[int, str, Callable[[], Body]] = (0, EMPTY_SHA256, no_content),
        take: Callable[[bytes], object] | None = None,
    ) -> Answer:
        """The answer to one request, whatever it says; `content` is (bytes, sha256, body), `take`
        what it is for `Host.send`.

        Sent once more where the store refuses the signature, and another secret or the right time may mend that.
        """
        size, sha256, body = content
        path = f"{self._base}/{urllib.parse.quote(key, safe='/-_.~')}"
        request = Request(method, self._netloc, path, query or {}, headers, size, sha256)
        answer = self._send(request, body, take)
        if answer.status in (400, 401, 403) and (self._corrected(answer) or self._signature.renewed()):
            answer = self._send(request, body, take)
        return answer

    def fetch(self, key: str, take: Callable[[bytes], object]) -> None:
        """Gives the content of an object to `take`."""
        accepted(self.send("GET", key, {}, take=take), key)

    def hidden(self, text: str) -> str:
        """`text` without secrets."""
        return self._signature.hidden(text)

    def close(self) -> None:
        """Cuts what is under way; may be called twice, from any thread."""
        self._host.close()

    def _send(self, request: Request, body: Callable[[], Body], take: Callable[[bytes], object] | None) -> Answer:
        target, headers = self._signature.signed(request, self._now() + self._ahead_s)
        return self._host.send(request.method, self._host.url[:-1] + target, headers, body, take=take)

    def _corrected(self, answer: Answer) -> bool:
        """Whether our clock was so wrong that the signature may have been refused for it; right from now on."""
        date = email.utils.parsedate_tz(answer.headers.get("date", ""))
        if date is None:
            return False
        ahead_s = email.utils.mktime_tz(date) - self._now()
        wrong = abs(ahead_s - self._ahead_s) > _CLOCK_S
        if wrong:
            self._ahead_s = ahead_s
        return wrong


def code(answer: Answer) -> str:
    """The store's own word for an error; empty where it says none."""
    found = re.search(r"<Code>\s*([A-Za-z]+)\s*</Code>", answer.text)
    return answer.headers.get("x-ms-error-code", "") or (found[1] if found else "")


def element(answer: Answer, name: str) -> str:
    """The text of an XML element of an answer; empty where it has none. Ids and ETags, which hold no markup but
    quotation marks."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", answer.text)
    return found[1].replace("&quot;", '"').replace("&#34;", '"') if found else ""


def accepted(answer: Answer, key: str) -> None:
    """Returns for 2xx; raises what any other answer means to the parcel whose object is `key`.

    Faults of the configuration are Unreachable; only what is too much of itself, or would replace another object, is
    Refused; whatever is not known is an attempt, because stores say 4xx for passing trouble, too.
    """
    word, status = code(answer), answer.status
    answer = readable(answer)
    said = f"{key}: {answer}"
    if 200 <= status < 300 and not word:
        return
    if _LOST.fullmatch(word):
        raise Gone(said)
    if _TAKEN.fullmatch(word) or status == 412:
        raise Refused(f"{said}: something else is there already, and is not replaced")
    if _TOO_MUCH.fullmatch(word) or status == 413:
        raise Refused(said)
    if _ELSEWHERE.fullmatch(word) or (status == 404 and not word):
        raise Unreachable(f"{answer}; check the target's url, region and options")
    if _BUSY.fullmatch(word) or status == 429:
        after_s = retry_after_s(answer.headers)
        raise Later(said, 10.0 if after_s is None else after_s)
    try:
        judge(answer)
    except Refused:
        raise Failed(said) from None
    raise Failed(said)  # a 200 that tells of an error: S3 answers so where parts could not be put together


def readable(answer: Answer) -> Answer:
    """The same with an error's code and message as its text, where it has them."""
    word = code(answer)
    message = element(answer, "Message")
    return dataclasses.replace(answer, text=f"{word}: {message}" if message else word) if word else answer
