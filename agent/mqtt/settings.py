"""The settings of MQTT: what TOML says under `[mqtt]`; without that table there is no MQTT, and no library loaded."""

import dataclasses
import string

from agent.capture import safe_name
from agent.commands import COMMANDS
from agent.targets import Home
from drivers.settings import check, option

_PLACES = ("device", "device_id")
_SAFE_COMMANDS = (*(name for name, command in COMMANDS.items() if command.reads_only), "label")


@dataclasses.dataclass(frozen=True)
class MqttSettings:
    """What TOML says of the broker, and of what it may see and ask."""

    host: str = option("host name or address of the broker", example="broker.example")
    port: int = option("port of the broker; 0: 8883 with TLS, 1883 without", 0, at_least=0, at_most=65535)
    version: str = option("of the protocol: 5, or 3.1.1 for older brokers", "5", choices=("5", "3.1.1"))
    tls: bool = option("whether the connection is encrypted and the broker's certificate verified", True)
    ca_file: str = option(
        "the only authority that is trusted (PEM: a path, or a credential's name); empty: the system's", ""
    )
    cert_file: str = option("certificate that this device shows (PEM: a path, or a credential's name); empty: none", "")
    key_file: str = option("private key of cert_file, likewise; empty: it is in cert_file", "")
    user: str = option("user name; empty: none", "")
    password_file: str = option("its password: a credential's name, or the path of a file; empty: none", "")
    client_id: str = option("name at the broker, one for each device; empty: capture-agent-<device id>", "")
    prefix: str = option("topics begin so; {device} and {device_id} are filled in", "capture-agent/{device}")
    keepalive_s: int = option(
        "seconds of silence after which broker and device ask each other for life", 30, at_least=5, at_most=3600
    )
    connect_timeout_s: float = option("longest that connecting may take, s", 10.0, at_least=1, at_most=60)
    health_every_s: float = option("how often health is published, s", 30.0, at_least=1, at_most=86400)
    latest_every_s: float = option(
        "how often the newest values of each stream are published, s; 0: never", 10.0, at_least=0, at_most=86400
    )
    picture_px: int = option(
        "longer side of the newest picture, pixels; 0: none is published", 0, at_least=0, at_most=1920
    )
    queue_messages: int = option(
        "most events and answers that wait for the broker; then the oldest are dropped, and counted",
        10_000,
        at_least=100,
        at_most=1_000_000,
    )
    commands: tuple[str, ...] = option("commands that may come through the broker", _SAFE_COMMANDS)
    commands_per_s: float = option(
        "most commands a second; more are refused, and counted", 5.0, at_least=0.1, at_most=100
    )
    home_assistant: str = option(
        "discovery prefix under which Home Assistant is told of this device, usually homeassistant; empty: it is not",
        "",
    )

    sparkplug_group: str = option(
        "group under which this device is a Sparkplug B edge node; status, health and newest values are then told so"
        " and not as JSON; empty: it is none",
        "",
    )

    def __post_init__(self) -> None:
        wrong: list[tuple[str, object, str]] = []
        if not self.host or any(letter.isspace() for letter in self.host):
            wrong.append(("host", self.host, "a host name or an address"))
        if unknown := [name for name in self.commands if name not in COMMANDS]:
            wrong.append(("commands", unknown, f"some of {', '.join(COMMANDS)}"))
        wrong += [(name, getattr(self, name), said) for name, said in _topic_mistakes(self)]
        if set("/+#\0") & set(self.sparkplug_group) or len(self.sparkplug_group) > 100:
            wrong.append(("sparkplug_group", self.sparkplug_group, "a name without /, + and #, at most 100 characters"))
        if self.sparkplug_group and self.home_assistant:
            wrong.append(("home_assistant", self.home_assistant, "nothing where there is a sparkplug_group"))
        if self.sparkplug_group and not self.latest_every_s:
            wrong.append(("latest_every_s", self.latest_every_s, "more than 0 where there is a sparkplug_group"))
        if not self.tls:
            needless = [name for name in ("ca_file", "cert_file", "key_file") if getattr(self, name)]
            wrong += [(name, getattr(self, name), "nothing where tls = false") for name in needless]
        if self.key_file and not self.cert_file:
            wrong.append(("key_file", self.key_file, "nothing where there is no cert_file"))
        if self.password_file and not self.user:
            wrong.append(("password_file", self.password_file, "nothing where there is no user"))
        check(self, *wrong)

    @property
    def broker(self) -> str:
        """Host and port, for people."""
        return f"{self.host}:{self.used_port}"

    @property
    def used_port(self) -> int:
        return self.port or (8883 if self.tls else 1883)

    def prefix_of(self, home: Home) -> str:
        """The prefix of this device's topics; its name cannot bring levels or wildcards with it."""
        return self.prefix.format(device=safe_name(home.device), device_id=home.device_id)


def _topic_mistakes(settings: MqttSettings) -> list[tuple[str, str]]:
    said = "levels with a / between them, without + and #, at most 100 characters"
    found = []
    for name, may_be_empty in (("prefix", False), ("home_assistant", True)):
        text = getattr(settings, name)
        levels = text.split("/")
        if text == "" and may_be_empty:
            continue
        if not all(levels) or set("+#\0") & set(text) or text.startswith("$") or len(text) > 100:
            found.append((name, said))
    try:
        parts = list(string.Formatter().parse(settings.prefix))
    except ValueError as error:
        return [*found, ("prefix", f"text whose braces are {{device}} and {{device_id}}: {error}")]
    if any(field is not None and (field not in _PLACES or spec or how) for _, field, spec, how in parts):
        found.append(("prefix", "text whose braces are {device} and {device_id}"))
    return found
