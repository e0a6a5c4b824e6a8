"""The published client against the server of these tests, so that the server is honest, and beside our own."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.targets import Progress
from tests.contracts.target import CONTENT, put
from tests.moveshelf import SUBJECT, of_subject, serving

PEER = Path(__file__).resolve().parents[1] / ".peers" / "moveshelf"
NEEDS = "moveshelf-api==1.6.4"
CLIENT = Path(__file__).resolve().parent / "peers" / "moveshelf_client.py"


@pytest.fixture(scope="module")
def peer() -> Path:
    """The interpreter of a virtual environment that has the published client; made once."""
    python, done = PEER / "bin" / "python", PEER / f".{NEEDS}"
    PEER.parent.mkdir(exist_ok=True)
    with (PEER.parent / "moveshelf.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if not done.exists():
            subprocess.run([sys.executable, "-m", "venv", PEER], check=True)
            pip = [python, "-m", "pip", "install", "--quiet", "--retries", "1", NEEDS]
            made = subprocess.run(pip, capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"no {NEEDS} to test against: {made.stderr.strip().splitlines()[-1:]}")
            done.touch()
    return python


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        yield server


def by_the_peer(peer, far, folder) -> dict:
    key_file = far.home.secrets / "mvshlf-api-key.json"
    command = [peer, CLIENT, key_file, far.api.url + "/graphql", SUBJECT, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_published_client_makes_and_finds(peer, far, tmp_path):
    said = by_the_peer(peer, far, tmp_path)
    assert [row["name"] for row in said["projects"]] == ["support/demoProject", "clinic/gait"]
    assert far.places() == [
        ("subject", SUBJECT),
        ("session", f"/{SUBJECT}/2026-11-21/"),
        ("trial", f"/{SUBJECT}/2026-11-21/walk/", "Trial-1"),
        ("trial", "/", "picture"),
    ]
    assert far.files() == {"their.csv": b"t,x\n0,1\n"}
    assert [(row["id"], row["uploadStatus"]) for row in said["files"]] == [(said["data"], "Complete")]
    assert said["trial_data"]["description"] == "by the published client"
    clip = far.shelf.rows[said["clip"]["id"]]
    assert (clip["title"], clip["arrived"]) == ("picture", "Complete")
    assert clip["startTimecode"] == {"timecode": "10:15:00:123", "framerate": "FPS_1000"}
    assert said["current"] is True, "which it knows from what it downloaded"
    assert said["deleted"] is True and "deleteClip" in far.api.operations
    assert {row["title"] for row in said["clips"]} == {"Trial-1", "picture"}


def test_both_clients_find_what_the_other_made(peer, far, tmp_path):
    ours = of_subject(tmp_path / "captures", CONTENT, labels={"trial": "Trial-1"})
    put(far.open(), ours)
    made = far.places()
    said = by_the_peer(peer, far, tmp_path)
    assert far.places() == [*made, ("trial", "/", "picture")]
    assert {row["originalFileName"] for row in said["files"]} == {"their.csv", *(path.name for path in ours.files)}
    receipt = far.open().put(of_subject(tmp_path / "captures", CONTENT, labels={"trial": "Trial-1"}), Progress())
    assert far.places() == [*made, ("trial", "/", "picture")]
    assert len(far.files()) == 5
    stays = far.open().remove("whoever", receipt)
    assert any("files of others" in each for each in stays) and len(far.files()) == 3 and "their.csv" in far.files()
