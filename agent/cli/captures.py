"""`capture-agent captures`: find, show, copy, draw and sum up what was recorded."""

import dataclasses
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from agent.cli.delete import delete
from agent.cli.looking import series, thumbnail, values
from agent.cli.place import JSON_OPTION, with_data_dir
from agent.cli.show import followed, number, print_json, print_table, size, span
from agent.cli.store import stored, with_filters
from agent.clock import iso
from agent.query import Entry, Query


@click.group
def captures() -> None:
    """Find, show, copy, draw and sum up captures."""


@captures.command("list")
@with_filters
@click.option("--limit", default=50, show_default=True, help="Most captures, the newest; 0: all. All with --json.")
@click.option("--deleted", is_flag=True, help="Also those whose files were deleted to make room.")
@JSON_OPTION
@with_data_dir
def list_captures(data_dir: Path, query: Query, limit: int, deleted: bool, as_json: bool) -> None:
    """List captures, the newest first."""
    query = dataclasses.replace(query, deleted=deleted)
    with stored(data_dir) as (catalogue, _):
        found = catalogue.find(query, newest_first=True, limit=None if as_json or not limit else limit + 1)
        if as_json:
            print_json([_entry(entry) for entry in found])
            return
        entries = list(found)
    if not entries:
        click.echo("There is no such capture.")
        return
    shown = entries[:limit] if limit else entries
    rows = [(e.name, span(e.duration_s), size(e.size), e.standing) for e in shown]
    print_table(["Capture", "Lasts>", "Size>", "Is~"], rows)
    if len(entries) > len(shown):
        click.echo(f"There are more than these {len(shown)}: choose, or see all with --limit 0.")


@captures.command
@click.argument("capture")
@JSON_OPTION
@with_data_dir
def show(data_dir: Path, capture: str, as_json: bool) -> None:
    """Show one CAPTURE, by its name, its uuid or the beginning of it; --json prints its sidecar."""
    with stored(data_dir) as (catalogue, _):
        found = catalogue.get(capture)
    document: Any = found.document
    if as_json:
        print_json(document)
        return
    start = document["start"]
    facts = [
        ("uuid", f"{found.uuid}, revision {found.revision}"),
        ("recording", found.recording),
        ("device", " ".join(filter(None, (document["device"]["name"], document["device"]["model"])))),
        ("start", f"{start['wall_time']} (clock {start['clock']})"),
        ("lasts", span(document["duration_s"])),
        ("configuration", f"{document['configuration']['name']} {document['configuration']['uuid']}"),
        ("labels", _pairs(document["labels"])),
        ("metadata", _pairs(document["metadata"])),
        *([("tags", ", ".join(document["tags"]))] if document.get("tags") else []),
        ("folder", found.folder),
    ]
    print_table(["", "~"], facts, title=found.name)
    streams = [(s["name"], s["model"], *_stream(s)) for s in document["streams"]]
    print_table(["Stream~", "Model~", "Samples>", "Hz>", "Lost>", "Gaps>"], streams)
    channels = [
        (c["name"], c["unit"], number(c["scale"]), number(c.get("clipped")))
        for stream in document["streams"]
        for c in stream["channels"]
    ]
    if channels:
        print_table(["Channel", "Unit", "Scale>", "Clipped>"], channels)
    segments = [
        (number(one["first"]), number(one["samples"]), number(one.get("begin_s")), _pairs(one["labels"]))
        for one in document.get("segments", ())
    ]
    if segments:
        print_table(["Segment at>", "Samples>", "Second>", "Labels~"], segments)
    seen = document.get("annotations", {})
    shown = [(one["label"], "", number(one.get("confidence"))) for one in seen.get("classifications", ())]
    shown += [
        (
            one["label"],
            " ".join(number(one[corner]) for corner in ("x_min", "y_min", "x_max", "y_max")),
            number(one.get("confidence")),
        )
        for one in seen.get("boxes", ())
    ]
    if shown:
        print_table(["Shows~", "Where", "Confidence>"], shown)
    print_table(["Payload~", "Format", "Size>"], [(p.file, p.format, size(p.size)) for p in found.payloads])


@captures.command
@with_filters
@JSON_OPTION
@with_data_dir
def stats(data_dir: Path, query: Query, as_json: bool) -> None:
    """Sum up captures: how many, how long, how large, by recording, and what has become of them."""
    sums: dict[str, dict[str, Any]] = defaultdict(
        lambda: {"captures": 0, "seconds": 0.0, "bytes": 0, "first": None, "last": None, "standing": defaultdict(int)}
    )
    with stored(data_dir) as (catalogue, _):
        for entry in catalogue.find(query):
            found = sums[entry.recording]
            found["captures"] += 1
            found["seconds"] += entry.duration_s
            found["bytes"] += entry.size
            found["first"] = found["first"] or iso(entry.started_ns)
            found["last"] = iso(entry.started_ns)
            found["standing"][entry.standing] += 1
    if as_json:
        print_json(sums)
    elif sums:
        rows = [
            (name, number(f["captures"]), span(f["seconds"]), size(f["bytes"]), f["first"][:16], _pairs(f["standing"]))
            for name, f in sorted(sums.items())
        ]
        print_table(["Recording~", "Captures>", "Together>", "Size>", "Since", "Of which~"], rows)
    else:
        click.echo("There is no such capture.")


@captures.command
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("which", nargs=-1, metavar="[CAPTURE]...")
@with_filters
@click.option("--format", "kind", help="Convert samples to this format: csv, wav, mcap ...")
@with_data_dir
def export(data_dir: Path, folder: Path, which: tuple[str, ...], query: Query, kind: str | None) -> None:
    """Copy captures to FOLDER, payloads and sidecars, each verified; what is there already is left alone.

    The captures named (name, uuid or its beginning), or all that the options choose.
    """
    from agent.cli.export import Export

    with stored(data_dir) as (catalogue, _):
        entries = [catalogue.entry(each) for each in which] if which else list(catalogue.find(query))
        if not entries:
            raise click.ClickException("there is no such capture")
        folder.mkdir(parents=True, exist_ok=True)
        exporting = Export(folder, kind)
        with followed(entries, "Exporting") as bar:
            for entry in bar:
                exporting.add(catalogue.load(entry))
    said = f"{exporting.written} of {len(entries)} captures written to {folder}"
    click.echo(f"{said}, {exporting.there} were there already" if exporting.there else said)
    for failure in exporting.failed:
        click.secho(f"! {failure}", fg="red", err=True)
    if exporting.failed:
        raise SystemExit(1)


@captures.command
@click.argument("capture")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="The PNG; else CAPTURE.png here.")
@click.option("--terminal", is_flag=True, help="Draw in the terminal instead.")
@with_data_dir
def plot(data_dir: Path, capture: str, output: Path | None, terminal: bool) -> None:
    """Draw the samples of a CAPTURE in physical units, gaps shown: a PNG, or lines in the terminal.

    A PNG needs matplotlib (pip install 'capture-agent[plot]'); where it is missing, lines are drawn.
    """
    from agent.cli import figures
    from agent.series import samples

    with stored(data_dir) as (catalogue, _):
        found = catalogue.get(capture)
    try:
        drawn = samples(found)
    except (LookupError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None
    if not drawn.count:
        raise click.ClickException(f"capture {found.name} has no samples")
    start = found.document["start"]
    if not terminal:
        path = output or Path(f"{found.name}.png")
        subtitle = f"{found.document['device']['name']}, {start['wall_time'][:19].replace('T', ' ')} UTC, {found.uuid}"
        try:
            figures.png(drawn, path, title=_title(found.document), subtitle=subtitle)
        except ImportError:
            click.echo("matplotlib is not installed (pip install 'capture-agent[plot]'); in the terminal:", err=True)
        else:
            click.echo(f"{path}: {number(drawn.count)} samples, {_gaps(drawn.gaps_s)}")
            return
    click.echo(f"{found.name}: {span(found.document['duration_s'])}, {_gaps(drawn.gaps_s)}")
    for line in figures.lines(drawn, shutil.get_terminal_size().columns):
        click.echo(line)


for _command in (values, series, thumbnail, delete):
    captures.add_command(_command)


def _gaps(gaps: Sequence[object]) -> str:
    return f"{len(gaps)} gap{'' if len(gaps) == 1 else 's'}"


def _title(document: Any) -> str:
    models = [stream["model"] for stream in document["streams"]]
    labels = _pairs(document["labels"])
    return f"{document['recording']}: {' and '.join(models)}{', ' + labels if labels else ''}"


def _entry(entry: Entry) -> dict[str, Any]:
    return {**dataclasses.asdict(entry), "started": iso(entry.started_ns)}


def _stream(stream: Any) -> tuple[str, ...]:
    rate, lost = stream["rate_hz"], stream["lost"]
    missing = number(lost["samples"]) + ("" if lost["exact"] else " (estimated)")
    return number(stream["samples"]), number(rate["measured"] or rate["nominal"]), missing, number(len(stream["gaps"]))


def _pairs(table: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in table.items())
