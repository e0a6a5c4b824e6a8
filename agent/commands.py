"""Commands: the one table of what a person may ask of a running daemon, for the socket and for the help."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from agent.control import CommandError
from agent.database import DatabaseDamaged
from agent.number import is_number

log = logging.getLogger(__name__)


class Asked(Protocol):
    """The daemon as the commands see it."""

    def status(self) -> dict[str, Any]: ...
    def start(self, recording: str) -> str: ...
    def stop(self, recording: str) -> str: ...
    def trigger(self, recording: str) -> str: ...
    def label(
        self, labels: Mapping[str, Any], metadata: Mapping[str, Any], recording: str | None
    ) -> dict[str, dict[str, Any]]: ...
    def mark(self, labels: Mapping[str, Any], recording: str | None) -> dict[str, list[str]]: ...
    def session(self, recording: str | None, **names: str | None) -> dict[str, dict[str, Any]]: ...
    def annotate(self, capture: str, **said: Mapping[str, Any]) -> dict[str, Any]: ...
    def sync(self, target: str | None) -> str: ...
    def pause(self, target: str | None) -> str: ...
    def resume(self, target: str | None) -> str: ...
    def retry(self, target: str | None, capture: str | None) -> int: ...
    def drop(self, target: str | None, capture: str | None, refused_only: bool | None) -> int: ...
    def streams(self) -> dict[str, dict[str, Any]]: ...
    def measure(self, stream: str) -> dict[str, Any]: ...
    def chip_calibration(self, stream: str) -> str: ...
    def calibrate(self, stream: str, calibration: str) -> str: ...
    def snapshot(self, stream: str) -> dict[str, Any]: ...
    def reload(self) -> str: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Argument:
    name: str
    doc: str
    kind: type
    """str, dict or bool."""
    required: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One thing that may be asked: its name is the daemon's method."""

    name: str
    doc: str
    arguments: tuple[Argument, ...] = ()
    reads_only: bool = False


_RECORDING = Argument("recording", "name of a recording", str, required=True)
_STREAM = Argument("stream", "name of a stream", str, required=True)
_TARGET = Argument("target", "name of a target; all of them where none is given", str)
_CAPTURE = Argument("capture", "uuid or name of a capture", str)

COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        Command("status", "everything that Health knows", reads_only=True),
        Command("start", "records from now on, also after a restart", (_RECORDING,)),
        Command("stop", "finishes the capture in progress and records no further, also after a restart", (_RECORDING,)),
        Command(
            "trigger",
            "one picture now, one capture of the recording's length, or what is around this moment",
            (_RECORDING,),
        ),
        Command(
            "label",
            "labels and metadata for each capture that begins from now on, also after a restart; null removes one",
            (
                Argument("labels", "label: value", dict),
                Argument("metadata", "name: value", dict),
                Argument("recording", "name of a recording; all of them where none is given", str),
            ),
        ),
        Command(
            "session",
            "whose captures begin from now on, kept until it is said anew; an empty name removes one",
            (
                Argument("session", "name of the session", str),
                Argument("subject", "who or what is measured", str),
                Argument("condition", "under which condition", str),
                Argument("trial", "name of the trial", str),
                Argument("recording", "name of a recording; all of them where none is given", str),
            ),
        ),
        Command(
            "mark",
            "marks this moment in the captures in progress, with labels of its own",
            (
                Argument("labels", "label: value; mark: true where none is given", dict),
                Argument("recording", "name of a recording; all of them where none is given", str),
            ),
        ),
        Command(
            "annotate",
            "says something of a finished capture, whose sidecar becomes a revision later; a null value removes it",
            (
                Argument("capture", "uuid or name of a capture", str, required=True),
                Argument("labels", "label: value, of the part if there is one", dict),
                Argument("metadata", "name: value", dict),
                Argument("tags", "tag: true, or false to remove it", dict),
                Argument("part", "first and samples, or begin_s and end_s; without labels its segments go", dict),
                Argument("box", "label, x_min, y_min, x_max, y_max, maybe confidence; the label alone removes", dict),
                Argument("classes", "label: confidence or true, of the picture as a whole", dict),
            ),
        ),
        Command("sync", "tries now what waits for a next attempt", (_TARGET,)),
        Command("pause", "sends nothing more, also after a restart", (_TARGET,)),
        Command("resume", "sends again", (_TARGET,)),
        Command("retry", "owes refused parcels again", (_TARGET, _CAPTURE)),
        Command(
            "drop",
            "gives up parcels that were refused",
            (_TARGET, _CAPTURE, Argument("refused_only", "false: also those that are still owed", bool)),
        ),
        Command("streams", "newest values, rate, jitter and loss of each stream", reads_only=True),
        Command(
            "snapshot",
            "the newest sample of a stream in physical units",
            (_STREAM,),
            reads_only=True,
        ),
        Command("measure", "mean and deviation of each channel over the last two seconds", (_STREAM,), reads_only=True),
        Command(
            "chip_calibration",
            "what a chip that calibrates itself has found by now; it pauses for a moment",
            (_STREAM,),
        ),
        Command(
            "calibrate",
            "keeps what is known of a stream's sensors, for the sidecars of captures from now on; the data stay raw",
            (
                _STREAM,
                Argument("calibration", "JSON: sensors or chip, as the sidecar's schema says", str, required=True),
            ),
        ),
        Command("reload", "reads the configuration again and restarts what differs; a wrong one changes nothing"),
    )
}


def obey(daemon: Asked, name: str, given: Mapping[str, Any]) -> Any:
    """Checks the arguments and does it. CommandError says what is wrong and what there is.

    Also where it fails in a way that nobody thought of, which is logged: no question ends the daemon. OSError: the disk
    is full, the database busy; DatabaseDamaged, which a new start mends.
    """
    try:
        return _obey(daemon, name, given)
    except (CommandError, OSError, DatabaseDamaged):
        raise
    except Exception as error:
        log.exception("the command %.100r failed", name)
        raise CommandError(f"{name} failed, and the log says where: {type(error).__name__}: {error}") from None


def _obey(daemon: Asked, name: str, given: Mapping[str, Any]) -> Any:
    command = COMMANDS.get(name)
    if command is None:
        raise CommandError(f"no command {name!r}; there is {', '.join(COMMANDS)}")
    known = {argument.name: argument for argument in command.arguments}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise CommandError(f"{name} takes no {', '.join(unknown)}; it takes {', '.join(known) or 'nothing'}")
    arguments: dict[str, Any] = {}
    for argument in command.arguments:
        value = given.get(argument.name)
        if value is None:
            if argument.required:
                raise CommandError(f"{name} needs {argument.name}: {argument.doc}")
            arguments[argument.name] = {} if argument.kind is dict else None
            continue
        if not isinstance(value, argument.kind):
            raise CommandError(f"{name}: {argument.name} = {value!r}: {argument.doc}")
        if isinstance(value, str) and not _whole(value):
            raise CommandError(f"{name}: {argument.name}: no text, but half a character: {argument.doc}")
        if isinstance(value, dict) and not all(_scalar(item) for item in value.items()):
            raise CommandError(f"{name}: {argument.name}: names with text, numbers (of 64 bits), true, false or null")
        arguments[argument.name] = value
    method: Callable[..., Any] = getattr(daemon, command.name)
    return method(**arguments)


def _scalar(item: tuple[object, object]) -> bool:
    """Whether a sidecar can say it: UTF-8 has no word for half a character."""
    key, value = item
    if not isinstance(key, str) or not 0 < len(key) <= 128:
        return False
    return (value is None or isinstance(value, str | bool) or is_number(value)) and _whole(f"{key}{value}")


def _whole(text: str) -> bool:
    """Whether UTF-8 can say it."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
