"""`capture-agent captures delete`: files that are not needed here any more; asks first, and keeps what is owed."""

import sqlite3
from pathlib import Path

import click

from agent.cli.place import with_data_dir
from agent.cli.show import followed, size
from agent.cli.store import stored, with_filters
from agent.query import Query

_BATCH = 200
_GIVEN_UP = "deleted by a person"


@click.command
@click.argument("which", nargs=-1, metavar="[CAPTURE]...")
@with_filters
@click.option("--owed", is_flag=True, help="Also those that are still owed, which are then given up.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_data_dir
def delete(data_dir: Path, which: tuple[str, ...], query: Query, owed: bool, yes: bool) -> None:
    """Delete the files of captures here: those named, or all that the options choose (--until 30d: older ones).

    What targets have stays there. What is still owed, or refused, is spared without --owed.
    """
    if not which and query == Query():
        raise click.UsageError("of which? name captures, or choose with the options")
    with stored(data_dir) as (catalogue, outbox):
        found = [catalogue.entry(each) for each in which] or list(catalogue.find(query))
        here = [entry for entry in found if not entry.deleted]
        going = [entry for entry in here if owed or entry.standing != "owed"]
        if spared := len(here) - len(going):
            click.echo(f"{spared} are still owed, and stay (--owed deletes them too)")
        if not going:
            click.echo("There is nothing to delete.")
            return
        only = sum(entry.standing != "delivered" for entry in going)
        what = f"{len(going)} captures, {size(sum(entry.size for entry in going))}"
        if not yes:
            click.confirm(f"Delete {what}{f', {only} of which are nowhere else' if only else ''}?", abort=True)
        gone = 0
        batches = [[entry.uuid for entry in going[first : first + _BATCH]] for first in range(0, len(going), _BATCH)]
        with followed(batches, "Deleting") as bar:
            for uuids in bar:

                def give_up(connection: sqlite3.Connection, uuids: list[str] = uuids) -> None:
                    outbox.give_up(connection, uuids, _GIVEN_UP)

                gone += catalogue.delete(uuids, also=give_up)
    click.echo(f"{what} deleted")
