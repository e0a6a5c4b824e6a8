"""config.example.toml: every option there is, commented, made from the Settings themselves."""

import inspect
import itertools
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from agent.buttons import ButtonSettings
from agent.config.errors import written
from agent.config.loading import AgentSettings
from agent.config.modules import DRIVERS, FORMATS, TARGETS, Family, gives_pictures
from agent.config.options import Described, described
from agent.metrics.settings import MetricsSettings
from agent.mqtt.settings import MqttSettings
from agent.recording import RecordingSettings
from agent.sync import Delivery

_HEAD = """\
Every option of capture-agent. Lines that begin with a # and a name are options at their default (or with an
example of a value): take the # away to set them. Names of streams, recordings and targets are yours to choose.
Made by `capture-agent check --example`; what is wrong in a file, and what it will cost, says `capture-agent check`.
"""
_WIDTH = 112
_BUSES = 1, 3, 4, 5, 6
"""Those of a Pi whose pins are free for chips."""


def example() -> str:
    """The whole file."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from _comment(_HEAD)
    yield from ("", "[agent]", *_options(described(AgentSettings)))
    cameras: list[str] = []
    sensors: list[str] = []
    places: set[tuple[int, int]] = set()
    for name in DRIVERS.names:
        module = DRIVERS.find(name)
        (cameras if gives_pictures(module) else sensors).append(name)
        yield from ("", "", *_comment(_says(DRIVERS, name)), f"[stream.{name}]", f"driver = {written(name)}")
        yield from _options(described(module.Settings), f"stream.{name}", _own_place(module.Settings, places))
    targets = TARGETS.names
    for name, streams, formats in (("samples", sensors, ["csv"]), ("pictures", cameras, ["jpeg"])):
        if not streams:
            continue
        yield from ("", "", *_comment(f"What to make of {' and '.join(streams)}."), f"[recording.{name}]")
        takers = [target for target in targets if _takes(TARGETS.find(target).Settings, formats)]
        set_here = {"streams": streams, "format": formats, "targets": takers}
        yield from _options(described(RecordingSettings), f"recording.{name}", set_here)
    yield from ("", "", *_comment("Formats, and what can stand beside `kind` in a recording's format:"))
    for name in FORMATS.names:
        yield from _comment(f"{name}: {_says(FORMATS, name)}")
        for option in described(FORMATS.find(name).Settings):
            yield from _comment(f"    {option.path} = {written(option.shown, _WIDTH)}: {option.doc}; {option.allowed}")
    for name in targets:
        yield from ("", "", *_comment(_says(TARGETS, name)), f"[target.{name}]", f"kind = {written(name)}")
        own = list(described(TARGETS.find(name).Settings))
        yield from _options([*own, *described(Delivery)], f"target.{name}")
    yield from ("", "", *_comment("A button at a pin, for people to mark moments with."), "#[button.lap]")
    for line in _options(described(ButtonSettings)):
        yield line if line.startswith("#") else f"#{line}"
    yield from ("", "", *_comment("A broker, through which the device is watched and commanded."), "#[mqtt]")
    for line in _options(described(MqttSettings)):
        yield line if line.startswith("#") else f"#{line}"
    yield from ("", "", *_comment("For those who scrape: /metrics (OpenMetrics) and /healthz."), "#[metrics]")
    yield from _options(described(MetricsSettings))


def _takes(target: type, formats: list[str]) -> bool:
    """Whether a target with these settings takes one of the formats, if nothing is said of it."""
    taken: tuple[str, ...] = getattr(target, "formats", ())
    return not taken or bool(set(taken) & set(formats))


def _own_place(settings: type, taken: set[tuple[int, int]]) -> dict[str, Any]:
    """Bus and I2C address where no other chip of the example is, as far as they are not the usual ones."""
    field = getattr(settings, "__dataclass_fields__", {}).get("address")
    if field is None:
        return {}
    places = itertools.product(_BUSES, (field.default, *field.metadata["choices"]))
    bus, address = next(place for place in places if place not in taken)
    taken.add((bus, address))
    return {**({} if bus == _BUSES[0] else {"bus": bus}), **({} if address == field.default else {"address": address})}


def _options(found: Iterable[Described], table: str = "", set_here: dict[str, Any] | None = None) -> Iterator[str]:
    """A comment and a line for each option; only what is required, or in `set_here`, is not commented out."""
    values = set_here or {}
    inner = ""
    for option in found:
        within, _, name = option.path.rpartition(".")
        if within != inner:
            inner = within
            yield from ("", f"#[{table}.{within}]")
        yield from _comment(option.doc + (f" ({option.bounds})" if option.bounds else ""))
        value = values.get(option.path, option.shown)
        if value is not None:
            off = "" if option.required or option.path in values else "#"
            yield f"{off}{name} = {written(value, 1000)}"


def _comment(text: str) -> list[str]:
    indent = "# " + " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(text.strip(), _WIDTH, initial_indent=indent, subsequent_indent="# ")


def _says(family: Family, name: str) -> str:
    return (inspect.getdoc(family.find(name)) or name).splitlines()[0]
