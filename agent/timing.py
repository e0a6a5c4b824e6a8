"""Dates samples: data is seen late and never early, so its time is the line just under everything observed.

An observation says: at `observed_ns` the sample `newest` had been taken. The lower convex hull of a segment's
observations holds the promptest of them. The rate is the slope of that hull, by least squares that weigh its middle
most (its ends are whatever came first and last, prompt or not); the line then lies as late as no observation forbids.
Clocks drift with temperature, so long segments get a line for each minute, joined where they are best known; between
those points time is interpolated, which keeps it continuous and rising.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]

WINDOW_NS = 60_000_000_000
_WINDOW_OBSERVATIONS = 64
_FEWEST, _SHORTEST_NS = 20, 2_000_000_000
"""With fewer observations, or in less time, the nominal rate is nearer to the truth than any measured one."""
_OFF, _LONG_NS = 0.05, 10_000_000_000
"""A rate this far off the nominal one is only believed after that time."""
_GRID = 129
"""Points at which a hull is compared with a line."""
_FAR_NS = 1e15


@dataclasses.dataclass(frozen=True)
class Fit:
    """When the samples of one segment were taken: time by index."""

    index: int
    """Reference: this sample ..."""
    time_ns: int
    """... was taken then (CLOCK_BOOTTIME)."""
    period_ns: float
    """Mean time from one sample to the next."""
    residual_s: float
    """Root mean square between the observed and the fitted times: how late data was seen."""
    observations: int
    span_ns: int
    """From the first observation to the last."""
    measured: bool
    """False where there was too little to measure a rate: `period_ns` was given."""
    knots: tuple[tuple[float, float], ...] = ()
    """Where the rate drifted: (index, time in ns) against the reference, rising, extended beyond both ends."""

    def times(self, indexes: Int64s) -> Int64s:
        """CLOCK_BOOTTIME in ns of the samples with these indexes; same shape."""
        # float64 resolves less than a nanosecond within days of the reference
        beside = (indexes - self.index).astype(np.float64)
        if self.knots:
            knots = np.array(self.knots)
            relative = np.interp(beside, knots[:, 0], knots[:, 1])
        else:
            relative = beside * self.period_ns
        times: Int64s = np.rint(relative).astype(np.int64) + self.time_ns
        return times


class _Window:
    """Observations of about a minute: their lower hull and their moments, exact integers beside the first of all."""

    def __init__(self) -> None:
        self.x: list[int] = []
        self.y: list[int] = []
        self.count = self.sx = self.sy = self.sxx = self.sxy = self.syy = 0
        self.first = self.last = (0, 0)

    def add(self, x: int, y: int) -> None:
        """Takes an observation with a greater index than all before."""
        if not self.count:
            self.first = (x, y)
        self.last = (x, y)
        self.count += 1
        self.sx += x
        self.sy += y
        self.sxx += x * x
        self.sxy += x * y
        self.syy += y * y
        self._below(x, y)

    def _below(self, x: int, y: int) -> None:
        hull_x, hull_y = self.x, self.y
        while len(hull_x) > 1:
            dx, dy = x - hull_x[-2], y - hull_y[-2]
            if (hull_y[-1] - hull_y[-2]) * dx < dy * (hull_x[-1] - hull_x[-2]):
                break
            hull_x.pop()
            hull_y.pop()
        hull_x.append(x)
        hull_y.append(y)

    def join(self, later: "_Window") -> None:
        """Takes all that a later window has."""
        for x, y in zip(later.x, later.y, strict=True):
            self._below(x, y)
        for name in ("count", "sx", "sy", "sxx", "sxy", "syy"):
            setattr(self, name, getattr(self, name) + getattr(later, name))
        self.last = later.last

    @property
    def mean(self) -> float:
        return self.sx / self.count

    def line(self) -> tuple[float, float, float]:
        """(index, time, period) of the line under all observations; needs two of them."""
        grid = np.linspace(self.x[0], self.x[-1], _GRID)
        hull = np.interp(grid, self.x, self.y)
        part = np.linspace(0.0, 1.0, _GRID)
        weight = (part * (1 - part)) ** 2
        beside = grid - grid.mean()
        return self.line_of(float((weight * beside) @ hull / ((weight * beside) @ beside)))

    def line_of(self, period: float) -> tuple[float, float, float]:
        """The same for a known period."""
        lowest = min(y - (x - self.mean) * period for x, y in zip(self.x, self.y, strict=True))
        return self.mean, lowest, period

    def squares(self, line: tuple[float, float, float]) -> float:
        """Summed squares of the distances to a line, in ns2."""
        at, time, period = line
        n = self.count
        late = self.sy / n - (time + (self.mean - at) * period)
        xx, xy, yy = (
            (n * product - one * other) / n
            for product, one, other in (
                (self.sxx, self.sx, self.sx),
                (self.sxy, self.sx, self.sy),
                (self.syy, self.sy, self.sy),
            )
        )
        return n * late * late + max(0.0, yy - 2 * period * xy + period * period * xx)


class Arrivals:
    """The observations of one segment, in order; keeps only their hulls, so that a day of them is small."""

    def __init__(self, nominal_hz: float, window_ns: int = WINDOW_NS) -> None:
        self._nominal_ns = 1e9 / nominal_hz
        self._window_ns = window_ns
        self._origin = (0, 0)
        self._windows: list[_Window] = []

    def add(self, newest: int, observed_ns: int) -> None:
        """One observation; one that brings no newer sample says nothing and is left out."""
        if not self._windows:
            self._origin = (newest, observed_ns)
            self._windows.append(_Window())
        window = self._windows[-1]
        x, y = newest - self._origin[0], observed_ns - self._origin[1]
        if window.count:
            if x <= window.last[0]:
                return
            if y - window.first[1] > self._window_ns and window.count >= _WINDOW_OBSERVATIONS:
                window = _Window()
                self._windows.append(window)
        window.add(x, y)

    def fit(self, period_ns: float | None = None) -> Fit:
        """The fit over all that was added; ValueError where that is nothing.

        `period_ns` is what the rate is taken to be where there is too little to measure it; None: nominal.
        """
        if not self._windows:
            raise ValueError("no observations to fit")
        windows = self._windows
        last = windows[-1]
        short = last.count < _WINDOW_OBSERVATIONS or last.last[1] - last.first[1] < self._window_ns / 2
        if len(windows) > 1 and short:
            windows[-2].join(windows.pop())
        count = sum(window.count for window in windows)
        span_ns = windows[-1].last[1] - windows[0].first[1]
        measured = self._measured(count, span_ns)
        lines = [window.line() if measured else window.line_of(period_ns or self._nominal_ns) for window in windows]
        squares = sum(window.squares(line) for window, line in zip(windows, lines, strict=True))
        at, time, period = lines[0]
        knots: tuple[tuple[float, float], ...] = ()
        if len(lines) > 1:
            period = (lines[-1][1] - time) / (lines[-1][0] - at)
        index = round(at)
        # the reference is a whole sample and a whole nanosecond beside the mean
        offset = time + (index - at) * lines[0][2]
        if len(lines) > 1:
            ends = (_beyond(lines[0], -_FAR_NS), *((x, t) for x, t, _ in lines), _beyond(lines[-1], _FAR_NS))
            knots = tuple((x - index, t - round(offset)) for x, t in ends)
        return Fit(
            self._origin[0] + index,
            self._origin[1] + round(offset),
            period,
            (squares / count) ** 0.5 / 1e9,
            count,
            span_ns,
            measured,
            knots,
        )

    def _measured(self, count: int, span_ns: int) -> bool:
        """Whether the observations tell the rate better than the data sheet does."""
        if count < _FEWEST or span_ns < _SHORTEST_NS:
            return False
        off = abs(self._windows[0].line()[2] / self._nominal_ns - 1)
        return off <= _OFF or span_ns >= _LONG_NS


def _beyond(line: tuple[float, float, float], far_ns: float) -> tuple[float, float]:
    at, time, period = line
    return at + far_ns / period, time + far_ns
