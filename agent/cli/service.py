"""`capture-agent run`, `reload` and `demo`, as the command line's parser sees them."""

from pathlib import Path

import click

from agent.cli.place import CONFIG_OPTION, ask, ask_if_running, used_data_dir
from agent.cli.show import number, print_table


@click.command("run")
@CONFIG_OPTION
@click.pass_context
def run_command(ctx: click.Context, config: Path) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C."""
    from agent.cli.run import run

    ctx.exit(run(config))


@click.command("reload")
@CONFIG_OPTION
@click.option("--data", type=click.Path(path_type=Path), help="The data folder itself, instead of --config.")
def reload_command(config: Path, data: Path | None) -> None:
    """Make the running daemon read its configuration again, check it, and restart what differs.

    A wrong configuration changes nothing, and the exit code is not 0. Secrets are read when they are used next.
    """
    from agent.config.loading import AgentSettings, ConfigError

    try:
        place = data if data is not None else used_data_dir(config)
    except ConfigError:
        answer = ask_if_running(AgentSettings().data_dir, "reload", timeout=90.0)  # the daemon is to hear of it, too
        if answer is None:
            raise
    else:
        answer = ask(place, "reload", timeout=90.0)
    click.echo(answer)


@click.command("demo")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default="demo-data",
    show_default=True,
    help="Where everything of the demo goes; what an earlier one left there is deleted.",
)
@click.option("--seconds", type=click.FloatRange(5, 3600), default=10.0, show_default=True, help="How long to capture.")
@click.pass_context
def demo_command(ctx: click.Context, folder: Path, seconds: float) -> None:
    """Show everything at work, without hardware, network or root: three virtual sensors, delivered twice.

    The exit code is 1 if anything was lost, is still owed, or differs from what the virtual devices sent.
    """
    from agent.demo import main

    proof = main(folder, seconds, click.echo)
    streams = [(name, number(samples), number(rate_hz), number(lost)) for name, samples, rate_hz, lost in proof.streams]
    print_table(["Stream", "Samples>", "Hz>", "Lost>"], streams)
    targets = [(name, number(done), number(retried), number(owed)) for name, done, retried, owed in proof.targets]
    print_table(["Target", "Delivered>", "Retried>", "Owed>"], targets)
    click.echo(f"{proof.captures} captures lie in {proof.folder}/data/captures, and delivered in")
    click.echo(f"{proof.folder}/archive and {proof.folder}/received. Have a look:")
    click.echo(f"    capture-agent captures list --data {proof.folder}/data")
    for complaint in proof.complaints:
        click.secho(f"! {complaint}", fg="red")
    if not proof.complaints:
        click.echo("Every sample that the virtual devices sent is there, once, at every target.")
    ctx.exit(1 if proof.complaints else 0)
