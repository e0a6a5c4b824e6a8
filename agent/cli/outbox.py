"""`capture-agent outbox`: what is owed to targets; trying and giving up, through the daemon where one runs."""

import dataclasses
from pathlib import Path

import click

from agent.cli.place import JSON_OPTION, ask_if_running, with_data_dir
from agent.cli.show import number, print_json, print_table, size
from agent.cli.store import stored

_STATES = ("waiting", "unsure", "leased", "refused", "delivered", "dropped")
_TARGET = click.option("--target", help="Of this target alone.")
_CAPTURE = click.option("--capture", help="Of this capture alone: its uuid or name.")


@click.group
def outbox() -> None:
    """List, retry and drop parcels: each is one capture that is owed to one target."""


@outbox.command("list")
@_TARGET
@click.option("--state", type=click.Choice(_STATES), help="In this state; else all that is not settled.")
@click.option("--limit", default=50, show_default=True, help="Most parcels of each target and state.")
@JSON_OPTION
@with_data_dir
def list_parcels(data_dir: Path, target: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List parcels, oldest first, and how many there are."""
    with stored(data_dir) as (_, owed):
        parcels = owed.list(target, state, limit=limit)
        counts = {name: found for name, found in owed.counts().items() if target in (None, name)}
    if as_json:
        print_json(
            {
                "counts": {name: dataclasses.asdict(found) for name, found in counts.items()},
                "parcels": [dataclasses.asdict(parcel) for parcel in parcels],
            }
        )
        return
    if parcels:
        rows = [(p.name, p.target, p.state, p.attempts, p.error) for p in parcels]
        print_table(["Capture", "Target", "State", "Tries>", "Reason~"], rows)
    else:
        click.echo("Nothing is owed." if state is None else f"No parcel is {state}.")
    if counts:
        sums = [
            (name, number(c.owed), size(c.owed_bytes), number(c.refused), number(c.delivered), number(c.dropped))
            for name, c in counts.items()
        ]
        print_table(["Target", "Owed>", "of>", "Refused>", "Delivered>", "Dropped>"], sums)


@outbox.command
@_TARGET
@_CAPTURE
@with_data_dir
def retry(data_dir: Path, target: str | None, capture: str | None) -> None:
    """Owe refused parcels again, and try now what rests after failures."""
    count = ask_if_running(data_dir, "retry", target=target, capture=capture)
    if count is None:
        with stored(data_dir) as (catalogue, owed):
            count = owed.retry(target, None if capture is None else catalogue.entry(capture).uuid)
    click.echo(f"{count} parcel{'' if count == 1 else 's'} will be tried again")


@outbox.command
@_TARGET
@_CAPTURE
@click.option("--owed", "also_owed", is_flag=True, help="Also those that are not refused but still owed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_data_dir
def drop(data_dir: Path, target: str | None, capture: str | None, also_owed: bool, yes: bool) -> None:
    """Give up refused parcels: they are owed no longer, and retention may delete their captures."""
    if target is None and capture is None:
        raise click.UsageError("of which? name a --target, a --capture or both")
    if not yes:
        of = " and ".join(f"{what} {name}" for what, name in (("target", target), ("capture", capture)) if name)
        click.confirm(f"Give up what {'is owed or refused' if also_owed else 'was refused'} of {of}?", abort=True)
    only = not also_owed
    count = ask_if_running(data_dir, "drop", timeout=60.0, target=target, capture=capture, refused_only=only)
    if count is None:
        with stored(data_dir) as (catalogue, owed):
            uuid = None if capture is None else catalogue.entry(capture).uuid
            count = owed.drop(target, uuid, refused_only=only, reason="dropped by a person")
    click.echo(f"{count} parcel{'' if count == 1 else 's'} given up")
