"""`capture-agent streams`: what each sensor says now, how even it comes and what is lost, once or live."""

import json
import math
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from agent.cli.place import JSON_OPTION, ask, with_data_dir
from agent.cli.show import console, number, print_json, size, span

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 24


@click.command
@click.option("--watch", is_flag=True, help="Live, with the course of each value, until Ctrl-C.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.1, 3600),
    default=0.5,
    show_default=True,
    help="Seconds, with --watch.",
)
@JSON_OPTION
@with_data_dir
def streams(data_dir: Path, watch: bool, every_s: float, as_json: bool) -> None:
    """Show the newest values, measured rate, jitter and loss of each stream.

    Jitter: how far blocks of samples come from an even beat (RMS over ten seconds).
    """
    if not watch:
        report = ask(data_dir, "streams")
        if as_json:
            print_json(report)
        else:
            click.echo("\n".join(Course().lines(report)))
        return
    try:
        _watch(data_dir, every_s, as_json)
    except KeyboardInterrupt:
        return


def _watch(data_dir: Path, every_s: float, as_json: bool) -> None:
    from rich.live import Live
    from rich.text import Text

    course = Course()
    if as_json or not sys.stdout.isatty():
        while True:
            report = ask(data_dir, "streams")
            click.echo(json.dumps(report, ensure_ascii=False) if as_json else "\n".join([*course.lines(report), ""]))
            time.sleep(every_s)
    with Live(console=console(), auto_refresh=False) as live:
        while True:
            text = "\n".join(course.lines(ask(data_dir, "streams")))
            live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
            time.sleep(every_s)


class Course:
    """What the values were each time that something new had come, as far as a line of the terminal goes."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], deque[float]] = {}
        self._samples: dict[str, int] = {}

    def lines(self, report: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        """A line for each stream, and one for each of its channels, or for its newest picture."""
        for name, stream in report.items():
            fresh = self._samples.get(name) != stream["samples"]
            self._samples[name] = stream["samples"]
            yield f"{name}: {_summary(stream)}"
            for channel, found in stream["channels"].items():
                values = self._values.setdefault((name, channel), deque(maxlen=_WIDTH))
                if fresh:
                    values.append(found["value"])
                value = f"{number(found['value'])} {found['unit']}".strip()
                yield f"  {channel:<24} {value:>18}  {sparkline(values)}".rstrip()
            for note, text in stream.get("notes", {}).items():
                yield f"  {note.replace('_', ' '):<24} {text}"
            if stream["picture_bytes"] is not None:
                yield f"  {'newest picture':<24} {size(stream['picture_bytes']):>18}"


def sparkline(values: deque[float]) -> str:
    """A bar for each value between the least and the greatest of them, a gap where it is no number."""
    finite = [value for value in values if math.isfinite(value)]
    if len(values) < 2 or not finite:
        return ""
    low, reach = min(finite), max(finite) - min(finite)
    steps = len(_BARS) - 1
    return "".join(
        " " if not math.isfinite(value) else _BARS[round((value - low) / reach * steps)] if reach else _BARS[0]
        for value in values
    )


def _summary(stream: Mapping[str, Any]) -> str:
    parts = [stream["model"] or stream["driver"], stream["state"]]
    if stream["rate_hz"] is not None:
        nominal = f" of {number(stream['nominal_hz'])}" if stream["nominal_hz"] else ""
        parts.append(f"{number(round(stream['rate_hz'], 3))}{nominal} Hz")
    if stream["jitter_s"] is not None:
        parts.append(f"jitter {number(stream['jitter_s'] * 1000)} ms")
    parts.append(f"{number(stream['lost'])} lost" + ("" if stream["lost_exact"] else " (estimated)"))
    if stream["last_s"] is not None:
        parts.append(f"{span(max(0.0, stream['last_s']))} ago")
    return ", ".join(parts) + (f": {stream['error']}" if stream["error"] else "")
