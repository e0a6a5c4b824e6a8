"""The tree of commands: names and one line of help each, and what their errors mean to the shell."""

import importlib
from typing import Any

import click

from agent.config.errors import ConfigError

COMMANDS = {
    "run": ("agent.cli.service:run_command", "Run the daemon in the foreground."),
    "demo": ("agent.cli.service:demo_command", "Show everything at work with virtual sensors, in 15 s."),
    "check": ("agent.cli.check:check", "Check a configuration; say what it will record and cost."),
    "doctor": ("agent.cli.doctor:doctor", "Check everything, and say what to do."),
    "setup": ("agent.cli.setup:setup", "Write a configuration, by looking at what is attached."),
    "status": ("agent.cli.status:status", "Show how the daemon, its streams and its targets are."),
    "captures": ("agent.cli.captures:captures", "List, show, export, plot and sum up captures."),
    "datasets": ("agent.cli.datasets:datasets", "Name groups of captures."),
    "configurations": ("agent.cli.configurations:configurations", "List and show capture configurations."),
    "outbox": ("agent.cli.outbox:outbox", "List, retry and drop what is owed to targets."),
    "reconcile": ("agent.cli.reconcile:reconcile", "Find what is missing at a target, and send it again."),
    "remote": ("agent.cli.remote:remote", "List, show, download and delete what a target has."),
    "label": ("agent.cli.ask:label", "Label what is recorded from now on."),
    "session": ("agent.cli.ask:session", "Say whose captures begin from now on."),
    "mark": ("agent.cli.ask:mark", "Mark this moment in what is being recorded."),
    "annotate": ("agent.cli.annotate:annotate", "Label, tag and mark a finished capture or parts of it."),
    "withdraw": ("agent.cli.withdraw:withdraw", "Take captures back, here and at the targets."),
    "trigger": ("agent.cli.ask:trigger", "Record one capture (or take one picture) now."),
    "start": ("agent.cli.ask:start", "Start a recording."),
    "stop": ("agent.cli.ask:stop", "Stop a recording."),
    "streams": ("agent.cli.streams:streams", "Show newest values, rate, jitter and loss of each stream, also live."),
    "calibrate": ("agent.cli.calibrate:calibrate", "Find bias, scale and mounting of a stream's sensors."),
    "snapshot": ("agent.cli.ask:snapshot", "Show the newest sample of a stream."),
    "reload": ("agent.cli.service:reload_command", "Make the daemon read its configuration again."),
    "sync": ("agent.cli.ask:sync", "Try now what waits for its next attempt."),
    "pause": ("agent.cli.ask:pause", "Send nothing more to a target."),
    "resume": ("agent.cli.ask:resume", "Send to a target again."),
    "recover": ("agent.cli.recover:recover", "Make captures of negatives and orphaned files."),
    "drivers": ("agent.cli.modules:drivers", "List drivers, or the options of one."),
    "targets": ("agent.cli.modules:targets", "List kinds of targets, or the options of one."),
}


class Tree(click.Group):
    """A group whose commands are imported when they are used; errors of the house become exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for mistake in error.mistakes:
                click.echo(str(mistake), err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            ctx.exit(1)  # whoever read the output, `head` for instance, has read enough


@click.group(cls=Tree, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="capture-agent")
def cli() -> None:
    """Sensor captures from a Raspberry Pi to any capture platform, with nothing lost."""
