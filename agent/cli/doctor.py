"""`capture-agent doctor`: findings as they come, each with its remedy; JSON; a bundle for a bug report."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from agent.cli.place import CONFIG_OPTION, JSON_OPTION
from agent.cli.show import console, print_json

_SHOWN = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command
@CONFIG_OPTION
@JSON_OPTION
@click.option("--bus", "buses", type=click.IntRange(0), multiple=True, help="Look at this I2C bus, too; repeatable.")
@click.option("--bundle", type=click.Path(path_type=Path, dir_okay=False), help="Write a .tar.gz for a bug report.")
@click.pass_context
def doctor(ctx: click.Context, config: Path, as_json: bool, buses: tuple[int, ...], bundle: Path | None) -> None:
    """Check everything that captures and deliveries depend on, and say what to do.

    Hardware is only read and listened to. (A serial port that nobody has open is opened for that, at which many boards
    start anew.) As root more can be seen. The exit code is 1 where something that is configured cannot work.

    A bundle has these findings, the configuration without its secrets and comments, status, versions and the last lines
    of the log. Have a look into it before you send it to anybody.
    """
    from agent.doctor import Finding
    from agent.doctor.bundle import report, write
    from agent.doctor.examination import examine
    from agent.doctor.scene import Scene

    if bundle is not None and bundle.exists():
        raise click.ClickException(f"{bundle} is there already; choose another name")
    scene = Scene.here(config, buses)
    findings: list[Finding] = []
    with watching(quiet=as_json) as shown:
        for finding in examine(scene, shown.progress):
            findings.append(finding)
            for line in () if as_json else _lines(finding):
                shown.echo(line)
    whole = report(findings)
    if as_json:
        print_json(whole)
    else:
        counts = {state: sum(finding.state == state for finding in findings) for state in _SHOWN}
        click.echo(f"\n{counts['ok']} good, {counts['warn']} to know, {counts['fail']} to mend")
    if bundle is not None:
        try:
            names = write(bundle, scene, findings)
        except OSError as error:
            raise click.ClickException(f"{bundle} cannot be written: {error.strerror}") from None
        click.echo(
            f"{bundle} has {', '.join(names)}; secrets are removed, but have a look before you send it", err=True
        )
    ctx.exit(0 if whole["good"] else 1)


class Watching(NamedTuple):
    """How to show what goes on."""

    progress: Callable[[str], None]
    """Says what is looked at now: in a line that goes again on a terminal, else in a line beside the output."""
    echo: Callable[[str], None]
    """Prints a line of the output meanwhile."""


@contextlib.contextmanager
def watching(*, quiet: bool = False) -> Iterator[Watching]:
    """For as long as something is looked at."""
    if quiet:
        yield Watching(lambda what: None, click.echo)
    elif not sys.stdout.isatty():
        yield Watching(lambda what: click.echo(f"looking at {what}", err=True), click.echo)
    else:
        from rich.text import Text

        on = console()
        with on.status("") as status:
            yield Watching(
                lambda what: status.update(f"looking at {what} ..."),
                lambda line: on.print(Text.from_ansi(line), soft_wrap=True),
            )


def _lines(finding: Any) -> Iterator[str]:
    word, colour = _SHOWN[finding.state]
    yield f"{click.style(word, fg=colour, bold=True)} {finding.about}: {finding.seen}"
    if finding.remedy:
        yield f"     -> {finding.remedy}"
