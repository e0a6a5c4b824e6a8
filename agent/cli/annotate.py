"""`capture-agent annotate`: what a person says of a finished capture; through the daemon, or alone where none runs."""

from pathlib import Path
from typing import Any

import click

from agent.amending import annotate as amend
from agent.cli.ask import values
from agent.cli.place import existing, with_data_dir
from agent.cli.show import matching
from agent.control import CommandError
from agent.database import DatabaseDamaged, OtherVersion
from agent.folder import Busy, DataFolder


@click.command
@click.argument("capture")
@click.argument("labels", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Metadata instead of a label; may be repeated.")
@click.option("--tag", multiple=True, help="A word without a value; may be repeated.")
@click.option("--untag", multiple=True, help="Removes a tag; may be repeated.")
@click.option("--seconds", nargs=2, type=float, metavar="BEGIN END", help="Labels this part, since its first sample.")
@click.option(
    "--samples", nargs=2, type=int, metavar="FIRST COUNT", help="Labels this part, counted as in the payload."
)
@click.option(
    "--box", metavar="LABEL=X,Y,X,Y", help="Something in a picture: its corners, in parts of 1; LABEL= removes."
)
@click.option("--shows", multiple=True, metavar="LABEL[=CONFIDENCE]", help="What a picture shows; LABEL= removes it.")
@with_data_dir
def annotate(data_dir: Path, capture: str, **said: Any) -> None:
    """Say something of a finished CAPTURE (its name, its uuid or the beginning of it).

    KEY= removes a label; a part without labels removes its segments. The sidecar becomes a revision later, and is
    owed again to the targets that can amend.
    """
    try:
        with DataFolder(existing(data_dir)).as_owner():  # a sidecar of root's would be of no use to the daemon
            answer = amend(data_dir, capture, **_arguments(said))
    except (CommandError, Busy, ValueError, LookupError, OSError, DatabaseDamaged, OtherVersion) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{answer['capture']} has revision {answer['revision']} now")


def _arguments(said: dict[str, Any]) -> dict[str, Any]:
    """What the command `annotate` takes."""
    part: dict[str, float] = {}
    if said["seconds"] and said["samples"]:
        raise click.UsageError("a part has --seconds or --samples")
    for option, names in (("seconds", ("begin_s", "end_s")), ("samples", ("first", "samples"))):
        if said[option]:
            part = dict(zip(names, said[option], strict=True))
    return {
        "labels": values("labels", said["labels"]),
        "metadata": values("--metadata", said["metadata"]),
        "tags": {**dict.fromkeys(said["tag"], True), **dict.fromkeys(said["untag"], False)},
        "part": part,
        "box": _box(said["box"]) if said["box"] else {},
        "classes": {
            label: values("--shows", (f"{label}={confidence}",))[label] if equals else True
            for label, equals, confidence in (text.partition("=") for text in said["shows"])
        },
    }


def _box(text: str) -> dict[str, Any]:
    ((label, corners),) = matching("--box", [text]).items()
    if not corners:
        return {"label": label}
    try:
        x_min, y_min, x_max, y_max = map(float, corners.split(","))
    except ValueError:
        raise click.BadParameter(f"{corners!r} is not X,Y,X,Y", param_hint="--box") from None
    return {"label": label, "x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max}
