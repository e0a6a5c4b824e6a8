"""`capture-agent configurations`: the set-ups that shaped what was recorded."""

from pathlib import Path

import click

from agent.cli.place import JSON_OPTION, with_data_dir
from agent.cli.show import number, print_json, print_table
from agent.cli.store import stored


@click.group
def configurations() -> None:
    """List and show capture configurations: equal set-ups have equal uuids, on every device."""


@configurations.command("list")
@JSON_OPTION
@with_data_dir
def list_configurations(data_dir: Path, as_json: bool) -> None:
    """List the configurations of all captures."""
    with stored(data_dir) as (catalogue, _):
        found = catalogue.configurations()
    if as_json:
        print_json([{"uuid": each.uuid, "name": each.name, "captures": count} for each, count in found])
    elif found:
        print_table(["Configuration", "Name~", "Captures>"], [(c.uuid, c.name, number(n)) for c, n in found])
    else:
        click.echo("There is no capture yet.")


@configurations.command
@click.argument("uuid")
@JSON_OPTION
@with_data_dir
def show(data_dir: Path, uuid: str, as_json: bool) -> None:
    """Show the configuration with that UUID (or its beginning)."""
    with stored(data_dir) as (catalogue, _):
        found = [each for each, _ in catalogue.configurations() if each.uuid.startswith(uuid.lower())]
    if len(found) != 1:
        raise click.ClickException(f"{len(found) or 'no'} configurations have a uuid that begins with {uuid!r}")
    configuration = found[0]
    if as_json:
        print_json(configuration.as_json())
        return
    click.echo(f"{configuration.name}  {configuration.uuid}")
    for stream in configuration.document["streams"]:
        click.echo(f"\n{stream['model']} at {number(stream['rate_hz'])} Hz")
        if stream["setup"]:
            print_table(["Setting", "Value"], stream["setup"].items())
        if stream["channels"]:
            rows = [
                (c["name"], c["dtype"], number(c["scale"]), number(c["offset"]), c["unit"]) for c in stream["channels"]
            ]
            print_table(["Channel", "Raw as", "Scale>", "Offset>", "Unit"], rows)
