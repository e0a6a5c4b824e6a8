"""`capture-agent targets test`: whether the configured targets can be reached and let us in."""

from pathlib import Path
from typing import Any

import click

from agent.cli.place import CONFIG_OPTION, JSON_OPTION
from agent.cli.show import print_json


@click.command(short_help="Try the credentials of targets, and a harmless round trip.")
@click.argument("name", required=False)
@CONFIG_OPTION
@JSON_OPTION
@click.pass_context
def test(ctx: click.Context, name: str | None, config: Path, as_json: bool) -> None:
    """Try the credentials of each configured target, or of the one called NAME, and a harmless round trip.

    Nothing is left behind there. Secrets of the service are read as root, in the folder secrets beside the
    configuration, or where $CREDENTIALS_DIRECTORY says. The exit code is 1 where a target is not as it should be.
    """
    from agent.config.loading import load
    from agent.home import home_of

    loaded = load(config)
    if name is not None and name not in loaded.targets:
        known = ", ".join(loaded.targets) or "none"
        raise click.ClickException(f"{config} has no target {name}; there is {known}")
    home, found = home_of(loaded), {}
    for each, target in loaded.targets.items():
        if name in (None, each):
            found[each] = {"kind": target.kind, **_tried(target.settings, home)}
            if not as_json:
                _print(each, found[each])
    if as_json:
        print_json(found)
    if not all(result["good"] for result in found.values()):
        ctx.exit(1)


def _tried(settings: Any, home: Any) -> dict[str, Any]:
    """Whether a target is good, what was found, and what is wrong."""
    from agent.doctor.network import tried

    found, error = tried(settings, home)
    return {"good": not error, "found": found, "error": error}


def _print(name: str, result: dict[str, Any]) -> None:
    verdict = click.style("good", fg="green") if result["good"] else click.style("wrong", fg="red")
    click.echo(f"{click.style(name, bold=True)} ({result['kind']}): {verdict}")
    for line in (*result["found"], *filter(None, [result["error"]])):
        click.echo(f"    {line}")
