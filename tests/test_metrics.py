"""Metrics: what a scraper and a health check get, from the real daemon and over a real socket, whoever else calls."""

import contextlib
import http.client
import json
import re
import socket
import threading
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from agent.config.reader import read
from agent.metrics.exposition import DAEMON, MEDIA_TYPE, MQTT, RECORDING, STREAM, TARGET, exposition
from agent.metrics.service import Metrics
from agent.metrics.settings import MetricsSettings
from agent.worker import Worker
from tests.running import Running

DOCS = Path(__file__).parents[1] / "docs" / "metrics"
STATUS: Mapping[str, Any] = {
    "version": "1",
    "device": 'b"a\\y\n3',
    "uptime_s": 12.5,
    "clock": {"synchronised": True},
    "memory_bytes": 2**53 - 1,
    "problems": [],
    "developer": {"queued": 1, "failed": 0},
    "disk": {
        "free_bytes": 10**12 + 1,
        "total_bytes": 2 * 10**12,
        "kept_bytes": 5,
        "stopped": "",
        "deleted": 0,
        "given_up": 0,
        "written_bytes": None,
        "syncs": 3,
    },
    "streams": {
        "imu": {
            "state": "running",
            "rate_hz": 999.75,
            "nominal_hz": 1000.0,
            "jitter_s": 0.00025,
            "last_s": 0.01,
            "ring": {"seconds": 10.0, "bytes": 120000},
            "samples": 123456789012,
            "lost": 7,
            "reopened": 1,
            "counters": {"overflows": 2},
        },
        "slow": {
            "state": "starting",
            "rate_hz": None,
            "nominal_hz": None,
            "jitter_s": None,
            "last_s": None,
            "ring": {"seconds": 0.0, "bytes": 0},
            "samples": 0,
            "lost": 0,
            "reopened": 0,
            "counters": {},
        },
    },
    "recordings": {
        "walk": {
            "state": "recording",
            "finished": 4,
            "samples": 60000,
            "bytes": 720000,
            "dropped": 0,
            "unrecorded": 0,
            "trigger": {"triggers": 2},
        }
    },
    "targets": {
        "lab": {
            "state": "unreachable",
            "owed": 3,
            "owed_bytes": 99,
            "oldest_s": 60.5,
            "refused": 0,
            "delivered": 1,
            "failing_since_s": 4.0,
            "retried": 9,
            "sent_bytes": 1000,
        }
    },
    "mqtt": {"state": "connected", "waiting": 0, "dropped": 0, "refused": 0},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(status: Mapping[str, Any], port: int | None = None) -> Iterator[tuple[int, Metrics]]:
    """(port, the service) that tells of this status."""
    port = port or free_port()
    failures: list[BaseException] = []
    metrics = Metrics(MetricsSettings(f"127.0.0.1:{port}"), lambda: status)
    worker: Worker = metrics.start(lambda name, error: failures.append(error))
    try:
        yield port, metrics
    finally:
        assert worker.stop(10)
        assert not failures


def get(port: int, path: str, method: str = "GET") -> tuple[int, str, str]:
    """(status, media type, text), as soon as somebody listens."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        with contextlib.closing(connection):
            try:
                connection.request(method, path)
                answer = connection.getresponse()
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
            except ConnectionRefusedError:
                continue


def samples(text: str) -> dict[tuple[str, ...], float]:
    """By (name, value of each label ...), as the reference parser reads them."""
    families = list(text_string_to_metric_families(text))
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_every_value_of_the_status_is_read_back_by_the_reference_parser() -> None:
    text = exposition(STATUS)
    assert text.endswith("# EOF\n")
    found = samples(text)
    assert found["capture_agent_build_info", "1", STATUS["device"]] == 1
    assert found["capture_agent_stream_samples_total", "imu"] == 123456789012
    assert found["capture_agent_stream_rate_hertz", "imu"] == 999.75
    assert found["capture_agent_stream_jitter_seconds", "imu"] == 0.00025
    assert found["capture_agent_stream_events_total", "imu", "overflows"] == 2
    assert found["capture_agent_stream_running", "slow"] == 0
    assert ("capture_agent_stream_rate_hertz", "slow") not in found
    assert found["capture_agent_recording_triggers_total", "walk"] == 2
    assert found["capture_agent_target_reachable", "lab"] == 0
    assert found["capture_agent_target_oldest_seconds", "lab"] == 60.5
    assert found["capture_agent_disk_free_bytes",] == 10**12 + 1
    assert ("capture_agent_disk_written_bytes_total",) not in found
    assert found["capture_agent_mqtt_connected",] == 1


def test_each_family_has_its_type_unit_and_meaning() -> None:
    families = {family.name: family for family in text_string_to_metric_families(exposition(STATUS))}
    for family in (*DAEMON, *STREAM, *RECORDING, *TARGET, *MQTT):
        read_back = families[f"capture_agent_{family.name}"]
        assert (read_back.type, read_back.unit, read_back.documentation) == (family.kind, family.unit, family.doc)


def test_the_daemon_answers(tmp_path: Path) -> None:
    port = free_port()
    config = f"""
[stream.imu]
driver = "mpu6050"
bus = "virtual"
rate_hz = 200

[stream.cam]
driver = "picamera"
camera = "virtual"
interval_s = 0.2

[recording.walk]
streams = ["imu"]

[metrics]
listen = "127.0.0.1:{port}"
"""
    with Running(tmp_path, config) as running:
        running.until(lambda status: status["recordings"]["walk"]["samples"] > 0)
        status, media_type, text = get(port, "/metrics?debug=1")
        assert (status, media_type) == (200, MEDIA_TYPE)
        found = samples(text)
        assert found["capture_agent_stream_running", "imu"] == 1
        assert found["capture_agent_stream_samples_total", "cam"] >= 1
        assert found["capture_agent_recording_samples_total", "walk"] > 0
        assert found["capture_agent_memory_bytes",] > 1e6
        status, media_type, text = get(port, "/healthz")
        assert (status, media_type, json.loads(text)) == (200, "application/json", {"status": "ok", "problems": []})
        assert running.ask("status")["metrics"] == {"listen": f"127.0.0.1:{port}", "error": ""}
        assert running.terminate()[0] == 0


def test_healthz_says_what_needs_attention() -> None:
    with serving({**STATUS, "problems": ["stream imu is lost: unplugged"]}) as (port, _):
        status, _, text = get(port, "/healthz")
        assert (status, json.loads(text)["problems"]) == (503, ["stream imu is lost: unplugged"])
        assert samples(get(port, "/metrics")[2])["capture_agent_problems",] == 1


def test_healthz_is_a_503_while_the_daemon_cannot_be_asked() -> None:
    def busy() -> Mapping[str, Any]:
        raise OSError("the database is busy")

    metrics = Metrics(MetricsSettings(f"127.0.0.1:{free_port()}"), busy)
    status, _, text = metrics._answer("/healthz")
    assert (status, text) == (503, "the database is busy\n")


def test_other_paths_and_methods_get_their_answer() -> None:
    with serving(STATUS) as (port, _):
        assert get(port, "/../etc/passwd")[0] == 404
        assert get(port, "/metrics", "POST")[0] == 501
        status, media_type, text = get(port, "/metrics", "HEAD")
        assert (status, media_type, text) == (200, MEDIA_TYPE, "")


def test_callers_who_say_nothing_nonsense_or_too_much_keep_nobody_waiting_for_long() -> None:
    with serving(STATUS) as (port, _), contextlib.ExitStack() as stack:
        get(port, "/metrics")
        for said in (b"", b"\0" * 100, b"GET", b"GET / HTTP/9.9\r\n\r\n", b"\xff\xfe \r\n\r\n", b"A" * 20000):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            connection.sendall(said)
            if said:
                connection.shutdown(socket.SHUT_WR)
        assert get(port, "/healthz")[0] == 200


def test_many_at_once_are_all_answered_and_ask_the_daemon_seldom() -> None:
    asked = []

    def status() -> Mapping[str, Any]:
        asked.append(1)
        return STATUS

    port = free_port()
    metrics = Metrics(MetricsSettings(f"127.0.0.1:{port}"), status)
    failures: list[BaseException] = []
    worker = metrics.start(lambda name, error: failures.append(error))
    answers: list[int] = []
    callers = [
        threading.Thread(target=lambda: [answers.append(get(port, "/metrics")[0]) for _ in range(4)]) for _ in range(6)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert worker.stop(10) and not failures
    assert answers == [200] * 24
    assert len(asked) < 24


def test_an_address_that_is_taken_is_said_and_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(STATUS, port) as (_, metrics):
            while not metrics.health()["error"]:
                pass
            assert "in use" in metrics.health()["error"]
            taken.close()
            assert get(port, "/healthz")[0] == 200
            assert metrics.health()["error"] == ""


@pytest.mark.parametrize(
    "listen", ["9464", "0.0.0.0:9464", "[::]:9464", "192.168.1.2:9464", "127.0.0.1:0", "127.0.0.1:x", "::1:9464", "a:1"]
)
def test_only_a_loopback_address_with_a_port_will_do(listen: str) -> None:
    _, mistakes = read(MetricsSettings, {"listen": listen}, "metrics")
    assert [mistake.path for mistake in mistakes] == ["metrics.listen"]


def test_ipv6_will_do_too() -> None:
    assert MetricsSettings("[::1]:9464").address == ("::1", 9464)
    assert MetricsSettings("").address is None


def names() -> set[str]:
    """Of all samples that can be in the text."""
    total = {"gauge": "", "counter": "_total"}
    families = (*DAEMON, *STREAM, *RECORDING, *TARGET, *MQTT)
    own = {f"capture_agent_{family.name}{total[family.kind]}" for family in families}
    return own | {"capture_agent_build_info", "capture_agent_stream_events_total"}


def test_every_metric_and_label_that_the_dashboard_names_exists() -> None:
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    assert len(asked) > 20
    named = {name for text in asked for name in re.findall(r"capture_agent_\w+", text)}
    assert named <= names()
    assert all(
        f"{name}{{" in text or "label_values" in text for text in asked for name in re.findall(r"capture_\w+", text)
    )
    legends = {
        label
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"])
    }
    assert legends <= {"instance", "stream", "recording", "target", "kind", "__name__"}
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    for number, (x, y, w, h) in enumerate(places):
        for ox, oy, ow, oh in places[:number]:
            assert x >= ox + ow or ox >= x + w or y >= oy + oh or oy >= y + h


def test_the_telegraf_snippet_asks_where_the_example_listens() -> None:
    text = (DOCS / "telegraf.conf").read_text()
    snippet = tomllib.loads(text)["inputs"]
    listen = re.search(r'listen = "([^"]+)"', text)
    assert listen is not None and MetricsSettings(listen[1]).address
    assert snippet["prometheus"][0]["urls"] == [f"http://{listen[1]}/metrics"]
    assert snippet["http_response"][0]["urls"] == [f"http://{listen[1]}/healthz"]
