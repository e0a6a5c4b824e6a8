"""What captures are called by, what was measured when, and small pictures of them, on the command line."""

import csv
import sys
from pathlib import Path

import click

from agent.cli.place import JSON_OPTION, with_data_dir
from agent.cli.show import number, print_json, print_table
from agent.cli.store import stored, with_filters
from agent.clock import iso
from agent.query import Query

_KINDS = {"labels": "label", "metadata": "metadata", "tags": "tag", "streams": "stream"}


@click.command
@click.argument("kind", type=click.Choice(list(_KINDS)))
@JSON_OPTION
@with_data_dir
def values(data_dir: Path, kind: str, as_json: bool) -> None:
    """List the names and values of all labels, metadata, tags or streams, and how many captures have them."""
    with stored(data_dir) as (catalogue, _):
        found = catalogue.values(_KINDS[kind])
    if as_json:
        print_json(found)
    elif found:
        rows = [(name, value, number(count)) for name, counts in found.items() for value, count in counts.items()]
        print_table(["Name", "Value~", "Captures>"], rows)
    else:
        click.echo(f"No capture has {kind}.")


@click.command
@with_filters
@click.option("--channel", "channels", multiple=True, help="This channel alone; may be repeated.")
@click.option("--every", "every_s", type=click.FloatRange(min=0), default=0.0, help="Means of so many seconds.")
@with_data_dir
def series(data_dir: Path, query: Query, channels: tuple[str, ...], every_s: float) -> None:
    """Print what was measured in a range of time (--since, --until), over all captures, as CSV."""
    from agent.series import between

    writer = csv.writer(sys.stdout)
    writer.writerow(["time", "capture", "channel", "value", "unit"])
    with stored(data_dir) as (catalogue, _):
        try:
            for entry, found in between(catalogue, query, channels=channels, every_s=every_s):
                for one in found:
                    for time_s, value in zip(one.times_s.tolist(), one.values.tolist(), strict=True):
                        writer.writerow(
                            [iso(round(time_s * 1e6) * 1000), entry.name, one.name, f"{value:.7g}", one.unit]
                        )
        except ValueError as error:
            raise click.ClickException(str(error)) from None


@click.command
@click.argument("capture")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Else CAPTURE.jpg or .png here.")
@click.option("--px", default=160, type=click.IntRange(16, 4096), show_default=True, help="Pixels of the longer side.")
@with_data_dir
def thumbnail(data_dir: Path, capture: str, output: Path | None, px: int) -> None:
    """Write a small picture of a CAPTURE: a JPEG of a picture, a PNG with the curves of samples."""
    from agent.thumbnails import thumbnail as small

    with stored(data_dir) as (catalogue, _):
        found = catalogue.get(capture)
        try:
            content, media_type = small(found, px)
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from None
    path = output or Path(f"{found.name}.thumbnail.{'jpg' if media_type == 'image/jpeg' else 'png'}")
    path.write_bytes(content)
    click.echo(f"{path}: {len(content)} bytes")
