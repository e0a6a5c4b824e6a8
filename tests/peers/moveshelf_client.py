"""What a script of a Moveshelf user does, with the published client: find or make, upload, describe, look."""

import json
import pathlib
import sys

from moveshelf_api import util
from moveshelf_api.api import MoveshelfApi, TimecodeFramerate

key_file, url, subject_name, folder = sys.argv[1:]
api = MoveshelfApi(key_file, url, timeout=10)
said = {"projects": api.getUserProjects()}
(project,) = (row for row in said["projects"] if row["name"] == "clinic/gait")

subjects = api.getProjectSubjects(project["id"])
subject = next((row for row in subjects if row["name"] == subject_name), None)
subject = subject or api.createSubject(project["name"], subject_name)
details = api.getSubjectDetails(subject["id"])
sessions = [row["id"] for row in details["sessions"] if row["projectPath"].split("/")[2] == "2026-11-21"]
if not sessions:
    sessions = [api.createSession(project["name"], f"/{subject_name}/2026-11-21/", subject["id"])["id"]]
session = api.getSessionById(sessions[0])
conditions = util.getConditionsFromSession(session, [])
condition = next((row for row in conditions if row["path"] == "walk/"), {"path": "walk/", "clips": []})
trial = util.addOrGetTrial(api, session, condition, "Trial-1")

file = pathlib.Path(folder, "their.csv")
file.write_bytes(b"t,x\n0,1\n")
data = api.uploadAdditionalData(str(file), trial, "data", "their.csv")
picture = pathlib.Path(folder, "their.jpg")
picture.write_bytes(bytes(range(256)) * 500)
timecode = {"timecode": "10:15:00:123", "framerate": TimecodeFramerate.FPS_1000}
clip = api.uploadFile(str(picture), project["name"], {"title": "picture", "startTimecode": timecode})
api.updateClipMetadata(trial, {"description": "by the published client"})
api.deleteAdditionalData(api.uploadAdditionalData(str(file), trial, "data", "gone.csv"))
passing = util.addOrGetTrial(api, session, condition, "Trial-2")
said["deleted"] = api.deleteClip(passing)
said.update(
    trial=trial,
    data=data,
    clip=api.getClipData(clip),
    trial_data=api.getClipData(trial),
    files=api.getAdditionalData(trial),
    current=api.isCurrentVersionUploaded(str(file), trial),
    clips=api.getProjectClips(project["id"], 10),
)
print(json.dumps(said))
