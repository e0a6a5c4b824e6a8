import base64
import json

import google_crc32c
import pytest

from agent.capture import Capture
from agent.targets import Failed, Later, Progress, Unreachable
from agent.targets.moveshelf import Settings
from drivers.settings import SettingsError
from tests.contracts.target import CONTENT, NetworkContract, put
from tests.moveshelf import SUBJECT, of_subject, serving
from tests.receiver import Fault


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def capture(tmp_path):
    return of_subject(tmp_path / "captures")


class TestMoveshelf(NetworkContract):
    @pytest.fixture
    def far(self, far):
        far.idle_s = 0.5
        return far

    def make(self, folder, content):
        return of_subject(folder, content)


# What is made


def test_what_is_made_for_a_capture(far, tmp_path):
    said = {"metadata": {"subject": SUBJECT, "shoes": "none"}, "labels": {"activity": "walking", "laps": 3}}
    capture = of_subject(tmp_path, CONTENT, **said)
    put(far.open(), capture)
    (subject,), (session,), (trial,) = (far.shelf.of_type(each) for each in ("Patient", "Session", "MocapClip"))
    assert (subject["name"], subject["project"]["name"]) == (SUBJECT, "clinic/gait")
    assert (session["projectPath"], session["date"]) == (f"/{SUBJECT}/2026-11-21/", "2026-11-21")
    assert session["patient"] is subject
    assert (trial["title"], trial["projectPath"]) == (capture.name, f"/{SUBJECT}/2026-11-21/walk/")
    assert trial["startTimecode"] == {"timecode": "10:15:00:123", "framerate": "FPS_1000"}
    assert (trial["allowDownload"], trial["allowUnlistedAccess"]) == (False, False)
    for part in (capture.uuid, "of walk by bay3 (0badcafe)", "activity = walking", "laps = 3", "shoes = none"):
        assert part in trial["description"]
    assert SUBJECT not in trial["description"]
    files = far.shelf.of_type("AdditionalData")
    assert [(row["originalFileName"], row["dataType"]) for row in files] == [
        (path.name, "data") for path in capture.files
    ]
    for row, path in zip(files, capture.files, strict=True):
        assert base64.b64decode(row["crc32c"]) == google_crc32c.Checksum(path.read_bytes()).digest()


def test_the_receipt_has_all_ids_and_no_names(far, capture):
    target = far.open()
    receipt = target.put(capture, progress := Progress())
    assert {key: far.shelf.rows[receipt[key]]["__typename"] for key in ("project", "subject", "session", "trial")} == {
        "project": "Project",
        "subject": "Patient",
        "session": "Session",
        "trial": "MocapClip",
    }
    names = {far.shelf.rows[id]["originalFileName"]: name for name, id in receipt["files"].items()}
    assert names == {path.name: path.name for path in capture.files}
    assert SUBJECT not in json.dumps([receipt, progress.state], ensure_ascii=False)


def test_a_first_capture_and_the_next_ask_for_no_more_than_they_need(far, tmp_path):
    target = far.open()
    put(target, of_subject(tmp_path))
    files = ["createAdditionalData"] * 2 + ["node"]
    assert far.api.operations == [
        *("viewer", "node", "createPatient", "node", "createSession", "node", "createClips"),
        *files,
    ]
    far.api.operations.clear()
    put(target, of_subject(tmp_path))
    assert far.api.operations == ["node", "createClips", *files]


def test_kinds_of_files(far, tmp_path):
    kinds = {
        **dict.fromkeys((".csv", ".2.json", ".txt"), "data"),
        **dict.fromkeys((".jpg", ".JPEG", ".png", ".webp"), "img"),
        ".mp4": "video",
        ".c3d": "motion",
        ".pdf": "doc",
        ".xcp": "camera",
        **dict.fromkeys((".csv.gz", ".mcap", ".wav", ".flac", ".parquet"), "raw"),
    }
    target = far.open()
    for suffix in kinds:
        put(target, of_subject(tmp_path, kind=("x", "application/octet-stream", suffix)))
    found = [row["dataType"] for row in far.shelf.of_type("AdditionalData")]
    assert found[::2] == list(kinds.values())
    assert set(found[1::2]) == {"data"}, "sidecars"


def test_one_format_of_several(far, tmp_path):
    capture = of_subject(tmp_path)
    other = of_subject(tmp_path, CONTENT, name=capture.name, kind=("mcap", "application/mcap", ".mcap"))
    both = Capture(
        capture.folder, {**capture.document, "payloads": capture.document["payloads"] + other.document["payloads"]}
    )
    both.write_sidecar()
    put(far.open(formats=("mcap", "csv")), both)
    assert far.files() == {path.name: path.read_bytes() for path in both.files[1:]}


def test_a_payload_whose_checksum_was_never_made(far, tmp_path):
    capture = of_subject(tmp_path, CONTENT)
    payload = {**capture.document["payloads"][0], "crc32c": None}
    capture = Capture(capture.folder, {**capture.document, "payloads": [payload]})
    capture.write_sidecar()
    put(far.open(), capture)
    assert far.files() == {path.name: path.read_bytes() for path in capture.files}


# The project and the key


def test_the_project_by_its_id(far, capture):
    put(far.open(project=far.shelf.of_type("Project")[0]["id"]), capture)
    assert far.shelf.of_type("Patient")[0]["project"]["name"] == "support/demoProject"


def test_a_project_that_there_is_not_is_the_targets_fault(far, capture):
    with pytest.raises(Unreachable, match=r"no project 'gait'; there is clinic/gait, support/demoProject"):
        put(far.open(project="gait"), capture)


def test_a_project_of_thousands(far, capture):
    project = far.shelf.of_type("Project")[1]
    project["patientsList"] = lambda info: [{"id": f"p{n}", "name": f"Subject {n}"} for n in range(5000)]
    put(far.open(), capture)
    far.api.faults_at["node"].append(Fault(text='"' + "x" * (9 << 20) + '"'))
    with pytest.raises(Failed, match="longer than 4194304 bytes"):
        put(far.open(), of_subject(capture.folder.parent))


def test_regions():
    given = {"project": "clinic/gait", "key_file": "key"}
    assert Settings(**given).address == "https://api.moveshelf.com/graphql"
    assert Settings(**given, region="us").address == "https://api.us.moveshelf.com/graphql"
    staging = "https://api.staging.moveshelf.com/graphql"
    assert Settings(**given, url=staging).address == staging


def test_a_key_file_that_is_none(far, capture):
    secret = "0123456789abcdef"
    for text in (secret, "{}", "[]", '{"secretKey": ""}', '{"secretKey": 5}', f'{{"application": "{secret}"}}'):
        (far.home.secrets / "mvshlf-api-key.json").write_text(text)
        with pytest.raises(Unreachable, match="is not the key file that Moveshelf gives") as unreachable:
            put(far.open(), capture)
        assert secret not in str(unreachable.value)


def test_no_key_file(far, capture):
    with pytest.raises(Unreachable, match=r"'other\.json' is in none of"):
        put(far.open(key_file="other.json"), capture)


def test_a_new_key_is_picked_up(far, tmp_path):
    target = far.open()
    put(target, of_subject(tmp_path))
    far.api.authorization = "Bearer another-key"
    with pytest.raises(Unreachable, match=r"401.*credentials"):
        put(target, of_subject(tmp_path))
    far.write_key("another-key")
    put(target, of_subject(tmp_path))


def test_what_a_status_of_the_api_means(far, capture):
    meanings = {
        302: (Unreachable, "302"),
        400: (Failed, "because"),
        403: (Unreachable, "because; check the target's credentials"),
        404: (Unreachable, "check the target's region or url"),
        413: (Failed, "because"),
        429: (Later, "because"),
        500: (Failed, "because"),
        502: (Failed, "because"),
    }
    target = far.open()
    for status, (meaning, match) in meanings.items():
        far.api.faults_at["createClips"].append(Fault(status, text='{"errors": [{"message": "because"}]}'))
        with pytest.raises(meaning, match=match):
            put(target, capture)
    put(target, capture)


def test_the_wrong_host(far, capture):
    with pytest.raises(Unreachable, match=r"404: <html>.*; check the target's region or url"):
        put(far.open(url=far.api.url + "/elsewhere"), capture)


# Before anything is owed


def test_a_probe_finds_the_project_and_makes_nothing(far):
    assert far.open().probe() == [
        f"{far.api.url}/graphql takes the key",
        f"project clinic/gait ({far.shelf.of_type('Project')[1]['id']}) may be added to; subjects: 0",
    ]
    assert far.api.operations == ["viewer", "node"]
    far.shelf.of_type("Project")[1]["canEdit"] = False
    with pytest.raises(Unreachable, match="may read the project clinic/gait, and not add to it"):
        far.open().probe()
    far.deny()
    with pytest.raises(Unreachable, match=r"who is \*\*\*"):
        far.open().probe()


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"project": ""}, "project"),
        ({"key_file": ""}, "key_file"),
        ({"region": "mars"}, "region"),
        ({"url": "api.moveshelf.com"}, "url"),
        ({"url": "https://me:pw@api.moveshelf.com/graphql"}, "url"),
        ({"subject": "{name"}, "subject"),
        ({"subject": "{patient}"}, "subject"),
        ({"session": ""}, "session"),
        ({"condition": "a/b"}, "condition"),
        ({"trial": "{file}"}, "trial"),
        ({"proxy": "proxy:3128"}, "proxy"),
        ({"idle_timeout_s": 0}, "idle_timeout_s"),
    ],
)
def test_mistakes_are_found_at_start(settings, wrong):
    with pytest.raises(SettingsError) as error:
        Settings(**{"project": "clinic/gait", "key_file": "key", **settings})
    assert [name for name, _, _ in error.value.mistakes] == [wrong]
    assert "pw" not in str(error.value)
