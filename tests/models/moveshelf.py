"""What Moveshelf has and makes, by the schema that its clients rely on: nothing is made only once there."""
# ruff: noqa: N803  arguments have the schema's names

import base64
import datetime
import itertools
import re
from collections.abc import Callable

from graphql import GraphQLError, build_schema

SCHEMA = build_schema("""
scalar JSONString
interface Node { id: ID! }
type Template { name: String data: JSONString }
type Norm { id: ID! name: String status: String uploadStatus: String projectPath: String clips: [MocapClip] }
type Report { id: ID! title: String }
type Dataset { name: String downloadUri: String }
type Viewer { projects: [Project] }
type Project implements Node {
  id: ID! name: String description: String canEdit: Boolean unlistedAccess: Boolean template: Template
  norms: [Norm] datasets: [Dataset] patientsList: [Patient] clips(first: Int): ClipConnection
}
type ClipConnection { edges: [ClipEdge] }
type ClipEdge { node: MocapClip }
type Patient implements Node {
  id: ID! name: String externalId: String updated: String metadata: JSONString
  project: Project sessions: [Session] reports: [Report]
}
type Session implements Node {
  id: ID! projectPath: String date: String metadata: JSONString project: Project patient: Patient clips: [MocapClip]
}
type MocapClip implements Node {
  id: ID! title: String description: String projectPath: String customOptions: JSONString created: String
  uploadStatus: String hasCharts: Boolean hasVideo: Boolean originalFileName: String originalDataDownloadUri: String
  additionalData(dataTypeFilter: [String!]): [AdditionalData]
}
type AdditionalData {
  id: ID! dataType: String uploadStatus: String originalFileName: String
  previewDataUri: String originalDataDownloadUri: String
}
type Query { viewer: Viewer node(id: ID!): Node patient(ehrId: String!, projectId: String!): Patient }
enum Framerate { FPS_24 FPS_25 FPS_29_97 FPS_30 FPS_50 FPS_59_94 FPS_60 FPS_1000 }
input TimecodeInput { timecode: String! framerate: Framerate! }
input ClipMetadata {
  title: String description: String previewImageUri: String allowDownload: Boolean allowUnlistedAccess: Boolean
  projectPath: String startTimecode: TimecodeInput
}
input ClipInput { clientId: String! metadata: ClipMetadata crc32c: String filename: String }
input ClipCreationInput { project: String! clips: [ClipInput!]! }
input CreateAdditionalDataInput {
  clipId: String! dataType: String! crc32c: String! filename: String! clientId: String!
}
input UpdateClipInput { id: String! metadata: ClipMetadata customOptions: JSONString }
type PatientMade { patient: Patient }
type SessionMade { session: Session }
type ClipMade { clientId: String uploadUrl: String mocapClip: MocapClip }
type ClipsMade { response: [ClipMade] }
type DataMade { uploadUrl: String data: AdditionalData }
type ClipUpdated { clip: MocapClip }
type Updated { updated: Boolean }
type Ok { ok: Boolean }
type Deleted { deleted: Boolean }
type Mutation {
  createPatient(projectId: String!, name: String!): PatientMade
  createSession(projectId: String!, projectPath: String!, patientId: ID!, sessionDate: String): SessionMade
  createClips(input: ClipCreationInput!): ClipsMade
  createAdditionalData(input: CreateAdditionalDataInput): DataMade
  updateClip(clipData: UpdateClipInput!): ClipUpdated
  updatePatient(patientId: ID!, metadata: JSONString): Updated
  deleteClip(clipId: String!): Ok
  deleteAdditionalData(id: ID!): Ok
}
""")
KINDS = ("video", "motion", "doc", "data", "img", "camera", "raw")


class Shelf:
    """Its methods are the schema's root fields; `rows` has everything there is, by its id."""

    def __init__(self, sign: Callable[[dict], str]) -> None:
        """`sign` gives the address that a row's content can be put at, and got from."""
        self.rows: dict[str, dict] = {}
        self.slow_looks = 0
        """So many looks at what has arrived still say Processing."""
        self._sign = sign
        self._numbers = itertools.count(1)
        for name in ("support/demoProject", "clinic/gait"):
            project = self._row("Project", name=name, canEdit=True, description="", unlistedAccess=False)
            self._children(project, "patientsList", "Patient", "project")
            clips = self._chosen("MocapClip", "project", project["id"])
            project["clips"] = lambda info, first=20, clips=clips: {
                "edges": [{"node": clip} for clip in clips()[:first]]
            }

    def of_type(self, name: str) -> list[dict]:
        return [row for row in self.rows.values() if row["__typename"] == name]

    def viewer(self, info) -> dict:
        return {"projects": self.of_type("Project")}

    def node(self, info, id: str) -> dict | None:
        return self.rows.get(id)

    def patient(self, info, ehrId: str, projectId: str) -> dict | None:
        found = (row for row in self.of_type("Patient") if row.get("externalId") == ehrId)
        return next((row for row in found if row["project"]["id"] == projectId), None)

    def createPatient(self, info, projectId: str, name: str) -> dict:
        patient = self._row("Patient", name=name, metadata=None, reports=[], project=self._project(projectId))
        self._children(patient, "sessions", "Session", "patient")
        return {"patient": patient}

    def createSession(
        self, info, projectId: str, projectPath: str, patientId: str, sessionDate: str | None = None
    ) -> dict:
        project, patient = self._project(projectId), self._typed("Patient", patientId)
        if not re.fullmatch("/[^/]+/[^/]+/", projectPath) or patient["project"] is not project:
            raise GraphQLError(f"no path of a session of {patient['name']}: {projectPath}")
        if sessionDate is not None:
            datetime.date.fromisoformat(sessionDate)
        session = self._row(
            "Session", projectPath=projectPath, date=sessionDate, metadata=None, project=project, patient=patient
        )
        self._children(session, "clips", "MocapClip", "session")
        return {"session": session}

    def createClips(self, info, input: dict) -> dict:
        project = self._project(input["project"])
        return {"response": [self._clip(project, clip) for clip in input["clips"]]}

    def createAdditionalData(self, info, input: dict) -> dict:
        clip = self._typed("MocapClip", input["clipId"])
        if input["dataType"] not in KINDS:
            raise GraphQLError(f"no dataType: {input['dataType']}")
        data = self._file("AdditionalData", input["filename"], input["crc32c"], dataType=input["dataType"], clip=clip)
        return {"uploadUrl": self._sign(data), "data": data}

    def updateClip(self, info, clipData: dict) -> dict:
        clip = self._typed("MocapClip", clipData["id"])
        clip.update(self._metadata(clipData["metadata"]))
        if clipData.get("customOptions") is not None:
            clip["customOptions"] = clipData["customOptions"]
        return {"clip": clip}

    def deleteAdditionalData(self, info, id: str) -> dict:
        del self.rows[self._typed("AdditionalData", id)["id"]]
        return {"ok": True}

    def deleteClip(self, info, clipId: str) -> dict:
        del self.rows[self._typed("MocapClip", clipId)["id"]]
        return {"ok": True}

    def _clip(self, project: dict, given: dict) -> dict:
        metadata = {"title": "Untitled", **self._metadata(given.get("metadata") or {})}
        path = metadata.setdefault("projectPath", "/")
        sessions = (row for row in self.of_type("Session") if path.startswith(row["projectPath"]))
        clip = self._file("MocapClip", given.get("filename"), given.get("crc32c"), project=project, **metadata)
        clip["session"] = next(sessions, None)
        self._children(clip, "additionalData", "AdditionalData", "clip")
        url = self._sign(clip) if given.get("filename") and given.get("crc32c") else None
        return {"clientId": given["clientId"], "uploadUrl": url, "mocapClip": clip}

    def _metadata(self, given: dict) -> dict:
        timecode = given.get("startTimecode")
        if timecode and not re.fullmatch(r"\d{2}:\d{2}:\d{2}[:;]\d{2,3}", timecode["timecode"]):
            raise GraphQLError(f"no time code: {timecode['timecode']}")
        path = given.get("projectPath")
        return {**given, "projectPath": f"/{path.strip('/')}/"} if path else given

    def _file(self, typename: str, name: str | None, crc32c: str | None, **more) -> dict:
        """A row with content: `arrived` says what became of that; shown when it is time."""
        row = self._row(typename, originalFileName=name, crc32c=crc32c, arrived=None, **more)
        looks = itertools.count()

        def status(info) -> str:
            return row["arrived"] if row["arrived"] and next(looks) >= self.slow_looks else "Processing"

        row["uploadStatus"] = status
        row["originalDataDownloadUri"] = lambda info: self._sign(row) if row["arrived"] == "Complete" else None
        return row

    def _row(self, typename: str, **more) -> dict:
        id = base64.b64encode(f"{typename}:{next(self._numbers):06}".encode()).decode()
        self.rows[id] = {"__typename": typename, "id": id, **more}
        return self.rows[id]

    def _children(self, row: dict, field: str, typename: str, link: str) -> None:
        chosen = self._chosen(typename, link, row["id"])
        row[field] = lambda info, **arguments: chosen()

    def _chosen(self, typename: str, link: str, id: str) -> Callable[[], list[dict]]:
        return lambda: [row for row in self.of_type(typename) if (row[link] or {}).get("id") == id]

    def _project(self, text: str) -> dict:
        """By id or name."""
        found = [row for row in self.of_type("Project") if text in (row["id"], row["name"])]
        if not found:
            raise GraphQLError(f"no project {text}")
        return found[0]

    def _typed(self, typename: str, id: str) -> dict:
        row = self.rows.get(id)
        if row is None or row["__typename"] != typename:
            raise GraphQLError(f"no {typename} {id}")
        return row
