"""`capture-agent doctor`: findings as they come, each with its remedy; JSON; a bundle for a bug report."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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
    with looking(quiet=as_json) as progress:
        for finding in examine(scene, progress):
            findings.append(finding)
            if not as_json:
                _print(finding.state, f"{finding.about}: {finding.seen}", finding.remedy)
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


@contextlib.contextmanager
def looking(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Shows what is looked at now, where a person watches."""
    if quiet or not sys.stderr.isatty():
        yield lambda what: None
        return
    with console(err=True).status("") as status:
        yield lambda what: status.update(f"looking at {what} ...")


def _print(state: str, seen: str, remedy: str) -> None:
    word, colour = _SHOWN[state]
    click.echo(f"{click.style(word, fg=colour, bold=True)} {seen}")
    if remedy:
        click.echo(f"     -> {remedy}")
