"""Trouble with a target: while there is some, one parcel at a time probes, with rests between; all others stay."""

import random

_FIRST_REST_S = 1.0
_UNREACHABLE_REST_S = 60.0
_FAILING_REST_S = 30.0
STEP_BACK_S = 60.0
"""How long a parcel rests that lets others probe."""
_SAME_PROBE = 4
"""So many probes in a row may be made with one parcel; then it steps back, lest it be the one that is to blame."""


class Trouble:
    """Unreachable, or failing: so many different parcels failed in a row, without one delivered between them, that it
    is the target (a single bad parcel never makes trouble). Rests double, with jitter, and end with the first success.

    Not safe for threads by itself. Times are CLOCK_BOOTTIME in nanoseconds.
    """

    def __init__(self, many: int, longest_s: float, jitter: random.Random) -> None:
        """`many` parcels failing in a row are trouble; `longest_s` bounds a Retry-After."""
        self.unreachable = False
        self.again_ns = 0
        """When the next probe may be made."""
        self._many = many
        self._longest_s = longest_s
        self._jitter = jitter
        self._failed: set[int] = set()
        self._rests = 0
        self._probe: int | None = None

    def __bool__(self) -> bool:
        return self.unreachable or len(self._failed) >= self._many

    def over(self) -> None:
        """Something was delivered, or a person wants it tried now: no more rests, as if nothing had been."""
        self.unreachable = False
        self.try_now()

    def try_now(self) -> None:
        """The next probe is made at once; rests begin anew."""
        self._failed.clear()
        self._rests = self.again_ns = 0

    def answered(self) -> None:
        """The target says neither yes nor no, and so is not unreachable."""
        if self.unreachable:
            self.over()

    def probes(self, parcel: int) -> None:
        """This parcel is being tried."""
        self._probe = parcel

    def nobody_there(self, parcel: int, now: int) -> bool:
        """The target was unreachable for this parcel. Whether it should let another one probe."""
        if not self.unreachable:
            self.try_now()
        self.unreachable = True
        self._rest(parcel, now, _UNREACHABLE_REST_S, 0.0)
        return self._rests % _SAME_PROBE == 0

    def failed(self, parcel: int, now: int, after_s: float) -> None:
        """The target answered, and did not take this parcel now; it asks for `after_s`."""
        self.answered()
        self._failed.add(parcel)
        if self:
            self._rest(parcel, now, _FAILING_REST_S, min(after_s, self._longest_s))

    def _rest(self, parcel: int, now: int, longest_s: float, at_least_s: float) -> None:
        if self._rests and parcel != self._probe:
            return  # was under way already when the trouble began
        self._probe = None
        rest_s = min(longest_s, _FIRST_REST_S * 2.0 ** min(self._rests, 30)) * self._jitter.uniform(0.5, 1.0)
        self._rests += 1
        self.again_ns = now + int(max(rest_s, at_least_s) * 1e9)
