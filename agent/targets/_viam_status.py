"""What a status of Viam means to a parcel. Its codes: https://grpc.io/docs/guides/status-codes."""

import contextlib
import re

from agent.targets import Failed, Later, Refused, Unreachable
from agent.targets._viam_calls import DEADLINE_EXCEEDED, UNAVAILABLE, Status

UNAUTHENTICATED = 16
_UNKNOWN, _INVALID_ARGUMENT, _NOT_FOUND, _PERMISSION_DENIED = 2, 3, 5, 7
_RESOURCE_EXHAUSTED, _OUT_OF_RANGE, _UNIMPLEMENTED = 8, 11, 12
_TOO_LARGE = re.compile(r"larger than max", re.IGNORECASE)
_NO_PART = re.compile(r"no robot part", re.IGNORECASE)
_NOBODY = re.compile(r"failed to connect to all addresses", re.IGNORECASE)
"""gRPC's own words: the call never left this device, however much of its content was offered."""
_BROKE_OFF = re.compile(
    r"stream removed|socket closed|connection (reset|aborted|refused|timed out)|broken pipe|goaway|rst_stream"
    r"|recvmsg|sendmsg|end of tcp stream|(ping|keepalive) ?(watchdog )?time ?out|transport (closed|is closing)"
    r"|handshake|\btls\b|\bssl\b",
    re.IGNORECASE,
)
"""gRPC's own words, too: the connection broke in the middle of the call. It gives that the status of a server which is
not available for now, and which itself says anything else."""
_UNAVAILABLE_REST_S = 5.0
"""After UNAVAILABLE of the server itself. Where it goes on, the target rests longer by itself."""
_QUOTA_REST_S = 300.0
"""After RESOURCE_EXHAUSTED that does not say how long: a rate or a quota."""
_LONGEST_REST_S = 86400.0


def meaning(status: Status, host: str, *, sending: bool) -> Exception:
    """The exception of the contract that a status is.

    `sending`: content of the parcel was under way. Before that, what keeps a host from answering concerns all parcels.
    """
    said = f"{host} answers {status}"
    code = status.code
    after_s = _asked_rest_s(status)
    if code == UNAUTHENTICATED:
        return Unreachable(f"{said}; check the target's credentials")
    if code in (_PERMISSION_DENIED, _NOT_FOUND) or (code == _UNKNOWN and _NO_PART.search(status.text)):
        return Unreachable(f"{said}; check part_id and datasets, and what the API key may do, in the target")
    if code == _UNIMPLEMENTED:
        return Unreachable(f"{said}; check the target's host: is it Viam's?")
    if code == _RESOURCE_EXHAUSTED and _TOO_LARGE.search(status.text):
        return Refused(said)
    if code == _RESOURCE_EXHAUSTED or (code == UNAVAILABLE and after_s is not None):
        return Later(said, _QUOTA_REST_S if after_s is None else after_s)
    if code in (_INVALID_ARGUMENT, _OUT_OF_RANGE):
        return Refused(said)
    if code == UNAVAILABLE and (not sending or _NOBODY.search(status.text)):
        return Unreachable(f"no connection to {host}: {' '.join(status.text.split())}")
    if code == UNAVAILABLE and not _BROKE_OFF.search(status.text):
        return Later(said, _UNAVAILABLE_REST_S)
    if not sending and code == DEADLINE_EXCEEDED:
        return Unreachable(f"{host} does not answer")
    if code == UNAVAILABLE:
        return Failed(f"the connection to {host} broke off: {' '.join(status.text.split())}")
    if code == DEADLINE_EXCEEDED:
        return Failed(f"{host} fell silent")
    return Failed(said)


def unasked(status: Status) -> bool:
    """Whether this answer to a question says that such questions are not for us, and not that it went wrong."""
    return status.code in (_INVALID_ARGUMENT, _NOT_FOUND, _PERMISSION_DENIED, _UNIMPLEMENTED)


def _asked_rest_s(status: Status) -> float | None:
    """Seconds that the server asks for: gRPC's own way of it (proposal A6), or Retry-After of a proxy before it."""
    for name, scale in (("grpc-retry-pushback-ms", 1000.0), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            seconds = float(status.metadata[name]) / scale
            if seconds >= 0:
                return min(seconds, _LONGEST_REST_S)
    return None
