"""SensiML and MPLAB ML: captures with their configuration, metadata and labels in a project, each there once."""

import dataclasses
import hashlib
import re
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from agent.capture import Capture
from agent.targets import Failed, Home, Later, Plan, Progress, Receipt, Refused, Unreachable, chosen
from agent.targets._inventory import Held
from agent.targets._people import unnamed
from agent.targets._sensiml_api import Api, Gone, meaning, once
from agent.targets._sensiml_captures import Captures
from agent.targets._sensiml_file import LONGEST_NAME, Sheet, look
from agent.targets._sensiml_marks import FACTS, attach, marks_of, subjects_of
from agent.targets._sensiml_project import LONGEST, Project, plain_name, plain_value
from agent.targets._sensiml_tokens import Key, Login, Pass, Tokens
from agent.targets._transport import Answer, Host, Line
from drivers.settings import check, option

_PROJECT = re.compile(r"[A-Za-z0-9_ .-]{1,200}")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What TOML says of a `sensiml` target."""

    formats: ClassVar[tuple[str, ...]] = ("csv", "wav")

    project: str = option("name of the project, made where there is none", example="bay-vibration")
    secret_file: str = option(
        "API key, or the password of username: name of a credential or secret, or path of a file", example="sensiml-key"
    )
    username: str = option("user who logs in with a password; empty: there is an API key", "")
    client_id: str = option("client of the login: `cid` in the platform's own Python client", "")
    client_secret_file: str = option("its secret (`csid`): name of a credential or secret, or path of a file", "")
    url: str = option(
        "address of the server: https://sensiml.cloud/, https://www.mplabml.microchip.com/, or your own",
        "https://sensiml.cloud/",
    )
    session: str = option("session that gets the labels; segments in it are kept as they are here", "capture-agent")
    facts: tuple[str, ...] = option(f"attached as metadata: {', '.join(FACTS)}", ("device", "recording"))
    numbers: int = option(
        "different numbers with a point that a name of metadata gets; what goes on being new (tags_from) is left out",
        100,
        at_least=0,
        at_most=100000,
    )
    ca_file: str = option("certificates (PEM) to trust instead of the system's", "")
    proxy: str = option("proxy URL; empty: http_proxy, https_proxy and no_proxy of the environment", "")
    connect_timeout_s: float = option("longest wait for a connection, seconds", 10.0, at_least=0.1, at_most=300)
    idle_timeout_s: float = option("longest wait without any progress, seconds", 120.0, at_least=0.1, at_most=600)

    def __post_init__(self) -> None:
        mistakes: list[tuple[str, object, str]] = []
        parts = urllib.parse.urlsplit(self.url)
        if "@" in parts.netloc:
            mistakes.append(("url", "(not shown)", "no password: use username and secret_file"))
        elif parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            mistakes.append(("url", self.url, "http://HOST/ or https://HOST/, with a port or a path where needed"))
        if not _PROJECT.fullmatch(self.project):
            mistakes.append(("project", self.project, "up to 200 of A-Z, a-z, 0-9, _, ., - and spaces"))
        if not self.secret_file:
            mistakes.append(("secret_file", "", "where the API key, or the password, is"))
        if bool(self.username) != bool(self.client_id):
            mistakes.append(("client_id", self.client_id, "given if and only if username is"))
        if not self.session or len(self.session) > 255:
            mistakes.append(("session", self.session, "a name"))
        unknown = [fact for fact in self.facts if fact not in FACTS]
        if unknown:
            mistakes.append(("facts", unknown[0], f"only {', '.join(FACTS)}"))
        if self.proxy and not self.proxy.startswith(("http://", "https://")):
            mistakes.append(("proxy", self.proxy, "http://HOST:PORT"))
        check(self, *mistakes)

    def mistakes(self, plan: Plan) -> Iterator[tuple[str, object, str]]:
        """What the server would refuse, or what would get there under another name."""
        if len(plan.name) + len(".csv") > LONGEST_NAME:
            allowed = f"a shorter name, of recording or device: files have {LONGEST_NAME} characters at most"
            yield "targets", plan.name, allowed
        for option_, said in (("labels", plan.labels), ("metadata", plan.metadata)):
            for name, value in said.items():
                if plain_name(name) != name or not name:
                    yield option_, {name: value}, f"names of up to {LONGEST} of A-Z, a-z, 0-9, _ and spaces"
                elif isinstance(value, str) and (plain_value(value) != value or not value):
                    yield option_, {name: value}, f"values of up to {LONGEST} of A-Z, a-z, 0-9, _, ., :, - and spaces"

    def open(self, home: Home) -> "Sensiml":
        """Makes the target; reads no secret and touches no network."""
        return Sensiml(self, home)


class Sensiml:
    """Uploads one file of each capture and says everything else by the platform's own means. Safe for several threads.

    There is no place for a sidecar: it becomes the capture configuration (under our uuid, with our document inside),
    metadata, and labels. A capture is known by its file name, which holds the beginning of its uuid; where the name is
    taken the file there is compared, never touched.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self.formats = settings.formats
        self._settings = settings
        url = settings.url.rstrip("/") + "/"
        line = Line(
            connect_s=settings.connect_timeout_s,
            idle_s=settings.idle_timeout_s,
            ca_file=settings.ca_file,
            proxy=settings.proxy,
        )
        self._url = url
        self._host = Host(urllib.parse.urljoin(url, "/"), line)
        login = Login(settings.username, settings.secret_file, settings.client_id, settings.client_secret_file)
        self._entry: Pass = Key(home, settings.secret_file)
        if settings.username:
            self._entry = Tokens(home, login, _token_file(settings), self._ask_token)
        self._api = Api(url, self._host, self._entry)
        self._project = Project(self._api, settings.project)
        self._captures = Captures(self._api)

    def put(self, capture: Capture, progress: Progress) -> Receipt:
        """Delivers file, configuration, metadata and labels. The receipt has the server's uuids and what was new."""
        payload = chosen(capture, self.formats)[0]
        progress.check()
        try:
            sheet = look(capture, payload)
            try:
                return self._deliver(sheet, progress)
            except Gone:  # somebody deleted what we remembered
                self._project.forget(progress)
                return self._deliver(sheet, progress)
        except (Refused, Later, Unreachable, Failed) as error:
            progress.check()  # what comes of cutting the connection is no fault
            error.args = tuple(unnamed(self._entry.hidden(str(text)), subjects_of(capture)) for text in error.args)
            raise

    def probe(self) -> list[str]:
        """Logs in, if it has to, and looks for the project. Changes nothing there."""
        try:
            uuid = self._project.found(Progress())
        except (Refused, Later, Unreachable, Failed) as error:
            error.args = tuple(self._entry.hidden(str(text)) for text in error.args)
            raise
        name = self._settings.project
        found = f"project {name!r} is there ({uuid})" if uuid else f"project {name!r} comes with the first capture"
        return [f"{self._url} lets us in", found]

    def inventory(self, asked: Sequence[tuple[Capture, Receipt]]) -> Iterator[Held]:
        """Lists the project, with the sizes of its files; the server knows no hash."""
        found: list[Held] = []

        def keep(item: dict[str, Any]) -> None:
            size = item.get("file_size")
            found.append(Held(str(item["name"]), size if isinstance(size, int) else None, "", str(item.get("uuid"))))

        try:
            uuid = self._project.found(Progress())
            if uuid:
                self._api.each(f"project/{uuid}/capture/", keep, progress=Progress())
        except (Refused, Later, Unreachable, Failed) as error:
            error.args = tuple(self._entry.hidden(str(text)) for text in error.args)
            raise
        yield from found

    def fetch(self, held: Held, take: Callable[[bytes], object]) -> None:
        """Downloads the file of a capture; a server that keeps files on another host gives none to us."""
        nothing = {"Content-Length": "0"}
        try:
            path = f"project/{self._project.found(Progress())}/capture/{held.id}/file/"
            answer = self._api.send("GET", path, nothing, lambda: once(b""), take, progress=Progress())
            if 300 <= answer.status < 400:
                raise Refused(f"{held.file} lies on another host, to which our token must not go")
            meaning(answer)
        except (Refused, Later, Unreachable, Failed) as error:
            error.args = tuple(self._entry.hidden(str(text)) for text in error.args)
            raise

    def remove(self, capture: str, receipt: Receipt) -> Sequence[str]:
        """Deletes the capture with its relations; what it shares with others stays."""
        project, uuid, name = (str(receipt.get(key, "")) for key in ("project", "capture", "name"))
        if receipt.get("url") != self._url or not (project and uuid and name) or {"/", "?"} & {*project, *uuid}:
            raise Refused(f"it was not delivered to {self._url}")
        try:
            self._captures.remove(f"project/{project}/", uuid, name, Progress())
        except (Refused, Later, Unreachable, Failed) as error:
            error.args = tuple(self._entry.hidden(str(text)) for text in error.args)
            raise
        return ["its configuration, and the names and values of its metadata and labels, which are the project's"]

    def close(self) -> None:
        """Aborts what hangs and lets the connections go; may be called twice, from any thread."""
        self._host.close()

    def _deliver(self, sheet: Sheet, progress: Progress) -> Receipt:
        capture, settings, path = sheet.capture, self._settings, self._project.path(progress)
        configuration = self._project.configuration(capture.document["configuration"], progress)
        # names and values first: what is wrong with them is known before the file is sent
        marks = marks_of(
            sheet,
            self._project,
            progress,
            facts=settings.facts,
            session=settings.session,
            numbers=settings.numbers,
        )
        new, there = self._captures.bring(sheet, configuration, path, progress)
        attach(self._api, f"{path}capture/{there['uuid']}/", marks, progress, replace=capture.revision > 1)
        return {
            "url": self._url,
            "project": path.split("/")[1],
            "capture": there["uuid"],
            "configuration": configuration,
            "name": sheet.name,
            "samples": there.get("number_samples"),
            "new": new,
            "left_out": list(marks.left_out),
        }

    def _ask_token(self, form: bytes) -> Answer:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(form))}
        return self._host.send("POST", f"{self._url}oauth/token/", headers, lambda: once(form))


def _token_file(settings: Settings) -> str:
    """One for each target, so that none renews, and thereby ends, another's."""
    who = f"{settings.url}\n{settings.username}\n{settings.project}"
    return f"sensiml-{hashlib.sha256(who.encode()).hexdigest()[:16]}.json"
