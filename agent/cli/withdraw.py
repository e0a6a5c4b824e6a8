"""`capture-agent withdraw`: captures of a person, with a label, or by name are taken back, here and at the targets."""

import datetime
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from agent.cli.place import CONFIG_OPTION, ask_if_running, existing
from agent.cli.show import followed, print_table
from agent.cli.store import stored
from agent.config.loading import Config, load
from agent.context import Context
from agent.database import Database
from agent.folder import DataFolder
from agent.home import home_of
from agent.negative import NegativeError, NegativeReader
from agent.query import Query
from agent.removal import Fate, Remove
from agent.targets import Removing
from agent.withdrawal import OnItsWay, Withdrawal

_WAIT_S = 30.0
Pair = tuple[str, str]


@click.command
@click.option("--subject", help="All captures whose metadata or labels say this subject.")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="All with this label; may be repeated.")
@click.option("--capture", multiple=True, help="This one: its name, its uuid or the beginning of it; may be repeated.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@CONFIG_OPTION
@click.pass_context
def withdraw(
    ctx: click.Context, subject: str | None, label: tuple[str, ...], capture: tuple[str, ...], yes: bool, config: Path
) -> None:
    """Take captures back: delete their files here, their copies at each target that can, and what was said of them.

    What a person has to delete is printed, with where it is. A row stays for each capture, with its uuid and what
    became of it, without names. Exit code 1: a target could not be asked; the same command tries again.
    """
    if not (subject or label or capture):
        raise click.UsageError("of which? give --subject, --label or --capture")
    loaded = load(config)
    data_dir = existing(loaded.agent.data_dir)
    said = [("subject", subject)] if subject else []
    said += [(key, value) for key, _, value in (text.partition("=") for text in label)]
    running = ask_if_running(data_dir, "label")
    with ExitStack() as stack:
        catalogue, _ = stack.enter_context(stored(data_dir))
        database = stack.enter_context(Database(data_dir / "agent.db"))
        today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
        withdrawal = Withdrawal(database, catalogue, _removers(loaded, stack), today=today)
        queries = [Query(labels=[text]) for text in label] + [Query(uuid=catalogue.entry(c).uuid) for c in capture]
        if subject:
            queries += [Query(metadata=[f"subject={subject}"]), Query(labels=[f"subject={subject}"])]
        entries = withdrawal.find(queries)
        click.echo(f"{len(entries)} captures")
        if entries and not yes:
            click.confirm("Delete them here and at the targets, for good?", abort=True)
        try:
            withdrawal.hold(entries, _WAIT_S if running is not None else 0.0)
        except OnItsWay as error:
            raise click.ClickException(str(error)) from None
        with followed(entries, "Withdrawing") as bar:
            fates = [fate for entry in bar for fate in withdrawal.take_back(entry)]
        for key, value in said:
            Context(database).forget(key, value)
    _tell(fates)
    for line in _left(DataFolder(data_dir), said, running or {}):
        click.secho(f"! {line}", fg="yellow", err=True)
    ctx.exit(1 if any(fate.state == "failed" for fate in fates) else 0)


def _removers(config: Config, stack: ExitStack) -> dict[str, Remove]:
    """Those of the configured targets that can take back."""
    home = home_of(config)
    found: dict[str, Remove] = {}
    for name, given in config.targets.items():
        target = given.settings.open(home)
        stack.callback(target.close)
        if isinstance(target, Removing):
            found[name] = target.remove
    return found


def _tell(fates: list[Fate]) -> None:
    removed = [fate.target for fate in fates if fate.state == "removed"]
    for target in sorted(set(removed)):
        click.echo(f"{target}: {removed.count(target)} removed")
    stays = sorted({(fate.target, each) for fate in fates for each in fate.stays})
    if stays:
        print_table(["Target", "What stays there~"], stays)
    left = [(fate.target, fate.capture, fate.state, fate.said) for fate in fates if fate.state != "removed"]
    if left:
        print_table(["Target", "Capture~", "Is", "Where, or why~"], left)


def _left(folder: DataFolder, said: list[Pair], stamped: Mapping[str, Any]) -> list[str]:
    """What this command cannot reach, in words."""
    found = [
        f"recording {name} goes on saying it: capture-agent session --end, or label KEY="
        for name, document in stamped.items()
        if _says(document, said)
    ]
    unfinished = 0
    for path in folder.recording.glob("*"):
        try:
            document = json.loads(path.read_bytes()) if path.suffix == ".json" else NegativeReader(path).head
        except (NegativeError, ValueError, OSError):
            continue  # a payload, or gone
        unfinished += _says(document, said)
    if unfinished:
        found.append(f"{unfinished} captures are not finished yet and say it too: withdraw again when they are")
    if folder.quarantine.is_dir() and any(folder.quarantine.iterdir()):
        found.append(f"look by hand in {folder.quarantine}: what lies there is in no catalogue")
    return found


def _says(document: Mapping[str, Any], said: list[Pair]) -> bool:
    pairs = [pair for part in ("labels", "metadata") for pair in document.get(part, {}).items()]
    texts = {(key, value if isinstance(value, str) else json.dumps(value)) for key, value in pairs}
    return any((key, value) in texts or (not value and key in dict(pairs)) for key, value in said)
