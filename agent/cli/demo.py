"""`capture-agent demo`: the table at its end, and the exit code."""

import click

from agent.demo.proof import Proof


def report(proof: Proof) -> int:
    """Prints what was sampled, delivered and proven; 1 where anything was lost, owed or different."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    streams = Table("stream", "samples", "rate", "lost", box=None)
    for name, samples, rate_hz, lost in proof.streams:
        streams.add_row(name, f"{samples:,}", "-" if rate_hz is None else f"{rate_hz:,.1f} Hz", str(lost))
    targets = Table("target", "delivered", "retried", "owed", box=None)
    for name, delivered, retried, owed in proof.targets:
        targets.add_row(name, str(delivered), str(retried), str(owed))
    console.print()
    console.print(streams)
    console.print()
    console.print(targets)
    console.print()
    for complaint in proof.complaints:
        click.secho(f"WRONG: {complaint}", fg="red")
    if not proof.complaints:
        click.echo(
            f"{proof.captures} captures, every sample and picture in them exactly what the virtual devices sent."
        )
    console.print(f"captures      {proof.folder / 'data' / 'captures'}", soft_wrap=True)
    console.print(f"in the folder {proof.folder / 'archive'}", soft_wrap=True)
    console.print(f"over HTTP     {proof.folder / 'received'}", soft_wrap=True)
    console.print(f"log           {proof.folder / 'daemon.log'}", soft_wrap=True)
    return 1 if proof.complaints else 0
