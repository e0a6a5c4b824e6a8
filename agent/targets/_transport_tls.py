"""TLS to a server of HTTP: whom this device trusts and who it is."""

import ssl
from collections.abc import Callable
from pathlib import Path

from agent.targets import Unreachable


def context(ca_file: str, certificate_file: str, key_file: str, *, find: Callable[[str], Path]) -> ssl.SSLContext:
    """What verifies the server and shows the certificate; files as TOML has them, which `find` makes paths of, empty:
    none. Unreachable says which cannot be used."""
    names = (ca_file, certificate_file, key_file)
    try:
        authority, certificate, key = (find(name) if name else None for name in names)
        made = ssl.create_default_context(cafile=authority)
        if certificate is not None:
            made.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(filter(None, names))
        raise Unreachable(f"the certificates ({files}) cannot be used: {error.strerror or error}") from None
    return made
