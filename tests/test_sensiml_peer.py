"""SensiML's published client against the server of these tests, so that it is honest; both work on one project."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.target import put
from tests.sensiml import CSV, Server, recorded, serving

PEER = Path(__file__).resolve().parents[1] / ".peers" / "sensiml"
NEEDS = ("sensiml==2024.2.0", "numpy<2", "pandas<2.3", "scipy", "six", "setuptools")
"""The last four it imports and does not say; of numpy it needs names that version 2 took away."""
CLIENT = """
import json, pathlib, sys
from sensiml import SensiML

url, user, password, folder = sys.argv[1:]
folder = pathlib.Path(folder)
client = SensiML(server=url, username=user, password=password)
client.project = "made by the client"
client.project = "bay vibration"
project, said = client.project, {"projects": sorted(client.list_projects()["Name"])}
said["before"] = sorted(project.captures.build_capture_list())
said["configurations"] = {c.uuid: c.name for c in project._capture_configurations.get_capture_configurations()}
said["metadata"] = project.captures.get_metadata_names_and_values()
said["labels"] = project.captures.get_label_names_and_values()
(folder / "their.csv").write_bytes(b"sequence,AccelerometerX\\n0,1\\n1,2\\n2,3\\n")
info = {"SampleRate": 100, "CalculatedSampleRate": 99.9}
info |= {"capture_configuration_uuid": next(iter(said["configurations"]), None)}
their = project.captures.get_or_create("their.csv", str(folder / "their.csv"), capture_info=info)
their.await_ready()
try:
    project.captures.create_capture("their.csv", str(folder / "their.csv"))
except Exception as error:
    said["again"] = type(error).__name__

from sensiml.datamanager.metadata import Metadata
from sensiml.datamanager.metadata_relationship import MetadataRelationship
from sensiml.datamanager.metadata_value import MetadataValue
from sensiml.datamanager.segmenter import Segmenter

name = Metadata(client._connection, project)
name.name = "weather"
name.insert()
value = MetadataValue(client._connection, project, name)
value.value, value.color = "rain", "#0000FF"
value.insert()
MetadataRelationship(client._connection, project, their, name, value).insert()
session = Segmenter(client._connection, project)
session.name = "by hand"
session.insert()
their.download(str(folder / "down"))
said["after"] = {c.filename: c.uuid for c in project.captures.get_captures()}
said["down"] = (folder / "down" / "their.csv").read_text()
gone = project.captures.create_capture("gone.csv", str(folder / "their.csv"))
gone.delete()
said["left"] = sorted(project.captures.build_capture_list())
for each in said["before"]:
    project.captures.get_capture_by_filename(each).download(str(folder / "down"))
(folder / "said.json").write_text(json.dumps(said))
"""


@pytest.fixture(scope="module")
def peer() -> Path:
    """The interpreter of a virtual environment that has the published client; made once."""
    python, ready = PEER / "bin" / "python", PEER / ".ready"
    PEER.parent.mkdir(exist_ok=True)
    with (PEER.parent / "sensiml.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if not ready.exists() or ready.read_text() != str(NEEDS):
            if sys.version_info >= (3, 13):
                pytest.skip(f"{NEEDS[0]} needs a numpy that has no wheels for Python 3.13")
            pip = [python, "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "20", "--prefer-binary"]
            for command in ([sys.executable, "-m", "venv", PEER], [*pip, *NEEDS]):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    reason = (done.stderr or done.stdout).strip().splitlines()[-1:]
                    pytest.skip(f"{NEEDS[0]} cannot be installed (no network, or Python 3.13?): {' '.join(reason)}")
            ready.write_text(str(NEEDS))
    return python


@pytest.fixture
def far(tmp_path):
    with serving(tmp_path) as server:
        server.model.clients.clear()  # it brings an id and a secret of its own
        yield server


def by_the_peer(peer: Path, far: Server, folder: Path) -> dict[str, Any]:
    (folder / "down").mkdir()
    # without TLS it speaks to localhost alone
    url = far.model.url.replace("127.0.0.1", "localhost") + "/"
    command = [peer, "-W", "ignore", "-c", CLIENT, url, "bay3", far.secret, folder]
    home = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "MPLBACKEND": "agg"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=home, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "said.json").read_text())


@pytest.mark.timeout(600)  # the first time, half a gigabyte of numpy, pandas and matplotlib has to come
def test_each_client_finds_what_the_other_made(peer, far, tmp_path):
    ours = recorded(tmp_path / "captures", labels={"activity": "walking"}, metadata={"subject": 7})
    put(far.open(), ours)
    said = by_the_peer(peer, far, tmp_path)
    name, configuration = ours.files[0].name, ours.document["configuration"]

    # what the published client finds of ours
    assert said["before"] == [name]
    assert said["configurations"] == {configuration["uuid"]: f"walk {configuration['uuid'][:8]}"}
    assert said["metadata"] == [
        {"name": "device", "values": ["bay3"]},
        {"name": "recording", "values": ["walk"]},
        {"name": "subject", "values": ["7"]},
    ]
    assert said["labels"] == [{"name": "activity", "values": ["walking"]}]
    assert (tmp_path / "down" / name).read_bytes() == CSV

    # what it makes itself
    assert said["projects"] == ["bay vibration", "made by the client"]
    assert said["again"] == "HTTPError", "its own CaptureExistsError is only for names that it has listed before"
    there = far.capture("their.csv")
    assert said["after"] == {name: far.capture(name)["uuid"], "their.csv": there["uuid"]}
    assert said["down"] == there["file"].decode()
    assert "gone.csv" not in said["left"] and len(far.model.asked("DELETE", "")) == 1
    assert there["configuration"] == configuration["uuid"]
    assert (there["fields"]["set_sample_rate"], there["fields"]["calculated_sample_rate"]) == ("100", "99.9")

    # what we find of its
    by_hand = recorded(tmp_path / "captures", labels={"activity": "walking"}, metadata={"weather": "rain"})
    put(far.open(session="by hand"), by_hand)
    project = far.model.projects[next(iter(far.model.projects))]
    assert len(far.model.projects) == 2
    assert sorted(s["name"] for s in project.segmenters.values()) == ["by hand", "capture-agent"]
    assert sorted(n["name"] for n in project.names.values()) == [
        "activity",
        "device",
        "recording",
        "subject",
        "weather",
    ]
    assert all(len(n["label_values"]) == 1 for n in project.names.values())
