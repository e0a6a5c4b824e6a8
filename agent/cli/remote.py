"""`capture-agent remote NAME`: what a target has of this device's captures, listed, shown, fetched back and deleted."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import click

from agent.capture import Capture
from agent.cli.place import CONFIG_OPTION, JSON_OPTION, existing
from agent.cli.reached import SINCE_OPTION, reached
from agent.cli.show import followed, print_json, print_table, size
from agent.cli.store import stored
from agent.config.loading import load
from agent.database import Database
from agent.query import Query
from agent.reconcile import there
from agent.removal import delete_there
from agent.targets import Failed, Refused, Removing, Target
from agent.targets._inventory import Fetching, Held

Found = tuple[Target, Iterator[tuple[Capture, Held]]]


@click.group
@click.argument("name")
@click.pass_context
def remote(ctx: click.Context, name: str) -> None:
    """Ask the target NAME what it has of captures that were delivered to it and are still known here."""
    ctx.obj = name


@remote.command("list")
@SINCE_OPTION
@CONFIG_OPTION
@JSON_OPTION
@click.pass_obj
def list_files(name: str, since: int | None, config: Path, as_json: bool) -> None:
    """List the files that it has."""
    with _found(name, config, since=since) as (_, files):
        _print(list(files), as_json=as_json)


@remote.command
@click.argument("capture")
@CONFIG_OPTION
@JSON_OPTION
@click.pass_obj
def show(name: str, capture: str, config: Path, as_json: bool) -> None:
    """Show the files that it has of one CAPTURE, by name or uuid."""
    with _found(name, config, capture) as (_, files):
        _print(list(files), as_json=as_json)


@remote.command
@click.argument("capture")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=".", help="Folder that gets them.")
@CONFIG_OPTION
@click.pass_obj
def download(name: str, capture: str, output: Path, config: Path) -> None:
    """Fetch the files of one CAPTURE back, each compared with its sidecar. What is there already is not replaced."""
    with _found(name, config, capture) as (target, files):
        if not isinstance(target, Fetching):
            raise Refused("of this kind, nothing can be fetched here")
        output.mkdir(parents=True, exist_ok=True)
        count = 0
        with followed(files, "Fetching") as bar:
            for its, held in bar:
                known = {payload.file: payload.sha256 for payload in its.payloads}
                _fetch(target, held, output, known.get(held.file, ""))
                count += 1
    if not count:
        raise click.ClickException(f"{name} has nothing of {capture}")
    click.echo(f"{count} files are in {output}")


@remote.command
@click.argument("which", nargs=-1, required=True, metavar="CAPTURE...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@CONFIG_OPTION
@JSON_OPTION
@click.pass_context
def delete(ctx: click.Context, which: tuple[str, ...], yes: bool, config: Path, as_json: bool) -> None:
    """Delete these captures at the target, for good; here, nothing is deleted, and nothing is sent again by itself.

    Deletes what this device delivered, and nothing else. Exit code 1: something is not deleted, and it is said why. To
    delete here, too: capture-agent withdraw --capture CAPTURE.
    """
    name: str = ctx.obj
    loaded = load(config)
    data_dir = existing(loaded.agent.data_dir)
    with stored(data_dir) as (catalogue, _), reached(loaded, name) as target, Database(data_dir / "agent.db") as at:
        entries = {entry.uuid: entry for entry in map(catalogue.entry, which)}
        if not yes:
            lost = sum(entry.deleted for entry in entries.values())
            more = f", {lost} of which are not on this device any more" if lost else ""
            click.confirm(f"Delete {len(entries)} captures at {name}{more}, for good?", abort=True)
        remove = target.remove if isinstance(target, Removing) else None
        fates = list(delete_there(at, name, remove, list(entries)))
    if as_json:
        print_json({"target": name, "captures": [dataclasses.asdict(fate) for fate in fates]})
    else:
        stays = {fate.capture: "stays there: " + "; ".join(fate.stays) for fate in fates if fate.stays}
        rows = [(entries[fate.capture].name, fate.state, stays.get(fate.capture, fate.said)) for fate in fates]
        print_table(["Capture", "Is", "Why, or what stays~"], rows)
        if any(fate.state == "removed" for fate in fates):
            again = f"capture-agent reconcile {name} --repair would send them again"
            click.echo(click.wrap_text(f"Nothing is sent there again by itself; {again}.", 80))
    ctx.exit(1 if any(fate.state in ("by hand", "failed", "on its way") for fate in fates) else 0)


@contextlib.contextmanager
def _found(name: str, config: Path, capture: str = "", since: int | None = None) -> Iterator[Found]:
    loaded = load(config)
    with stored(existing(loaded.agent.data_dir)) as (catalogue, outbox), reached(loaded, name) as target:
        query = Query(uuid=catalogue.entry(capture).uuid) if capture else Query(since_ns=since)
        yield target, there(name, target, catalogue=catalogue, outbox=outbox, query=query)


def _print(found: list[tuple[Capture, Held]], *, as_json: bool) -> None:
    if as_json:
        print_json([{"capture": capture.uuid, **dataclasses.asdict(held)} for capture, held in found])
    elif not found:
        click.echo("It has nothing of them.")
    else:
        rows = [(held.file, "" if held.size is None else size(held.size), held.id) for _, held in found]
        print_table(["File~", "Size>", "Is there~"], rows)


def _fetch(target: Fetching, held: Held, output: Path, sha256: str) -> None:
    """Writes one file, under another name until it is whole. Failed where it is not what the sidecar says."""
    path = output / held.file  # of this name there is a file of the capture: it is a plain one
    if path.exists():
        raise Refused(f"{path} is there already")
    part = path.with_name(path.name + ".part")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as file:

            def take(piece: bytes) -> None:
                digest.update(piece)
                file.write(piece)

            target.fetch(held, take)
        if sha256 and digest.hexdigest() != sha256:
            raise Failed(f"{held.file} is another one there: its sha256 is not the sidecar's")
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
