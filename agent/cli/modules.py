"""`capture-agent drivers` and `targets`: what can be configured, and the options of one."""

import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from types import ModuleType

import click

from agent.cli.place import JSON_OPTION
from agent.cli.probe import test
from agent.cli.show import print_json, print_table
from agent.config.errors import written
from agent.config.modules import DRIVERS, TARGETS, Family, configured_module
from agent.config.options import Described, described


@click.command
@click.argument("name", required=False)
@JSON_OPTION
def drivers(name: str | None, as_json: bool) -> None:
    """List the drivers that a stream can have; with NAME, the options of one."""
    _show(DRIVERS, "driver", name, as_json=as_json)


class _Kinds(click.Group):
    """`test`, and a command for each kind of target, which shows its options."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or _options_of(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *TARGETS.names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without the kinds: these are listed where none is named, and importing them takes its time."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [("KIND", "Show the options of one kind."), *((name, test.short_help or "") for name in self.commands)]
            )


def _options_of(kind: str) -> click.Command:
    @click.command(kind)
    @JSON_OPTION
    @click.pass_context
    def show(ctx: click.Context, as_json: bool) -> None:
        """Show the options of this kind of target."""
        above = ctx.parent.params["as_json"] if ctx.parent else False
        _show(TARGETS, "kind", kind, as_json=as_json or above)

    return show


@click.group(cls=_Kinds, invoke_without_command=True)
@JSON_OPTION
@click.pass_context
def targets(ctx: click.Context, as_json: bool) -> None:
    """List the kinds that a target can have; with a KIND, the options of one; or test those that are configured."""
    if ctx.invoked_subcommand is None:
        _show(TARGETS, "kind", None, as_json=as_json)


targets.add_command(test)


def _show(family: Family, key: str, name: str | None, *, as_json: bool) -> None:
    if name is None:
        lines = {each: _says(family, each) for each in family.names}
        if as_json:
            print_json(lines)
        else:
            print_table(["Name", "Is~"], lines.items())
        return
    module = _module(family, name)
    found = [*described(module.Settings), *(_of_every_target() if family is TARGETS else ())]
    if as_json:
        print_json({"name": name, "is": one_line(module), "options": [dataclasses.asdict(option) for option in found]})
        return
    click.echo(click.wrap_text(one_line(module), 80))
    click.echo(f"\n{key} = {written(name)}")
    for option in found:
        default = (
            "(required)" if option.required else f"= {written(option.default)}" if option.default is not None else ""
        )
        click.echo(f"\n{click.style(option.path, bold=True)} {default}")
        for line in (option.doc, option.allowed):
            click.echo(textwrap.fill(line, 78, initial_indent="    ", subsequent_indent="    "))


def one_line(module: ModuleType) -> str:
    """The first line of what a module says of itself."""
    return (inspect.getdoc(module) or module.__name__).splitlines()[0]


def _module(family: Family, name: str) -> ModuleType:
    module, mistake = configured_module(family, name, "NAME")
    if module is None:
        raise click.ClickException(str(mistake))
    return module


def _says(family: Family, name: str) -> str:
    """Its one line, or why it cannot be used here: an extra that is not installed, for instance."""
    module, mistake = configured_module(family, name, name)
    return one_line(module) if module is not None else f"cannot be used: {mistake.allowed if mistake else ''}"


def _of_every_target() -> Iterator[Described]:
    from agent.sync import Delivery

    return described(Delivery)
