"""What Sticky Pi knows a picture by: a device and a second, both of which stand in the file's name."""

import dataclasses
import datetime
import re

from agent.capture import Payload
from agent.targets import Refused

NAME = re.compile(r"([0-9a-f]{8})\.([0-9]{4}-[0-9]{2}-[0-9]{2})_([0-9]{2}-[0-9]{2}-[0-9]{2})\.jpg")
ORIGIN = datetime.datetime(2019, 11, 1)
"""The server takes no picture from before; a board whose clock was never set is in 1970 or 2000."""


@dataclasses.dataclass(frozen=True)
class Shot:
    """What the server knows a picture by: one a device and second. All of it stands in the file's name."""

    device: str
    datetime: str

    @classmethod
    def of(cls, payload: Payload) -> "Shot":
        """Refused where the server could not read the name, or would not take the date."""
        file, parts = payload.file, NAME.fullmatch(payload.file)
        if parts is None:
            raise Refused(
                f"{file}: Sticky Pi needs names such as 512858f4.2024-03-05_06-07-08.jpg; "
                'set picture_name = "second" in the recording, and take at most one picture a second'
            )
        device, date, clock = parts.groups()
        moment = f"{date}T{clock.replace('-', ':')}"
        try:
            early = datetime.datetime.fromisoformat(moment) < ORIGIN
        except ValueError as error:
            raise Refused(f"{file} has no date that there is: {error}") from None
        if early:
            raise Refused(
                f"{file}: Sticky Pi takes no picture from before {ORIGIN:%Y-%m-%d}; the clock was not set when this "
                "one was named: set it at start, or let pictures wait longer for it (date_wait_s)"
            )
        return cls(device, moment + "Z")

    @property
    def file(self) -> str:
        """Its name."""
        return f"{self.device}.{self.datetime.replace('T', '_').replace(':', '-').removesuffix('Z')}.jpg"
