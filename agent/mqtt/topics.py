"""Topics: where everything stands below one prefix. Names of streams and commands are in them, nothing of captures."""

import dataclasses

_LONGEST = 256


@dataclasses.dataclass(frozen=True)
class Topics:
    """The topics of one device."""

    prefix: str
    discovery: str = ""
    """Home Assistant's prefix; empty: it is not told."""

    @property
    def status(self) -> str:
        """Retained: birth, and last will."""
        return f"{self.prefix}/status"

    @property
    def health(self) -> str:
        return f"{self.prefix}/health"

    @property
    def picture(self) -> str:
        return f"{self.prefix}/picture/latest"

    @property
    def response(self) -> str:
        """Where answers go that nobody wants elsewhere."""
        return f"{self.prefix}/response"

    @property
    def command(self) -> str:
        """For questions that name their command themselves; each command has a topic of its own below it."""
        return f"{self.prefix}/command"

    @property
    def probe(self) -> str:
        """What the device sends to itself, to see whether commands would come."""
        return f"{self.command}/probe"

    @property
    def home_assistant(self) -> str:
        """Where Home Assistant says that it is there; empty where it is not wanted."""
        return self.discovery and f"{self.discovery}/status"

    def event(self, name: str) -> str:
        return f"{self.prefix}/event/{name}"

    def latest(self, stream: str) -> str:
        return f"{self.prefix}/stream/{stream}/latest"

    def device(self, device_id: str) -> str:
        """Home Assistant's discovery topic of this device."""
        return f"{self.discovery}/device/capture-agent-{device_id}/config"

    def command_name(self, topic: str) -> str | None:
        """The command that a topic means; empty where the question names it, None where it is no command's topic."""
        if topic == self.command:
            return ""
        name = topic.removeprefix(self.command + "/")
        return name if name != topic else None

    def no_answer_there(self, topic: str) -> str:
        """Why no answer may go to this topic, which a stranger has chosen; empty where it may.

        Nobody shall speak through this device where only the device may.
        """
        if not topic or len(topic.encode(errors="replace")) > _LONGEST or set("+#\0") & set(topic) or topic[0] == "$":
            return f"a response topic has 1 to {_LONGEST} bytes, no + and no #, and does not begin with $"
        own = topic == self.prefix or topic.startswith(self.prefix + "/")
        if own and topic != self.response and not topic.startswith(self.response + "/"):
            return f"below {self.prefix}/ answers go to {self.response} only, or below it"
        if self.discovery and (topic == self.discovery or topic.startswith(self.discovery + "/")):
            return f"no answer goes below {self.discovery}/"
        return ""
