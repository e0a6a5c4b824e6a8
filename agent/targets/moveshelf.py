"""Moveshelf: a capture's files in a trial of a subject's session, each step looked up before it is made."""

import dataclasses
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar

from agent.capture import Capture
from agent.targets import (
    Failed,
    Home,
    Later,
    Plan,
    Progress,
    Receipt,
    Refused,
    Unreachable,
    chosen,
    template_mistake,
)
from agent.targets._inventory import Held
from agent.targets._moveshelf_api import Api
from agent.targets._moveshelf_contents import complete, fetch
from agent.targets._moveshelf_documents import documents
from agent.targets._moveshelf_names import LEVELS, Names, clip_metadata, name_mistake, plan_mistakes
from agent.targets._moveshelf_places import Places
from agent.targets._moveshelf_removal import remove
from agent.targets._moveshelf_trial import Trial
from agent.targets._transport import Line
from drivers.settings import check, option

_URLS = {"eu": "https://api.moveshelf.com/graphql", "us": "https://api.us.moveshelf.com/graphql"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of a `moveshelf` target."""

    needs_date: ClassVar[bool] = True
    """Of the session, which is called after it."""
    project: str = option("name of the project, with its organization, or its id", example="clinic/gait")
    key_file: str = option(
        "the downloaded mvshlf-api-key.json: name of a credential or secret, or path of a file",
        example="mvshlf-api-key.json",
    )
    region: str = option("where the account is", "eu", choices=tuple(_URLS))
    url: str = option("address of another API than the region's, such as staging", "")
    subject: str = option(
        "subject of captures that name none in metadata or labels; {device} {device_id} {date} {recording} are filled "
        "in; empty: such captures are refused",
        "",
    )
    session: str = option("session of captures that name none, filled in likewise", "{date}")
    condition: str = option("condition of captures that name none, filled in likewise", "{recording}")
    trial: str = option("trial of captures that name none, filled in likewise, {name} and {uuid} too", "{name}")
    ca_file: str = option("certificates (PEM) to trust instead of the system's", "")
    proxy: str = option("proxy URL; empty: http_proxy, https_proxy and no_proxy of the environment", "")
    connect_timeout_s: float = option("longest wait for a connection, seconds", 10.0, at_least=0.1, at_most=300)
    idle_timeout_s: float = option("longest wait without any progress, seconds", 60.0, at_least=0.1, at_most=600)
    formats: tuple[str, ...] = option("deliver only the first of these formats that a capture has; empty: all", ())

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        parts = urllib.parse.urlsplit(self.url)
        if "@" in parts.netloc:
            mistakes.append(("url", "(not shown)", "no password: use key_file"))
        elif self.url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query):
            mistakes.append(("url", self.url, "https://HOST/graphql"))
        for name in ("project", "key_file"):
            if not getattr(self, name):
                mistakes.append((name, "", "not empty"))
        for level in LEVELS:
            text = getattr(self, level)
            mistake = template_mistake(text) or name_mistake(text)
            if mistake or "{file}" in text or "{format}" in text:
                mistakes.append((level, text, mistake or "neither {file} nor {format}: a trial has all of a capture"))
            elif not text and level != "subject":
                mistakes.append((level, text, "not empty"))
        if self.proxy and not self.proxy.startswith(("http://", "https://")):
            mistakes.append(("proxy", self.proxy, "http://HOST:PORT"))
        check(self, *mistakes)

    @property
    def address(self) -> str:
        """Of the API."""
        return self.url or _URLS[self.region]

    def mistakes(self, plan: Plan) -> Iterable[tuple[str, object, str]]:
        """Names in the recording's metadata and labels that cannot be names at Moveshelf."""
        return plan_mistakes(plan)

    def open(self, home: Home) -> "Moveshelf":
        """Makes the target; reads no secret and touches no network."""
        return Moveshelf(self, home)


class Moveshelf:
    """Takes payloads and sidecar as additional data of a trial. Safe for several threads.

    Subject, session, condition and trial are those in the capture's metadata, else in its labels, else the settings'.
    Nothing can be made only once there, so everything is looked up first; what this parcel made is in its progress.
    A revision replaces the sidecar and the trial's description; one that names another trial leaves the first as it is.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self.formats = settings.formats
        self._home = home
        self._project = settings.project
        self._defaults = {level: str(getattr(settings, level)) for level in LEVELS}
        line = Line(
            connect_s=settings.connect_timeout_s,
            idle_s=settings.idle_timeout_s,
            ca_file=settings.ca_file,
            proxy=settings.proxy,
        )
        self._api = Api(settings.address, settings.key_file, home, line)
        self._places = Places(self._api, settings.project)

    def put(self, capture: Capture, progress: Progress) -> Receipt:
        """Delivers payloads and sidecar. The receipt has ids: of project, subject, session, trial, and of each file;
        `unread` names those that were there already and, too large, were not compared."""
        payloads = chosen(capture, self.formats)
        names = Names.of(capture, self._defaults, self._home)
        try:
            progress.check()
            files = documents(capture, payloads, progress)
            metadata = clip_metadata(capture, names)
            key = names.key(self._project)
            kept = progress.state.get("place") if progress.state.get("key") == key else None
            place, made = (kept, False) if kept else self._places.trial(names, names.date(capture), metadata, progress)
            if not kept:
                progress.save({"key": key, "place": place, "files": {}, "looks": 0})
            trial = Trial(self._api, place["trial"], files, progress, empty=made)
            done = trial.deliver()
            if not made:
                trial.describe(capture.uuid, metadata)
        except (Refused, Later, Unreachable, Failed) as error:
            progress.check()  # what comes of cutting the connection is no fault
            error.args = tuple(names.hidden(self._api.hidden(str(text))) for text in error.args)
            raise
        return {"url": self._api.url, **place, "files": done, **({"unread": trial.unread} if trial.unread else {})}

    def probe(self) -> list[str]:
        """Tries the key, finds the project, counts its subjects. Makes nothing."""
        try:
            project = self._places.project(Progress())
            subjects: list[None] = []
            editable = self._places.subjects(project, Progress(), lambda row: subjects.append(None))
        except (Later, Unreachable, Failed) as error:
            error.args = tuple(self._api.hidden(str(text)) for text in error.args)
            raise
        if not editable:
            raise Unreachable(f"the key's user may read the project {project.get('name')}, and not add to it")
        return [
            f"{self._api.url} takes the key",
            f"project {project.get('name')} ({project['id']}) may be added to; subjects: {len(subjects)}",
        ]

    def inventory(self, asked: Sequence[tuple[Capture, Receipt]]) -> Iterator[Held]:
        """Lists the complete files of each trial; Moveshelf tells neither sizes nor hashes. Those that were delivered
        by an agent which forgot are not found: their trials are in no receipt."""
        trials = dict.fromkeys(str(receipt["trial"]) for _, receipt in asked if receipt.get("trial"))
        try:
            for trial in trials:
                for file, record in complete(self._api, trial).items():
                    yield Held(file, id=f"{trial} {record}")
        except (Later, Unreachable, Failed) as error:
            error.args = tuple(self._api.hidden(str(text)) for text in error.args)
            raise

    def fetch(self, held: Held, take: Callable[[bytes], object]) -> None:
        """Asks for the file's address, and gets it from there."""
        trial, _, record = held.id.partition(" ")
        try:
            fetch(self._api, trial, record, take)
        except (Refused, Later, Unreachable, Failed) as error:
            error.args = tuple(self._api.hidden(str(text)) for text in error.args)
            raise

    def remove(self, capture: str, receipt: Receipt) -> Sequence[str]:
        """Deletes the capture's files, and its trial where nothing else is in it."""
        try:
            return remove(self._api, capture, receipt)
        except (Refused, Later, Unreachable, Failed) as error:
            error.args = tuple(self._api.hidden(str(text)) for text in error.args)
            raise

    def close(self) -> None:
        """Aborts what hangs and lets the connections go; may be called twice, from any thread."""
        self._api.close()
