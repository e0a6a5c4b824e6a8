"""Pictures of samples: a PNG by matplotlib, or one line of block characters for each channel."""

from itertools import groupby
from os.path import commonprefix
from pathlib import Path

import numpy as np

from agent.cli.show import number
from agent.series import Floats, Samples, Series

_BARS = "▁▂▃▄▅▆▇█"
_COLOURS = ("#1f6fb2", "#d1682b", "#3f8f4f", "#8a5ab5", "#b5475a", "#6b6b6b", "#2a9d9d", "#b08a1a")
_GAP = "#d33c3c"
_POINTS = 4000


def png(samples: Samples, path: Path, *, title: str, subtitle: str) -> None:
    """Draws the samples, one panel for each sensor or unit, gaps shaded. ImportError without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = panels(samples.series)
    figure = Figure(figsize=(10, 1.3 + 2.3 * len(drawn)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    axes = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (unit, group) in zip(axes, drawn, strict=True):
        for colour, series in zip(_COLOURS * len(group), group, strict=False):
            times, values = thinned(series.times_s, series.values)
            panel.plot(times, values, color=colour, linewidth=0.9, label=series.name)
        for index, (begin, end) in enumerate(samples.gaps_s):
            panel.axvspan(begin, end, color=_GAP, alpha=0.25, linewidth=0.8, label="" if index else "missing")
        shared = commonprefix([series.name for series in group])  # noqa: RUF071  of characters: these are no paths
        panel.set_ylabel("\n".join(filter(None, (shared.rstrip("_- "), unit or "raw value"))))
        panel.grid(color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(loc="center left", bbox_to_anchor=(1.005, 0.5), frameon=False, fontsize=8)
        panel.margins(x=0.005)
    axes[0].set_title(subtitle, loc="left", fontsize=9, color="#555555")
    axes[-1].set_xlabel("time since the first sample, s")
    figure.align_ylabels(axes)
    figure.savefig(path)


def lines(samples: Samples, width: int) -> list[str]:
    """For each channel: name, a sparkline in which gaps are blank, least and greatest value with unit."""
    wide = max((len(series.name) for series in samples.series), default=0)
    found = []
    for series in samples.series:
        known = series.values[~np.isnan(series.values)]
        reach = (
            f"{number(float(known.min()))} to {number(float(known.max()))} {series.unit}" if len(known) else "nothing"
        )
        found.append(f"{series.name:<{wide}} {sparkline(series.values, max(8, width - wide - 34))} {reach}".rstrip())
    return found


def sparkline(values: Floats, width: int) -> str:
    """Means of `width` parts as block characters; a part without any value, or where one is missing, is blank."""
    parts = np.array_split(values, min(width, max(1, len(values))))
    means = np.array([np.nan if not len(part) or np.isnan(part).any() else part.mean() for part in parts])
    known = means[~np.isnan(means)]
    if not len(known):
        return " " * len(means)
    low, reach = known.min(), (known.max() - known.min()) or 1.0
    steps = np.nan_to_num((means - low) / reach * (len(_BARS) - 1)).round().astype(int)
    return "".join(" " if np.isnan(mean) else _BARS[step] for mean, step in zip(means, steps, strict=True))


def thinned(times: Floats, values: Floats) -> tuple[Floats, Floats]:
    """At most some thousand points that look alike: least and greatest of each part, NaNs kept."""
    size = -(-len(values) // (_POINTS // 2))
    if size <= 2:
        return times, values
    keep: set[int] = {0, len(values) - 1, *np.flatnonzero(np.isnan(values)).tolist()}
    for begin in range(0, len(values), size):
        part = values[begin : begin + size]
        if np.isnan(part).all():
            continue
        keep |= {begin + int(np.nanargmin(part)), begin + int(np.nanargmax(part))}
    chosen = np.array(sorted(keep))
    return times[chosen], values[chosen]


def panels(series: tuple[Series, ...]) -> list[tuple[str, list[Series]]]:
    """(unit, channels) that belong into one picture: of one unit, and of one sensor where they are axes X, Y, Z."""
    keys = [(one.unit, one.name[:-1] if one.name[-1:] in "XYZ" else "") for one in series]
    ordered = sorted(zip(keys, series, strict=True), key=lambda pair: keys.index(pair[0]))
    return [(key[0], [one for _, one in group]) for key, group in groupby(ordered, key=lambda pair: pair[0])]
