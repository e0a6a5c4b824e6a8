"""The configuration: a TOML file turned into frozen settings, or into everything that is wrong with it."""

import dataclasses
import re
import socket
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from agent.buttons import ButtonSettings
from agent.config.checks import fitting_formats, known_names, picture_rate, plan_of, refused, shared_devices
from agent.config.errors import ABSENT, ConfigError, Mistake, nearest
from agent.config.modules import DRIVERS, FORMATS, TARGETS, Family, configured_module, gives_pictures
from agent.config.options import options
from agent.config.reader import read
from agent.config.trigger_checks import triggers
from agent.formats import FormatSettings
from agent.metrics.settings import MetricsSettings
from agent.mqtt.settings import MqttSettings
from agent.recording import RecordingSettings
from agent.sync import Delivery
from agent.targets import NeedsDate, TargetSettings
from agent.targets._inventory import Recognising
from drivers import DriverSettings
from drivers.settings import check, option

__all__ = ["AgentSettings", "Config", "ConfigError", "StreamConfig", "TargetConfig", "load"]

_NAME = re.compile(r"[a-z0-9_-]+")
_DEVICE_ID = re.compile(r"[0-9a-f]{8}")
_LEAST_FREE_BYTES = 1_000_000
TABLES = ("agent", "stream", "recording", "target", "button", "mqtt", "metrics")
_SINGLE = ("agent", "mqtt", "metrics")


@dataclasses.dataclass(frozen=True)
class AgentSettings:
    """What TOML says of the daemon itself: `[agent]`."""

    device: str = option("name of this device in file names and sidecars; empty: the host's name", "")
    device_id: str = option("8 hex digits that name this device in picture names; empty: from the board's serial", "")
    data_dir: Path = option(
        "folder of captures, recordings in progress and the database", Path("/var/lib/capture-agent")
    )
    durable_every_s: float = option(
        "how often what is recorded is forced to the disk, s", 2.0, at_least=0.1, at_most=60
    )
    date_wait_s: float = option("how long pictures wait for a clock that is set, s", 120.0, at_least=0, at_most=86400)
    free_floor_bytes: int = option(
        "free space that is always left on the disk, bytes; a megabyte stays in any case, for the database",
        500_000_000,
        at_least=0,
    )
    free_floor_percent: float = option(
        "the same as a share of the disk, %; the larger counts", 5.0, at_least=0, at_most=90
    )
    give_up_undelivered: bool = option("whether captures that are still owed may be deleted to make room", False)
    delete_unowed: bool = option("whether captures that no target is owed may be deleted to make room", False)
    max_captures_bytes: int = option("most bytes that all captures together may take; 0: no bound", 0, at_least=0)
    ring_s: float = option(
        "seconds of each stream that are held between sensor and disk", 10.0, at_least=10, at_most=600
    )
    ring_bytes: int = option("most bytes that one stream may hold there", 16_000_000, at_least=100_000)
    log_level: str = option(
        "least important messages that are logged", "info", choices=("debug", "info", "warning", "error")
    )

    def __post_init__(self) -> None:
        wrong = bool(self.device_id) and not _DEVICE_ID.fullmatch(self.device_id)
        check(self, *([("device_id", self.device_id, "8 digits of 0-9 and a-f")] if wrong else []))

    def free_floor(self, total: int) -> float:
        """Bytes that always stay free on a disk of `total` bytes.

        Never none, whatever is configured: without room nobody could note what becomes of a capture.
        """
        return max(self.free_floor_bytes, total * self.free_floor_percent / 100, _LEAST_FREE_BYTES)


@dataclasses.dataclass(frozen=True)
class StreamConfig:
    """One `[stream.NAME]`."""

    name: str
    driver: str
    settings: DriverSettings
    pictures: bool = False
    """Whether its blocks are pictures."""


@dataclasses.dataclass(frozen=True)
class TargetConfig:
    """One `[target.NAME]`."""

    name: str
    kind: str
    settings: TargetSettings
    delivery: Delivery


@dataclasses.dataclass(frozen=True)
class Config:
    """All that a TOML file says."""

    path: Path
    agent: AgentSettings
    streams: Mapping[str, StreamConfig]
    recordings: Mapping[str, RecordingSettings]
    targets: Mapping[str, TargetConfig]
    formats: Mapping[str, Mapping[str, FormatSettings]]
    """Of each recording, in order, by the format's name."""
    mqtt: MqttSettings | None = None
    """None: there is no MQTT."""
    metrics: MetricsSettings = dataclasses.field(default_factory=MetricsSettings)
    buttons: Mapping[str, ButtonSettings] = dataclasses.field(default_factory=dict)


def owed_by(config: Config) -> tuple[dict[str, tuple[str, ...]], dict[str, Delivery]]:
    """Targets of each recording, and how each target is delivered to; what `Owing.change` takes."""
    recordings = {name: recipe.targets for name, recipe in config.recordings.items()}
    return recordings, {name: target.delivery for name, target in config.targets.items()}


def load(path: Path) -> Config:
    """The configuration in `path`. Raises ConfigError with every mistake in it."""
    return _Reading(path, _document(path)).config()


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ConfigError([Mistake(str(path), ABSENT, f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Mistake(str(path), ABSENT, f"is not UTF-8 text (byte {error.start})")]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Mistake(str(path), ABSENT, f"is not TOML: {error}")]) from None
    except RecursionError:
        raise ConfigError([Mistake(str(path), ABSENT, "is nested too deeply")]) from None


class _Reading:
    """One pass over a document, in which the mistakes come together."""

    def __init__(self, path: Path, document: Mapping[str, Any]) -> None:
        self._path = path
        self._document = document
        self._mistakes: list[Mistake] = []

    def config(self) -> Config:
        for name in self._document.keys() - set(TABLES):
            self._wrong(name, self._document[name], "there is no such table", nearest(name, TABLES))
        agent = self._read(AgentSettings, self._table("agent"), "agent")
        streams = {name: self._stream(name, table) for name, table in self._named("stream")}
        targets = {name: self._target(name, table) for name, table in self._named("target")}
        recordings = {
            name: self._read(RecordingSettings, table, f"recording.{name}") for name, table in self._named("recording")
        }
        if not streams and "stream" not in {mistake.path for mistake in self._mistakes}:
            self._wrong("stream", ABSENT, "at least one [stream.NAME] is needed")
        cameras = {name for name, stream in streams.items() if stream and stream.pictures}
        formats = {name: self._formats(name, recording) for name, recording in recordings.items() if recording}
        mqtt = self._read(MqttSettings, self._table("mqtt"), "mqtt") if "mqtt" in self._document else None
        metrics = self._read(MetricsSettings, self._table("metrics"), "metrics")
        buttons = {name: self._read(ButtonSettings, table, f"button.{name}") for name, table in self._named("button")}
        config = Config(
            self._path,
            agent or AgentSettings(),
            {name: stream for name, stream in streams.items() if stream},
            {name: recording for name, recording in recordings.items() if recording},
            {name: target for name, target in targets.items() if target},
            formats,
            mqtt,
            metrics or MetricsSettings(),
            {name: button for name, button in buttons.items() if button},
        )
        for name, button in config.buttons.items():
            self._add(known_names(f"button.{name}.recordings", button.recordings, "recording", recordings))
        devices = {name: stream.settings for name, stream in config.streams.items()}
        for name, recording in config.recordings.items():
            path = f"recording.{name}"
            self._add(known_names(f"{path}.streams", recording.streams, "stream", streams))
            self._add(known_names(f"{path}.targets", recording.targets, "target", targets))
            self._add(known_names(f"{path}.tags_from", recording.tags_from, "stream", set(streams) - set(cameras)))
            self._add(fitting_formats(path, recording, devices, cameras))
            ring = config.agent.ring_s, config.agent.ring_bytes
            self._add(triggers(path, recording, devices, cameras, ring))
            plan = plan_of(
                name,
                recording,
                device=config.agent.device or socket.gethostname(),
                formats=formats[name],
                streams=devices,
                cameras=cameras,
            )
            for target in recording.targets:
                if target in config.targets:
                    self._add(refused(path, recording, plan, (target, config.targets[target].settings)))
        self._add(shared_devices(devices))
        self._add(picture_rate(config.recordings, {name: devices[name] for name in cameras}))
        if self._mistakes:
            raise ConfigError(self._mistakes)
        return config

    def _add(self, mistakes: Iterable[Mistake]) -> None:
        """Adds those at options of which nothing wrong is known yet: the others speak of a stand-in's value."""
        known = {_option(mistake.path) for mistake in self._mistakes}
        self._mistakes += [mistake for mistake in mistakes if _option(mistake.path) not in known]

    def _wrong(self, path: str, value: object, allowed: str, meant: str = "") -> None:
        self._mistakes.append(Mistake(path, value, allowed, meant))

    def _table(self, name: str) -> Mapping[str, Any]:
        table = self._document.get(name, {})
        if isinstance(table, Mapping):
            return table
        self._wrong(name, table, f"a table, written [{name}]" if name in _SINGLE else f"tables, written [{name}.NAME]")
        return {}

    def _named(self, kind: str) -> list[tuple[str, Mapping[str, Any]]]:
        """The tables `[kind.NAME]`."""
        found = []
        for name, table in self._table(kind).items():
            if not _NAME.fullmatch(name):
                self._wrong(f"{kind}.{name}", ABSENT, "a name has only the characters a-z, 0-9, _ and -")
            if not isinstance(table, Mapping):
                self._wrong(f"{kind}.{name}", table, f"a table, written [{kind}.NAME]")
            else:
                found.append((name, table))
        return found

    def _read(self, kind: type[Any], table: Mapping[str, Any], path: str) -> Any:
        settings, mistakes = read(kind, table, path)
        self._mistakes += mistakes
        return settings

    def _stream(self, name: str, table: Mapping[str, Any]) -> StreamConfig | None:
        path = f"stream.{name}"
        module = self._module(DRIVERS, table.get("driver", ABSENT), f"{path}.driver")
        if module is None:
            return None
        settings = self._read(module.Settings, _without(table, "driver"), path)
        return settings and StreamConfig(name, table["driver"], settings, gives_pictures(module))

    def _target(self, name: str, table: Mapping[str, Any]) -> TargetConfig | None:
        path = f"target.{name}"
        module = self._module(TARGETS, table.get("kind", ABSENT), f"{path}.kind")
        if module is None:
            return None
        shared, own = options(Delivery), options(module.Settings)
        for key in _without(table, "kind", *shared, *own):
            self._wrong(f"{path}.{key}", table[key], "there is no such option", nearest(key, {*own, *shared}))
        delivery = self._read(Delivery, {key: value for key, value in table.items() if key in shared}, path)
        settings = self._read(module.Settings, {key: value for key, value in table.items() if key in own}, path)
        if delivery and delivery.undated == "kind":
            needs_date = isinstance(settings, NeedsDate) and settings.needs_date
            delivery = dataclasses.replace(delivery, undated="wait" if needs_date else "send")
        if delivery and delivery.after_rebuild == "kind":
            recognises = not isinstance(settings, Recognising) or settings.recognises
            delivery = dataclasses.replace(delivery, after_rebuild="send" if recognises else "wait")
        return settings and delivery and TargetConfig(name, table["kind"], settings, delivery)

    def _formats(self, name: str, recording: RecordingSettings) -> dict[str, FormatSettings]:
        formats: dict[str, FormatSettings] = {}
        for index, entry in enumerate(recording.format):
            path = f"recording.{name}.format[{index}]"
            table = {"kind": entry} if isinstance(entry, str) else entry
            kind = table.get("kind", ABSENT)
            module = self._module(FORMATS, kind, path if isinstance(entry, str) else f"{path}.kind")
            if module is None:
                continue
            if kind in formats:
                self._wrong(path, kind, "each format once")
            formats[str(kind)] = self._read(module.Settings, _without(table, "kind"), path)
        return formats

    def _module(self, family: Family, name: object, path: str) -> ModuleType | None:
        module, mistake = configured_module(family, name, path)
        self._mistakes += [mistake] if mistake else []
        return module


def _option(path: str) -> str:
    """The path of the option in which `path` lies: `recording.walk.format` for `recording.walk.format[1].kind`."""
    return path.partition("[")[0]


def _without(table: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}
