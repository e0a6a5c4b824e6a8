"""A picture of each group: beside each figure those of its peers, what was followed as a line, the rest as ratios."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import Measure
from bench._results import Group

_OURS, _MISSED = "#1f6f8b", "#c0392b"
_THEIRS = ("#e08e0b", "#7f8c8d", "#8e44ad", "#27ae60", "#2c3e50", "#d98880", "#5dade2", "#b7950b")
_SHAPES = "DsP^vX<>"
_DPI, _COLOURS = 80, 64
_WIDTH_IN, _ROW_IN, _PANEL_IN, _CURVE_IN = 11.0, 0.26, 0.8, 2.0
_LETTERS = 80


def draw(group: Group, path: Path) -> None:
    """The same picture for the same results, as a small PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    lines = [m for m in group.measures if m.curve]
    beside: dict[str, list[Measure]] = {}
    for m in group.measures:
        if m.peers and not m.curve:
            beside.setdefault(m.unit, []).append(m)
    ratios = [m for m in group.measures if m.ratio > 0 and not m.curve and not m.peers]
    panels = [(_line, [m], _CURVE_IN) for m in lines]
    panels += [(_dots, ms, _PANEL_IN + 0.3 + _ROW_IN * len(ms)) for ms in beside.values()]
    panels += [(_ratios, ratios, _PANEL_IN + _ROW_IN * len(ratios))] if ratios else []
    heights = [height for _, _, height in panels] or [_PANEL_IN]
    figure = Figure(figsize=(_WIDTH_IN, sum(heights)), layout="constrained", dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for (fill, measures, _), panel in zip(panels, axes, strict=False):
        fill(panel, measures)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            path, optimize=True
        )


def _line(panel: Any, measures: Sequence[Measure]) -> None:
    (measure,) = measures
    panel.plot(*zip(*measure.curve, strict=True), color=_OURS, marker="." if len(measure.curve) < 20 else "")
    if measure.curve[-1][0] > 100 * max(1.0, measure.curve[0][0]):
        panel.set_xscale("log")
    panel.set_ylim(0, 1.15 * max(y for _, y in measure.curve) or 1)
    panel.set_title(measure.what, loc="left", fontsize=9)
    panel.set_xlabel(measure.curve_over, fontsize=8)
    panel.set_ylabel(measure.unit, fontsize=8)
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.3)


def _dots(panel: Any, measures: Sequence[Measure]) -> None:
    """A row for each figure, and in it those of its peers."""
    names = list(dict.fromkeys(name for m in measures for name in m.peers))
    for row, m in enumerate(measures):
        figures = [m.figure, *m.peers.values()]
        panel.plot([min(figures), max(figures)], [row, row], color="#d0d4d8", linewidth=1, zorder=1)
        panel.plot([m.figure], [row], "o", color=_OURS if m.met else _MISSED, markersize=8, zorder=3)
        panel.annotate(f"{m.figure:,.3g}", (m.figure, row), (0, 6), textcoords="offset points", fontsize=7, ha="center")
        for name, figure in m.peers.items():
            n = names.index(name)
            panel.plot([figure], [row], _SHAPES[n % 8], color=_THEIRS[n % 8], markersize=5, zorder=2)
    for n, name in enumerate(names):
        panel.plot([], [], _SHAPES[n % 8], color=_THEIRS[n % 8], markersize=5, linestyle="", label=name)
    panel.plot([], [], "o", color=_OURS, linestyle="", label="capture-agent")
    figures = [figure for m in measures for figure in (m.figure, *m.peers.values()) if figure > 0]
    _rows(panel, [m.what for m in measures], figures)
    panel.set_ylim(len(measures) - 0.5, -0.8)
    unit, better = measures[0].unit, {True: "less is better", False: "more is better"}
    directions = {better[m.lower_is_better] for m in measures}
    panel.set_title(f"{unit}: {' or '.join(sorted(directions))}", loc="left", fontsize=9)
    panel.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _ratios(panel: Any, measures: Sequence[Measure]) -> None:
    colours = [_OURS if m.met else _MISSED for m in measures]
    values = [m.ratio for m in measures]
    drawn = panel.barh(range(len(measures)), values, color=colours, height=0.6)
    panel.bar_label(drawn, fmt=lambda value: f"{value:,.3g}", padding=3, fontsize=7)
    _rows(panel, [m.what for m in measures], [*values, 1.0])
    panel.set_ylim(len(measures) - 0.5, -0.5)
    panel.axvline(1.0, color="black", linewidth=0.8)
    panel.set_title("ratios to the peer, floor or aim of the table", loc="left", fontsize=9)


def _rows(panel: Any, names: Sequence[str], figures: Sequence[float]) -> None:
    shown = [textwrap.shorten(name, _LETTERS, placeholder=" ...") for name in names]
    panel.set_yticks(range(len(names)), shown, fontsize=7)
    panel.tick_params(axis="x", labelsize=7)
    panel.grid(axis="x", alpha=0.3)
    if max(figures) > 20 * min(figures):
        panel.set_xscale("log")
        panel.set_xlim(min(figures) / 2, max(figures) * 3)
    else:
        panel.set_xlim(0, max(figures) * 1.15)
