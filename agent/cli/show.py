"""How figures and tables are shown: units always, 80 columns, JSON on request."""

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_SPANS = ((86400.0 * 365, "years"), (86400.0, "days"), (3600.0, "h"), (60.0, "min"))


def size(count: float | None) -> str:
    """Bytes for people: `12.3 MB`."""
    if count is None:
        return "-"
    for unit, name in _SIZES:
        if abs(count) >= unit:
            return f"{count / unit:.3g} {name}" if abs(count) < 999.5 * unit else f"{count / unit:,.0f} {name}"
    return f"{count:.0f} B"


def span(seconds: float | None) -> str:
    """A length of time for people: `2.5 h`."""
    if seconds is None:
        return "-"
    for unit, name in _SPANS:
        if abs(seconds) >= unit * 1.5:
            return f"{seconds / unit:.3g} {name}" if abs(seconds) < 999.5 * unit else f"{seconds / unit:,.0f} {name}"
    return f"{seconds * 1000:.0f} ms" if 0 < abs(seconds) < 0.9995 else f"{seconds:.3g} s"


def number(value: float | None) -> str:
    """`12,345`, `99.98`."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=1, ensure_ascii=False, default=str))


def console(*, err: bool = False) -> "Console":
    """Of 80 columns where the output is no terminal."""
    from rich.console import Console

    return Console(stderr=err, highlight=False, soft_wrap=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A table; a column whose name ends with `>` is aligned to the right, one with `~` may be cut or wrapped first."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    headed = any(name.strip("~>") for name in columns)
    table = Table(
        box=box.SIMPLE_HEAD,
        show_header=headed,
        title=title or None,
        title_justify="left",
        pad_edge=False,
        title_style="bold",
    )
    for name in columns:
        table.add_column(
            name.rstrip(">~"),
            justify="right" if name.endswith(">") else "left",
            overflow="fold",
            no_wrap=not name.endswith("~"),
        )
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console().print(table)


def followed(items: Iterable[T], label: str) -> AbstractContextManager[Iterable[T]]:
    """The items, with a bar that tells how far it is; on a terminal alone, and beside what is printed."""
    if not sys.stderr.isatty():
        return nullcontext(items)
    return click.progressbar(items, label=label, show_pos=True, file=sys.stderr)


def matching(text: str, pairs: Iterable[str]) -> dict[str, str]:
    """`KEY=VALUE` arguments as a dict; `text` names the option in the error."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint=text)
        found[key] = value
    return found
