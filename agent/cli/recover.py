"""`capture-agent recover`: captures out of negatives and orphaned files, while no daemon runs."""

import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import click

from agent.capture import Capture
from agent.catalogue import Catalogue
from agent.cli.place import CONFIG_OPTION, configured_data_dir
from agent.clock import Clock
from agent.config.errors import ConfigError
from agent.database import Database
from agent.developer import LAST_RESORT, Developer
from agent.finishing import Finishing
from agent.folder import Busy, DataFolder, as_caller
from agent.formats import format_module
from agent.negative import NegativeError, NegativeReader
from agent.outbox import Outbox
from agent.rebuild import adopt
from agent.sync import Delivery
from agent.sync.owing import Owing


@click.command
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@CONFIG_OPTION
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The data folder, instead of --config.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Write captures here; touch no data folder."
)
@click.pass_context
def recover(ctx: click.Context, files: tuple[Path, ...], config: Path, data: Path | None, output: Path | None) -> None:
    """Make captures of negatives (what a recording in progress leaves), and of sidecars (.json) with their payloads.

    They are catalogued in the data folder and owed to the targets of their recording, as if they had just been
    recorded; the FILES themselves stay. With --output, they only lie there. As root what is made in a data folder
    belongs to its owner.
    """
    failed = 0
    with ExitStack() as stack:
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=output, prefix=".recover-")))
        else:
            place = data or configured_data_dir(config)
        known = None if output is not None else _known(config)
        folder = DataFolder(place)
        try:
            stack.enter_context(folder.as_owner())
            stack.enter_context(folder)
        except Busy as busy:
            raise click.ClickException(f"{busy}: stop it, or recover to another folder with --output") from None
        except OSError as error:
            raise click.ClickException(str(error)) from None
        recovery = _Recovery(folder, known, stack)
        for file in files:
            try:
                captures = recovery.sidecar(file) if file.suffix == ".json" else recovery.negative(file)
            except (ValueError, OSError) as error:
                failed += 1
                click.secho(f"! {file}: {error}", fg="red", err=True)
                continue
            for capture in captures:
                where = capture.folder
                if output is not None:
                    where = output
                    for path in capture.files:
                        shutil.move(path, output / path.name)
                click.echo(f"{file.name}: {where / capture.name} with {len(capture.payloads)} payloads")
    ctx.exit(1 if failed else 0)


def _known(config: Path) -> tuple[Mapping[str, Sequence[str]], Mapping[str, Delivery]] | None:
    """What is owed, and how it is delivered, as far as there is a configuration that can be read."""
    from agent.config.loading import load, owed_by

    try:
        return owed_by(load(config))
    except ConfigError as error:
        click.echo(f"{config} cannot be used, so what is recovered is owed to no target:\n{error}", err=True)
        return None


class _Recovery:
    """The finishing part of a daemon, on a data folder that is locked meanwhile."""

    def __init__(
        self,
        folder: DataFolder,
        known: tuple[Mapping[str, Sequence[str]], Mapping[str, Delivery]] | None,
        stack: ExitStack,
    ) -> None:
        self._folder = folder
        self._clock = clock = Clock()
        database = stack.enter_context(Database(folder.database, quarantine=folder.quarantine))
        outbox = Outbox(database, boot_id=clock.boot_id, now=clock.boottime_ns, jitter=random.Random())  # noqa: S311
        owing = Owing(outbox, {})
        if known is not None:
            owing.change(*known)
        self._finishing = Finishing(
            database=database,
            catalogue=Catalogue(database, folder.captures),
            owing=owing,
            captures=folder.captures,
            owed=lambda: None,
        )

    def negative(self, file: Path) -> list[Capture]:
        """Develops a copy of a negative."""
        with as_caller():
            head = NegativeReader(file).head  # says what is wrong, where this is none
            _import_formats(head)
        copy = self._folder.recording / file.name
        if not copy.exists():
            _copy(file, copy)
        developer = Developer(
            folder=self._folder.recording,
            quarantine=self._folder.quarantine,
            finishing=self._finishing,
            clock=self._clock,
        )
        capture = developer.step(copy, lambda: None)
        if capture is None:
            copy.unlink(missing_ok=True)
            raise NegativeError(str(developer.health()["error"]))
        return [capture]

    def sidecar(self, file: Path) -> list[Capture]:
        """Finishes copies of a sidecar and its payloads."""
        with as_caller():
            capture = Capture.load(file)
            if damage := capture.damage():
                raise ValueError(damage)
        for path in capture.files:
            if path.parent != self._folder.recording:
                _copy(path, self._folder.recording / path.name)
        return self._finishing.finish(adopt(self._folder.recording, quarantine=self._folder.quarantine))


def _import_formats(head: Mapping[str, Any]) -> None:
    """While it is still the caller who reads: a data folder's owner may not enter where root has its programs."""
    for item in (*head.get("settings", {}).get("format", ()), LAST_RESORT):
        with suppress(LookupError, ImportError):  # which the developer will say
            format_module(item if isinstance(item, str) else str(item["kind"]))


def _copy(path: Path, to: Path) -> None:
    """Read as whoever called, written as whoever owns the data folder."""
    with as_caller():
        if to.exists() and to.samefile(path):
            return
        source = path.open("rb")
    with source, to.open("wb") as copy:
        shutil.copyfileobj(source, copy)
