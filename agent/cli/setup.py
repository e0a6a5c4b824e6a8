"""`capture-agent setup`: looks at what is attached, asks a few questions, and writes a configuration that works."""

import os
import tomllib
from pathlib import Path
from typing import Any

import click

from agent.cli import DEFAULT_CONFIG
from agent.cli.doctor import watching


@click.command
@click.option("--yes", is_flag=True, help="Ask nothing: everything that is found, to no target yet.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The file to write.",
)
@click.option("--device", help="Name of this device; the host's name if not given.")
@click.option("--data", "data_dir", type=click.Path(path_type=Path), help="The data folder.")
@click.option("--bus", "buses", type=click.IntRange(0), multiple=True, help="Look at this I2C bus, too; repeatable.")
@click.option("--virtual", "use_virtual", is_flag=True, help="Virtual devices instead of what is attached.")
def setup(
    yes: bool, output: Path, device: str | None, data_dir: Path | None, buses: tuple[int, ...], use_virtual: bool
) -> None:
    """Write a configuration that works, by looking at what is attached and asking a few questions.

    Chips are recognised by their registers, microcontrollers by what they send (each speed is listened to for some
    seconds; many boards start anew at that), cameras by libcamera. Stop the service first: what it has open cannot be
    looked at. A file that is there is only replaced where you say so, and kept beside it as NAME.old.
    """
    from agent.config.loading import AgentSettings
    from agent.doctor.sandbox import sandbox
    from agent.doctor.scene import Scene
    from agent.setup.candidates import attached, virtual
    from agent.setup.proposal import Proposal, write

    _may_write(output, yes=yes)
    with watching() as shown:
        found = virtual() if use_virtual else attached(Scene.here(output, buses), shown.progress)
    for remark in found.remarks:
        click.echo(f"found, and not recorded: {remark}")
    chosen = [one for one in found.candidates if _wanted(one.what, yes=yes)]
    if not chosen:
        raise click.ClickException(
            "no sensor is left to record; `capture-agent doctor` says why one is not found, --bus N looks at another"
            " I2C bus, --virtual takes virtual devices"
        )
    usual = str(data_dir or AgentSettings().data_dir)
    if not yes:
        device = device or click.prompt("Name of this device", default=_host())
        usual = usual if data_dir else click.prompt("Folder for captures", default=usual)
    targets = {} if yes else _targets()
    proposal = Proposal(device or "", str(Path(usual).absolute()), chosen, targets, found.remarks)
    try:
        write(proposal, output)
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"\nwrote {output}: {', '.join(proposal.named())} to {', '.join(targets) or 'no target yet'}")
    for finding in sandbox(Scene.here(output, ())):
        click.echo(f"{finding.seen}\n  -> {finding.remedy}")
    click.echo(f"what it records and costs:  capture-agent check {output}")
    if str(output) == DEFAULT_CONFIG:
        click.echo("start it:                   sudo systemctl enable --now capture-agent")
    else:
        click.echo(f"try it:                     capture-agent run --config {output}")


def _may_write(output: Path, *, yes: bool) -> None:
    if not output.parent.is_dir():
        raise click.ClickException(f"there is no folder {output.parent}; make it, or choose another --output")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise click.ClickException(f"you may not write in {output.parent}; try sudo, or another --output")
    if not output.exists() or (str(output) == DEFAULT_CONFIG and _says_nothing(output)):
        return
    if yes:
        raise click.ClickException(f"{output} is there already; choose another --output, or leave --yes away")
    click.confirm(f"{output} is there already. Replace it", abort=True)


def _says_nothing(config: Path) -> bool:
    """Whether it only has comments, as the one that an installation leaves."""
    try:
        return not tomllib.loads(config.read_text())
    except (OSError, ValueError):
        return False


def _wanted(what: str, *, yes: bool) -> bool:
    if yes:
        click.echo(f"found: {what}")
        return True
    return click.confirm(f"Record {what}", default=True)


def _host() -> str:
    import socket

    return socket.gethostname()


def _targets() -> dict[str, dict[str, Any]]:
    """Asks for targets, until there are no more."""
    from agent.config.modules import TARGETS

    found: dict[str, dict[str, Any]] = {}
    kinds = click.Choice([*TARGETS.names, "none"])
    while True:
        again = "another target" if found else "captures"
        kind = click.prompt(f"Deliver {again} to", type=kinds, default="none")
        if kind == "none":
            return found
        name, number = kind, 2
        while name in found:
            name, number = f"{kind}_{number}", number + 1
        found[name] = _target(name, kind)


def _target(name: str, kind: str) -> dict[str, Any]:
    """Asks for what a target has to be told, until it is right."""
    from agent.setup.proposal import mistakes, questions

    while True:
        table: dict[str, Any] = {"kind": kind}
        for option in questions(kind):
            click.echo(f"{option.path}: {option.doc}" + (f", such as {option.example}" if option.example else ""))
            table[option.path] = _value(click.prompt(f"  {option.path}"), option.allowed)
        wrong = mistakes(name, table)
        if not wrong:
            click.echo(f"(what else can be said of it: capture-agent targets {kind})")
            return table
        for mistake in wrong:
            click.echo(f"  {mistake}", err=True)


def _value(text: str, allowed: str) -> Any:
    """What was typed: text as it is, everything else as TOML has it."""
    if allowed.startswith("text"):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
