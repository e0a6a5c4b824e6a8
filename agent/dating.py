"""Dating: when a sample of a running stream was taken, and which sample a moment is, by what its ring holds."""

from agent.stream import Stream
from agent.timing import Arrivals, Fit

_PAST_S = 10.0
"""How far back observations are looked at: enough for a rate, little to do."""
_KEPT_NS = 1_000_000_000


class Dating:
    """Time by index of running streams, worked out at most once a second. Used by one thread."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int | None], tuple[int, Fit | None]] = {}

    def fit(self, stream: Stream, now_ns: int, segment: int | None = None) -> Fit | None:
        """Of one segment of a stream (None: its newest); None where its ring has nothing of it."""
        made_ns, fit = self._known.get((stream.name, segment), (0, None))
        if fit is None or now_ns - made_ns > _KEPT_NS:
            fit = _fit(stream, segment) or fit
            self._known = {key: made for key, made in self._known.items() if now_ns - made[0] <= _KEPT_NS}
            self._known[stream.name, segment] = now_ns, fit
        return fit


def _fit(stream: Stream, segment: int | None) -> Fit | None:
    blocks = stream.ring.cursor(_PAST_S).take()
    wanted = blocks[-1].segment if blocks and segment is None else segment
    found = [block for block in blocks if block.segment == wanted]
    if wanted is None or not found:
        return None
    arrivals = Arrivals(stream.identity_at(wanted).rate_hz or 1.0)
    for block in found:
        arrivals.add(block.newest, block.observed_ns)
    return arrivals.fit()


def sample_at(fit: Fit, time_ns: int) -> int:
    """Index of the sample taken nearest to a moment, also of one that is still to come."""
    return fit.index + round((time_ns - fit.time_ns) / fit.period_ns)


def time_of(fit: Fit, index: int) -> int:
    """CLOCK_BOOTTIME at which a sample was taken, or will be."""
    return fit.time_ns + round((index - fit.index) * fit.period_ns)
