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
