"""A client of the library, made as the settings say: who this device is, and whom it trusts."""

from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from agent.mqtt.settings import MqttSettings
from agent.targets import Home
from agent.targets._mqtt_tls import context


class Broken(Exception):
    """There is no connection, or no longer; the message is the reason, one line."""


def made(settings: MqttSettings, home: Home) -> Client:
    """A client that knows who it is and whom to trust, and has not connected yet. Broken, Unreachable."""
    v5 = settings.version == "5"
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=settings.client_id or f"capture-agent-{home.device_id}",
        protocol=MQTTv5 if v5 else MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = settings.connect_timeout_s
    if settings.user:
        password = home.secret(settings.password_file) if settings.password_file else None
        client.username_pw_set(settings.user, password)
    if settings.tls:
        try:
            client.tls_set_context(
                context(home, ca_file=settings.ca_file, cert_file=settings.cert_file, key_file=settings.key_file)
            )
        except ValueError as error:
            raise Broken(str(error)) from None
    return client
