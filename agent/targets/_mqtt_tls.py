"""TLS to a broker: whom this device trusts and who it is, for the target `mqtt` and for the house's own connection."""

import ssl
import uuid

from agent.targets import Home


def context(home: Home, *, ca_file: str, cert_file: str, key_file: str) -> ssl.SSLContext:
    """What verifies the broker and shows the certificate; files as TOML has them, empty: none. ValueError says what
    cannot be used, Unreachable what is not there."""
    named = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
    files = {option: home.path(name) if name else None for option, name in named.items()}
    for option, path in files.items():
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            raise ValueError(f"{option}: {path} cannot be read: {error.strerror}") from None
    option = "ca_file"
    try:
        made = ssl.create_default_context(cafile=files["ca_file"])
        made.sslsocket_class = _Socket
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        option = "cert_file or key_file"
        if files["cert_file"] is not None:
            made.load_cert_chain(files["cert_file"], files["key_file"], password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"{option} is not what it should be (PEM, no password): {error}") from None
    return made


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
