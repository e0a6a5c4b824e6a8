"""A file of 1 GB goes to each target that streams, with at most 8 MiB more memory than idle."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.targets import Home
from tests import moveshelf, sensiml
from tests.captures import make_capture
from tests.flat import large, more_kb, wav_head
from tests.models.azure import Container
from tests.models.bucket import Bucket, moto
from tests.models.endpoint import Endpoint
from tests.models.tus import TusServer
from tests.objectstore import BucketFar
from tests.receiver import Receiver
from tests.test_objectstore_clouds import ContainerFar
from tests.test_objectstore_presigned import EndpointFar

WAV = ("wav", "audio/wav", ".wav")
Made = tuple[str, dict[str, Any]]
"""The target's kind and its options."""


def folder(place: Path, home: Home, stack: contextlib.ExitStack) -> Made:
    (place / "nas").mkdir()
    return "directory", {"path": str(place / "nas")}


def http(method: str) -> Callable[..., Made]:
    def made(place: Path, home: Home, stack: contextlib.ExitStack) -> Made:
        receiver = stack.enter_context(TusServer() if method == "tus" else Receiver(keep=False))
        receiver.keep = False
        at = {"PUT": "/{file}", "form": "/form", "tus": "/uploads"}[method]
        return "http", {"url": receiver.url + at, "method": method}

    made.__name__ = method
    return made


def s3(place: Path, home: Home, stack: contextlib.ExitStack) -> Made:
    server = stack.enter_context(moto())  # in a process of its own, for it keeps what it gets
    bucket = stack.enter_context(Bucket(server))
    options = BucketFar(bucket, place, stack).settings()
    return "objectstore", {**options, "url": f"http://127.0.0.1:{server.port}/{bucket.name}"}


def azure(place: Path, home: Home, stack: contextlib.ExitStack) -> Made:
    container = stack.enter_context(Container())
    container.keep, container.small = False, 1 << 16  # the list of blocks is read
    return "objectstore", ContainerFar(container, place, stack).settings()


def presigned(place: Path, home: Home, stack: contextlib.ExitStack) -> Made:
    endpoint = stack.enter_context(Endpoint(EndpointFar.secret))
    endpoint.keep = False
    return "objectstore", EndpointFar(endpoint, place, stack).settings()


def ml(place: Path, home: Home, stack: contextlib.ExitStack) -> Made:
    far = stack.enter_context(sensiml.serving(place))
    far.model.keys.add("web-ui-key-4711")
    far.model.keep, far.model.small = False, 1 << 14  # the configuration is read
    return "sensiml", {"url": far.model.url, "project": "bay vibration", "secret_file": "key"}


def gait(place: Path, home: Home, stack: contextlib.ExitStack) -> Made:
    far = stack.enter_context(moveshelf.serving(place))
    far.forget()
    return "moveshelf", {"url": far.api.url + "/graphql", "project": "clinic/gait", "key_file": "mvshlf-api-key.json"}


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


ALL = (folder, http("PUT"), http("form"), http("tus"), s3, azure, presigned, ml, gait)


@pytest.mark.parametrize(
    ("far", "size"), [(ml, 32 << 20), *(pytest.param(far, 10**9, marks=pytest.mark.soak) for far in ALL)]
)
def test_memory_stays_flat(tmp_path: Path, stack: contextlib.ExitStack, far: Callable[..., Made], size: int) -> None:
    """Viam's is in test_viam_line; Sticky Pi, Edge Impulse and brokers take nothing that large, and it is refused."""
    home = Home("bay3", "0badcafe", tmp_path / "secrets")
    home.secrets.mkdir()
    kind, options = far(tmp_path, home, stack)
    options |= {"idle_timeout_s": 60} if kind != "directory" else {}
    said = {"metadata": {"subject": "somebody"}} if kind == "moveshelf" else {}
    small = make_capture(tmp_path / "captures", wav_head(40_044) + bytes(40_000), kind=WAV, **said)
    assert more_kb(kind, json.loads(json.dumps(options)), (small, large(small, size)), home) <= 8192
