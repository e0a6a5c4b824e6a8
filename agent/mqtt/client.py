"""A client of the library, made as the settings say: who this device is, and whom it trusts."""

import ssl
import uuid

from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from agent.mqtt.settings import MqttSettings, credential_path
from agent.targets import Home


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
        client.tls_set_context(_tls(settings, home))
    return client


def _tls(settings: MqttSettings, home: Home) -> ssl.SSLContext:
    files = {
        name: credential_path(home, value) if (value := getattr(settings, name)) else None
        for name in ("ca_file", "cert_file", "key_file")
    }
    for name, path in files.items():
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            raise Broken(f"{name}: {path} cannot be read: {error.strerror}") from None
    name = "ca_file"
    try:
        context = ssl.create_default_context(cafile=files["ca_file"])
        context.sslsocket_class = _Socket
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        name = "cert_file or key_file"
        if files["cert_file"] is not None:
            context.load_cert_chain(files["cert_file"], files["key_file"], password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise Broken(f"{name} is not what it should be (PEM, no password): {error}") from None
    return context


class _Socket(ssl.SSLSocket):
    """One that the library need not close (and forgets) when the handshake fails."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _no_password() -> str:
    """Instead of asking at the terminal for the password of a key."""
    return uuid.uuid4().hex
