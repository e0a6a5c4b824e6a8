"""`capture-agent run` and `demo`, as the command line's parser sees them."""

from pathlib import Path

import click

from agent.cli.place import CONFIG_OPTION


@click.command("run")
@CONFIG_OPTION
@click.pass_context
def run_command(ctx: click.Context, config: Path) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C."""
    from agent.cli.run import run

    ctx.exit(run(config))


@click.command("demo")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("demo-data"), show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(10, 3600), default=12.0, show_default=True, help="How long to capture."
)
@click.pass_context
def demo_command(ctx: click.Context, folder: Path, seconds: float) -> None:
    """Capture three virtual sensors with the real daemon, deliver them through an outage, and check every sample.

    Takes the capturing time and about 5 s. The folder holds the configuration, the log, the captures and both copies.
    """
    from agent import demo
    from agent.cli.demo import report

    ctx.exit(report(demo.main(folder, seconds, click.echo)))
