"""The settings of metrics: what TOML says under `[metrics]`; without an address nothing listens."""

import dataclasses
import ipaddress

from drivers.settings import check, option

_ALLOWED = (
    'a loopback address and a port, "127.0.0.1:9464" or "[::1]:9464": there is neither password nor TLS, so who asks'
    " from elsewhere comes through a proxy or a collector on this device"
)


@dataclasses.dataclass(frozen=True)
class MetricsSettings:
    """What TOML says of GET /metrics and GET /healthz."""

    listen: str = option(
        'loopback address and port that answer GET /metrics and GET /healthz, "127.0.0.1:9464"; empty: nothing does', ""
    )

    def __post_init__(self) -> None:
        check(self, *([] if not self.listen or self.address else [("listen", self.listen, _ALLOWED)]))

    @property
    def address(self) -> tuple[str, int] | None:
        """(address, port) to listen on; None where there is none, or what is written is none."""
        host, _, port = self.listen.rpartition(":")
        try:
            address, number = ipaddress.ip_address(host.removeprefix("[").removesuffix("]")), int(port)
        except ValueError:
            return None
        bracketed = host.startswith("[") and host.endswith("]")
        fits = address.is_loopback and 1 <= number <= 65535 and bracketed == (address.version == 6)
        return (str(address), number) if fits else None
