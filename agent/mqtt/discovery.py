"""Home Assistant's device discovery: one retained message that names every sensor, button and switch of this device.

Keys are written out; required are `device` with an identifier, `origin` with a name, `components` with a `platform` and
a `unique_id` each (home-assistant.io/integrations/mqtt, "Device discovery payload"). States are taken out of `health`.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from agent import __version__
from agent.database import Database
from agent.device import Device
from agent.mqtt.topics import Topics

_NOTE = "announced"
Components = dict[str, dict[str, Any]]


def discovery(
    topics: Topics, device: Device, status: Mapping[str, Any], *, commands: Collection[str], picture: bool
) -> dict[str, Any]:
    """The message: buttons and switches only for `commands` that may come through the broker."""
    components: Components = {}
    for name in status["streams"]:
        _stream(components, name)
    for name in status["recordings"]:
        _recording(components, name, commands, topics)
    for name in status["targets"]:
        _target(components, name)
    _device(components)
    if "sync" in commands:
        components["sync"] = {
            "platform": "button",
            "name": "Send now",
            "command_topic": f"{topics.command}/sync",
            "payload_press": "{}",
        }
    if picture:
        components["picture"] = {
            "platform": "image",
            "name": "Newest picture",
            "image_topic": topics.picture,
            "content_type": "image/jpeg",
        }
    for key, component in components.items():
        component["unique_id"] = f"capture-agent-{device.id}-{key}"
        if component["platform"] in ("sensor", "binary_sensor", "switch"):
            component["state_topic"] = topics.health
    return {
        "device": {
            "identifiers": [f"capture-agent-{device.id}"],
            "name": device.name,
            "serial_number": device.id,
            "sw_version": __version__,
            **({"model": device.model} if device.model else {}),
        },
        "origin": {"name": "capture-agent", "sw_version": __version__},
        "availability": [{"topic": topics.status, "value_template": "{{ value_json.state }}"}],
        "qos": 1,
        "components": components,
    }


class Announced:
    """The components that Home Assistant was last told of, over restarts: one that is no longer there has to be named
    once without anything but its platform."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def components(self) -> dict[str, str]:
        """{key: platform}"""
        with self._database.reading() as connection:
            row = connection.execute("SELECT value FROM note WHERE key = ?", (_NOTE,)).fetchone()
        return json.loads(row[0]) if row else {}

    def keep(self, components: Mapping[str, str]) -> None:
        """Remembers them."""
        if components != self.components():
            with self._database.transaction(durable=False) as connection:
                connection.execute(
                    "INSERT INTO note VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
                    (_NOTE, json.dumps(components)),
                )


def without(message: dict[str, Any], gone: Mapping[str, str]) -> dict[str, Any]:
    """The message, which also takes away components that were announced before: {key: platform}."""
    removed = {key: {"platform": platform} for key, platform in gone.items() if key not in message["components"]}
    return {**message, "components": {**message["components"], **removed}}


def _stream(components: Components, name: str) -> None:
    of = f"value_json.streams['{name}']"
    components[f"stream-{name}-rate"] = _sensor(f"{name} rate", f"{of}.rate_hz", "Hz", "frequency") | _PRECISE
    components[f"stream-{name}-lost"] = {
        **_sensor(f"{name} lost samples", f"{of}.lost"),
        "state_class": "total_increasing",
        "entity_category": "diagnostic",
    }
    components[f"stream-{name}-problem"] = _problem(f"{name} is lost", f"{of}.state == 'lost'")


def _recording(components: Components, name: str, commands: Collection[str], topics: Topics) -> None:
    of = f"value_json.recordings['{name}']"
    components[f"recording-{name}-problem"] = _problem(f"{name} is refused", f"{of}.error != ''")
    if {"start", "stop"} <= set(commands):
        components[f"recording-{name}"] = {
            "platform": "switch",
            "name": f"Record {name}",
            "command_topic": topics.command,
            "payload_on": _question("start", name),
            "payload_off": _question("stop", name),
            "state_on": "ON",
            "state_off": "OFF",
            "value_template": f"{{{{ 'OFF' if {of}.state == 'idle' else 'ON' }}}}",
        }
    if "trigger" in commands:
        components[f"recording-{name}-trigger"] = {
            "platform": "button",
            "name": f"Trigger {name}",
            "command_topic": topics.command,
            "payload_press": _question("trigger", name),
        }


def _target(components: Components, name: str) -> None:
    of = f"value_json.targets['{name}']"
    components[f"target-{name}-owed"] = _sensor(f"{name} owed", f"{of}.owed", "captures")
    components[f"target-{name}-oldest"] = _sensor(f"{name} oldest owed", f"{of}.oldest_s", "s", "duration")
    components[f"target-{name}-problem"] = _problem(
        f"{name} fails", f"{of}.state in ('unreachable', 'failing') or {of}.refused > 0"
    )


def _device(components: Components) -> None:
    machine = "value_json.machine"
    diagnostic = {"entity_category": "diagnostic"}
    components["disk-free"] = _sensor("Disk free", "value_json.disk.free_bytes", "B", "data_size") | diagnostic
    components["temperature"] = (
        _sensor("Temperature", f"{machine}.temperature_c", "°C", "temperature") | _PRECISE | diagnostic
    )
    components["cpu"] = _sensor("Processor", f"{machine}.cpu_percent", "%") | _PRECISE | diagnostic
    components["waiting"] = _sensor("Messages waiting", "value_json.mqtt.waiting", "messages") | diagnostic
    components["problem"] = _problem("Problem", "value_json.problems | length > 0")
    components["throttled"] = _problem("Throttled", f"{machine}.throttled | default([], true) | length > 0")
    components["disk-problem"] = _problem("Disk full", "value_json.disk.stopped != ''")


_PRECISE = {"suggested_display_precision": 1}


def _sensor(name: str, value: str, unit: str = "", kind: str = "") -> dict[str, Any]:
    return {
        "platform": "sensor",
        "name": name,
        "value_template": f"{{{{ {value} }}}}",
        "state_class": "measurement",
        **({"unit_of_measurement": unit} if unit else {}),
        **({"device_class": kind} if kind else {}),
    }


def _problem(name: str, condition: str) -> dict[str, Any]:
    return {
        "platform": "binary_sensor",
        "name": name,
        "device_class": "problem",
        "value_template": f"{{{{ 'ON' if {condition} else 'OFF' }}}}",
        "entity_category": "diagnostic",
    }


def _question(command: str, recording: str) -> str:
    return json.dumps({"command": command, "arguments": {"recording": recording}})
