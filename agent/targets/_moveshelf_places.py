"""Subject, session and trial, each looked up before it is made, because nothing at Moveshelf is made only once."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from agent.targets import Failed, Progress, Refused, Unreachable
from agent.targets._alone import alone
from agent.targets._moveshelf_api import Api, identity, rows, within
from agent.targets._moveshelf_names import Names, as_name

_PROJECTS = "{viewer{projects{id name}}}"
_SUBJECTS = "query($id:ID!){node(id:$id){...on Project{canEdit patientsList{id name}}}}"
_SESSIONS = "query($id:ID!){node(id:$id){...on Patient{sessions{id projectPath}}}}"
_TRIALS = "query($id:ID!){node(id:$id){...on Session{projectPath clips{id title projectPath}}}}"
_MAKE_SUBJECT = "mutation($p:String!,$n:String!){createPatient(projectId:$p,name:$n){patient{id}}}"
_MAKE_SESSION = (
    "mutation($p:String!,$path:String!,$s:ID!,$d:String)"
    "{createSession(projectId:$p,projectPath:$path,patientId:$s,sessionDate:$d){session{id}}}"
)
_MAKE_TRIAL = "mutation($i:ClipCreationInput!){createClips(input:$i){response{mocapClip{id}}}}"

Project = Mapping[str, Any]


class Places:
    """One project. Ids of subjects and sessions are remembered until anything fails; trials are always asked for.

    All finding and making is behind one lock: two uploads that both find no subject would make two.
    """

    def __init__(self, api: Api, project: str) -> None:
        self._api = api
        self._name = project
        self._lock = threading.Lock()
        self._project: Project | None = None
        self._subjects: dict[str, str] = {}
        self._sessions: dict[tuple[str, str], str] = {}

    def project(self, progress: Progress) -> Project:
        """Its row: id and name. Unreachable where the key's user has none of this name or id."""
        found = rows(self._api.ask(_PROJECTS, progress), "viewer", "projects")
        for row in found:
            if self._name in (row["id"], row.get("name")):
                return row
        names = ", ".join(sorted(str(row.get("name")) for row in found)) or "none"
        raise Unreachable(f"the key's user has no project {self._name!r}; there is {names}")

    def subjects(self, project: Project, progress: Progress, keep: Callable[[dict[str, Any]], object]) -> bool:
        """Gives all of a project to `keep`, each with id and name; whether the key's user may make more."""
        data = self._api.ask(_SUBJECTS, progress, (("node", "patientsList"), keep), id=project["id"])
        rows(data, "node", "patientsList")
        return within(data, "node").get("canEdit") is not False

    def trial(
        self, names: Names, date: str | None, metadata: Mapping[str, Any], progress: Progress
    ) -> tuple[dict[str, str], bool]:
        """Finds or makes one: ids of project, subject, session and trial; and whether the trial is new.

        `date` is the session's, `metadata` what to make the trial with, but for its path.
        """
        with alone(self._lock, progress):
            try:
                return self._trial(names, date, metadata, progress)
            except BaseException:
                # what is remembered may be wrong, and what was asked for may have been made after all
                self._project = None
                self._subjects.clear()
                self._sessions.clear()
                raise

    def _trial(
        self, names: Names, date: str | None, metadata: Mapping[str, Any], progress: Progress
    ) -> tuple[dict[str, str], bool]:
        if self._project is None:
            self._project = self.project(progress)
        project = self._project
        subject = self._subjects.get(names.subject) or self._subject(project, names.subject, progress)
        self._subjects[names.subject] = subject
        session = self._sessions.get((subject, names.session))
        session = session or self._session((project, subject), names, date, progress)
        self._sessions[subject, names.session] = session
        place = {"project": project["id"], "subject": subject, "session": session}
        titled: list[dict[str, Any]] = []

        def keep(clip: dict[str, Any]) -> None:
            if as_name(clip.get("title")) == names.trial:
                titled.append(clip)

        data = self._api.ask(_TRIALS, progress, (("node", "clips"), keep), id=session)
        rows(data, "node", "clips")
        path = str(within(data, "node", "projectPath"))
        found = [clip["id"] for clip in titled if _condition(clip, path) == names.condition]
        if found:  # several are possible; then the same one each time
            return {**place, "trial": min(found)}, False
        inside = {
            "projectPath": f"{path.rstrip('/')}/{names.condition}/",
            "allowDownload": False,
            "allowUnlistedAccess": False,
        }
        clips = [{"clientId": "capture", "metadata": {**metadata, **inside}}]
        data = self._api.ask(_MAKE_TRIAL, progress, i={"project": _named(project), "clips": clips})
        response = within(data, "createClips", "response")
        if not isinstance(response, list) or len(response) != 1:
            raise Failed("Moveshelf's answer to one new trial is not about one")
        return {**place, "trial": identity(response[0], "mocapClip", "id")}, True

    def _subject(self, project: Project, name: str, progress: Progress) -> str:
        found: list[str] = []

        def keep(row: dict[str, Any]) -> None:
            if as_name(row.get("name")) == name:
                found.append(row["id"])

        self.subjects(project, progress, keep)
        if len(found) > 1:
            raise Refused(f"the project has {len(found)} subjects of its subject's name: {', '.join(sorted(found))}")
        if found:
            return str(found[0])
        data = self._api.ask(_MAKE_SUBJECT, progress, p=_named(project), n=name)
        return identity(data, "createPatient", "patient", "id")

    def _session(self, of: tuple[Project, str], names: Names, date: str | None, progress: Progress) -> str:
        """Finds or makes one `of` a project and a subject."""
        project, subject = of
        found: list[str] = []

        def keep(row: dict[str, Any]) -> None:
            if as_name(row.get("projectPath")).strip("/").split("/")[1:2] == [names.session]:
                found.append(row["id"])

        data = self._api.ask(_SESSIONS, progress, (("node", "sessions"), keep), id=subject)
        rows(data, "node", "sessions")
        if found:
            return str(min(found))
        data = self._api.ask(_MAKE_SESSION, progress, p=_named(project), path=names.session_path, s=subject, d=date)
        return identity(data, "createSession", "session", "id")


def _named(project: Project) -> str:
    """As the scripts of Moveshelf's users name a project where something is made in it; its id serves as well."""
    return str(project.get("name") or project["id"])


def _condition(clip: Mapping[str, Any], session_path: str) -> str:
    """A clip's path without its session's, and without slashes at the ends, as they come and go; empty where none."""
    inner = as_name(clip.get("projectPath")).strip("/")
    outer = as_name(session_path).strip("/") + "/"
    return inner.removeprefix(outer).strip("/") if inner.startswith(outer) else ""
