"""`capture-agent reconcile`: what a target has, held against what was delivered; what is missing is sent again."""

import dataclasses
from collections import Counter
from pathlib import Path

import click

from agent.cli.place import CONFIG_OPTION, JSON_OPTION, existing
from agent.cli.reached import SINCE_OPTION, reached
from agent.cli.show import print_json, print_table
from agent.cli.store import stored
from agent.config.loading import load
from agent.database import Database
from agent.reconcile import Verdict, owe_again
from agent.reconcile import reconcile as compared


@click.command
@click.argument("name")
@SINCE_OPTION
@click.option("--repair", is_flag=True, help="Owe again what is missing.")
@CONFIG_OPTION
@JSON_OPTION
@click.pass_context
def reconcile(ctx: click.Context, name: str, since: int | None, repair: bool, config: Path, as_json: bool) -> None:
    """Ask the target NAME for all captures that count as delivered to it, and list those that it does not have.

    Names, sizes and hashes of payloads are compared, as far as the platform tells them. What is there with another
    content is listed and left alone. A daemon may be running. Exit code 1: something is missing, or another.
    """
    loaded = load(config)
    data_dir = existing(loaded.agent.data_dir)
    with stored(data_dir) as (catalogue, outbox), reached(loaded, name) as target:
        verdicts = list(compared(name, target, catalogue=catalogue, outbox=outbox, since_ns=since))
        owed = 0
        if repair:
            with Database(data_dir / "agent.db") as database:
                owed = owe_again(database, verdicts)
    counts = Counter(verdict.found for verdict in verdicts)
    if as_json:
        shown = [dataclasses.asdict(verdict) for verdict in verdicts if verdict.found != "there"]
        print_json({"target": name, "counts": dict(counts), "owed_again": owed, "captures": shown})
    else:
        _print(name, verdicts, counts, owed)
    ctx.exit(1 if counts["differs"] or counts["missing"] > owed else 0)


def _print(name: str, verdicts: list[Verdict], counts: Counter[str], owed: int) -> None:
    rows = [(verdict.name, verdict.found, verdict.why) for verdict in verdicts if verdict.found != "there"]
    if rows:
        print_table(["Capture", "Is", "Why~"], rows)
    said = f"Of {len(verdicts)} captures delivered to {name}, {counts['there']} are there"
    for found, words in (("missing", "missing"), ("differs", "there with another content"), ("gone", "unknown")):
        said += f", {counts[found]} {words}" if counts[found] else ""
    said += f"; {owed} are owed again." if owed else "."
    if counts["missing"] > owed:
        said += " --repair owes again what is missing."
    click.echo(click.wrap_text(said, 80))
