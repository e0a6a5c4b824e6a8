"""`capture-agent status`: how the daemon is, or what lies in its folder while it does not run."""

import dataclasses
import datetime
import shutil
import time
from pathlib import Path
from typing import Any

import click

from agent.cli.place import JSON_OPTION, ask_if_running, existing, with_data_dir
from agent.cli.show import number, print_json, print_table, size, span
from agent.cli.store import stored


@click.command
@JSON_OPTION
@click.option("--watch", is_flag=True, help="Again every two seconds, until Ctrl-C.")
@with_data_dir
def status(data_dir: Path, as_json: bool, watch: bool) -> None:
    """Show how the daemon, its streams, recordings and targets are.

    Where no daemon runs: what the data folder holds. The exit code is 0 either way.
    """
    while True:
        found = ask_if_running(data_dir, "status")
        report = {"running": True, **found} if found is not None else _at_rest(data_dir)
        if watch and not as_json:
            click.clear()
        if as_json:
            print_json(report)
        elif found is not None:
            _show(report)
        else:
            _show_at_rest(report)
        if not watch:
            return
        time.sleep(2)


def _at_rest(data_dir: Path) -> dict[str, Any]:
    usage = shutil.disk_usage(existing(data_dir))
    with stored(data_dir) as (catalogue, outbox):
        recordings, targets = catalogue.stats(), outbox.counts()
    unfinished = sum(1 for _ in (data_dir / "recording").glob("*")) if (data_dir / "recording").is_dir() else 0
    return {
        "running": False,
        "data_dir": str(data_dir),
        "recordings": {
            name: {standing: {"captures": count, "bytes": total} for standing, (count, total) in found.items()}
            for name, found in recordings.items()
        },
        "targets": {name: dataclasses.asdict(counts) for name, counts in targets.items()},
        "unfinished_files": unfinished,
        "disk": {"free_bytes": usage.free, "total_bytes": usage.total},
    }


def _show_at_rest(report: dict[str, Any]) -> None:
    click.echo(f"No daemon runs on {report['data_dir']}.")
    rows = [
        (name, standing, number(found["captures"]), size(found["bytes"]))
        for name, standings in report["recordings"].items()
        for standing, found in standings.items()
    ]
    if rows:
        print_table(["Recording~", "Captures", "Number>", "Size>"], rows)
    targets = [
        (name, number(t["owed"]), size(t["owed_bytes"]), number(t["refused"]), number(t["delivered"]))
        for name, t in report["targets"].items()
    ]
    if targets:
        print_table(["Target~", "Owed>", "of>", "Refused>", "Delivered>"], targets)
    if report["unfinished_files"]:
        click.echo(f"{report['unfinished_files']} unfinished files wait in recording/ for the next start.")
    click.echo(_disk(report["disk"]))


def _show(report: dict[str, Any]) -> None:
    clock = "synchronised" if report["clock"]["synchronised"] else "not set"
    click.echo(
        f"{report['device']}: capture-agent {report['version']} on {report['data_dir']}, up {span(report['uptime_s'])},"
        f" {size(report['memory_bytes'])} of memory, clock {clock}"
    )
    streams = [(name, s["state"], *_stream(s)) for name, s in report["streams"].items()]
    print_table(["Stream~", "State", "Model~", "Hz>", "Samples>", "Lost>", "Last>"], streams)
    for name, stream in report["streams"].items():
        for note, text in stream.get("notes", {}).items():
            click.echo(f"{name}: {note.replace('_', ' ')} {text}")
    recordings = [
        (name, _state(r), number(r["finished"]), number(r["samples"]), size(r["bytes"]), _triggers(r))
        for name, r in report["recordings"].items()
    ]
    if recordings:
        triggered = any(row[-1] for row in recordings)
        columns = ["Recording~", "State", "Captures>", "Samples>", "Recorded>", *(["Triggers"] if triggered else [])]
        print_table(columns, [row[: len(columns)] for row in recordings])
    targets = [(name, t["state"], *_target(t)) for name, t in report["targets"].items()]
    if targets:
        print_table(["Target~", "State", "Owed>", "Oldest>", "Delivered>", "Retried>", "Sent>"], targets)
    click.echo(_disk(report["disk"]))
    for problem in report["problems"]:
        click.secho(f"! {problem}", fg="red")
    if not report["problems"]:
        click.echo("Nothing needs attention.")


def _stream(found: dict[str, Any]) -> tuple[str, ...]:
    model = found["model"] or found["driver"]
    return model, number(found["rate_hz"]), number(found["samples"]), _lost(found), _ago(found["last_s"])


def _state(recording: dict[str, Any]) -> str:
    """With what it waits for, where that is its schedule."""
    schedule = recording.get("schedule")
    if recording["state"] != "scheduled" or schedule is None:
        return str(recording["state"])
    if schedule["waits_for"]:
        return f"waits for {schedule['waits_for']}"
    change = schedule["next_change"]
    return "off for 8 days or more" if change is None else f"off until {_local(change)}"


def _local(text: str) -> str:
    """A moment in UTC as clocks here show it."""
    return datetime.datetime.fromisoformat(text).astimezone().strftime("%a %H:%M:%S")


def _triggers(recording: dict[str, Any]) -> str:
    """All that is not nothing: `3, 1 extended, 12 ignored`."""
    counts = recording.get("trigger")
    if counts is None:
        return ""
    more = [f"{number(counts[key])} {key}" for key in ("extended", "ignored", "missed") if counts[key]]
    return ", ".join([number(counts["triggers"]), *more])


def _target(found: dict[str, Any]) -> tuple[str, ...]:
    counts = number(found["delivered"]), number(found["retried"])
    return number(found["owed"]), _ago(found["oldest_s"]), *counts, size(found["sent_bytes"])


def _lost(stream: dict[str, Any]) -> str:
    return number(stream["lost"]) + ("" if stream["lost_exact"] else " (estimated)")


def _ago(seconds: float | None) -> str:
    return "-" if seconds is None else span(max(0.0, seconds))


def _disk(disk: dict[str, Any]) -> str:
    parts = [f"{size(disk['free_bytes'])} free of {size(disk['total_bytes'])}"]
    parts += [f"captures {size(disk['captures_bytes'])}"] if "captures_bytes" in disk else []
    parts += [f"{number(disk['deleted'])} deleted to make room"] if disk.get("deleted") else []
    if disk.get("written_bytes_per_hour") is not None:
        parts.append(
            f"{size(disk['written_bytes_per_hour'])} written and {number(disk['syncs_per_hour'])} syncs an hour"
        )
    undated = ""
    if waiting := disk.get("sync_undated"):
        undated = f" {number(waiting)} pictures wait for the clock to be set, since their names are dates."
    return f"Disk: {', '.join(parts)}.{undated}"
