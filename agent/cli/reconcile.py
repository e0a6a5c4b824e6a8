"""`capture-agent reconcile`: what a target has, held against what was delivered; what is missing is sent again."""

import dataclasses
from collections import Counter
from pathlib import Path

import click

from agent.cli.place import CONFIG_OPTION, JSON_OPTION, existing
from agent.cli.reached import SINCE_OPTION, reached
from agent.cli.show import followed, print_json, print_table
from agent.cli.store import stored
from agent.config.loading import load
from agent.database import Database
from agent.reconcile import Verdict, owe_again
from agent.reconcile import reconcile as compared
from agent.targets import Refused

_HELD = (
    "; what waits since the database was made anew is sent by capture-agent outbox retry --target {name}, and given up"
    " by capture-agent outbox drop --target {name} --owed"
)


@click.command
@click.argument("name")
@SINCE_OPTION
@click.option("--repair", is_flag=True, help="Owe again what is missing or was deleted there; settle what waits.")
@CONFIG_OPTION
@JSON_OPTION
@click.pass_context
def reconcile(ctx: click.Context, name: str, since: int | None, repair: bool, config: Path, as_json: bool) -> None:
    """Ask the target NAME for all captures that count as delivered to it, and list those that it does not have.

    Names, sizes and hashes of payloads are compared, as far as the platform tells them. What is there with another
    content is listed and left alone. What waits since the database was made anew is asked for, too: --repair counts as
    delivered what is there, and sends the rest. A daemon may be running. Exit code 1: something is missing, or another.
    """
    loaded = load(config)
    data_dir = existing(loaded.agent.data_dir)
    with stored(data_dir) as (catalogue, outbox), reached(loaded, name) as target:
        try:
            found = compared(name, target, catalogue=catalogue, outbox=outbox, since_ns=since)
            with followed(found, "Comparing") as bar:
                verdicts = list(bar)
        except Refused as error:
            raise Refused(f"{error}{_HELD.format(name=name) if outbox.holds(name) == 'reconcile' else ''}") from None
        owed = 0
        if repair:
            with Database(data_dir / "agent.db") as database:
                owed = owe_again(database, verdicts)
    counts = Counter(verdict.found for verdict in verdicts)
    if as_json:
        shown = [dataclasses.asdict(verdict) for verdict in verdicts if verdict.found != "there"]
        print_json({"target": name, "counts": dict(counts), "owed_again": owed, "captures": shown})
    else:
        _print(name, verdicts, owed, repair=repair)
    ctx.exit(1 if counts["differs"] or (counts["missing"] and not repair) else 0)


def _print(name: str, verdicts: list[Verdict], owed: int, *, repair: bool) -> None:
    rows = [(verdict.name, verdict.found, verdict.why) for verdict in verdicts if verdict.found != "there"]
    if rows:
        print_table(["Capture", "Is", "Why~"], rows)
    lines = [_sum(f"captures delivered to {name}", [verdict for verdict in verdicts if not verdict.unsure])]
    waiting = [verdict for verdict in verdicts if verdict.unsure]
    if waiting:
        lines.append(_sum("captures that wait since the database was made anew", waiting))
        what = "counts as delivered from now on" if repair else "would count as delivered with --repair"
        lines.append(f"What is there of those {what}.")
    deleted = sum(verdict.found == "deleted" for verdict in verdicts)
    if owed:
        more = f", {deleted} of them although they were deleted there by a person" if deleted else ""
        lines.append(f"{owed} are owed again{more}.")
    elif any(verdict.found in ("missing", "deleted") for verdict in verdicts):
        lines.append("--repair owes again what is missing, and what was deleted there by a person.")
    click.echo(click.wrap_text(" ".join(lines), 80))


def _sum(what: str, verdicts: list[Verdict]) -> str:
    counts = Counter(verdict.found for verdict in verdicts)
    said = f"Of {len(verdicts)} {what}, {counts['there']} are there"
    words = {"missing": "missing", "differs": "there with another content", "gone": "unknown", "deleted": "deleted"}
    return said + "".join(f", {counts[found]} {word}" for found, word in words.items() if counts[found]) + "."
