"""`capture-agent datasets`: named groups of captures."""

import sys
from pathlib import Path

import click

from agent.catalogue import Catalogue
from agent.cli.place import JSON_OPTION, with_data_dir
from agent.cli.show import number, print_json, print_table, size
from agent.cli.store import stored, with_filters
from agent.query import Query

_WHICH = click.argument("which", nargs=-1, metavar="[CAPTURE]...")


@click.group
def datasets() -> None:
    """Name groups of captures; `captures export --dataset NAME` writes one out."""


@datasets.command("list")
@JSON_OPTION
@with_data_dir
def list_datasets(data_dir: Path, as_json: bool) -> None:
    """List the groups there are."""
    with stored(data_dir) as (catalogue, _):
        found = catalogue.datasets.names()
    if as_json:
        print_json({name: {"captures": captures, "bytes": count} for name, (captures, count) in found.items()})
    elif found:
        print_table(["Dataset~", "Captures>", "Size>"], [(name, number(n), size(b)) for name, (n, b) in found.items()])
    else:
        click.echo("There is no dataset.")


@datasets.command
@click.argument("group", metavar="NAME")
@JSON_OPTION
@with_data_dir
def show(data_dir: Path, group: str, as_json: bool) -> None:
    """Show the captures of a group; --json prints their uuids."""
    with stored(data_dir) as (catalogue, _):
        entries = list(catalogue.find(Query(dataset=group)))
    if as_json:
        print_json([entry.uuid for entry in entries])
        return
    for entry in entries:
        click.echo(entry.name)


@datasets.command
@click.argument("group", metavar="NAME")
@_WHICH
@with_filters
@with_data_dir
def add(data_dir: Path, group: str, which: tuple[str, ...], query: Query) -> None:
    """Add captures to a group: those named, those that the options choose, or with - uuids and names from the input."""
    with stored(data_dir) as (catalogue, _):
        try:
            added = catalogue.datasets.add(group, _chosen(catalogue, which, query))
        except ValueError as error:
            raise click.ClickException(str(error)) from None
    click.echo(f"{number(added)} captures were added to {group}")


@datasets.command
@click.argument("group", metavar="NAME")
@_WHICH
@with_filters
@click.option("--all", "everything", is_flag=True, help="All of it: then there is no such group.")
@with_data_dir
def remove(data_dir: Path, group: str, which: tuple[str, ...], query: Query, everything: bool) -> None:
    """Take captures out of a group; they stay captures."""
    with stored(data_dir) as (catalogue, _):
        chosen = None if everything else _chosen(catalogue, which, query)
        removed = catalogue.datasets.remove(group, chosen)
    click.echo(f"{number(removed)} captures were taken out of {group}")


def _chosen(catalogue: Catalogue, which: tuple[str, ...], query: Query) -> list[str]:
    """uuids."""
    if which == ("-",):
        which = tuple(sys.stdin.read().replace(",", " ").replace('"', " ").strip(" []\n").split())
    if not which and query == Query():
        raise click.UsageError("of which? name captures, or choose with the options")
    return [catalogue.entry(each).uuid for each in which] or [entry.uuid for entry in catalogue.find(query)]
