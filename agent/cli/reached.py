"""A configured target on the command line: opened as the daemon opens it, its errors told in a line."""

import contextlib
from collections.abc import Iterator

import click

from agent.cli.store import moment_ns
from agent.config.loading import Config
from agent.home import home_of
from agent.targets import Failed, Later, Refused, Target, Unreachable


@contextlib.contextmanager
def reached(config: Config, name: str) -> Iterator[Target]:
    """The target called `name`; click errors where there is none, or where it says no."""
    if name not in config.targets:
        known = ", ".join(config.targets) or "none"
        raise click.ClickException(f"the configuration has no target {name}; there is {known}")
    target = config.targets[name].settings.open(home_of(config))
    try:
        yield target
    except (Unreachable, Refused, Later, Failed) as error:
        raise click.ClickException(f"{name}: {error}") from None
    finally:
        target.close()


def since(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A point in time on the command line, as Unix nanoseconds."""
    try:
        return None if value is None else moment_ns(value)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{value!r} is no time: 2026-11-21, 2026-11-21T10:15 (UTC), or 3d ago") from None


SINCE_OPTION = click.option("--since", metavar="TIME", callback=since, help="Captures begun then or later; such as 3d.")
