"""Commands to a running daemon, one each as the table of commands has them."""

import json
from pathlib import Path
from typing import Any

import click

from agent.cli.place import JSON_OPTION, ask, with_data_dir
from agent.cli.show import matching, number, print_json, print_table
from agent.commands import COMMANDS


def _command(name: str) -> click.Command:
    """A click command that asks the daemon and says its answer."""
    command = COMMANDS[name]

    @with_data_dir
    @JSON_OPTION
    def asking(data_dir: Path, as_json: bool, **arguments: Any) -> None:
        answer = ask(data_dir, name, **arguments)
        if as_json:
            print_json(answer)
        elif isinstance(answer, dict):
            print_table(["Name", "Value>"], [(key, _plain(value)) for key, value in answer.items()])
        else:
            click.echo(answer)

    asking.__name__ = name
    asking.__doc__ = f"{command.doc[0].upper()}{command.doc[1:]}."
    for argument in reversed(command.arguments):
        asking = click.argument(argument.name, required=argument.required)(asking)
        asking.__doc__ = f"{asking.__doc__}\n\n{argument.name.upper()}: {argument.doc}."
    return click.command(name)(asking)


def _plain(value: object) -> str:
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


start = _command("start")
stop = _command("stop")
trigger = _command("trigger")
sync = _command("sync")
pause = _command("pause")
resume = _command("resume")
snapshot = _command("snapshot")


@click.command
@click.argument("labels", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Metadata instead of a label; may be repeated.")
@click.option("--recording", help="For this recording alone.")
@with_data_dir
def label(data_dir: Path, labels: tuple[str, ...], metadata: tuple[str, ...], recording: str | None) -> None:
    """Label each capture that begins from now on, also after a restart, until the configuration says otherwise.

    KEY= removes a label. Numbers, true and false are taken as such; quote them ('"5"') where they are text.
    """
    answer = ask(
        data_dir,
        "label",
        labels=values("labels", labels),
        metadata=values("--metadata", metadata),
        recording=recording,
    )
    _tell(answer)


@click.command
@click.argument("session", required=False)
@click.option("--subject", help="Who or what is measured.")
@click.option("--condition", help="Under which condition.")
@click.option("--trial", help="Name of the trial.")
@click.option("--end", is_flag=True, help="Removes what is not given.")
@click.option("--recording", help="For this recording alone.")
@with_data_dir
def session(data_dir: Path, end: bool, recording: str | None, **names: str | None) -> None:
    """Say whose captures begin from now on, also after a restart: SESSION, subject, condition and trial.

    They are metadata of these names. Nothing given: what holds now is shown.
    """
    given = {level: "" if end and name is None else name for level, name in names.items()}
    _tell(ask(data_dir, "session", recording=recording, **given))


@click.command
@click.argument("labels", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--recording", help="In this recording alone.")
@with_data_dir
def mark(data_dir: Path, labels: tuple[str, ...], recording: str | None) -> None:
    """Mark this moment in the captures in progress: a segment of no samples, with these labels, or mark=true."""
    answer = ask(data_dir, "mark", labels=values("labels", labels), recording=recording)
    click.echo(f"marked in {', '.join(answer['marked'])}")


def _tell(answer: dict[str, Any]) -> None:
    for name, document in answer.items():
        click.echo(f"{name}: {json.dumps(document, ensure_ascii=False)}")


def values(option: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    """`KEY=VALUE` arguments as a dict; numbers, true and false as such, None where nothing follows the `=`."""
    found: dict[str, Any] = {}
    for key, text in matching(option, pairs).items():
        try:
            value = json.loads(text)
        except ValueError:
            value = text or None
        found[key] = value if value is None or isinstance(value, str | int | float) else text
    return found
