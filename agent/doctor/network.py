"""The far ends: the broker step by step, and each target with its credentials."""

import dataclasses
import errno
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

from agent.doctor import Finding, fail, ok, warn
from agent.doctor.scene import Scene
from agent.mqtt.settings import MqttSettings
from agent.targets import Failed, Home, Later, Probing, Refused, Unreachable
from drivers.ports import boottime_ns

_AS_ROOT = "run this as root, who may read the service's secrets"
_ERRORS = {
    "host": "check `host`, and the network's DNS",
    "reached": "check `port`, firewalls, and whether the broker runs",
    "ends": "see ca_file, cert_file, user and password_file under [mqtt]",
}


def broker(scene: Scene) -> Iterator[Finding]:
    """DNS, TCP, then TLS and credentials, as a client of another name: the daemon's own connection is left alone."""
    settings = scene.config.mqtt if scene.config else None
    if settings is None:
        return
    about = f"broker {settings.broker}"
    try:
        found = socket.getaddrinfo(settings.host, settings.used_port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        yield fail(about, f"its host is not known: {error.strerror}", _ERRORS["host"])
        return
    try:
        socket.create_connection((settings.host, settings.used_port), settings.connect_timeout_s).close()
    except OSError as error:
        addresses = ", ".join(sorted({str(one[4][0]) for one in found}))
        yield fail(about, f"cannot be reached at {addresses}: {error.strerror or error}", _ERRORS["reached"])
        return
    yield _connected(about, settings, scene.home)


def _connected(about: str, settings: MqttSettings, home: Home) -> Finding:
    from agent.mqtt.client import Broken  # noqa: PLC0415  paho-mqtt, only where there is a broker
    from agent.mqtt.connection import Connection  # noqa: PLC0415
    from agent.mqtt.permissions import Permissions  # noqa: PLC0415

    own = dataclasses.replace(settings, client_id=f"capture-agent-{home.device_id}-doctor")
    will = f"{settings.prefix_of(home)}/doctor", b"", False
    connection = Connection(own, home, Permissions(boottime_ns), will=will)
    try:
        connection.open(threading.Event())
    except Broken as error:
        if _is_ours_alone(str(error)):
            return warn(about, f"not tried: {error}", _AS_ROOT)
        return fail(about, f"does not let us in: {error}", _ERRORS["ends"])
    finally:
        connection.close()
    how = "TLS, certificate verified" if settings.tls else "without TLS"
    who = f"user {settings.user}" if settings.user else "without a user name"
    return ok(about, f"lets us in: {how}, {who}")


def targets(scene: Scene) -> Iterator[Finding]:
    """Each as `capture-agent targets test` does."""
    for name, target in scene.config.targets.items() if scene.config else ():
        about = f"target {name}"
        try:
            found, error = tried(target.settings, scene.home)
        except Exception as unexpected:  # a third party's may raise anything, and the others are to be tried, too
            found, error = [], f"{type(unexpected).__name__}: {unexpected}"
        if error and _is_ours_alone(error):
            yield warn(about, f"not tried: {error}", _AS_ROOT)
        elif error:
            yield fail(about, error, f"mend that, then capture-agent targets test {name}")
        for line in found:
            yield ok(about, line)


def _is_ours_alone(error: str) -> bool:
    """Whether it is a secret that only whoever asks may not read; the service has it from systemd."""
    return error.startswith("secret ") and error.endswith(os.strerror(errno.EACCES))


def tried(settings: Any, home: Home) -> tuple[list[str], str]:
    """What a try of one target found, and what is wrong; nothing is left behind there."""
    target = settings.open(home)
    try:
        if not isinstance(target, Probing):
            return ["it cannot be tried without a capture"], ""
        return target.probe(), ""
    except (Unreachable, Refused, Later, Failed) as error:
        return [], str(error)
    finally:
        target.close()
