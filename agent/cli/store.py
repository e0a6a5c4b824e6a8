"""What lies in the data folder, read while a daemon runs or none does, and the options that choose captures."""

import contextlib
import datetime
import errno
import functools
import os
import random
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from agent.catalogue import Catalogue
from agent.cli.place import existing
from agent.clock import Clock
from agent.database import Database, DatabaseDamaged, DatabaseWaits, OtherVersion
from agent.outbox import Outbox
from agent.query import Query

_AGO = re.compile(r"(\d+(?:\.\d+)?) *(s|min|h|d|w)(?: *ago)?")
_TIMES = "2026-11-21, 2026-11-21T10:15 (UTC), or 2h, 30min, 3d ago"
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}


@contextlib.contextmanager
def stored(data_dir: Path) -> Iterator[tuple[Catalogue, Outbox]]:
    """The catalogue and the outbox of a data folder, as a guest; click errors where they cannot be read, or changed."""
    clock = Clock()
    try:
        with Database(existing(data_dir) / "agent.db") as database:
            yield (
                Catalogue(database, data_dir / "captures"),
                Outbox(database, boot_id=clock.boot_id, now=clock.boottime_ns, jitter=random.Random()),  # noqa: S311
            )
    except BrokenPipeError:
        raise
    except DatabaseWaits as error:
        owner = "; only its owner and root may do this" if error.errno == errno.EROFS and os.geteuid() else ""
        raise click.ClickException(f"{error.strerror}{owner}") from None
    except (LookupError, OSError, sqlite3.Error, DatabaseDamaged, OtherVersion) as error:
        raise click.ClickException(str(error)) from None


def moment_ns(text: str, now: datetime.datetime | None = None) -> int:
    """`2026-11-21`, `2026-11-21T10:15`, with or without an offset (UTC without), or `2h` ago, as Unix nanoseconds.

    ValueError where it is none of these.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    if ago := _AGO.fullmatch(text.strip()):
        moment = now - datetime.timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
    else:
        moment = datetime.datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A point in time on the command line."""
    try:
        return None if value is None else moment_ns(value)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{value!r} is no time: {_TIMES}") from None


_FILTERS = (
    click.option(
        "--since",
        metavar="TIME",
        callback=_moment,
        help=f"Begun then or later: {_TIMES}.",
    ),
    click.option("--until", metavar="TIME", callback=_moment, help="Begun before then."),
    click.option("--stream", help="With this stream."),
    click.option("--label", multiple=True, metavar="KEY[=VALUE]", help="With this label; may be repeated."),
    click.option("--metadata", multiple=True, metavar="KEY[=VALUE]", help="With this metadata; may be repeated."),
    click.option("--tag", "tags", multiple=True, help="With this tag; may be repeated."),
    click.option("--dataset", help="In this dataset."),
    click.option("--name", help="With this name; * and ? as in a shell."),
    click.option("--uuid", help="With this uuid, or its beginning."),
    click.option("--configuration", help="With this capture configuration: its uuid, or its beginning."),
    click.option("--recording", help="Of this recording."),
)


def with_filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options that choose captures, and calls it with the `query` that they make."""

    @functools.wraps(command)
    def filtered(
        *, since: int | None, until: int | None, label: tuple[str, ...], metadata: tuple[str, ...], **more: Any
    ) -> Any:
        tags = more.pop("tags")
        plain = {key: more.pop(key) for key in ("stream", "dataset", "name", "uuid", "configuration", "recording")}
        query = Query(since_ns=since, until_ns=until, labels=label, metadata=metadata, tags=tags, **plain)
        return command(query=query, **more)

    for option in reversed(_FILTERS):
        filtered = option(filtered)
    return filtered
