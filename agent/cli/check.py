"""`capture-agent check`: whether a configuration can be used, what it records in plain words, and what it costs."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import click

from agent.cli import DEFAULT_CONFIG
from agent.cli.place import JSON_OPTION
from agent.cli.show import number, print_json, print_table, size, span
from agent.config.errors import ABSENT, ConfigError, written


@click.command
@click.argument("config", type=click.Path(path_type=Path), required=False, envvar="CAPTURE_AGENT_CONFIG")
@click.option("--example", is_flag=True, help="Print config.example.toml: every option there is.")
@JSON_OPTION
@click.pass_context
def check(ctx: click.Context, config: Path | None, example: bool, as_json: bool) -> None:
    """Check the configuration file CONFIG (else $CAPTURE_AGENT_CONFIG, else that of the service); touch no hardware.

    All mistakes are listed at once, and the exit code is 78. Of a good file: what it records, MB a day, days until
    the disk is full, syncs of the disk an hour.
    """
    if example:
        from agent.config.example import example as whole

        click.echo(whole(), nl=False)
        return
    from agent.config.loading import load

    if config is None:
        config = Path(DEFAULT_CONFIG)
        if not os.path.lexists(config.parent):
            raise click.UsageError(f"which file? there is no {config}: capture-agent check CONFIG")
    try:
        loaded = load(config)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"good": False, "mistakes": [_mistake(mistake) for mistake in error.mistakes]})
        ctx.exit(error.exit_code)
    report = _report(loaded)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _mistake(mistake: Any) -> dict[str, Any]:
    document = dataclasses.asdict(mistake)
    return document | {"value": None if mistake.value is ABSENT else mistake.value}


def _report(config: Any) -> dict[str, Any]:
    from agent.cli import estimate

    recordings, per_day, unknown = {}, 0.0, []
    syncs = 0.0
    for name, recording in config.recordings.items():
        costs = estimate.of_recording(config, name)
        recordings[name] = {"words": _words(recording, config), **dataclasses.asdict(costs)}
        if costs.bytes_per_day is None:
            unknown.append(name)
        per_day += costs.bytes_per_day or 0.0
        syncs += costs.syncs_per_hour or 3600 / config.agent.durable_every_s
    return {
        "good": True,
        "streams": {name: _setup(stream) for name, stream in config.streams.items()},
        "recordings": recordings,
        "targets": {name: target.kind for name, target in config.targets.items()},
        "bytes_per_day": per_day,
        "unknown": unknown,
        "syncs_per_hour": syncs,
        "disk": estimate.of_disk(config, per_day),
    }


def _setup(stream: Any) -> str:
    """A stream in words: its driver and what is not at its default."""
    from agent.config.options import described

    said = []
    for option in described(type(stream.settings)):
        value: Any = stream.settings
        for part in option.path.split("."):
            value = getattr(value, part)
        if option.required or (list(value) if isinstance(value, tuple) else value) != option.default:
            said.append(f"{option.path} = {written(value)}")
    return f"{stream.driver} with {', '.join(said)}" if said else f"{stream.driver}, all options at their defaults"


def _words(recording: Any, config: Any) -> str:
    """A recording in words."""
    if all(config.streams[name].pictures for name in recording.streams):
        what = f"pictures of {_and(recording.streams)}"
    else:
        together = " in one capture" if len(recording.streams) > 1 else ""
        lengths = [f"{span(recording.length_s)}"] if recording.length_s else []
        lengths += [f"{recording.length_samples:,} samples"] if recording.length_samples else []
        lengths += [size(recording.length_bytes)] if recording.length_bytes else []
        what = f"{_and(recording.streams)}{together}"
        if recording.when != "trigger":
            what += f", a new one every {' or '.join(lengths)}" if lengths else ", until it is stopped"
    when = {"continuous": "", "command": ", on command", "trigger": f", {_trigger(recording.trigger)}"}[recording.when]
    when += _schedule(recording.schedule)
    whither = f"to {_and(recording.targets)}" if recording.targets else "to no target: it stays on this disk"
    labels = f", labelled {', '.join(f'{k} = {written(v)}' for k, v in recording.labels.items())}"
    formats = [*map(_format, recording.format)]
    said = f"{what}{when}; as {_and(formats)}, {whither}{labels if recording.labels else ''}"
    return said + "".join(_made(name, config.targets[name], formats) for name in recording.targets)


def _made(name: str, target: Any, formats: list[str]) -> str:
    """What becomes of payloads for a target that takes none of them, in words."""
    from agent.sync.making import recipe

    takes = getattr(target.settings, "formats", ())
    how = None if not takes or set(takes) & set(formats) else recipe(formats, takes)
    return "" if how is None else f"; {name} takes none of these: {how.wanted} is made of {how.source} at each delivery"


def _trigger(trigger: Any) -> str:
    """What begins a capture, in words."""
    what = {"command": "a command", "gpio": f"a {trigger.edge} edge at GPIO{trigger.pin}"}.get(trigger.kind)
    if what is None:
        stream = f" of {trigger.stream}" if trigger.stream else ""
        what = f"{trigger.kind} of {_and(trigger.channels)}{stream} {trigger.direction} {trigger.threshold:g}"
    return f"at each trigger ({what}) {trigger.in_words()}"


def _schedule(schedule: Any) -> str:
    """When it is on, in words."""
    every = [f"for {span(schedule.for_s)} every {span(schedule.every_s)}"] if schedule.every_s else []
    return f", on {_and([*every, *schedule.times])}" if not schedule.always else ""


def _format(entry: Any) -> str:
    return entry if isinstance(entry, str) else str(entry["kind"])


def _megabytes(count: float | None) -> str:
    return "-" if count is None else f"{count / 1e6:,.0f}" if count >= 1e8 else number(count / 1e6)


def _and(names: Any) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else str(last)


def _print(report: dict[str, Any]) -> None:
    print_table(["Stream", "Records with~"], report["streams"].items())
    print_table(["Recording", "Makes~"], [(name, r["words"]) for name, r in report["recordings"].items()])
    rows = [
        (name, _megabytes(r["bytes_per_day"]), number(r["captures_per_hour"]), number(r["syncs_per_hour"]))
        for name, r in report["recordings"].items()
    ]
    rows.append(("all", _megabytes(report["bytes_per_day"]), "", number(report["syncs_per_hour"])))
    print_table(["Recording, on average", "MB/day>", "Captures/h>", "Disk syncs/h>"], rows)
    disk = report["disk"]
    said = [f"The disk of {disk['folder']} has {size(disk['free_bytes'])} free of {size(disk['total_bytes'])}."]
    if disk["days"] is not None:
        said.append(f"Without any deletion it takes {span(disk['days'] * 86400)} until only the floor of")
        said.append(f"{size(disk['floor_bytes'])} is left.")
    if report["unknown"]:
        said.append(f"Not in these sums: {_and(report['unknown'])} (on demand, or not known before its device runs).")
    said.append("These are estimates. The configuration is good.")
    click.echo(click.wrap_text(" ".join(said), 80))
