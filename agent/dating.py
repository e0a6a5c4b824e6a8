"""Dating: when a sample of a running stream was taken, and which sample a moment is, by what its ring holds."""

from agent.stream import Stream
from agent.timing import Arrivals, Fit

_PAST_S = 10.0
"""How far back observations are looked at: enough for a rate, little to do."""
_KEPT_NS = 5_000_000_000


class Dating:
    """Time by index of running streams, worked out at most every few seconds. Used by one thread."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[int, Fit]] = {}

    def fit(self, stream: Stream, now_ns: int, segment: int | None = None) -> Fit | None:
        """Of one segment of a stream (None: its newest); None where its ring has nothing of it."""
        blocks = stream.ring.cursor(_PAST_S).take()
        if not blocks:
            return None
        wanted = blocks[-1].segment if segment is None else segment
        made_ns, fit = self._known.get((stream.name, wanted), (0, None))
        if fit is None or now_ns - made_ns > _KEPT_NS:
            arrivals = Arrivals(stream.identity_at(wanted).rate_hz or 1.0)
            found = [block for block in blocks if block.segment == wanted]
            if not found:
                return fit
            for block in found:
                arrivals.add(block.newest, block.observed_ns)
            fit = arrivals.fit()
            self._known = {key: kept for key, kept in self._known.items() if key[0] != stream.name}
            self._known[stream.name, wanted] = now_ns, fit
        return fit


def sample_at(fit: Fit, time_ns: int) -> int:
    """Index of the sample taken nearest to a moment, also of one that is still to come."""
    return fit.index + round((time_ns - fit.time_ns) / fit.period_ns)


def time_of(fit: Fit, index: int) -> int:
    """CLOCK_BOOTTIME at which a sample was taken, or will be."""
    return fit.time_ns + round((index - fit.index) * fit.period_ns)
